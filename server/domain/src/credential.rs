//! What is shown to registries and repositories.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::names::{Invalid, quoted};
use crate::timestamp;

/// What a credential opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An image registry: user and password.
    Registry,
    /// A git repository over https: user and token.
    GitToken,
    /// A git repository over ssh: a private key, and the host's public keys.
    GitKey,
}

impl CredentialKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::GitToken => "git_token",
            Self::GitKey => "git_key",
        }
    }
}

impl std::str::FromStr for CredentialKind {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "registry" => Ok(Self::Registry),
            "git_token" => Ok(Self::GitToken),
            "git_key" => Ok(Self::GitKey),
            other => Err(Invalid::new(
                "kind",
                format!(
                    "must be registry, git_token or git_key, not {}",
                    quoted(other)
                ),
            )),
        }
    }
}

/// One per kind and host. `Debug` shows everything but the secret; no door shows that.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub kind: CredentialKind,
    /// Host, with a port for a registry that has one: `registry.example.com:5000`.
    pub host: String,
    /// Empty for keys.
    pub username: String,
    /// Password, token or private key.
    pub secret: String,
    /// Lines of a `known_hosts` file; for keys only, and required there.
    pub known_hosts: Option<String>,
    pub created_at: OffsetDateTime,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A credential as doors show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialView {
    pub kind: CredentialKind,
    pub host: String,
    pub username: String,
    /// The host's keys are known.
    pub has_known_hosts: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

impl From<&Credential> for CredentialView {
    fn from(credential: &Credential) -> Self {
        Self {
            kind: credential.kind,
            host: credential.host.clone(),
            username: credential.username.clone(),
            has_known_hosts: credential.known_hosts.is_some(),
            created_at: credential.created_at,
        }
    }
}

impl Credential {
    /// # Errors
    /// One [`Invalid`] a field; the secret is never quoted.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b);
        if self.host.is_empty()
            || self.host.len() > 260
            || self.host.starts_with('-')
            || !self.host.bytes().all(plain)
        {
            faults.push(Invalid::new(
                "host",
                format!(
                    "must be a host name in lower case, with a port where there is one, not {}",
                    quoted(&self.host)
                ),
            ));
        }
        if self.username.len() > 256 || self.username.chars().any(|c| c.is_control() || c == ':') {
            faults.push(Invalid::new(
                "username",
                "must have at most 256 characters, without ':' and control characters",
            ));
        }
        if self.secret.is_empty() || self.secret.len() > 16 * 1024 || self.secret.contains('\0') {
            faults.push(Invalid::new("secret", "must have 1 to 16384 bytes"));
        }
        match self.kind {
            CredentialKind::Registry | CredentialKind::GitToken => {
                if self.secret.chars().any(char::is_control) {
                    faults.push(Invalid::new("secret", "must not hold control characters"));
                }
            }
            CredentialKind::GitKey => {
                if !self.secret.contains("PRIVATE KEY-----") {
                    faults.push(Invalid::new(
                        "secret",
                        "must be a private key in OpenSSH or PEM form",
                    ));
                } else if self.secret.contains("ENCRYPTED") {
                    faults.push(Invalid::new(
                        "secret",
                        "must be a key without a passphrase: nobody is there to type it",
                    ));
                }
                if self.known_hosts.as_deref().is_none_or(|text| {
                    text.trim().is_empty() || text.len() > 64 * 1024 || text.contains('\0')
                }) {
                    faults.push(Invalid::new(
                        "known_hosts",
                        "must hold the host's public keys, as 'ssh-keyscan' prints them",
                    ));
                }
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}
