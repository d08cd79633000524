//! A Swarm of two nodes: releases move over both without a lost request, and the loss of a node
//! costs no more than what was on its way to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::Api;
use flukedeploy_end2end::cluster::{self, Cluster};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::lease::Lease;
use flukedeploy_end2end::load::{Load, LoadOptions};
use flukedeploy_end2end::wait;
use serde_json::{Value, json};

use crate::bed::LEAST_LOAD;

const RATE: u32 = 400;
const SOON: Duration = Duration::from_mins(1);
/// How long the sample app takes for an answer, so that requests are on their way when a node dies.
const LATENCY_MS: u32 = 25;

/// A cluster with an app of four replicas on `v1`, or `None` (and the reason printed) where there can
/// be none. Alone on the machine, as far as other tests under load go.
async fn cluster() -> Result<Option<(Lease, Cluster)>> {
    if let Some(reason) = cluster::missing() {
        eprintln!("SKIPPED two nodes: {reason}");
        return Ok(None);
    }
    let machine = Lease::take("load").await?;
    let cluster = Cluster::start().await?;
    let app = json!({
        "app_name": "shop", "container_port": 8080, "replicas": 4,
        "health": {"path": "/health", "deadline_seconds": 60},
    });
    cluster.api().post("/apps", &app).await?.ok()?;
    let v1 = image(&cluster, "v1").await?;
    deploy(&cluster, &v1, "rolling").await?;
    let spread = cluster.replicas("shop").await?;
    ensure!(
        spread == (2, 2),
        "manager and worker have {spread:?} replicas"
    );
    Ok(Some((machine, cluster)))
}

/// Made and pushed before a load starts: both take all that this machine has.
async fn image(cluster: &Cluster, version: &str) -> Result<String> {
    let sample = Sample::version(version).with("SAMPLE_LATENCY_MS", &LATENCY_MS);
    cluster.image(&sample, version).await
}

async fn deploy(cluster: &Cluster, image: &str, strategy: &str) -> Result<Value> {
    let api = cluster.api();
    let body = json!({"app_name": "shop", "image": image, "strategy": strategy});
    let id = api.deploy_with(&body).await?;
    succeeded(&api, &id).await
}

async fn scale(cluster: &Cluster, replicas: u32) -> Result<Value> {
    let api = cluster.api();
    let begun = api
        .post("/apps/shop/scale", &json!({"replicas": replicas}))
        .await?
        .ok()?;
    let id = begun["deployment_id"]
        .as_str()
        .context("an act has an id")?;
    succeeded(&api, id).await
}

async fn succeeded(api: &Api, id: &str) -> Result<Value> {
    let summary = api.wait_final(id).await?;
    ensure!(
        summary["status"] == "success",
        "it ended otherwise: {summary:#}"
    );
    Ok(summary)
}

fn load_on(cluster: &Cluster) -> Load {
    Load::start(LoadOptions {
        requests_per_second: RATE,
        ..LoadOptions::new(cluster.http_address(), "shop.localhost")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_move_over_two_nodes_without_a_lost_request() -> Result<()> {
    let Some((_machine, cluster)) = cluster().await? else {
        return Ok(());
    };
    let (v2, v3) = (image(&cluster, "v2").await?, image(&cluster, "v3").await?);
    let load = load_on(&cluster);
    load.wait_for_answers("v1", 300, SOON).await?;
    for (version, image, strategy) in [("v2", v2, "blue_green"), ("v3", v3, "rolling")] {
        deploy(&cluster, &image, strategy).await?;
        load.wait_for_answers(version, 300, SOON).await?;
        eprintln!("after {strategy}: {} failed", load.failures());
    }
    for replicas in [6, 2, 4] {
        scale(&cluster, replicas).await?;
        load.wait_for_answers("v3", 300, SOON).await?;
        eprintln!("after scaling to {replicas}: {} failed", load.failures());
    }
    let report = load.stop().await?;
    eprintln!("two nodes: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_takes_only_what_was_on_its_way_to_it() -> Result<()> {
    let Some((_machine, cluster)) = cluster().await? else {
        return Ok(());
    };
    let load = load_on(&cluster);
    let started = Instant::now();
    load.wait_for_answers("v1", 1_000, SOON).await?;
    let before = load.failures();
    cluster.kill_worker()?;
    let died = Instant::now();
    wait::until("all replicas run on the manager", SOON, || async {
        Ok((cluster.replicas("shop").await?.0 == 4).then_some(()))
    })
    .await?;
    let moved_after = died.elapsed();
    load.wait_for_answers("v1", 1_000, SOON).await?;
    let report = load.stop().await?;
    eprintln!("a dead worker: replicas moved after {moved_after:.1?}; {report}");
    ensure!(
        before == 0,
        "requests failed before anything happened: {report}"
    );
    // Half of all requests go to the worker, and each is on its way for as long as an answer takes.
    let on_the_way = f64::from(RATE) * report.p50.as_secs_f64() / 2.0;
    let failed = f64::from(u32::try_from(report.failed.len())?);
    ensure!(
        failed <= on_the_way.ceil(),
        "{failed} requests failed, about {on_the_way:.0} were on their way to the worker: {report}"
    );
    let dead_at = died.duration_since(started);
    let later = report.failed.iter().filter(|failure| failure.due > dead_at);
    let later = later.count();
    ensure!(
        later == 0,
        "{later} requests failed that came later: {report}"
    );

    // What is left of the Swarm still takes releases.
    let v2 = image(&cluster, "v2").await?;
    deploy(&cluster, &v2, "rolling").await?;
    cluster.finish().await
}
