//! Image references as people write them, and images pinned to what they were at one moment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{Invalid, quoted};

/// What the caller asked for: `[registry/]name[:tag][@sha256:…]`, or an image id `sha256:…`.
/// At most 512 characters; checked so that it can never be taken for an option or a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ImageRef(String);

impl ImageRef {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `:` of the name, if it is a tag.
    pub fn tag(&self) -> Option<&str> {
        let name = self.0.split('@').next().unwrap_or(&self.0);
        let last = name.rsplit('/').next().unwrap_or(name);
        if self.is_image_id() {
            None
        } else {
            last.split_once(':').map(|(_, tag)| tag)
        }
    }

    /// `repository@sha256:…` or an image id: always the same bytes.
    pub fn is_pinned(&self) -> bool {
        self.0.contains("@sha256:") || self.is_image_id()
    }

    pub fn is_image_id(&self) -> bool {
        self.0.starts_with("sha256:")
    }

    /// Without tag and digest: `registry:5000/team/shop`.
    pub fn repository(&self) -> &str {
        if self.is_image_id() {
            return &self.0;
        }
        let name = self.0.split('@').next().unwrap_or(&self.0);
        match self.tag() {
            Some(tag) => &name[..name.len() - tag.len() - 1],
            None => name,
        }
    }

    /// The registry host if the reference names one, by Docker's rule: the first part holds a
    /// `.` or `:` or is `localhost`.
    pub fn registry(&self) -> Option<&str> {
        let (first, _) = self.0.split_once('/')?;
        (first.contains('.') || first.contains(':') || first == "localhost").then_some(first)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 512 {
        return Err("must have 1 to 512 characters");
    }
    if let Some(hex) = text.strip_prefix("sha256:") {
        return if is_sha256_hex(hex) {
            Ok(())
        } else {
            Err("must be an image id of 64 hex digits after 'sha256:'")
        };
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest
        && !digest.strip_prefix("sha256:").is_some_and(is_sha256_hex)
    {
        return Err("must have a digest of the form '@sha256:<64 hex digits>'");
    }
    if !name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
    {
        return Err("must start with a letter or digit");
    }
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    if !name.bytes().all(allowed) {
        return Err("may hold only letters, digits and . _ - / :");
    }
    if name
        .split('/')
        .any(|part| part.is_empty() || part.starts_with(['.', '-', ':']))
    {
        return Err("must not hold empty parts or parts that start with '.', '-' or ':'");
    }
    let (last, path) = match name.rsplit_once('/') {
        Some((path, last)) => (last, Some(path)),
        None => (name, None),
    };
    if last.matches(':').count() > 1 || last.ends_with(':') {
        return Err("must hold at most one tag");
    }
    if path.is_some_and(|path| path.split('/').skip(1).any(|part| part.contains(':'))) {
        return Err("must hold ':' only before a port or a tag");
    }
    let (repository_last, tag) = match last.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (last, None),
    };
    if tag.is_some_and(|tag| tag.len() > 128 || tag.starts_with(['.', '-'])) {
        return Err(
            "must have a tag of at most 128 characters that starts with a letter, digit or '_'",
        );
    }
    if repository_last.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("must have a repository name in lower case");
    }
    Ok(())
}

impl FromStr for ImageRef {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match check(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(problem) => Err(Invalid::new(
                "image",
                format!("{problem}, not {}", quoted(text)),
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An image that can no longer change: what was validated is what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// As the caller wrote it.
    pub requested: ImageRef,
    /// What Swarm is given: `repository@sha256:…`, or an image id for an image that exists only
    /// in the local engine.
    pub pinned: String,
    /// Only in the engine of this node; a release of it cannot run on other nodes.
    pub local_only: bool,
    pub architecture: Option<String>,
    /// Ports the image declares with EXPOSE.
    #[serde(default)]
    pub exposed_ports: Vec<u16>,
    /// The image declares a HEALTHCHECK.
    #[serde(default)]
    pub has_healthcheck: bool,
    /// The user the image runs as; empty is root.
    #[serde(default)]
    pub user: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_docker_accepts() {
        let digest = "a".repeat(64);
        for good in [
            "nginx",
            "nginx:1.27",
            "library/nginx",
            "localhost:5000/team/shop:v1.2",
            "ghcr.io/a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            &format!("sha256:{digest}"),
            &format!("shop:v1@sha256:{digest}"),
        ] {
            assert!(good.parse::<ImageRef>().is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_could_be_taken_for_something_else() {
        for bad in [
            "",
            "-v",
            "--upload-pack=x",
            "a b",
            "a\nb",
            "../etc",
            "a/../b",
            "a//b",
            "a;b",
            "$(x)",
            "Shop",
            "a:b:c",
            "x@sha256:12",
            "sha256:zz",
            "a/-b",
            "http://x/y",
            "a:",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_a_reference_apart() {
        let image: ImageRef = "localhost:5000/team/shop:v1.2".parse().unwrap();
        assert_eq!(image.registry(), Some("localhost:5000"));
        assert_eq!(image.repository(), "localhost:5000/team/shop");
        assert_eq!(image.tag(), Some("v1.2"));
        assert!(!image.is_pinned());
        assert_eq!("team/shop".parse::<ImageRef>().unwrap().registry(), None);
    }
}
