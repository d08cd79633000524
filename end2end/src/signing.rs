//! Signatures of images, made as `cosign sign --key` makes them, with the program openssl.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::registry::{PASSWORD, Registry, USER};
use crate::source_files::Scratch;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SIGNED: &str = "application/vnd.oci.image.manifest.v1+json";

/// A pair of keys (ECDSA over P-256) in a folder of its own.
pub struct Key(Scratch);

impl Key {
    pub async fn new() -> Result<Self> {
        let key = Self(Scratch::new("key")?);
        let make = [
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "key",
        ];
        key.openssl(&make).await?;
        key.openssl(&["ec", "-in", "key", "-pubout", "-out", "public"])
            .await?;
        Ok(key)
    }

    /// As PEM.
    pub fn public(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.0.path().join("public"))?)
    }

    /// Puts a signature of the image, `registry/name@digest`, where cosign puts it.
    pub async fn sign(&self, registry: &Registry, image: &str) -> Result<()> {
        let (name, digest) = parts(registry, image)?;
        let statement = json!({"critical": {
            "identity": {"docker-reference": image.split('@').next()},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        }, "optional": null});
        let statement = statement.to_string();
        std::fs::write(self.0.path().join("statement"), &statement)?;
        let sign = [
            "dgst",
            "-sha256",
            "-sign",
            "key",
            "-out",
            "signature",
            "statement",
        ];
        self.openssl(&sign).await?;
        let signature = STANDARD.encode(std::fs::read(self.0.path().join("signature"))?);

        let mut layer = self.upload(registry, name, &statement).await?;
        layer["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        let mut config = self.upload(registry, name, "{}").await?;
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": SIGNED, "config": config, "layers": [layer],
        });
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let put = ask(registry, Method::PUT, &format!("{name}/manifests/{tag}"))
            .header("Content-Type", SIGNED)
            .body(manifest.to_string());
        put.send().await?.error_for_status()?;
        Ok(())
    }

    async fn upload(&self, registry: &Registry, name: &str, blob: &str) -> Result<Value> {
        let path = self.0.path().join("blob");
        std::fs::write(&path, blob)?;
        let printed = self.openssl(&["dgst", "-sha256", "-r", "blob"]).await?;
        let hex = printed.split(' ').next().unwrap_or_default();
        ensure!(hex.len() == 64, "openssl prints no digest: {printed}");
        let digest = format!("sha256:{hex}");
        let begun = ask(registry, Method::POST, &format!("{name}/blobs/uploads/"));
        let begun = begun.send().await?.error_for_status()?;
        let location = begun.headers().get("location");
        let location = location.context("an upload has a location")?.to_str()?;
        Client::new()
            .put(location)
            .query(&[("digest", &digest)])
            .basic_auth(USER, Some(PASSWORD))
            .header("Content-Type", "application/octet-stream")
            .body(blob.to_owned())
            .send()
            .await?
            .error_for_status()?;
        Ok(json!({"digest": digest, "size": blob.len()}))
    }

    async fn openssl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .await
            .context("starting openssl; is the package of that name installed?")?;
        ensure!(output.status.success(), "openssl {arguments:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// `registry/name@digest` of an image that was pushed as `registry/name:tag`.
pub async fn pinned(registry: &Registry, image: &str) -> Result<String> {
    let (repository, tag) = image.rsplit_once(':').context("an image has a tag")?;
    let name = own(registry, repository)?;
    let answer = ask(registry, Method::HEAD, &format!("{name}/manifests/{tag}"))
        .header("Accept", MANIFEST)
        .send()
        .await?
        .error_for_status()?;
    let digest = answer.headers().get("docker-content-digest");
    let digest = digest.context("a manifest has a digest")?.to_str()?;
    Ok(format!("{repository}@{digest}"))
}

fn parts<'a>(registry: &Registry, image: &'a str) -> Result<(&'a str, &'a str)> {
    let (repository, digest) = image.split_once('@').context("an image has a digest")?;
    Ok((own(registry, repository)?, digest))
}

fn own<'a>(registry: &Registry, repository: &'a str) -> Result<&'a str> {
    let (host, name) = repository.split_once('/').context("it has a registry")?;
    ensure!(host == registry.address(), "{repository} is elsewhere");
    Ok(name)
}

fn ask(registry: &Registry, method: Method, path: &str) -> RequestBuilder {
    Client::new()
        .request(method, format!("http://{}/v2/{path}", registry.address()))
        .basic_auth(USER, Some(PASSWORD))
}
