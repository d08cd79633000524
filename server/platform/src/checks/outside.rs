//! What others say: a signature, a scanner, the app's own tests.

use flukedeploy_domain::check::Check;
use flukedeploy_domain::deployment::Deployment;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::job::{JobKind, JobSettings, JobStatus};

use super::{CONFIGURATION, SECURITY};
use crate::ports::{InspectError, ScanReport};

/// The check that was asked for by giving a key.
pub(super) const SIGNATURE: &str = "signature";
const SCAN: &str = "security_scan";

/// Why a local image is not even asked about.
pub(super) fn unsignable(image: &PinnedImage) -> Option<Check> {
    image.local_only.then(|| {
        Check::fail(
            SIGNATURE,
            SECURITY,
            "the image exists only on this node, so it carries no signature",
            "push the image to a registry, sign it there (cosign sign --key …), and deploy it from there",
        )
    })
}

pub(super) fn signature(signed: &Result<bool, String>) -> Check {
    match signed {
        Ok(true) => Check::pass(
            SIGNATURE,
            SECURITY,
            "the image is signed by the key of checks.signature_key",
        ),
        Ok(false) => Check::fail(
            SIGNATURE,
            SECURITY,
            "the image carries no signature by the key of checks.signature_key",
            "sign the image (cosign sign --key …), or deploy one that is signed",
        ),
        // It stops the deployment, so it says what to do.
        Err(why) => Check {
            suggestion: Some(
                "look whether the registry answers, whether its credentials are right and whether \
                 checks.signature_key is a whole key, then deploy again"
                    .to_owned(),
            ),
            ..Check::not_run(SIGNATURE, SECURITY, why)
        },
    }
}

pub(super) fn scan(report: Option<Result<ScanReport, String>>) -> Check {
    let report = match report {
        None => {
            let why = "no scanner is configured: start the server with --scanner";
            return Check::not_run(SCAN, SECURITY, why);
        }
        Some(Err(why)) => return Check::not_run(SCAN, SECURITY, &why),
        Some(Ok(report)) => report,
    };
    let ScanReport {
        scanner,
        critical,
        high,
        other,
        worst,
    } = report;
    let mut message =
        format!("{scanner} found {critical} critical, {high} high and {other} other weaknesses");
    if !worst.is_empty() && (critical > 0 || high > 0) {
        let worst: Vec<String> = worst.iter().take(10).map(|line| tame(line, 120)).collect();
        message.push_str(": ");
        message.push_str(&worst.join(", "));
    }
    let remedy = "build the image anew on an up-to-date base and with up-to-date packages";
    if critical > 0 {
        Check::fail(SCAN, SECURITY, message, remedy)
    } else if high > 0 {
        Check::warning(SCAN, SECURITY, message, remedy)
    } else {
        Check::pass(SCAN, SECURITY, message)
    }
}

/// The words of an error and of what caused it.
pub(super) fn told(error: &InspectError) -> String {
    match error {
        InspectError::NotRun { source, .. } => tame(&format!("{error}: {source}"), 500),
        InspectError::TimedOut { .. } | InspectError::Failed { .. } => {
            tame(&error.to_string(), 500)
        }
    }
}

/// The app's tests are a job of a deployment; here is only told where they stand.
pub(crate) fn tests(job: Option<&JobSettings>, last: Option<&Deployment>) -> Check {
    let name = "tests";
    if job.is_none() {
        let why = "no test command is configured (jobs.test)";
        return Check::not_run(name, CONFIGURATION, why);
    }
    let mut why = "the test command runs in the pre_deploy phase of a deployment, in the new image"
        .to_owned();
    let record = last.and_then(|last| Some((last, last.preparation.job(JobKind::Test)?)));
    if let Some((last, record)) = record {
        let how = match (record.status, record.exit_code) {
            (JobStatus::Success, _) => "passed".to_owned(),
            (JobStatus::Failed, Some(code)) => format!("failed with exit code {code}"),
            (JobStatus::Failed, None) => "failed".to_owned(),
            (JobStatus::Running, _) => "are running".to_owned(),
            (JobStatus::TimedOut, _) => "did not end in time".to_owned(),
            (JobStatus::Cancelled, _) => "were cancelled".to_owned(),
            (JobStatus::NotRun, _) => "were not run".to_owned(),
        };
        why = format!("{why}; in {} they {how}", last.id);
    }
    Check::not_run(name, CONFIGURATION, &why)
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::check::CheckStatus;

    use super::*;

    fn image(local_only: bool) -> PinnedImage {
        PinnedImage {
            requested: "shop:v1".parse().unwrap(),
            pinned: "shop".to_owned(),
            local_only,
            architecture: None,
            exposed_ports: Vec::new(),
            has_healthcheck: false,
            user: String::new(),
        }
    }

    #[test]
    fn a_signature_is_there_or_not_and_silence_is_neither() {
        assert_eq!(signature(&Ok(true)).status, CheckStatus::Pass);
        assert_eq!(signature(&Ok(false)).status, CheckStatus::Fail);
        let unknown = signature(&Err("no answer".to_owned()));
        assert!(unknown.not_run && unknown.suggestion.is_some());
        assert_eq!(unsignable(&image(false)), None);
        assert_eq!(unsignable(&image(true)).unwrap().status, CheckStatus::Fail);
    }

    #[test]
    fn a_scan_is_as_bad_as_its_worst_finding() {
        let of = |critical, high, other| {
            scan(Some(Ok(ScanReport {
                scanner: "trivy".to_owned(),
                critical,
                high,
                other,
                worst: vec!["CVE-2026-0001 in libx 1.2 (critical)".to_owned()],
            })))
        };
        let found = of(1, 0, 0);
        assert_eq!(found.status, CheckStatus::Fail);
        assert!(
            found
                .message
                .ends_with("CVE-2026-0001 in libx 1.2 (critical)")
        );
        assert_eq!(of(0, 2, 0).status, CheckStatus::Warning);
        assert_eq!(of(0, 0, 9).status, CheckStatus::Pass);
        assert!(!of(0, 0, 9).not_run);
    }

    #[test]
    fn a_scan_that_did_not_happen_says_so() {
        let found = scan(None);
        assert!(found.not_run);
        assert!(found.message.contains("--scanner"), "{}", found.message);
        let error = InspectError::NotRun {
            program: "trivy".to_owned(),
            source: std::io::Error::other("no such file"),
        };
        let found = scan(Some(Err(told(&error))));
        assert!(found.not_run);
        assert!(found.message.contains("no such file"), "{}", found.message);
    }

    #[test]
    fn tests_are_not_run_here() {
        let found = super::tests(None, None);
        assert!(found.not_run && found.message.contains("jobs.test"));
        let job = JobSettings {
            command: vec!["/test".to_owned()],
            image: None,
            timeout_seconds: 60,
        };
        let found = super::tests(Some(&job), None);
        assert!(found.not_run && found.message.contains("pre_deploy"));
    }
}
