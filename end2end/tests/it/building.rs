//! Building beside serving: a build uses what it may, and nobody notices.

use std::time::Duration;

use anyhow::{Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::load::LoadReport;
use flukedeploy_end2end::wait;
use serde_json::json;

use crate::bed::{Bed, LEAST_LOAD};
use crate::search::processes_with;
use crate::yard::{Yard, options};

const MEASURED: Duration = Duration::from_secs(12);
/// The machine is shared by the load, the app, the ingress and the build, so this is generous: it
/// tells a slowdown from a standstill.
const SLOWER_AT_MOST: u32 = 20;
const SLOW_IN_ANY_CASE: Duration = Duration::from_millis(250);

async fn measure(bed: &Bed) -> Result<LoadReport> {
    let load = bed.load_on("shop");
    tokio::time::sleep(MEASURED).await;
    let report = load.stop().await?;
    report.expect_no_failure(LEAST_LOAD)?;
    Ok(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_uses_all_it_may_delays_neither_ingress_nor_health_checks() -> Result<()> {
    let bed = Bed::start_for_load("bldcpu", options(&[])).await?;
    let yard = Yard::of(bed).await?;
    let bed = &yard.bed;
    bed.app_on_v1("shop", 1).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    yard.app("busy").await?;
    let beside_nothing = measure(bed).await?;

    // As many processes as the machine has processors and more, that never stop by themselves.
    let marker = format!("busy{}", flukedeploy_end2end::random_name(8));
    let build = yard.dockerfile(&format!(
        "RUN for i in 1 2 3 4; do sh -c 'while true; do true; done' {marker} & done; wait"
    ));
    bed.change("busy", json!({"build": {"timeout_seconds": 60}}))
        .await?;
    let body = json!({"app_name": "busy", "dockerfile": build});
    let id = bed.api.deploy_with(&body).await?;
    wait::until("the build is busy", Duration::from_secs(20), || async {
        Ok((processes_with(&marker) >= 4).then_some(()))
    })
    .await?;
    let beside_build = measure(bed).await?;
    // Deploying goes on as well, and the app is well all the time.
    let load = bed.load_on("shop");
    let summary = bed.api.deploy_and_wait("shop", &v2).await?;
    bed.load_sees(&load, "v2").await?;
    let while_deploying = load.stop().await?;
    while_deploying.expect_no_failure(LEAST_LOAD)?;
    let app = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(app["state"] == "running", "{app:#}");
    ensure!(processes_with(&marker) >= 4, "the build ended too early");

    let path = format!("/deployments/{id}/cancel");
    bed.api.post(&path, &json!({})).await?.ok()?;
    bed.api.wait_final(&id).await?;
    eprintln!("beside nothing: {beside_nothing}");
    eprintln!("beside a build: {beside_build}");
    eprintln!(
        "a deployment beside a build ({} ms): {while_deploying}",
        summary["total_duration_ms"]
    );
    let bearable = (beside_nothing.p99 * SLOWER_AT_MOST).max(SLOW_IN_ANY_CASE);
    ensure!(
        beside_build.p99 < bearable,
        "p99 {:?} beside nothing, {:?} beside a build",
        beside_nothing.p99,
        beside_build.p99
    );
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_wait_for_each_other_and_can_be_cancelled_while_they_wait() -> Result<()> {
    let yard = Yard::open("bldque", &["--builds-at-once", "1"]).await?;
    let api = &yard.bed.api;
    let marker = format!("slow{}", flukedeploy_end2end::random_name(8));
    let mut ids = Vec::new();
    for app in ["one", "two", "three"] {
        yard.app(app).await?;
        let page = yard.dockerfile(&format!(
            "RUN sh -c 'sleep 4' {marker}-{app} && echo -n {app} > /www/version && \
             echo well > /www/health"
        ));
        let body = json!({"app_name": app, "dockerfile": page});
        ids.push(api.deploy_with(&body).await?);
        wait::until("it builds or waits", Duration::from_secs(20), || async {
            let summary = api
                .deployment(ids.last().map_or("", String::as_str))
                .await?;
            let said = yard.output(&summary).await?;
            Ok(said.contains("Waiting for a place").then_some(()))
        })
        .await?;
    }
    let path = format!("/deployments/{}/cancel", ids[2]);
    api.post(&path, &json!({})).await?.ok()?;
    let cancelled = api.wait_final(&ids[2]).await?;
    yard.expect_refused(&cancelled, &["cancelled"]).await?;
    // The first two never build at the same time, so the second one builds later.
    loop {
        let building: Vec<_> = ["one", "two", "three"]
            .into_iter()
            .filter(|app| processes_with(&format!("{marker}-{app}\0")) > 0)
            .collect();
        ensure!(building.len() <= 1, "at the same time: {building:?}");
        let first = api.deployment(&ids[0]).await?;
        let second = api.deployment(&ids[1]).await?;
        if first["completed_at"].is_string() && second["completed_at"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (app, id) in ["one", "two"].into_iter().zip(&ids) {
        let summary = api.deployment(id).await?;
        yard.expect_built(app, &summary, app).await?;
    }
    yard.finish().await
}
