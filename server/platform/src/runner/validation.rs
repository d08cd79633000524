//! The findings about a release, and whether they stop it: a part of `pre_deploy`.

use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::deployment::{Deployment, PhaseName, ValidationLevel};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::log_entry::Level;

use super::drive::Stop;
use super::report;
use crate::checks::{Wanted, of_release, verdict};
use crate::platform::Platform;

/// Looks, tells and keeps what was found; stops where the deployment's level says so.
pub(super) async fn run(
    px: &Platform,
    deployment: &mut Deployment,
    image: &PinnedImage,
) -> Result<(), Stop> {
    let level = deployment.validation_level;
    if level == ValidationLevel::None {
        return Ok(());
    }
    let is_strict = level == ValidationLevel::Strict;
    let wanted = Wanted {
        scan: is_strict,
        deep: is_strict,
    };
    // Boxed: it is large, and so would every future around it be.
    let mut checks = Box::pin(of_release(px, deployment, image, wanted)).await;
    // What the build found in its Dockerfile; a repeated phase has the rest too.
    let linted = |check: &Check| check.name.split('.').next() == Some("dockerfile");
    checks.extend(
        deployment
            .preparation
            .checks
            .iter()
            .filter(|check| linted(check))
            .cloned(),
    );
    let stopped_by = verdict(level, &checks, &deployment.settings.checks.ignore);
    let stops = |check: &Check| {
        let stopping = stopped_by.iter().flatten();
        stopping.into_iter().any(|other| other.name == check.name)
    };
    for check in &checks {
        if check.status != CheckStatus::Pass {
            let level = if stops(check) {
                Level::Error
            } else {
                Level::Warn
            };
            let text = format!("{}: {}", check.name, check.message);
            report::progress(px, deployment, level, text);
        }
    }
    let diagnosis = stopped_by.map(|stopping| Diagnosis {
        code: Cause::ValidationFailed,
        phase: PhaseName::PreDeploy,
        message: format!(
            "validation stopped the release: {}",
            stopping
                .iter()
                .map(|check| check.message.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        ),
        evidence: Evidence::default(),
        next: stopping
            .iter()
            .filter_map(|check| check.suggestion.clone())
            .take(3)
            .collect(),
    });
    deployment.preparation.checks = checks;
    match diagnosis {
        Some(diagnosis) => Err(diagnosis.into()),
        None => Ok(()),
    }
}
