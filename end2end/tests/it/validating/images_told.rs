//! What images show: their own words, what registries and scanners tell of them, who signed them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use flukedeploy_end2end::images;
use flukedeploy_end2end::lease::Port;
use flukedeploy_end2end::registry::{self, Registry};
use flukedeploy_end2end::signing::{self, Key};
use flukedeploy_end2end::wait;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::looker::Severity::{Fail, NotRun, Pass, Warning};
use super::looker::{Looker, Scanner};
use super::{CANARY, SOON, but, careful, fine, image, native};
use crate::search::processes_with;

/// What the image itself shows.
pub(super) async fn about_images(looker: &mut Looker) -> Result<()> {
    let docker = looker.yard.bed.instance.docker.clone();
    looker.app("images", careful()).await?;
    let clean = image(looker, fine(), &["CMD [\"/program\"]"]).await?;
    let report = looker.validate("images", Some(&clean)).await?;
    for check in report["checks"].as_array().context("checks")? {
        let is_fine = check["status"] == "pass"
            || ["tests", "security_scan"]
                .map(Value::from)
                .contains(&check["name"]);
        ensure!(is_fine, "nothing is wrong with it: {check:#}");
    }

    let canary = json!([format!("DB_PASSWORD={CANARY}"), "LANG=C"]);
    let token = json!([format!("SETTING=ghp_{}", "Ab1".repeat(12))]);
    let none = json!({"User": "1000"});
    let argument = format!("RUN |1 NPM_TOKEN={CANARY} /bin/sh -c npm ci");
    for (config, history, finding, words) in [
        (
            but("User", json!("")),
            "",
            ("runs_as_root", Warning),
            "as root",
        ),
        (
            but("User", json!("0:1000")),
            "",
            ("runs_as_root", Warning),
            "as root",
        ),
        (
            but("ExposedPorts", json!({"9000/tcp": {}})),
            "",
            ("exposed_port", Warning),
            "port 9000, the app is set to 8080",
        ),
        (
            none,
            "",
            ("command", Fail),
            "neither an ENTRYPOINT nor a CMD",
        ),
        (
            but("Env", canary),
            "",
            ("secrets_in_variables", Warning),
            "DB_PASSWORD",
        ),
        (
            but("Env", token),
            "",
            ("secrets_in_variables", Fail),
            "a GitHub token",
        ),
        (
            fine(),
            argument.as_str(),
            ("secrets_in_history", Warning),
            "NPM_TOKEN",
        ),
    ] {
        let history: Vec<&str> = [history].into_iter().filter(|it| !it.is_empty()).collect();
        let image = image(looker, config, &history).await?;
        let report = looker.finds("images", Some(&image), finding, words).await?;
        ensure!(
            !report.to_string().contains("canary"),
            "a value is shown: {report:#}"
        );
        images::remove(&docker, &image).await?;
    }

    let foreign = images::foreign(&docker, "s390x").await?;
    let words = format!("is for s390x, but this node is {}", native());
    looker
        .finds("images", Some(&foreign), ("architecture", Fail), &words)
        .await?;

    let mut settings = careful();
    settings["secret_env_vars"] =
        json!([{"key": "LEAF", "value": "red-leaves-of-autumn-18", "delivery": "file"}]);
    looker.app("filed", settings).await?;
    let named = image(
        looker,
        but("User", json!("somebody")),
        &["CMD [\"/program\"]"],
    )
    .await?;
    let words = "a name and no number, so these files would be root's alone: LEAF";
    looker
        .finds("filed", Some(&named), ("secret_files", Warning), words)
        .await?;
    images::remove(&docker, &named).await?;

    let (repository, _) = clean.split_once(':').context("a tag")?;
    for (tag, words) in [
        ("latest", "'latest' is moved on"),
        ("main", "'main' is moved on"),
    ] {
        let options = TagImageOptionsBuilder::default()
            .repo("fdtest/moved")
            .tag(tag)
            .build();
        docker.tag_image(&clean, Some(options)).await?;
        let moved = format!("fdtest/moved:{tag}");
        looker
            .finds("images", Some(&moved), ("image_tag", Warning), words)
            .await?;
        images::remove(&docker, &moved).await?;
    }
    let missing = format!("{repository}:never-was");
    let words = "neither on this node nor in its registry";
    let nobody = looker.validate("images", Some(&missing)).await?;
    // Docker Hub may be out of reach, and then it is not known.
    ensure!(nobody["checks"][0]["name"] == "image" && nobody["checks"][0]["status"] != "pass");
    looker
        .finds("images", None, ("image", Fail), "no image was named")
        .await?;
    let id = format!("sha256:{}", "ab".repeat(32));
    looker
        .finds("images", Some(&id), ("image", Fail), words)
        .await?;
    for image in [clean, foreign] {
        images::remove(&docker, &image).await?;
    }
    Ok(())
}

/// What a registry tells about images that are not here.
pub(super) async fn about_registries(looker: &mut Looker) -> Result<()> {
    let docker = looker.yard.bed.instance.docker.clone();
    let (open, closed) = tokio::try_join!(Registry::start(false), Registry::start(true))?;
    looker.app("remote", careful()).await?;
    let local = image(looker, fine(), &[]).await?;
    let foreign = images::foreign(&docker, "s390x").await?;
    let there = open.push(&docker, &local, "team/shop", "1.2.0").await?;
    let elsewhere = open.push(&docker, &foreign, "team/other", "1.2.0").await?;
    let hidden = closed.push(&docker, &local, "team/shop", "1.2.0").await?;

    let report = looker
        .finds(
            "remote",
            Some(&there),
            ("image", Pass),
            "is in its registry",
        )
        .await?;
    for name in [
        "runs_as_root",
        "exposed_port",
        "command",
        "secrets_in_variables",
        "secrets_in_history",
        "secrets_in_files",
        "security_scan",
    ] {
        looker.has(
            &report["checks"],
            (name, NotRun),
            "validation fetches nothing",
        )?;
    }
    looker.has(&report["checks"], ("architecture", Pass), native())?;
    let words = "is for s390x";
    looker
        .finds("remote", Some(&elsewhere), ("architecture", Fail), words)
        .await?;
    let exact = signing::pinned(&open, &there).await?;
    let report = looker
        .finds("remote", Some(&exact), ("image", Pass), "registry")
        .await?;
    looker.has(&report["checks"], ("image_tag", Pass), "by its digest")?;

    let (repository, _) = exact.split_once('@').context("a digest")?;
    let nobody = Port::free()?;
    let wrong = format!("{repository}@sha256:{}", "ab".repeat(32));
    let nowhere = "neither on this node nor in its registry";
    for (image, severity, words) in [
        (format!("{repository}:9.9.9"), Fail, nowhere),
        (format!("{}/never/was:1", open.address()), Fail, nowhere),
        (wrong, Fail, nowhere),
        (hidden.clone(), NotRun, "refuses access"),
        (
            format!("127.0.0.1:{}/team/shop:1", nobody.number),
            NotRun,
            "cannot be reached",
        ),
    ] {
        looker
            .finds("remote", Some(&image), ("image", severity), words)
            .await?;
    }
    // With the password it is seen.
    let credential = json!({
        "kind": "registry", "host": closed.address(),
        "username": registry::USER, "secret": registry::PASSWORD,
    });
    looker.yard.credential(credential).await?;
    looker
        .finds(
            "remote",
            Some(&hidden),
            ("image", Pass),
            "is in its registry",
        )
        .await?;
    for image in [&there, &elsewhere, &hidden] {
        ensure!(
            docker.inspect_image(image).await.is_err(),
            "{image} was fetched"
        );
    }
    for image in [local, foreign] {
        images::remove(&docker, &image).await?;
    }
    Ok(())
}

/// Who signed an image, if anybody did.
pub(super) async fn about_signatures(looker: &mut Looker) -> Result<()> {
    let docker = looker.yard.bed.instance.docker.clone();
    let registry = Registry::start(false).await?;
    let (key, other) = (Key::new().await?, Key::new().await?);
    let mut settings = careful();
    settings["checks"] = json!({"signature_key": key.public()?});
    looker.app("signed", settings).await?;
    let local = image(looker, fine(), &[]).await?;
    let words = "exists only on this node";
    looker
        .finds("signed", Some(&local), ("signature", Fail), words)
        .await?;
    let pushed = registry
        .push(&docker, &local, "team/signed", "1.0.0")
        .await?;
    let words = "validation fetches nothing";
    looker
        .finds("signed", Some(&pushed), ("signature", NotRun), words)
        .await?;
    // Here, and known to be of that registry.
    let exact = signing::pinned(&registry, &pushed).await?;
    pull(&docker, &exact).await?;
    let unsigned = "carries no signature by the key";
    looker
        .finds("signed", Some(&exact), ("signature", Fail), unsigned)
        .await?;
    other.sign(&registry, &exact).await?;
    looker
        .finds("signed", Some(&exact), ("signature", Fail), unsigned)
        .await?;
    let stopped = looker.yard.run("signed", json!({"image": exact})).await?;
    looker
        .yard
        .expect_refused(&stopped, &["validation_failed"])
        .await?;
    key.sign(&registry, &exact).await?;
    looker
        .finds("signed", Some(&exact), ("signature", Pass), "is signed")
        .await?;
    drop(registry);
    looker
        .finds(
            "signed",
            Some(&exact),
            ("signature", NotRun),
            "not run: looking for a signature of 127.0.0.1",
        )
        .await?;
    // Whoever asks for a signature gets one or nothing, at every level.
    let stopped = looker.yard.run("signed", json!({"image": exact})).await?;
    looker
        .yard
        .expect_refused(&stopped, &["validation_failed"])
        .await?;
    for image in [local, exact] {
        images::remove(&docker, &image).await?;
    }
    Ok(())
}

async fn pull(docker: &bollard::Docker, image: &str) -> Result<()> {
    let options = CreateImageOptionsBuilder::default()
        .from_image(image)
        .build();
    let pulling = docker.create_image(Some(options), None, None);
    pulling
        .try_for_each(|_| async { Ok(()) })
        .await
        .with_context(|| format!("pulling {image}"))
}

fn weaknesses(severities: &[&str]) -> Value {
    let found = severities.iter().map(|severity| {
        json!({"VulnerabilityID": format!("CVE-2026-{severity}"), "PkgName": "libx",
               "InstalledVersion": "1.2", "Severity": severity})
    });
    json!({"SchemaVersion": 2, "Results": [
        {"Target": "shop", "Vulnerabilities": found.collect::<Vec<_>>()},
    ]})
}

/// What a scanner says, or does not.
pub(super) async fn about_scanners(looker: &mut Looker, scanner: &Scanner) -> Result<()> {
    let docker = looker.yard.bed.instance.docker.clone();
    let scan = "security_scan";
    looker.app("scanned", careful()).await?;
    let name = image(looker, fine(), &[]).await?;
    let image = Some(name.as_str());
    scanner.prints(&weaknesses(&["LOW", "UNKNOWN"]))?;
    let words = "trivy found 0 critical, 0 high and 2 other";
    looker.finds("scanned", image, (scan, Pass), words).await?;
    scanner.prints(&weaknesses(&["LOW", "HIGH"]))?;
    let words = "CVE-2026-HIGH in libx 1.2 (high)";
    looker
        .finds("scanned", image, (scan, Warning), words)
        .await?;
    scanner.prints(&weaknesses(&["HIGH", "CRITICAL", "LOW"]))?;
    let words = "1 critical, 1 high and 1 other weaknesses: CVE-2026-CRITICAL";
    looker.finds("scanned", image, (scan, Fail), words).await?;
    let asked = scanner.asked()?;
    ensure!(
        asked.starts_with("image --format json --quiet sha256:"),
        "{asked}"
    );
    let checks = looker.stopped("scanned", json!({"image": name})).await?;
    looker.has(&checks, (scan, Fail), "1 critical")?;

    for (does, words) in [
        (
            "import sys\nsys.stderr.write('the database is locked')\nsys.exit(2)",
            "database is locked",
        ),
        ("import os\nprint('{', flush=True)\nos.abort()", "signal: 6"),
        ("print('all is well')", "cannot be read"),
        ("print('{}')", "cannot be read"),
    ] {
        scanner.does(does)?;
        looker
            .finds("scanned", image, (scan, NotRun), words)
            .await?;
    }

    // One that hangs holds up only who waits for it, and ends with them.
    scanner.hangs()?;
    let api = &looker.yard.bed.api;
    let path = "/apps/scanned/validate";
    let request = api
        .request(reqwest::Method::POST, path)
        .json(&json!({"image": name}));
    let gone = api.send(request.timeout(Duration::from_secs(3))).await;
    ensure!(gone.is_err(), "it answered: {gone:?}");
    let ended = async || Ok((processes_with(&scanner.marker) == 0).then_some(()));
    wait::until("the scanner of a caller who left is ended", SOON, &ended).await?;
    let body = json!({"app_name": "scanned", "image": name, "validation_level": "strict"});
    let id = api.deploy_with(&body).await?;
    let hangs = async || Ok((processes_with(&scanner.marker) > 0).then_some(()));
    wait::until("the scanner hangs", SOON, hangs).await?;
    api.post(&format!("/deployments/{id}/cancel"), &json!({}))
        .await?
        .ok()?;
    let cancelled = api.wait_final(&id).await?;
    looker
        .yard
        .expect_refused(&cancelled, &["cancelled"])
        .await?;
    wait::until(
        "the scanner of a cancelled deployment is ended",
        SOON,
        ended,
    )
    .await?;
    scanner.prints(&weaknesses(&[]))?;
    images::remove(&docker, &name).await
}
