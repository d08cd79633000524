//! Every finding of validation, brought about for real, at REST and MCP; an image about which nothing
//! is to be said; and that looking changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListServicesOptionsBuilder, ListVolumesOptionsBuilder,
};
use flukedeploy_end2end::images::{self, hollow};
use flukedeploy_end2end::registry::{self, Registry};
use flukedeploy_end2end::signing::{self, Key};
use flukedeploy_end2end::sweep::INSTANCE_LABEL;
use serde_json::{Value, json};

mod images_told;
mod looker;
mod releases_told;

use images_told::{about_images, about_registries, about_scanners, about_signatures};
use looker::Severity::{self, NotRun, Pass};
use looker::{Looker, Scanner};
use releases_told::{about_dockerfiles, about_settings, about_the_past};

const SOON: Duration = Duration::from_secs(20);
/// Nobody's secret, by its name and its look one.
const CANARY: &str = "f00dbabe-canary-17";

fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Settings about which nothing is to be said.
fn careful() -> Value {
    json!({
        "container_port": 8080, "replicas": 1,
        "health": {"path": "/health"},
        "resources": {"memory_limit_mb": 64, "cpu_limit_milli": 500},
        "env_vars": {"COLOUR": "red"},
    })
}

/// The configuration of an image about which nothing is to be said.
fn fine() -> Value {
    json!({
        "Entrypoint": ["/program"], "User": "1000", "ExposedPorts": {"8080/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "/program", "check"]},
    })
}

fn but(field: &str, value: Value) -> Value {
    let mut config = fine();
    config[field] = value;
    config
}

async fn image(looker: &Looker, config: Value, history: &[&str]) -> Result<String> {
    hollow(&looker.yard.bed.instance.docker, native(), config, history).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_finding_is_provoked_and_says_what_to_do() -> Result<()> {
    let scanner = Scanner::new("trivy").await?;
    let mut own = Looker::open("chkall", &["--scanner", &scanner.command()]).await?;
    let looker = &mut own;
    about_images(looker).await.context("images")?;
    about_registries(looker).await.context("registries")?;
    about_settings(looker).await.context("settings")?;
    about_the_past(looker).await.context("the past")?;
    about_signatures(looker).await.context("signatures")?;
    about_scanners(looker, &scanner).await.context("scanners")?;
    about_dockerfiles(looker).await.context("Dockerfiles")?;
    for ((name, severity), line) in &looker.provoked {
        eprintln!("{name} | {severity} | {line}");
    }
    // A check that comes without a story here is missed here.
    let spoken = ["dockerfile.apt_size"];
    let found = looker
        .provoked
        .keys()
        .filter(|(name, severity)| *severity != "pass" || spoken.contains(&name.as_str()));
    let found: BTreeSet<&String> = found.map(|(name, _)| name).collect();
    let missed: Vec<_> = looker
        .known
        .iter()
        .filter(|name| !found.contains(name))
        .collect();
    ensure!(missed.is_empty(), "never provoked: {missed:?}");
    own.yard.finish().await
}

/// The names of findings that are all passed, whole.
fn passed(summary: &Value) -> Result<BTreeSet<String>> {
    ensure!(summary["status"] == "success", "{summary:#}");
    let checks = summary["preparation"]["checks"].as_array();
    let mut names = BTreeSet::new();
    for check in checks.context("checks")? {
        ensure!(Severity::of(check)? == Pass, "not passed: {check:#}");
        names.insert(check["name"].as_str().unwrap_or_default().to_owned());
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_image_passes_strict_with_every_check_there_is() -> Result<()> {
    let scanner = Scanner::new("grype").await?;
    let looker = Looker::open("chkfin", &["--scanner", &scanner.command()]).await?;
    let (yard, docker) = (&looker.yard, &looker.yard.bed.instance.docker);
    let dockerfile = format!(
        "FROM {}\nRUN echo clean > /www/version && echo well > /www/health\n\
         STOPSIGNAL SIGKILL\nEXPOSE 8080\nUSER 1000:1000\n\
         HEALTHCHECK --interval=1s CMD [\"/bin/busybox\", \"wget\", \"-q\", \"-O\", \"-\", \
         \"http://127.0.0.1:8080/health\"]\n",
        yard.base
    );
    let mut settings = careful();
    settings["jobs"] = json!({"test": {"command": ["/bin/true"]}});
    looker.app("built", settings.clone()).await?;
    let built = looker
        .strictly("built", json!({"dockerfile": dockerfile}))
        .await?;
    let mut names = passed(&built)?;
    yard.bed.expect_serving("built", "clean").await?;
    ensure!(
        scanner.asked()?.starts_with("-o json docker:sha256:"),
        "{}",
        scanner.asked()?
    );

    let registry = Registry::start(true).await?;
    let credential = json!({
        "kind": "registry", "host": registry.address(),
        "username": registry::USER, "secret": registry::PASSWORD,
    });
    yard.credential(credential).await?;
    let local = built["pinned_image"].as_str().context("an image")?;
    let pushed = registry.push(docker, local, "team/clean", "1.0.0").await?;
    let exact = signing::pinned(&registry, &pushed).await?;
    let key = Key::new().await?;
    key.sign(&registry, &exact).await?;
    settings["checks"] = json!({"signature_key": key.public()?});
    settings["secret_env_vars"] = json!([
        {"key": "SEASON", "value": "leaves-of-autumn-17"},
        {"key": "LEAF", "value": "red-leaves-of-autumn-18", "delivery": "file"},
    ]);
    looker.app("signed", settings).await?;
    // A second time, when there is a release to compare with.
    for _ in 0..2 {
        let signed = looker.strictly("signed", json!({"image": exact})).await?;
        names.extend(passed(&signed)?);
        yard.bed.expect_serving("signed", "clean").await?;
        let jobs = &signed["preparation"]["jobs"];
        ensure!(
            jobs[0]["kind"] == "test" && jobs[0]["status"] == "success",
            "{jobs:#}"
        );
        ensure!(scanner.asked()? == format!("-o json {exact}"));
    }
    // Tests are a job of the deployment; of a Dockerfile only faults have names of their own.
    names.insert("tests".to_owned());
    let known = looker.known.iter();
    let known: BTreeSet<String> = known
        .filter(|name| !name.starts_with("dockerfile."))
        .cloned()
        .collect();
    ensure!(
        names == known,
        "checked: {names:?}\nand there are: {known:?}"
    );
    looker.yard.finish().await?;
    images::remove(&flukedeploy_end2end::docker().await?, &exact).await
}

/// Everything of the instance that could be seen to change, at its doors and in the engine.
async fn everything(looker: &Looker, repository: &str) -> Result<Value> {
    let (api, docker) = (&looker.yard.bed.api, &looker.yard.bed.instance.docker);
    let mut seen = json!({});
    for path in [
        "/apps",
        "/apps/shop",
        "/apps/shop/releases",
        "/apps/shop/deployments?limit=100",
        "/apps/shop/environments",
        "/deployments",
        "/deployments/active",
        "/credentials",
        "/webhooks",
        "/audit",
    ] {
        seen[path] = api.get(path).await?.ok()?;
    }
    let label = format!("{INSTANCE_LABEL}={}", looker.yard.bed.instance.name);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListServicesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let services = docker.list_services(Some(options)).await?;
    let services = services
        .into_iter()
        .map(|service| json!([service.id, service.version]));
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = docker.list_containers(Some(options)).await?;
    let containers = containers.into_iter().map(|container| json!(container.id));
    let options = ListVolumesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let volumes = docker.list_volumes(Some(options)).await?.volumes;
    let volumes = volumes
        .into_iter()
        .flatten()
        .map(|volume| json!(volume.name));
    for (kind, mut all) in [
        ("services", services.collect::<Vec<_>>()),
        ("containers", containers.collect()),
        ("volumes", volumes.collect()),
    ] {
        all.sort_by_key(Value::to_string);
        seen[kind] = all.into();
    }
    let built = format!("flukedeploy-{}/*", looker.yard.bed.instance.name);
    for name in [&built, repository] {
        seen[name] = images::matching(docker, name).await?.into();
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validating_changes_nothing() -> Result<()> {
    let mut looker = Looker::open("chknot", &[]).await?;
    let docker = looker.yard.bed.instance.docker.clone();
    let registry = Registry::start(false).await?;
    let mut settings = careful();
    settings["jobs"] = json!({
        "pre_build": {"command": ["/bin/false"]}, "test": {"command": ["/bin/false"]},
        "release": {"command": ["/bin/false"]},
    });
    looker.app("fresh", settings).await?;
    looker.app("shop", careful()).await?;
    let dockerfile = looker
        .yard
        .dockerfile("RUN echo v1 > /www/version && echo well > /www/health");
    let built = looker
        .yard
        .built("shop", json!({"dockerfile": dockerfile}), "v1")
        .await?;
    let here = built["pinned_image"].as_str().context("an image")?;
    let far = registry.push(&docker, here, "team/shop", "1.0.0").await?;
    let missing = format!("{}/team/none:1", registry.address());
    let repository = format!("{}/team/*", registry.address());

    let before = everything(&looker, &repository).await?;
    for app in ["shop", "fresh"] {
        for image in [None, Some(here), Some(far.as_str()), Some(&missing)] {
            looker
                .validate(app, image)
                .await
                .with_context(|| format!("{app} {image:?}"))?;
        }
    }
    let words = "no scanner is configured";
    looker
        .finds("shop", None, ("security_scan", NotRun), words)
        .await?;
    looker
        .finds(
            "fresh",
            Some(here),
            ("tests", NotRun),
            "runs in the pre_deploy",
        )
        .await?;
    let after = everything(&looker, &repository).await?;
    for (what, before) in before.as_object().context("an object")? {
        ensure!(
            after[what] == *before,
            "{what} was {before:#}\nand is {:#}",
            after[what]
        );
    }
    ensure!(docker.inspect_image(&far).await.is_err(), "it was fetched");
    looker.yard.bed.expect_serving("shop", "v1").await?;
    looker.yard.finish().await
}
