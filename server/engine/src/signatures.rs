//! Signatures beside images: cosign's simple signing.
//!
//! For the image of digest `sha256:<hex>` the same repository holds a manifest under the tag
//! `sha256-<hex>.sig`. Each of its layers is a signed statement: the blob names the image's digest,
//! and an annotation of the layer holds the signature of the blob. Signatures that newer programs
//! store as referrers of the image (bundles) are not looked for.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_platform::ports::EngineError;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::engine::Inner;
use crate::program::hex;
use crate::registry_http::Repository;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const MAX_MANIFEST: usize = 4 * 1024 * 1024;
const MAX_STATEMENT: usize = 256 * 1024;
/// More people do not sign one image.
const MAX_SIGNATURES: usize = 50;
/// DER of "an uncompressed point of P-256 follows" (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl Inner {
    pub(crate) async fn signed_by(
        &self,
        image: &PinnedImage,
        key_pem: &str,
    ) -> Result<bool, EngineError> {
        let doing = format!("looking for a signature of {}", image.requested);
        let looking = async {
            let key = public_key(key_pem)?;
            let Ok(exact) = image.pinned.parse::<ImageRef>() else {
                return Ok(false);
            };
            let Some((_, digest)) = image.pinned.split_once('@') else {
                return Ok(false);
            };
            if image.local_only {
                return Ok(false);
            }
            let known = self.credentials().await.of(&image.pinned);
            is_signed(&mut Repository::of(&exact, known), digest, &key).await
        };
        looking
            .await
            .map_err(|message| EngineError::Refused { doing, message })
    }
}

async fn is_signed(
    repository: &mut Repository,
    digest: &str,
    key: &UnparsedPublicKey<Vec<u8>>,
) -> Result<bool, String> {
    let tag = format!("{}.sig", digest.replacen(':', "-", 1));
    let found = repository.manifest(&tag, MANIFESTS, MAX_MANIFEST).await?;
    let Some(manifest) = found else {
        return Ok(false);
    };
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|_| "the signature's manifest cannot be read".to_owned())?;
    for layer in manifest.layers.into_iter().take(MAX_SIGNATURES) {
        let signature = layer.annotations.get(SIGNATURE);
        let Some(signature) = signature.and_then(|text| STANDARD.decode(text.trim()).ok()) else {
            continue;
        };
        let Some(statement) = repository.blob(&layer.digest, MAX_STATEMENT).await? else {
            continue;
        };
        let is_itself = layer.digest == format!("sha256:{}", hex(&Sha256::digest(&statement)));
        if is_itself && key.verify(&statement, &signature).is_ok() && states(&statement, digest) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a statement is about this very image.
fn states(statement: &[u8], digest: &str) -> bool {
    let Ok(statement) = serde_json::from_slice::<Value>(statement) else {
        return false;
    };
    let text = |pointer| statement.pointer(pointer).and_then(Value::as_str);
    text("/critical/image/docker-manifest-digest") == Some(digest)
        && text("/critical/type") == Some("cosign container image signature")
}

fn public_key(pem: &str) -> Result<UnparsedPublicKey<Vec<u8>>, String> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "the key is no public key in PEM form".to_owned())?;
    match der.strip_prefix(&P256) {
        Some(point) if point.len() == 65 && point[0] == 4 => Ok(UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_ASN1,
            point.to_vec(),
        )),
        _ => Err("the key is not one for ECDSA over P-256, as cosign makes them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_statement_is_about_one_image() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let statement = |kind: &str, digest: &str| {
            json!({"critical": {
                "identity": {"docker-reference": "localhost:5000/shop"},
                "image": {"docker-manifest-digest": digest},
                "type": kind,
            }, "optional": null})
            .to_string()
        };
        let kind = "cosign container image signature";
        assert!(states(statement(kind, &digest).as_bytes(), &digest));
        assert!(!states(statement(kind, "sha256:b").as_bytes(), &digest));
        assert!(!states(statement("other", &digest).as_bytes(), &digest));
        assert!(!states(b"{}", &digest) && !states(b"no", &digest));
    }

    #[test]
    fn only_keys_of_the_right_kind_are_taken() {
        let pem = |der: &[u8]| {
            format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                STANDARD.encode(der)
            )
        };
        let mut der = P256.to_vec();
        der.push(4);
        der.extend([1; 64]);
        assert!(public_key(&pem(&der)).is_ok());
        der.push(0);
        assert!(public_key(&pem(&der)).is_err());
        assert!(public_key(&pem(b"x")).is_err());
        assert!(public_key("PEM").is_err());
    }
}
