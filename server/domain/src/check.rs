//! Findings about a release before it runs.

use serde::{Deserialize, Serialize};

use crate::names::{Invalid, quoted};

/// Every name a [`Check`] can have. Names are stable: settings and scripts hold them.
pub const NAMES: [&str; 43] = [
    "architecture",
    "build_args",
    "command",
    "cpu_limit",
    "dockerfile",
    "dockerfile.add_for_copy",
    "dockerfile.add_url",
    "dockerfile.apt_size",
    "dockerfile.apt_update",
    "dockerfile.apt_yes",
    "dockerfile.before_from",
    "dockerfile.copies_secret",
    "dockerfile.maintainer",
    "dockerfile.missing_argument",
    "dockerfile.no_from",
    "dockerfile.no_user",
    "dockerfile.port_range",
    "dockerfile.relative_workdir",
    "dockerfile.secret",
    "dockerfile.several_commands",
    "dockerfile.shell_form",
    "dockerfile.sudo",
    "dockerfile.unfinished",
    "dockerfile.unknown_instruction",
    "dockerfile.unpinned_base",
    "dockerfile.user_root",
    "exposed_port",
    "health_check",
    "health_path",
    "image",
    "image_tag",
    "memory_limit",
    "runs_as_root",
    "secret_files",
    "secret_values",
    "secrets_in_files",
    "secrets_in_history",
    "secrets_in_variables",
    "security_scan",
    "settings",
    "signature",
    "tests",
    "variables_missing",
];

/// Most names that settings may ignore.
const MAX_IGNORED: usize = 50;

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
        debug_assert!(NAMES.contains(&name), "{name} is not in NAMES");
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
        let unknown = |name: &&String| !NAMES.contains(&name.as_str());
        if self.ignore.len() > MAX_IGNORED {
            let count = self.ignore.len();
            let problem = format!("must be at most {MAX_IGNORED} names of checks, not {count}");
            faults.push(Invalid::new("checks.ignore", problem));
        } else if let Some(unknown) = self.ignore.iter().find(unknown) {
            // A name with a slip in it would ignore nothing, and nobody would notice.
            let problem = format!(
                "must hold names of checks, and {} is none; they are: {}",
                quoted(unknown),
                NAMES.join(", ")
            );
            faults.push(Invalid::new("checks.ignore", problem));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignoring(names: &[&str]) -> CheckSettings {
        CheckSettings {
            ignore: names.iter().map(ToString::to_string).collect(),
            ..CheckSettings::default()
        }
    }

    #[test]
    fn only_checks_that_are_there_can_be_ignored() {
        assert!(NAMES.is_sorted(), "for those who read them");
        assert_eq!(ignoring(&NAMES).validate(), Ok(()));
        let faults = ignoring(&["runs_as_root", "run_as_root\n"])
            .validate()
            .unwrap_err();
        assert_eq!(faults.len(), 1);
        let text = faults[0].to_string();
        assert!(
            text.contains("run_as_root") && !text.contains('\n'),
            "{text}"
        );
        assert!(text.contains("runs_as_root"), "{text}");
        let many = ["runs_as_root"; MAX_IGNORED + 1];
        let faults = ignoring(&many).validate().unwrap_err();
        assert!(faults[0].to_string().contains("50"), "{faults:?}");
    }
}
