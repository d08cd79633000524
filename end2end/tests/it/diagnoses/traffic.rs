//! Causes that take traffic, another caller, or an engine that is away.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListContainersOptionsBuilder;
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use futures_util::future::FutureExt as _;
use serde_json::{Value, json};

use super::doors::Doors;
use super::{SOON, all, expect_text, service_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_that_are_taken_back_or_called_off() -> Result<()> {
    let doors = Doors::open("dxback", Options::default()).await?;
    let outcome = all([
        ("canary_failed", canary_failed(&doors).boxed_local()),
        ("objective_broken", objective_broken(&doors).boxed_local()),
        ("cancelled", cancelled(&doors).boxed_local()),
        ("superseded", superseded(&doors).boxed_local()),
    ])
    .await;
    outcome?;
    doors.finish().await
}

/// The canary answers a fifth of its requests with an error.
async fn canary_failed(doors: &Doors) -> Result<()> {
    let bed = &doors.bed;
    let canary = json!({"steps": [50], "step_seconds": 3, "min_requests": 20});
    doors
        .app("canary", json!({"rollout": {"canary": canary}}))
        .await?;
    let v1 = bed.image(Sample::version("v1")).await?;
    bed.api.deploy_and_wait("canary", &v1).await?;
    let load = bed.load_of("canary", |options| options.requests_per_second = 60);
    let v2 = bed.image(Sample::version("v2").fails_percent(20)).await?;
    let deploy = json!({"app_name": "canary", "image": v2, "strategy": "canary"});
    let id = bed.api.deploy_with(&deploy).await?;
    let evidence = doors.failed(&id, "canary_failed").await?;
    let report = load.stop().await?;
    expect_text(&evidence, "traffic", "to the former one")?;
    ensure!(
        report.by_version.contains_key("v2"),
        "the canary got nothing: {report}"
    );
    bed.expect_serving("canary", "v1").await
}

/// A release passes its deployment, and then breaks what the app promises.
async fn objective_broken(doors: &Doors) -> Result<()> {
    let bed = &doors.bed;
    let objective = json!({"probation_seconds": 60, "min_requests": 50, "max_errors_permille": 50});
    doors
        .app("promise", json!({"objective": objective}))
        .await?;
    let v1 = bed.image(Sample::version("v1")).await?;
    bed.api.deploy_and_wait("promise", &v1).await?;
    let v2 = bed.image(Sample::version("v2").fails_percent(20)).await?;
    bed.api.deploy_and_wait("promise", &v2).await?;
    let load = bed.load_of("promise", |options| options.requests_per_second = 60);
    let back = wait::until("the platform goes back by itself", SOON, || async {
        let history = bed.api.history("promise").await?;
        let newest = &history["deployments"][0];
        Ok(newest["because"].is_object().then(|| newest.clone()))
    })
    .await?;
    let id = back["deployment_id"].as_str().context("no id")?;
    let back = bed.api.wait_final(id).await?;
    load.wait_for_answers("v1", 20, SOON).await?;
    load.stop().await?;
    ensure!(back["status"] == "success", "the way back failed: {back:#}");
    ensure!(back["because"]["code"] == "objective_broken", "{back:#}");
    expect_text(&back["because"]["evidence"], "traffic", "requests")?;
    doors.told_alike(id, "because", &back).await
}

/// Begins a deployment that would wait for minutes.
async fn slow_deployment(doors: &Doors, app: &str) -> Result<String> {
    let bed = &doors.bed;
    let health = json!({"path": "/health", "deadline_seconds": 300});
    doors.app(app, json!({"health": health})).await?;
    let slow = bed
        .image(Sample::version("slow").starts_after_ms(300_000))
        .await?;
    let id = bed.api.deploy(app, &slow).await?;
    bed.api.wait_running(&id, "deploy").await?;
    Ok(id)
}

async fn cancelled(doors: &Doors) -> Result<()> {
    let id = slow_deployment(doors, "stopped").await?;
    let path = format!("/deployments/{id}/cancel");
    doors.bed.api.post(&path, &json!({})).await?.ok()?;
    doors.failed(&id, "cancelled").await?;
    Ok(())
}

async fn superseded(doors: &Doors) -> Result<()> {
    let bed = &doors.bed;
    let id = slow_deployment(doors, "overtaken").await?;
    let v1 = bed.image(Sample::version("v1")).await?;
    let deploy = json!({"app_name": "overtaken", "image": v1, "queue": "supersede"});
    let newer = bed.api.deploy_with(&deploy).await?;
    doors.failed(&id, "superseded").await?;
    let summary = bed.api.deployment(&id).await?;
    let message = summary["diagnosis"]["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains(&newer),
        "the message names no successor: {message}"
    );
    let newer = bed.api.wait_final(&newer).await?;
    ensure!(newer["status"] == "success", "{newer:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_away_while_a_release_starts() -> Result<()> {
    let options = Options {
        with_engine_proxy: true,
        ..Options::default()
    };
    let doors = Doors::open("dxeng", options).await?;
    let (bed, proxy) = (&doors.bed, doors.bed.instance.engine_proxy()?);
    let slow = bed
        .image(Sample::version("slow").starts_after_ms(60_000))
        .await?;
    // Longer than a call to the engine may take, so that the silence is noticed before the deadline.
    let health = json!({"path": "/health", "deadline_seconds": 20});
    doors.app("frozen", json!({"health": health})).await?;
    let id = bed.api.deploy("frozen", &slow).await?;
    service_of(&bed.instance.docker, &bed.instance.name, "frozen").await?;
    bed.api.wait_running(&id, "deploy").await?;
    proxy.freeze();
    wait::until("the deployment is given up", SOON, || async {
        let summary = bed.api.deployment(&id).await?;
        Ok(summary["diagnosis"].is_object().then_some(()))
    })
    .await?;
    // The way back needs the engine.
    proxy.thaw();
    let evidence: Value = doors.failed(&id, "engine_unavailable").await?;
    ensure!(evidence["engine_message"].is_string(), "{evidence:#}");

    // Gone from the beginning: nothing was begun, and there is no way back to go.
    proxy.cut();
    let id = bed.api.deploy("frozen", &slow).await?;
    doors.failed(&id, "engine_unavailable").await?;
    proxy.thaw();
    wait::until(
        "the engine is seen again",
        Duration::from_secs(30),
        || async {
            let system = bed.api.get("/system").await?;
            Ok((system.body["engine_answers"] == true).then_some(()))
        },
    )
    .await?;
    doors.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_that_hangs_while_a_release_starts() -> Result<()> {
    let doors = Doors::open("dxing", Options::default()).await?;
    let (bed, docker) = (&doors.bed, &doors.bed.instance.docker);
    // Longer than it takes to give a silent line up.
    let health = json!({"path": "/health", "deadline_seconds": 22});
    doors.app("unseen", json!({"health": health})).await?;
    let image = bed.image(Sample::version("v1")).await?;
    bed.api.deploy_and_wait("unseen", &image).await?;

    let ingress = format!("fd-{}-ingress", bed.instance.name);
    let filters = HashMap::from([("name", vec![ingress.as_str()])]);
    let options = ListContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let found = docker.list_containers(Some(options)).await?;
    let container = found.first().and_then(|container| container.id.clone());
    let container = container.context("found no container of the ingress")?;
    docker.pause_container(&container).await?;
    let second = bed.image(Sample::version("v2")).await?;
    let outcome = doors.fails("unseen", &second, "ingress_unavailable").await;
    docker.unpause_container(&container).await?;
    outcome?;
    wait::until("v1 serves", Duration::from_secs(30), || async {
        let (status, body) = bed.instance.get_app("unseen", "/version").await?;
        Ok((status == 200 && body == "v1").then_some(()))
    })
    .await?;
    doors.finish().await
}
