//! Where `FlukeBase` is, and which of its projects an app belongs to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::addresses::is_public;
use crate::names::{EnvironmentName, Invalid, quoted};
use crate::webhook::WebhookUrl;

/// The base of the API: `https://flukebase.me/api/v1`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FlukebaseUrl(String);

impl FlukebaseUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `https://host:port`, which is also the origin that a browser of that site would send.
    pub fn site(&self) -> &str {
        let authority = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[authority..].find('/');
        end.map_or(self.0.as_str(), |end| &self.0[..authority + end])
    }

    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Without brackets.
    pub fn host(&self) -> &str {
        self.host_and_port().0
    }

    pub fn port(&self) -> u16 {
        self.host_and_port().1
    }

    /// Host and port, as the `Host` header has them.
    pub fn authority(&self) -> &str {
        let site = self.site();
        site.split_once("://").map_or(site, |(_, rest)| rest)
    }

    /// The path before everything that is asked: `/api/v1`.
    pub fn path(&self) -> &str {
        &self.0[self.site().len()..]
    }

    fn host_and_port(&self) -> (&str, u16) {
        let usual = if self.is_encrypted() { 443 } else { 80 };
        let authority = self.authority();
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').unwrap_or((rest, ""));
                (host, after.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        (
            host,
            port.and_then(|port| port.parse().ok()).unwrap_or(usual),
        )
    }
}

impl fmt::Display for FlukebaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FlukebaseUrl {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain: WebhookUrl = text.trim_end_matches('/').parse()?;
        if text.contains('?') {
            return Err(Invalid::new("url", "must not have a '?'"));
        }
        let url = Self(plain.as_str().to_owned());
        let host = url.host();
        let inside = host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| !is_public(address));
        if !url.is_encrypted() && !inside {
            return Err(Invalid::new(
                "url",
                "must begin with https://, since a token is sent there; http:// is for addresses inside only",
            ));
        }
        Ok(url)
    }
}

impl<'de> Deserialize<'de> for FlukebaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The number of a project of `FlukeBase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(i64);

impl ProjectId {
    /// # Errors
    /// It is not 1 or more.
    pub fn new(number: i64) -> Result<Self, Invalid> {
        if number >= 1 {
            return Ok(Self(number));
        }
        Err(Invalid::new(
            "project_id",
            format!("must be a number from 1 on, not {number}"),
        ))
    }

    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ProjectId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = text.parse().map_err(|_| {
            let problem = format!("must be a number from 1 on, not {}", quoted(text));
            Invalid::new("project_id", problem)
        })?;
        Self::new(number)
    }
}

/// What ties an app to a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Binding {
    pub project_id: ProjectId,
    /// Its deployments also take the project's variables.
    pub variables: bool,
}

/// The environments that `FlukeBase` knows. Others must not be asked for: it fails on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteEnvironment {
    Development,
    Staging,
    Production,
}

impl RemoteEnvironment {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// Previews and everything else that is neither of the two are development: they never get what
    /// belongs to production.
    pub fn of(environment: &EnvironmentName) -> Self {
        match environment.as_str() {
            "production" => Self::Production,
            "staging" => Self::Staging,
            _ => Self::Development,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let url: FlukebaseUrl = "https://flukebase.me/api/v1/".parse().unwrap();
        assert_eq!(url.as_str(), "https://flukebase.me/api/v1");
        assert_eq!(url.site(), "https://flukebase.me");
        assert_eq!((url.host(), url.port()), ("flukebase.me", 443));
        assert_eq!(url.path(), "/api/v1");
        let url: FlukebaseUrl = "http://[::1]:4000".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path()), ("::1", 4000, ""));
        assert_eq!(url.authority(), "[::1]:4000");
    }

    #[test]
    fn a_token_is_never_sent_in_the_open() {
        for bad in [
            "http://flukebase.me/api/v1",
            "http://8.8.8.8",
            "ftp://flukebase.me",
            "https://me:you@flukebase.me",
            "https://flukebase.me/api?token=x",
            "flukebase.me",
        ] {
            assert!(bad.parse::<FlukebaseUrl>().is_err(), "{bad}");
        }
        assert!(
            "http://10.0.0.7:3000/api/v1"
                .parse::<FlukebaseUrl>()
                .is_ok()
        );
        assert!("http://localhost/api/v1".parse::<FlukebaseUrl>().is_ok());
    }

    #[test]
    fn only_production_is_production() {
        for (name, is) in [
            ("production", "production"),
            ("staging", "staging"),
            ("dev", "development"),
            ("preview-7", "development"),
        ] {
            let environment = name.parse().unwrap();
            assert_eq!(RemoteEnvironment::of(&environment).as_str(), is);
        }
    }

    #[test]
    fn projects_have_numbers() {
        assert_eq!("7".parse::<ProjectId>().unwrap().number(), 7);
        for bad in ["0", "-1", "seven", "", "9223372036854775808"] {
            assert!(bad.parse::<ProjectId>().is_err(), "{bad}");
        }
    }
}
