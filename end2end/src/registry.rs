//! A private image registry on loopback: Debian's `docker-registry`, with or without a password.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::TryStreamExt;
use tokio::process::{Child, Command};

use crate::lease::Port;

pub const USER: &str = "fluke";
pub const PASSWORD: &str = "registry-secret";
/// [`PASSWORD`] as bcrypt, the one form the registry reads.
const PASSWORD_HASH: &str = "$2b$05$abcdefghijklmnopqrstuubNCCgMNqYiQA5BMGxm7McAPft53drSm";

/// The file in which a registry finds its users.
pub(crate) fn users() -> String {
    format!("{USER}:{PASSWORD_HASH}\n")
}

/// A running registry; it ends, and what it stored goes, when this is dropped.
pub struct Registry {
    port: Port,
    directory: PathBuf,
    with_password: bool,
    _process: Child,
}

impl Registry {
    pub async fn start(with_password: bool) -> Result<Self> {
        let port = Port::free()?;
        let directory = crate::lease::directory().join(format!("registry-{}", port.number));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("data"))?;
        let mut config = serde_json::json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": directory.join("data")}},
            "http": {"addr": format!("127.0.0.1:{}", port.number)},
        });
        if with_password {
            let users = directory.join("users");
            std::fs::write(&users, self::users())?;
            config["auth"] = serde_json::json!({"htpasswd": {"realm": "test", "path": users}});
        }
        // YAML reads JSON.
        let path = directory.join("config.yml");
        std::fs::write(&path, serde_json::to_string_pretty(&config)?)?;
        let log = std::fs::File::create(directory.join("log"))?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting docker-registry; is the package of that name installed?")?;
        let registry = Self {
            port,
            directory,
            with_password,
            _process: process,
        };
        let url = format!("http://{}/v2/", registry.address());
        crate::wait::until("the registry answers", Duration::from_secs(20), || async {
            Ok(reqwest::get(&url).await.ok().map(|_| ()))
        })
        .await?;
        Ok(registry)
    }

    /// `user:password` as Docker's `config.json` holds it.
    pub fn auth() -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
    }

    /// `127.0.0.1:port`, the first part of the names of its images.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Pushes a local image as `name:tag` and returns the full name to deploy. The local tag it needs
    /// for that is removed again, so that a later use has to pull.
    pub async fn push(
        &self,
        docker: &Docker,
        image: &str,
        name: &str,
        tag: &str,
    ) -> Result<String> {
        let repository = format!("{}/{name}", self.address());
        let full = format!("{repository}:{tag}");
        let options = TagImageOptionsBuilder::default()
            .repo(&repository)
            .tag(tag)
            .build();
        docker
            .tag_image(image, Some(options))
            .await
            .with_context(|| format!("tagging {image} as {full}"))?;
        let credentials = self.with_password.then(|| DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            serveraddress: Some(self.address()),
            ..DockerCredentials::default()
        });
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let pushed = docker
            .push_image(&repository, Some(options), credentials)
            .try_for_each(|_| async { Ok(()) })
            .await
            .with_context(|| format!("pushing {full}"));
        crate::images::remove(docker, &full).await?;
        pushed?;
        Ok(full)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
