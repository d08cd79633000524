//! Where source files come from. Everything here ends up as an argument of another program, so each
//! type accepts only what can be nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{Invalid, quoted};

/// Where the files of a build come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// The recipe needs none.
    Nothing,
    /// An archive that was sent before.
    Upload {
        id: UploadId,
    },
    Git(GitSource),
}

/// A git repository at one place in its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    pub repository: RepositoryUrl,
    /// Branch, tag or full commit; else the repository's own default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitReference>,
    /// Only this folder is the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subfolder: Option<RelativePath>,
    #[serde(default)]
    pub submodules: bool,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text)
                    .map(|()| Self(text.to_owned()))
                    .map_err(|problem| Invalid::new($field, format!("{problem}, not {}", shown(text))))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A value that a caller sent, without what may be a password in it.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => quoted(&format!("{scheme}://…@{rest}")),
        _ => quoted(text),
    }
}

checked_text!(
    /// An archive that was sent: `up-<unix ms>-<8 hex>`.
    UploadId, "source.upload", check_upload
);
checked_text!(
    /// `https://host/path`, `ssh://user@host/path` or `user@host:path`; never with a password in it.
    /// `http://` is accepted here and refused later unless the host is allowed by configuration.
    RepositoryUrl, "source.git.repository", check_repository
);
checked_text!(
    /// A branch, a tag, or the 40 (or 64) hex digits of a commit.
    GitReference, "source.git.reference", check_reference
);
checked_text!(
    /// A path below the source's top: no leading `/` or `-`, no `..`, at most 255 bytes.
    RelativePath, "source.path", check_path
);

impl UploadId {
    /// `random` makes ids of the same millisecond differ.
    pub fn new(at: time::OffsetDateTime, random: u32) -> Self {
        Self(format!(
            "up-{}-{random:08x}",
            crate::timestamp::to_unix_ms(at)
        ))
    }
}

fn check_upload(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("up-").unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if rest.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err("must be the id that an upload was answered with");
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let well = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(plain)
        && !name.starts_with(['-', '.'])
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if well {
        Ok(())
    } else {
        Err("must name a host, and a port at most")
    }
}

fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 1_000 {
        return Err("must have 1 to 1000 characters");
    }
    // No quotes, blanks, backslashes, `$`, `;`, `|`, `&` …: nothing that any program between here
    // and the repository could take for something else.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%+@:".contains(&b);
    if !text.bytes().all(plain) {
        return Err("may hold only letters, digits and - . _ ~ / % + @ :");
    }
    let user = |user: &str| {
        !user.is_empty()
            && user.len() <= 64
            && !user.starts_with('-')
            && user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let (authority, path) = if let Some((scheme, rest)) = text.split_once("://") {
        if !matches!(scheme, "https" | "http" | "ssh") {
            return Err("must begin with https:// or ssh://, or look like user@host:path");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some((name, host)) = authority.rsplit_once('@') {
            if scheme != "ssh" || name.contains(':') {
                return Err("must not hold a user or password: store it as a credential instead");
            }
            if !user(name) {
                return Err("must have a plain user name before '@'");
            }
            (host, path)
        } else {
            (authority, path)
        }
    } else {
        let Some((authority, path)) = text.split_once(':') else {
            return Err("must begin with https:// or ssh://, or look like user@host:path");
        };
        let Some((name, host)) = authority.rsplit_once('@') else {
            return Err("must begin with https:// or ssh://, or look like user@host:path");
        };
        if !user(name) || host.contains(':') {
            return Err("must have a plain user name before '@'");
        }
        (host, path)
    };
    check_host(authority)?;
    let folded = path.trim_matches('/');
    if folded.is_empty()
        || path.starts_with(['-', ':'])
        || folded
            .split('/')
            .any(|part| part == ".." || part.starts_with('-'))
    {
        return Err("must have a path without '..' and without parts that start with '-'");
    }
    Ok(())
}

/// git's own rules (`git check-ref-format`), and a smaller alphabet.
fn check_reference(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 200 {
        return Err("must have 1 to 200 characters");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/+@".contains(&b);
    if !text.bytes().all(plain) {
        return Err("may hold only letters, digits and - . _ / + @");
    }
    let parts_are_well = text.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !std::path::Path::new(part)
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("lock"))
    });
    if !parts_are_well || text.contains("..") || text == "@" {
        return Err("must be a branch, a tag or a full commit");
    }
    Ok(())
}

fn check_path(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 255 {
        return Err("must have 1 to 255 bytes");
    }
    if text.starts_with(['/', '-', '~']) {
        return Err("must not start with '/', '-' or '~'");
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err("must not hold backslashes or control characters");
    }
    if text.split('/').any(|part| part == "..") {
        return Err("must stay inside the source: no '..'");
    }
    Ok(())
}

impl RepositoryUrl {
    /// Host without user and port, in lower case: credentials are found by it.
    pub fn host(&self) -> String {
        let authority = self.authority();
        authority
            .split_once(':')
            .map_or(authority, |(host, _)| host)
            .to_ascii_lowercase()
    }

    /// Port, where one is named.
    pub fn port(&self) -> Option<u16> {
        self.authority().split_once(':')?.1.parse().ok()
    }

    /// Host and, where it is named, port.
    fn authority(&self) -> &str {
        let (authority, _) = match self.0.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            None => self.0.split_once(':').unwrap_or((&self.0, "")),
        };
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host)
    }

    pub fn transport(&self) -> Transport {
        if self.0.starts_with("https://") {
            Transport::Https
        } else if self.0.starts_with("http://") {
            Transport::Http
        } else {
            Transport::Ssh
        }
    }
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Https,
    /// Without encryption.
    Http,
    Ssh,
}

impl GitReference {
    /// It names one commit and never another.
    pub fn is_commit(&self) -> bool {
        matches!(self.0.len(), 40 | 64) && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

impl RelativePath {
    /// The folder it is in; `None` at the top.
    pub fn folder(&self) -> Option<RelativePath> {
        let (folder, _) = self.0.rsplit_once('/')?;
        folder.parse().ok()
    }

    /// This path below `folder`.
    ///
    /// # Errors
    /// The joined path is too long.
    pub fn below(&self, folder: Option<&RelativePath>) -> Result<Self, Invalid> {
        match folder {
            Some(folder) => format!("{}/{}", folder.0.trim_end_matches('/'), self.0).parse(),
            None => Ok(self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repositories_are_https_or_ssh_and_hold_no_password() {
        for good in [
            "https://git.example.com/team/shop.git",
            "https://git.example.com:8443/shop",
            "ssh://git@git.example.com:2222/team/shop.git",
            "git@git.example.com:team/shop.git",
            "http://127.0.0.1:9000/shop.git",
        ] {
            assert!(good.parse::<RepositoryUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=touch /tmp/x",
            "-oProxyCommand=x",
            "ext::sh -c id",
            "file:///etc",
            "/etc",
            "../x",
            "https://user:secret@git.example.com/x",
            "https://token@git.example.com/x",
            "ssh://-oProxyCommand=x@host/x",
            "ssh://-host/x",
            "git@host:-x",
            "git@host:--upload-pack=x",
            "https://host/$(id)",
            "https://host/a;b",
            "https://host/a\nb",
            "https://host/../x",
            "https://host",
            "https://host/",
            "https:///x",
            "https://host:99999/x",
        ] {
            assert!(bad.parse::<RepositoryUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_password_is_not_repeated() {
        let error = "https://me:hunter2@git.example.com/x"
            .parse::<RepositoryUrl>()
            .unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_repository_knows_its_host() {
        let host = |text: &str| text.parse::<RepositoryUrl>().unwrap().host();
        assert_eq!(host("ssh://git@Git.Example.com:2222/x"), "git.example.com");
        assert_eq!(host("git@git.example.com:x/y"), "git.example.com");
        assert_eq!(host("http://127.0.0.1:9000/x"), "127.0.0.1");
    }

    #[test]
    fn references_are_no_options_and_no_expressions() {
        for good in [
            "main",
            "release/1.2",
            "v2.4.0",
            "feature/a_b-c",
            &"a".repeat(40),
        ] {
            assert!(good.parse::<GitReference>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a\nb",
            "a^",
            "a~1",
            "a:b",
            "a/-b",
            "x.lock",
            "$(id)",
            "@",
            "a//b",
        ] {
            assert!(bad.parse::<GitReference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["Dockerfile", "./docker/Dockerfile.web", "a b/c"] {
            assert!(good.parse::<RelativePath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "-f",
            "a\nb",
            "a\\..\\b",
        ] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_accepted_can_be_an_option(text in "[-a-zA-Z0-9@:/. ]{0,40}") {
            for accepted in [
                text.parse::<RepositoryUrl>().is_ok(),
                text.parse::<GitReference>().is_ok(),
                text.parse::<RelativePath>().is_ok(),
            ] {
                prop_assert!(!accepted || !text.starts_with('-'));
            }
        }
    }
}
