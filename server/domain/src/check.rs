//! Findings about a release before it runs.

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

/// One finding: what was looked at, how bad it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name: `runs_as_root`.
    pub name: String,
    /// `system`, `docker`, `network`, `storage`, `security`, `configuration`.
    pub category: String,
    pub status: CheckStatus,
    pub message: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// It was asked for and could not be done. Shown as a warning, never as passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_run: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Pass,
    Warning,
    Fail,
}

impl Check {
    pub fn pass(name: &str, category: &str, message: impl Into<String>) -> Self {
        Self::new(name, category, CheckStatus::Pass, message, None)
    }

    pub fn warning(
        name: &str,
        category: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Self {
        let suggestion = Some(suggestion.into());
        Self::new(name, category, CheckStatus::Warning, message, suggestion)
    }

    pub fn fail(
        name: &str,
        category: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Self {
        let suggestion = Some(suggestion.into());
        Self::new(name, category, CheckStatus::Fail, message, suggestion)
    }

    /// Why something was not looked at.
    pub fn not_run(name: &str, category: &str, why: &str) -> Self {
        Self {
            not_run: true,
            ..Self::new(
                name,
                category,
                CheckStatus::Warning,
                format!("not run: {why}"),
                None,
            )
        }
    }

    fn new(
        name: &str,
        category: &str,
        status: CheckStatus,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            category: category.to_owned(),
            status,
            message: message.into(),
            suggestion,
            not_run: false,
        }
    }
}

/// What an environment wants of its checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckSettings {
    /// PEM of a public key (ECDSA P-256, as cosign makes them): images must carry its signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_key: Option<String>,
    /// Names of checks whose findings are shown and never stop a deployment.
    pub ignore: Vec<String>,
}

impl CheckSettings {
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        if let Some(key) = &self.signature_key
            && (key.len() > 4_096 || !key.trim_start().starts_with("-----BEGIN PUBLIC KEY-----"))
        {
            faults.push(Invalid::new(
                "checks.signature_key",
                "must be a PEM text that begins with '-----BEGIN PUBLIC KEY-----'",
            ));
        }
        let plain = |name: &String| {
            !name.is_empty()
                && name.len() <= 64
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if self.ignore.len() > 50 || !self.ignore.iter().all(plain) {
            faults.push(Invalid::new(
                "checks.ignore",
                "must be at most 50 names of checks, like 'runs_as_root'",
            ));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}
