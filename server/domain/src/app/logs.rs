//! What of an app is written to its log beside what it prints itself, and how long it is kept.
//!
//! These settings belong to the environment and hold at once: they are not frozen in a release.

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

/// Longest time that can be set to call a request slow, in milliseconds: an hour.
pub const MAX_SLOW_MS: u32 = 3_600_000;
/// Longest time for which entries can be kept, in days: ten years.
pub const MAX_RETAIN_DAYS: u32 = 3_660;
/// Most space that an app's entries can be given, in MiB: 1 TiB.
pub const MAX_RETAIN_MB: u32 = 1 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    #[serde(default)]
    pub access: AccessLog,
    /// Entries go when they are older; the server's usual without it. An app has one log, so that
    /// of its environments production's counts.
    #[serde(default)]
    pub retain_days: Option<u32>,
    /// What the entries may take on disk, in MiB: the oldest go first. As above.
    #[serde(default)]
    pub retain_mb: Option<u32>,
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
        for (field, value, most) in [
            ("logs.retain_days", self.retain_days, MAX_RETAIN_DAYS),
            ("logs.retain_mb", self.retain_mb, MAX_RETAIN_MB),
        ] {
            if let Some(value) = value
                && !(1..=most).contains(&value)
            {
                let problem = format!("must be 1 to {most}, not {value}");
                faults.push(Invalid::new(field, problem));
            }
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

    #[test]
    fn what_is_kept_has_limits() {
        for (retain_days, retain_mb, faults) in [
            (None, None, 0),
            (Some(1), Some(MAX_RETAIN_MB), 0),
            (Some(0), Some(0), 2),
            (Some(MAX_RETAIN_DAYS + 1), None, 1),
        ] {
            let settings = LogSettings {
                retain_days,
                retain_mb,
                ..LogSettings::default()
            };
            let found = settings.validate().err().unwrap_or_default();
            assert_eq!(found.len(), faults, "{found:?}");
        }
    }
}
