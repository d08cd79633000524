//! The settings a release will run with.

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::check::Check;
use flukedeploy_domain::health::HealthProbe;

use super::secrets::{named_in, shapes_in};
use super::{CONFIGURATION, SECURITY};

pub(super) fn valid(settings: &Settings) -> Check {
    match settings.validate() {
        Ok(()) => Check::pass("settings", CONFIGURATION, "the settings are valid"),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Check::fail(
                "settings",
                CONFIGURATION,
                faults.join("; "),
                "correct the named settings",
            )
        }
    }
}

/// One finding for memory, one for processor time.
pub(super) fn limits(settings: &Settings) -> [Check; 2] {
    let of = |name: &str, what: &str, field: &str, limit: Option<String>| match limit {
        Some(limit) => Check::pass(name, CONFIGURATION, format!("a replica may use {limit}")),
        None => Check::warning(
            name,
            CONFIGURATION,
            format!("a replica may use all {what} of its node"),
            format!("set resources.{field}"),
        ),
    };
    let resources = &settings.resources;
    [
        of(
            "memory_limit",
            "memory",
            "memory_limit_mb",
            resources
                .memory_limit_mb
                .map(|limit| format!("{limit} MiB of memory")),
        ),
        of(
            "cpu_limit",
            "processor time",
            "cpu_limit_milli",
            resources
                .cpu_limit_milli
                .map(|limit| format!("{limit} thousandths of a processor")),
        ),
    ]
}

/// Whether something looks into the app before it serves. `in_image`: the image has a HEALTHCHECK;
/// `None` if that is not known.
pub(super) fn health(settings: &Settings, in_image: Option<bool>) -> Check {
    let name = "health_check";
    let pass = |message: String| Check::pass(name, CONFIGURATION, message);
    let remedy = "set health.path to a path that answers 200 once the app can work";
    match (&settings.health.probe, in_image) {
        (HealthProbe::Http { path, .. }, _) => pass(format!(
            "GET {} decides whether a replica is healthy",
            path.split('?').next().unwrap_or_default()
        )),
        (HealthProbe::Command { .. }, _) => {
            pass("a command in the container decides whether a replica is healthy".to_owned())
        }
        (HealthProbe::Docker | HealthProbe::Tcp, Some(true)) => {
            pass("the image's HEALTHCHECK decides whether a replica is healthy".to_owned())
        }
        (HealthProbe::Docker, Some(false)) => Check::warning(
            name,
            CONFIGURATION,
            "the image's HEALTHCHECK is to decide whether a replica is healthy, and the image has none",
            "add a HEALTHCHECK to the image, or set health.path",
        ),
        (HealthProbe::Docker, None) => Check::not_run(
            name,
            CONFIGURATION,
            "whether the image has a HEALTHCHECK is not known",
        ),
        (HealthProbe::Tcp, _) => Check::warning(
            name,
            CONFIGURATION,
            "only a TCP connection decides whether a replica is healthy",
            remedy,
        ),
    }
}

/// The path that is asked again and again; `None` where none is.
pub(super) fn health_path(settings: &Settings) -> Option<Check> {
    let HealthProbe::Http { path, .. } = &settings.health.probe else {
        return None;
    };
    let name = "health_path";
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    let check = if !path.starts_with('/') {
        Check::fail(
            name,
            CONFIGURATION,
            "the health path does not start with '/'",
            "set health.path to a path like /healthz",
        )
    } else if path.starts_with("//") || plain.split('/').any(|part| part == "..") {
        Check::warning(
            name,
            CONFIGURATION,
            "servers read the health path differently: it starts with '//' or holds '..'",
            "set health.path to a plain path like /healthz",
        )
    } else if !named_in(query).is_empty() || !shapes_in(path).is_empty() {
        // Paths are in access logs and shown to everyone who may see the app.
        Check::warning(
            name,
            SECURITY,
            "the health path carries what looks like a secret",
            "let the path answer without one",
        )
    } else if path.contains('#') {
        Check::warning(
            name,
            CONFIGURATION,
            "the health path holds '#': what follows belongs to browsers, not to requests",
            "leave out the '#' and what follows it",
        )
    } else {
        Check::pass(name, CONFIGURATION, "the health path can be asked")
    };
    Some(check)
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::check::CheckStatus;

    use super::*;

    fn asking(path: &str) -> Settings {
        let mut settings = Settings::default();
        settings.health.probe = HealthProbe::Http {
            path: path.to_owned(),
            expect_status: None,
        };
        settings
    }

    #[test]
    fn settings_that_are_wrong_fail() {
        assert_eq!(valid(&Settings::default()).status, CheckStatus::Pass);
        let wrong = Settings {
            replicas: 0,
            ..Settings::default()
        };
        let found = valid(&wrong);
        assert_eq!(found.status, CheckStatus::Fail);
        assert!(found.message.contains("replicas"), "{}", found.message);
    }

    #[test]
    fn each_limit_is_missed_by_itself() {
        let mut settings = Settings::default();
        let statuses = |settings: &Settings| limits(settings).map(|check| check.status);
        assert_eq!(statuses(&settings), [CheckStatus::Warning; 2]);
        settings.resources.memory_limit_mb = Some(256);
        assert_eq!(
            statuses(&settings),
            [CheckStatus::Pass, CheckStatus::Warning]
        );
        settings.resources.cpu_limit_milli = Some(500);
        assert_eq!(statuses(&settings), [CheckStatus::Pass; 2]);
        assert_eq!(
            limits(&settings).map(|check| check.message),
            [
                "a replica may use 256 MiB of memory",
                "a replica may use 500 thousandths of a processor"
            ]
        );
    }

    #[test]
    fn something_has_to_look_into_the_app() {
        let with = |probe: HealthProbe| {
            let mut settings = Settings::default();
            settings.health.probe = probe;
            settings
        };
        let status = |probe, in_image| health(&with(probe), in_image).status;
        assert_eq!(health(&asking("/up"), None).status, CheckStatus::Pass);
        let command = HealthProbe::Command {
            command: vec!["/check".to_owned()],
        };
        assert_eq!(status(command, None), CheckStatus::Pass);
        assert_eq!(status(HealthProbe::Tcp, Some(true)), CheckStatus::Pass);
        assert_eq!(status(HealthProbe::Tcp, Some(false)), CheckStatus::Warning);
        assert_eq!(status(HealthProbe::Docker, Some(true)), CheckStatus::Pass);
        assert_eq!(
            status(HealthProbe::Docker, Some(false)),
            CheckStatus::Warning
        );
        assert!(health(&with(HealthProbe::Docker), None).not_run);
    }

    #[test]
    fn health_paths_are_plain() {
        assert_eq!(health_path(&Settings::default()), None);
        let status = |path: &str| health_path(&asking(path)).unwrap().status;
        for path in ["/", "/healthz", "/api/up?deep=1"] {
            assert_eq!(status(path), CheckStatus::Pass, "{path}");
        }
        assert_eq!(status("healthz"), CheckStatus::Fail);
        for path in ["//up", "/a/../up", "/up#top", "/up?token=abcdef123456"] {
            assert_eq!(status(path), CheckStatus::Warning, "{path}");
        }
        let found = health_path(&asking("/up?token=abcdef123456")).unwrap();
        assert!(!format!("{found:?}").contains("abcdef"));
        let found = health(&asking("/up?token=abcdef123456"), None);
        assert!(!format!("{found:?}").contains("abcdef"));
    }
}
