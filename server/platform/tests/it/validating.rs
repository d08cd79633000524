//! Findings: what they say, what they stop, and that looking changes nothing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{EnvVars, Settings};
use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::deployment::{Deployment, State, ValidationLevel};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::job::JobSettings;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_platform::apps;
use flukedeploy_platform::deployments::Deploy;
use flukedeploy_platform::ports::{
    BuildError, BuildLine, BuildSpec, Builder, Built, EngineError, ImageFacts, InspectError,
    Inspector, ScanReport, Store as _,
};
use flukedeploy_platform::validate::{Validate, validate};
use flukedeploy_platform::views::{ValidationReport, ValidationStatus};

use crate::bench::{Life, World, deploy_of, diagnosis, name, production, settings};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

const KEY: &str =
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";

/// What images carry, as the test says; clean unless it says otherwise.
struct Contents {
    facts: ImageFacts,
    files: Vec<String>,
    /// `None`: nobody answers.
    signed: Option<bool>,
    scan: Option<(u32, u32)>,
    away: bool,
}

#[derive(Clone)]
struct Images(Arc<Mutex<Contents>>);

impl Images {
    fn fitted(world: &World) -> Self {
        let clean = Contents {
            facts: ImageFacts {
                history: vec!["CMD [\"shop\"]".to_owned()],
                has_command: true,
                ..ImageFacts::default()
            },
            files: Vec::new(),
            signed: Some(true),
            scan: Some((0, 0)),
            away: false,
        };
        let images = Self(Arc::new(Mutex::new(clean)));
        let shared = images.clone();
        let fit = move |ports: &mut flukedeploy_platform::Ports| {
            ports.builder = Arc::new(shared.clone());
            ports.inspector = Arc::new(shared.clone());
        };
        assert!(world.fit.set(Box::new(fit)).is_ok());
        images
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.0.lock().unwrap());
    }

    fn ask<T>(&self, answer: impl FnOnce(&Contents) -> Option<T>) -> Result<T, EngineError> {
        let contents = self.0.lock().unwrap();
        let answer = (!contents.away).then(|| answer(&contents)).flatten();
        answer.ok_or_else(|| EngineError::TimedOut {
            doing: "looking into the image".to_owned(),
            seconds: 1,
        })
    }
}

#[async_trait]
impl Builder for Images {
    async fn build_image(
        &self,
        _: &BuildSpec,
        _: &(dyn Fn(BuildLine) + Send + Sync),
    ) -> Result<Built, BuildError> {
        unreachable!("nothing is built here")
    }

    async fn image_facts(&self, _: &PinnedImage) -> Result<ImageFacts, EngineError> {
        self.ask(|contents| Some(contents.facts.clone()))
    }

    async fn secret_files(&self, _: &PinnedImage) -> Result<Vec<String>, EngineError> {
        self.ask(|contents| Some(contents.files.clone()))
    }

    async fn signed_by(&self, _: &PinnedImage, key: &str) -> Result<bool, EngineError> {
        assert_eq!(key, KEY);
        self.ask(|contents| contents.signed)
    }
}

#[async_trait]
impl Inspector for Images {
    async fn scan(&self, _: &PinnedImage) -> Option<Result<ScanReport, InspectError>> {
        let (critical, high) = self.0.lock().unwrap().scan?;
        Some(Ok(ScanReport {
            scanner: "trivy".to_owned(),
            critical,
            high,
            other: 3,
            worst: Vec::new(),
        }))
    }
}

/// Nothing is to be said about these.
fn careful() -> Settings {
    let mut settings = settings(1);
    settings.resources.memory_limit_mb = Some(128);
    settings.resources.cpu_limit_milli = Some(500);
    settings
}

fn end_of(life: &Life<'_>, level: ValidationLevel, image: &str) -> Deployment {
    let cmd = Deploy {
        validation_level: level,
        ..deploy_of("shop", image)
    };
    let id = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    life.end(&id)
}

fn ask(life: &Life<'_>, image: Option<&str>, all: bool) -> ValidationReport {
    let cmd = Validate {
        app: name("shop"),
        environment: production(),
        image: image.map(|image| image.parse().unwrap()),
        run_tests: all,
        run_security_scan: all,
    };
    life.run(validate(&life.px, &Actor::system(), cmd)).unwrap()
}

#[track_caller]
fn found<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

/// Names of the findings that are not passed.
fn bad(checks: &[Check]) -> Vec<&str> {
    let bad = checks
        .iter()
        .filter(|check| check.status != CheckStatus::Pass);
    bad.map(|check| check.name.as_str()).collect()
}

fn vars(pairs: &[(&str, &str)]) -> EnvVars {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    EnvVars(pairs.iter().map(owned).collect())
}

#[test]
fn a_clean_image_passes_strict() {
    let world = World::new();
    Images::fitted(&world);
    let life = world.boot();
    let mut settings = careful();
    settings.checks.signature_key = Some(KEY.to_owned());
    life.create_app("shop", settings);
    let end = end_of(&life, ValidationLevel::Strict, "shop:v1");
    assert_eq!(end.state, State::Success, "{:#?}", end.preparation.checks);
    let checks = &end.preparation.checks;
    assert!(bad(checks).is_empty(), "{checks:#?}");
    for looked_at in [
        "image",
        "architecture",
        "image_tag",
        "runs_as_root",
        "exposed_port",
        "command",
        "secrets_in_variables",
        "secrets_in_history",
        "secrets_in_files",
        "variables_missing",
        "settings",
        "health_check",
        "health_path",
        "memory_limit",
        "cpu_limit",
        "signature",
        "security_scan",
    ] {
        found(checks, looked_at);
    }
    assert_eq!(ask(&life, None, false).status, ValidationStatus::Passed);
    world.assert_sound();
}

#[test]
fn levels_and_ignored_names_decide_what_stops() {
    let world = World::new();
    let images = Images::fitted(&world);
    let life = world.boot();
    life.create_app("shop", careful());
    life.ship("shop", "shop:v1");
    images.change(|contents| {
        contents.facts.env = vars(&[("DB_PASSWORD", "s3cr3t-canary")]);
        contents.files = vec!["app/.env".to_owned()];
    });

    let end = end_of(&life, ValidationLevel::Strict, "shop:v2");
    let why = diagnosis(&end);
    assert_eq!(why.code, Cause::ValidationFailed);
    assert!(why.message.contains("DB_PASSWORD") && why.message.contains("app/.env"));
    assert!(!why.next.is_empty());
    assert_eq!(
        bad(&end.preparation.checks),
        ["secrets_in_variables", "secrets_in_files"]
    );
    assert_eq!(end.release, None);
    life.assert_serves("shop", 1);
    let entries = life.entries(&end.id);
    let told = entries
        .iter()
        .find(|entry| entry.message.starts_with("secrets_in_variables: "))
        .unwrap();
    assert_eq!(told.level, Level::Error);
    let text = format!("{end:?} {entries:?} {:?}", ask(&life, None, true));
    assert!(!text.contains("s3cr3t"), "a value was shown");

    // Not deep, and warnings stop nothing.
    let end = end_of(&life, ValidationLevel::Basic, "shop:v3");
    assert_eq!(end.state, State::Success);
    assert_eq!(bad(&end.preparation.checks), ["secrets_in_variables"]);

    images.change(|contents| contents.scan = Some((1, 0)));
    let mut ignoring = careful();
    ignoring.checks.ignore = ["secrets_in_variables", "secrets_in_files", "security_scan"]
        .map(str::to_owned)
        .to_vec();
    life.create_app("calm", ignoring);
    let cmd = Deploy {
        validation_level: ValidationLevel::Strict,
        ..deploy_of("calm", "shop:v4")
    };
    let id = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    let end = life.end(&id);
    assert_eq!(end.state, State::Success);
    assert_eq!(bad(&end.preparation.checks).len(), 3);
    let end = end_of(&life, ValidationLevel::Strict, "shop:v5");
    assert!(diagnosis(&end).message.contains("1 critical"));
    world.assert_sound();
}

#[test]
fn an_unsigned_image_never_runs() {
    let world = World::new();
    let images = Images::fitted(&world);
    let life = world.boot();
    let mut settings = careful();
    settings.checks.signature_key = Some(KEY.to_owned());
    life.create_app("shop", settings);
    images.change(|contents| contents.signed = Some(false));
    let end = end_of(&life, ValidationLevel::Basic, "shop:v1");
    assert_eq!(diagnosis(&end).code, Cause::ValidationFailed);
    assert!(world.swarm.services().is_empty());

    images.change(|contents| contents.signed = None);
    let end = end_of(&life, ValidationLevel::Strict, "shop:v1");
    assert_eq!(diagnosis(&end).code, Cause::ValidationFailed);
    let check = found(&end.preparation.checks, "signature");
    assert!(check.not_run, "{check:?}");
    assert!(world.swarm.services().is_empty());
}

#[test]
fn an_engine_that_does_not_answer_passes_nothing_and_stops_nothing() {
    let world = World::new();
    let images = Images::fitted(&world);
    let life = world.boot();
    life.create_app("shop", careful());
    life.ship("shop", "shop:v1");
    images.change(|contents| {
        contents.away = true;
        contents.scan = None;
    });
    life.tap.fail("image_available", "", Trouble::Away, 1);
    let report = ask(&life, None, true);
    assert_eq!(report.status, ValidationStatus::Warning);
    for name in [
        "image",
        "command",
        "secrets_in_variables",
        "secrets_in_history",
        "secrets_in_files",
        "security_scan",
    ] {
        let check = found(&report.checks, name);
        assert!(
            check.not_run && check.status == CheckStatus::Warning,
            "{check:?}"
        );
    }
    let scan = found(&report.checks, "security_scan");
    assert!(scan.message.contains("--scanner"), "{scan:?}");
    let end = end_of(&life, ValidationLevel::Strict, "shop:v2");
    assert_eq!(end.state, State::Success);
    assert!(found(&end.preparation.checks, "command").not_run);
}

#[test]
fn validating_changes_nothing() {
    let world = World::new();
    let images = Images::fitted(&world);
    let life = world.boot();
    life.create_app("shop", careful());
    let none = ask(&life, None, true);
    assert_eq!(none.status, ValidationStatus::Failed);

    life.ship("shop", "shop:v1");
    life.assert_serves("shop", 1);
    images.change(|contents| contents.files = vec!["root/.ssh/id_rsa".to_owned()]);
    let gone = Behaviour {
        exists: false,
        ..Behaviour::default()
    };
    world.swarm.image("shop:gone", gone);
    let (trail, changes) = (world.swarm.trail(), life.store.changes());

    let report = ask(&life, None, true);
    assert_eq!(bad(&report.checks), ["secrets_in_files", "tests"]);
    let report = ask(&life, Some("shop:latest"), false);
    assert_eq!(bad(&report.checks), ["image_tag"]);
    let report = ask(&life, Some("shop:gone"), true);
    assert_eq!(report.status, ValidationStatus::Failed);
    assert_eq!(found(&report.checks, "image").status, CheckStatus::Fail);
    let report = ask(&life, Some("far/shop:v9"), true);
    assert_eq!(found(&report.checks, "image").status, CheckStatus::Pass);
    assert_eq!(
        found(&report.checks, "architecture").status,
        CheckStatus::Pass
    );
    for name in [
        "runs_as_root",
        "secrets_in_variables",
        "security_scan",
        "tests",
    ] {
        assert!(found(&report.checks, name).not_run, "{name}");
    }
    life.tap.fail("look_up_image", "", Trouble::Away, 1);
    let report = ask(&life, Some("shop:v2"), false);
    assert!(found(&report.checks, "image").not_run);

    assert_eq!(world.swarm.trail(), trail);
    assert_eq!(life.store.changes(), changes);
    world.assert_sound();
}

#[test]
fn lost_variables_and_the_last_tests_are_told() {
    let world = World::new();
    Images::fitted(&world);
    let life = world.boot();
    let mut settings = careful();
    settings.jobs.test = Some(JobSettings {
        command: vec!["false".to_owned()],
        image: None,
        timeout_seconds: 30,
    });
    life.create_app("shop", settings);
    let end = end_of(&life, ValidationLevel::Basic, "shop:v1");
    assert_eq!(diagnosis(&end).code, Cause::TestsFailed);
    let report = ask(&life, Some("shop:v1"), true);
    let tests = found(&report.checks, "tests");
    assert!(tests.not_run, "{tests:?}");
    assert!(
        tests.message.contains("exit code 1") && tests.message.contains(end.id.as_str()),
        "{tests:?}"
    );

    let mut settings = careful();
    settings.env_vars = vars(&[("KEEP", "1"), ("LOSE", "2")]);
    life.create_app("forgetful", settings);
    life.ship("forgetful", "shop:v1");
    let app = name("forgetful");
    let change = apps::ChangeApp {
        remove_env_vars: vec!["LOSE".to_owned()],
        ..apps::ChangeApp::default()
    };
    life.run(apps::change_app(
        &life.px,
        &Actor::system(),
        &app,
        &production(),
        change,
    ))
    .unwrap();
    let cmd = Validate {
        app,
        environment: production(),
        image: None,
        run_tests: false,
        run_security_scan: false,
    };
    let report = life.run(validate(&life.px, &Actor::system(), cmd)).unwrap();
    let check = found(&report.checks, "variables_missing");
    assert_eq!(check.status, CheckStatus::Warning);
    assert!(check.message.ends_with(": LOSE"), "{check:?}");
}
