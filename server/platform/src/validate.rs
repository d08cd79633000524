//! What can be known about a release before it runs. Changes nothing.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::Settings;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::names::{AppName, EnvironmentName};

use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::views::{Check, CheckStatus, ValidationReport, ValidationStatus};

#[derive(Debug, Clone)]
pub struct Validate {
    pub app: AppName,
    pub environment: EnvironmentName,
    /// Else the image of the release that serves.
    pub image: Option<ImageRef>,
    pub run_tests: bool,
    pub run_security_scan: bool,
}

pub async fn validate(
    px: &Platform,
    actor: &Actor,
    cmd: Validate,
) -> Result<ValidationReport, Error> {
    authorise(actor, Action::Validate, Resource::App(&cmd.app))?;
    let environment = require_environment(px, &cmd.app, &cmd.environment).await?;
    let mut checks = Vec::new();
    match &cmd.image {
        // Looking an image up would pull it, and validation changes nothing; the deployment does
        // that in its build phase. What is already pinned is checked below.
        Some(image) => checks.push(mutable_tag(image)),
        None => match environment.active_release {
            Some(number) => {
                if let Some(release) = px
                    .parts()
                    .store
                    .release(&cmd.app, &environment.name, number)
                    .await?
                {
                    let available = px.parts().engine.image_available(&release.image).await?;
                    checks.push(image_available(&release.image, available));
                    checks.extend(image_checks(&release.image, &release.settings));
                }
            }
            None => checks.push(check(
                "image",
                "configuration",
                CheckStatus::Fail,
                "no image was named and no release serves",
                Some("name the image to validate"),
            )),
        },
    }
    checks.push(settings_check(&environment.settings));
    checks.push(health_check(&environment.settings));
    if cmd.run_tests {
        checks.push(not_run("tests", "no test command can be configured yet"));
    }
    if cmd.run_security_scan {
        checks.push(not_run("security_scan", "no scanner can be configured yet"));
    }
    Ok(ValidationReport {
        status: overall(&checks),
        app_name: cmd.app,
        environment: environment.name,
        checks,
    })
}

/// The checks of a pinned image against the settings it will run with.
pub(crate) fn image_checks(image: &PinnedImage, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![mutable_tag(&image.requested)];
    let port = settings.container_port;
    if !image.exposed_ports.is_empty() && !image.exposed_ports.contains(&port) {
        let ports: Vec<_> = image
            .exposed_ports
            .iter()
            .map(ToString::to_string)
            .collect();
        checks.push(check(
            "exposed_port",
            "configuration",
            CheckStatus::Warning,
            format!(
                "the image declares port {}, the app is set to {port}",
                ports.join(", ")
            ),
            Some("set container_port to the port the app listens on"),
        ));
    }
    let root = image.user.is_empty() || image.user == "0" || image.user.starts_with("root");
    checks.push(if root {
        check(
            "runs_as_root",
            "security",
            CheckStatus::Warning,
            "the image runs as root",
            Some("set USER in the image"),
        )
    } else {
        check(
            "runs_as_root",
            "security",
            CheckStatus::Pass,
            "the image does not run as root",
            None,
        )
    });
    checks
}

pub(crate) fn overall(checks: &[Check]) -> ValidationStatus {
    if checks.iter().any(|check| check.status == CheckStatus::Fail) {
        ValidationStatus::Failed
    } else if checks
        .iter()
        .any(|check| check.status == CheckStatus::Warning)
    {
        ValidationStatus::Warning
    } else {
        ValidationStatus::Passed
    }
}

fn mutable_tag(image: &ImageRef) -> Check {
    if image.is_pinned() || image.tag().is_some_and(|tag| tag != "latest") {
        check(
            "image_tag",
            "configuration",
            CheckStatus::Pass,
            "the image is named by a tag or digest",
            None,
        )
    } else {
        check(
            "image_tag",
            "configuration",
            CheckStatus::Warning,
            "the image has no tag of its own, so its name says nothing about its version",
            Some("name a version tag or a digest"),
        )
    }
}

fn image_available(image: &PinnedImage, available: bool) -> Check {
    if available {
        check(
            "image",
            "docker",
            CheckStatus::Pass,
            "the image is available",
            None,
        )
    } else {
        check(
            "image",
            "docker",
            CheckStatus::Fail,
            format!(
                "the image {} is neither on this node nor in its registry",
                image.requested
            ),
            Some("push the image again, or deploy another one"),
        )
    }
}

fn settings_check(settings: &Settings) -> Check {
    match settings.validate() {
        Ok(()) => check(
            "settings",
            "configuration",
            CheckStatus::Pass,
            "the settings are valid",
            None,
        ),
        Err(faults) => check(
            "settings",
            "configuration",
            CheckStatus::Fail,
            faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            Some("correct the named settings"),
        ),
    }
}

fn health_check(settings: &Settings) -> Check {
    match &settings.health.probe {
        HealthProbe::Http { path, .. } => check(
            "health_check",
            "configuration",
            CheckStatus::Pass,
            format!("GET {path} decides whether a replica is healthy"),
            None,
        ),
        HealthProbe::Docker => check(
            "health_check",
            "configuration",
            CheckStatus::Pass,
            "the image's HEALTHCHECK decides whether a replica is healthy",
            None,
        ),
        HealthProbe::Command { .. } => check(
            "health_check",
            "configuration",
            CheckStatus::Pass,
            "a command in the container decides whether a replica is healthy",
            None,
        ),
        HealthProbe::Tcp => check(
            "health_check",
            "configuration",
            CheckStatus::Warning,
            "only a TCP connection decides whether a replica is healthy",
            Some("set health.path to a path that answers 200 once the app can work"),
        ),
    }
}

/// Never reported as passed.
fn not_run(name: &str, why: &str) -> Check {
    Check::not_run(name, "security", why)
}

fn check(
    name: &str,
    category: &str,
    status: CheckStatus,
    message: impl Into<String>,
    suggestion: Option<&str>,
) -> Check {
    let remedy = suggestion.unwrap_or_default();
    match status {
        CheckStatus::Pass => Check::pass(name, category, message),
        CheckStatus::Warning => Check::warning(name, category, message, remedy),
        CheckStatus::Fail => Check::fail(name, category, message, remedy),
    }
}
