//! What findings mean for a deployment.

use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::deployment::ValidationLevel;

use super::outside::SIGNATURE;
use crate::views::ValidationStatus;

/// The findings that stop a deployment at this level; `None` if nothing does. `ignore` names checks
/// whose findings are shown and never stop.
pub(crate) fn verdict<'a>(
    level: ValidationLevel,
    checks: &'a [Check],
    ignore: &[String],
) -> Option<Vec<&'a Check>> {
    let stops = |check: &&Check| {
        let bad = match level {
            ValidationLevel::None => false,
            // What could not be looked at stops nothing, but for a signature: a key was given, so
            // nothing unsigned is to run.
            ValidationLevel::Basic | ValidationLevel::Strict if check.not_run => {
                check.name == SIGNATURE
            }
            ValidationLevel::Basic => check.status == CheckStatus::Fail,
            ValidationLevel::Strict => check.status != CheckStatus::Pass,
        };
        bad && !ignore.contains(&check.name)
    };
    let stopping: Vec<&Check> = checks.iter().filter(stops).collect();
    (!stopping.is_empty()).then_some(stopping)
}

/// All findings in one word.
pub(crate) fn overall(checks: &[Check]) -> ValidationStatus {
    let worst = |status| checks.iter().any(|check| check.status == status);
    if worst(CheckStatus::Fail) {
        ValidationStatus::Failed
    } else if worst(CheckStatus::Warning) {
        ValidationStatus::Warning
    } else {
        ValidationStatus::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(level: ValidationLevel, ignore: &[&str]) -> Vec<String> {
        let checks = [
            Check::pass("image", "docker", "there"),
            Check::warning("runs_as_root", "security", "it does", "do not"),
            Check::fail("architecture", "docker", "another", "build"),
            Check::not_run("security_scan", "security", "no scanner"),
            Check::not_run(SIGNATURE, "security", "no answer"),
        ];
        let ignore: Vec<String> = ignore.iter().map(ToString::to_string).collect();
        verdict(level, &checks, &ignore)
            .unwrap_or_default()
            .iter()
            .map(|check| check.name.clone())
            .collect()
    }

    #[test]
    fn levels_stop_what_they_say() {
        assert!(names(ValidationLevel::None, &[]).is_empty());
        assert_eq!(
            names(ValidationLevel::Basic, &[]),
            ["architecture", SIGNATURE]
        );
        assert_eq!(
            names(ValidationLevel::Strict, &[]),
            ["runs_as_root", "architecture", SIGNATURE]
        );
    }

    #[test]
    fn ignored_findings_never_stop() {
        assert!(names(ValidationLevel::Basic, &["architecture", SIGNATURE]).is_empty());
        let all = ["architecture", "runs_as_root", SIGNATURE];
        assert!(names(ValidationLevel::Strict, &all).is_empty());
    }

    #[test]
    fn what_was_not_run_is_never_passed() {
        let checks = [Check::not_run("security_scan", "security", "no scanner")];
        assert_eq!(overall(&checks), ValidationStatus::Warning);
        assert_eq!(overall(&[]), ValidationStatus::Passed);
    }
}
