//! What of an app is written to its log beside what it prints itself.
//!
//! These settings belong to the environment and hold at once: they are not frozen in a release.

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

/// Longest time that can be set to call a request slow, in milliseconds: an hour.
pub const MAX_SLOW_MS: u32 = 3_600_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    #[serde(default)]
    pub access: AccessLog,
}

/// Which requests to the app get an entry.
///
/// By default those that failed and those that were slow, and no others: how many there were and how
/// long they took is counted anyway, and a busy app would fill its log with lines that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessLog {
    /// False: none at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Of the requests that went well, so many in a thousand, chosen by chance.
    #[serde(default)]
    pub sample_permille: u32,
    /// A request whose answer took this long to begin, in milliseconds, is slow; 0: none is.
    #[serde(default = "two_seconds")]
    pub slow_ms: u32,
}

fn yes() -> bool {
    true
}

fn two_seconds() -> u32 {
    2_000
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            enabled: yes(),
            sample_permille: 0,
            slow_ms: two_seconds(),
        }
    }
}

impl LogSettings {
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let AccessLog {
            sample_permille,
            slow_ms,
            ..
        } = self.access;
        if sample_permille > 1_000 {
            faults.push(Invalid::new(
                "logs.access.sample_permille",
                format!("must be 0 to 1000, not {sample_permille}"),
            ));
        }
        if slow_ms > MAX_SLOW_MS {
            faults.push(Invalid::new(
                "logs.access.slow_ms",
                format!("must be 0 to {MAX_SLOW_MS}, not {slow_ms}"),
            ));
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

    #[test]
    fn settings_of_before_keep_what_failed_or_was_slow() {
        let read: LogSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(read, LogSettings::default());
        assert!(read.access.enabled && read.access.sample_permille == 0);
        let part: LogSettings =
            serde_json::from_str(r#"{"access": {"sample_permille": 1000}}"#).unwrap();
        assert!(part.access.enabled && part.access.slow_ms == 2_000);
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let mut settings = LogSettings::default();
        settings.access.sample_permille = 1_001;
        settings.access.slow_ms = MAX_SLOW_MS + 1;
        assert_eq!(settings.validate().unwrap_err().len(), 2);
    }
}
