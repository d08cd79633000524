//! Grants as they are kept, and limits of tokens.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Role;
use crate::names::{AppName, EnvironmentName, ProjectName};

/// Who was granted something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Subject {
    Account(String),
    Token(String),
}

impl Subject {
    /// `account` or `token`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Token(_) => "token",
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Self::Account(id) | Self::Token(id) => id,
        }
    }
}

/// What a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Target {
    App(AppName),
    /// Every app that is in the project, as long as it is.
    Project(ProjectName),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App(app) => write!(f, "app {app}"),
            Self::Project(project) => write!(f, "project {project}"),
        }
    }
}

/// A role that somebody was given. There is at most one for each subject and target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    pub id: String,
    pub subject: Subject,
    pub target: Target,
    pub role: Role,
    /// Only in environments of these names. `None`: in all, those to come included.
    pub environments: Option<BTreeSet<EnvironmentName>>,
    pub created_at: OffsetDateTime,
    /// The name of who gave it.
    pub created_by: String,
}

/// What a token may not exceed. Limits of the tokens it was made with hold too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Networks it may be used from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Deployments of every kind that it may begin within any 60 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploys_per_hour: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploys_per_day: Option<u32>,
}

impl Limits {
    /// Whether it may be used from there. An address that is not known is none of those named.
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        let within = |address: IpAddr| {
            let address = address.to_canonical();
            self.addresses.iter().any(|net| net.contains(&address))
        };
        self.addresses.is_empty() || address.is_some_and(within)
    }
}
