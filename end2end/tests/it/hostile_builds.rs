//! Builds that mean harm or go wrong, and secrets that a build may use and nobody may find.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::git_server::Door;
use flukedeploy_end2end::{random_name, wait};
use serde_json::{Value, json};

use crate::search::{Canary, files_with, image_holds, memory_mb, processes_with};
use crate::yard::{Yard, git};

const SOON: Duration = Duration::from_secs(15);

/// Nothing of what a build ran is left. `marker` is in the command line of everything it ran.
async fn expect_gone(marker: &str) -> Result<()> {
    wait::until("what a build ran is gone", SOON, || async {
        Ok((processes_with(marker) == 0).then_some(()))
    })
    .await
}

/// A number of seconds to sleep that no other process sleeps: nobody waits for its end.
fn unique_seconds() -> String {
    format!("9{:06}", flukedeploy_end2end::random_below(1_000_000))
}

async fn build_settings(yard: &Yard, app: &str, settings: Value) -> Result<()> {
    yard.bed
        .change(app, json!({"build": settings}))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_never_ends_is_stopped_at_its_limit_or_cancelled() -> Result<()> {
    let yard = Yard::open("bldend", &[]).await?;
    yard.app("shop").await?;
    build_settings(&yard, "shop", json!({"timeout_seconds": 5})).await?;
    let seconds = unique_seconds();
    let endless = yard.dockerfile(&format!("RUN echo before it; sleep {seconds}"));
    let started = Instant::now();
    let summary = yard.run("shop", json!({"dockerfile": endless})).await?;
    yard.expect_refused(&summary, &["deadline_exceeded"])
        .await?;
    ensure!(summary["diagnosis"]["phase"] == "build", "{summary:#}");
    ensure!(
        summary["diagnosis"].to_string().contains("before it"),
        "its last words are evidence: {summary:#}"
    );
    ensure!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    expect_gone(&seconds).await?;

    build_settings(&yard, "shop", json!({"timeout_seconds": 600})).await?;
    let seconds = unique_seconds();
    let endless = yard.dockerfile(&format!("RUN sleep {seconds}"));
    let body = json!({"app_name": "shop", "dockerfile": endless});
    let id = yard.bed.api.deploy_with(&body).await?;
    wait::until("the build sleeps", SOON, || async {
        Ok((processes_with(&seconds) > 0).then_some(()))
    })
    .await?;
    let path = format!("/deployments/{id}/cancel");
    yard.bed.api.post(&path, &json!({})).await?.ok()?;
    let summary = yard.bed.api.wait_final(&id).await?;
    yard.expect_refused(&summary, &["cancelled"]).await?;
    expect_gone(&seconds).await?;

    // The place is free for the next one.
    let fine = yard.dockerfile("RUN echo -n after > /www/version && echo well > /www/health");
    yard.built("shop", json!({"dockerfile": fine}), "after")
        .await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_forks_without_end_takes_nobody_along() -> Result<()> {
    /// More than the product lets a build have, fewer than a machine can bear.
    const FORKS: usize = 6_000;
    const ALLOWED: usize = 4_096;
    let yard = Yard::alone("bldfrk").await?;
    yard.app("shop").await?;
    yard.app("quiet").await?;
    let page = yard.dockerfile("RUN echo -n well > /www/version && echo well > /www/health");
    yard.built("quiet", json!({"dockerfile": page}), "well")
        .await?;
    let limits = json!({"timeout_seconds": 20, "memory_limit_mb": 256});
    build_settings(&yard, "shop", limits).await?;
    let seconds = unique_seconds();
    let forks = yard.dockerfile(&format!(
        "RUN i=0; while [ $i -lt {FORKS} ]; do sleep {seconds} & i=$((i+1)); done; wait"
    ));
    let body = json!({"app_name": "shop", "dockerfile": forks});
    let id = yard.bed.api.deploy_with(&body).await?;
    let mut most = 0;
    let summary = loop {
        most = processes_with(&seconds).max(most);
        yard.bed.expect_serving("quiet", "well").await?;
        let summary = yard.bed.api.deployment(&id).await?;
        if summary["completed_at"].is_string() {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    eprintln!("forks without end: {most} processes at most");
    yard.expect_refused(&summary, &["deadline_exceeded", "build_failed"])
        .await?;
    expect_gone(&seconds).await?;
    let said = yard.output(&summary).await?;
    ensure!(
        most <= ALLOWED || said.contains("limit could"),
        "{most} processes, and no word that they could not be limited: {said}"
    );
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_prints_a_gigabyte_ends_and_is_kept_in_part() -> Result<()> {
    const MOST_KEPT: usize = 10 << 20;
    let yard = Yard::open("bldout", &[]).await?;
    yard.app("shop").await?;
    build_settings(&yard, "shop", json!({"timeout_seconds": 100})).await?;
    let pid = yard.bed.instance.pid().context("it runs")?;
    let (before, _) = memory_mb(pid)?;
    // Unlike that of any build before, which would be found instead of run.
    let line = format!("{}{}", random_name(10), "0123456789".repeat(9));
    // And one line that has no end.
    let prints = yard.dockerfile(&format!(
        "RUN yes {line} | head -c 1000000000; echo; head -c 50000000 /dev/zero | tr '\\\\0' x; echo\n\
         RUN echo -n printed > /www/version && echo well > /www/health"
    ));
    let summary = yard.run("shop", json!({"dockerfile": prints})).await?;
    let (_, most) = memory_mb(pid)?;
    let output = yard.output(&summary).await?;
    ensure!(output.contains(&line), "nothing of it was kept: {output}");
    let kept = output.len();
    eprintln!(
        "a gigabyte of output: {} ms, memory {before} → {most} MiB at most, {kept} bytes kept",
        summary["total_duration_ms"]
    );
    ensure!(
        summary["status"] == "success" || summary["diagnosis"]["code"] == "deadline_exceeded",
        "{summary:#}"
    );
    ensure!(most < before + 100, "memory: {before} → {most} MiB");
    ensure!(kept < MOST_KEPT, "{kept} bytes of output were kept");
    let data = yard.bed.instance.data_dir();
    let disk = crate::search::disk_bytes(&data) >> 20;
    ensure!(disk < 100, "{disk} MiB on disk");
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_a_build_is_used_and_is_nowhere() -> Result<()> {
    let yard = Yard::open("bldsec", &[]).await?;
    yard.app("shop").await?;
    let secret = format!("{}-canary", random_name(24));
    let settings = json!({"secrets": {"TOKEN": secret}, "args": {"CHANNEL": "beta"}});
    build_settings(&yard, "shop", settings).await?;
    // A secret is no part of what a step is known by, so the step has to be unlike any before.
    let once = random_name(10);
    let lines = format!(
        "ARG CHANNEL\n\
         RUN --mount=type=secret,id=TOKEN echo {once}; head -c 6 /run/secrets/TOKEN > /www/version\n\
         RUN echo $CHANNEL > /www/health && sleep 2\n\
         RUN test ! -s /run/secrets/TOKEN"
    );
    let source = yard.git.repository("shop")?;
    source.commit(&[
        ("Dockerfile", yard.dockerfile(&lines)),
        ("a", String::new()),
    ])?;
    let mut body = git(&yard.git.url(Door::Open, "shop"), json!({}));
    body["app_name"] = "shop".into();
    let id = yard.bed.api.deploy_with(&body).await?;
    // While it runs: no process of this machine is told the secret by its command line, and no file
    // of the instance holds it but the database, which keeps the app's settings.
    let data = yard.bed.instance.data_dir();
    let databases = control_databases(&data)?;
    let skipped: Vec<&str> = databases.iter().map(String::as_str).collect();
    let summary = loop {
        ensure!(
            processes_with(&secret) == 0,
            "a command line holds the secret"
        );
        let found = files_with(&data, &[&secret], &skipped)?;
        ensure!(found.is_empty(), "files hold the secret: {found:?}");
        let summary = yard.bed.api.deployment(&id).await?;
        if summary["completed_at"].is_string() {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    yard.expect_built("shop", &summary, &secret[..6]).await?;
    ensure!(
        summary["preparation"]["builder"] == "buildkit",
        "{summary:#}"
    );

    let docker = &yard.bed.instance.docker;
    let pinned = summary["pinned_image"].as_str().context("an image")?;
    // That the search finds what is there: the build argument is in the history.
    let found = image_holds(docker, pinned, &[&secret, "CHANNEL=beta"]).await?;
    ensure!(found == ["CHANNEL=beta"], "in the image: {found:?}");
    let history = docker.image_history(pinned).await?;
    ensure!(!format!("{history:?}").contains(&secret), "in the history");
    let api = &yard.bed.api;
    for path in [
        "/apps".to_owned(),
        "/apps/shop".to_owned(),
        "/apps/shop/deployments".to_owned(),
        "/apps/shop/releases".to_owned(),
        "/audit".to_owned(),
        "/logs?limit=1000".to_owned(),
        format!("/deployments/{id}"),
        format!("/deployments/{id}/logs"),
    ] {
        let shown = api.get(&path).await?.ok()?.to_string();
        ensure!(!shown.contains(&secret), "{path} shows the secret");
    }
    let app = api.get("/apps/shop").await?.ok()?;
    ensure!(
        app["build"]["secret_names"] == json!(["TOKEN"]),
        "its name is no secret: {app:#}"
    );
    ensure!(!yard.bed.instance.log()?.contains(&secret), "in the log");
    let found = files_with(&data, &[&secret], &skipped)?;
    ensure!(found.is_empty(), "files hold the secret: {found:?}");

    // A build that tries to print it fails to: what it prints is masked.
    let prints =
        yard.dockerfile("RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN && echo && false");
    let failed = yard.run("shop", json!({"dockerfile": prints})).await?;
    ensure!(failed["status"] == "failed", "{failed:#}");
    let said = format!("{failed}{}", yard.output(&failed).await?);
    ensure!(!said.contains(&secret), "a printed secret was kept");
    yard.finish().await
}

/// The database of the settings, with what belongs to it; the one of the log is not among them.
fn control_databases(data: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.contains(".db") && !name.starts_with("log") {
            names.push(name);
        }
    }
    ensure!(!names.is_empty(), "no database in {}", data.display());
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build_arguments_arrive_as_they_are() -> Result<()> {
    let yard = Yard::open("bldarg", &[]).await?;
    yard.app("shop").await?;
    let canary = Canary::new()?;
    let bird = canary.shown();
    let value = format!("--x; $(touch {bird}) `touch {bird}` '\"&|>* \\ é");
    build_settings(&yard, "shop", json!({"args": {"VALUE": value}})).await?;
    let page = yard
        .dockerfile("ARG VALUE\nRUN echo -n \"$VALUE\" > /www/version && echo well > /www/health");
    yard.built("shop", json!({"dockerfile": page}), &value)
        .await?;
    canary.expect_absent()?;

    // Variables of the app are handed over only if that is wanted.
    let page = yard.dockerfile(
        "ARG COLOUR=none\nRUN echo -n \"$COLOUR\" > /www/version && echo well > /www/health",
    );
    let body = json!({"dockerfile": page, "env_vars": {"COLOUR": "red"}});
    yard.built("shop", body.clone(), "none").await?;
    build_settings(&yard, "shop", json!({"variables_as_args": true})).await?;
    yard.built("shop", body, "red").await?;
    yard.finish().await
}
