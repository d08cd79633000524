//! Every way to move traffic, well and badly, under load: no request fails, and what is said
//! afterwards is what happened.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use serde_json::{Value, json};

use crate::bed::{Bed, LEAST_LOAD, expect_diagnosis, expect_ended_truthfully};

const WATCHED: Duration = Duration::from_secs(20);

/// Deploys with a strategy of its own and waits for the end.
async fn deploy_by(bed: &Bed, app: &str, image: &str, strategy: &str) -> Result<Value> {
    let body = json!({"app_name": app, "image": image, "strategy": strategy});
    let id = bed.api.deploy_with(&body).await?;
    bed.api.wait_final(&id).await
}

fn expect_success(summary: &Value) -> Result<()> {
    ensure!(
        summary["status"] == "success",
        "it ended otherwise: {summary:#}"
    );
    expect_ended_truthfully(summary)
}

/// A canary of one step that needs little traffic.
fn quick_canary(percent: u32) -> Value {
    json!({"canary": {"steps": [percent], "step_seconds": 2, "min_requests": 10}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_strategy_and_every_everyday_act_drops_nothing() -> Result<()> {
    let bed = Bed::shop_for_load("strat", Options::default(), 2).await?;
    bed.change("shop", json!({"rollout": quick_canary(20)}))
        .await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;

    let v2 = bed.image(Sample::version("v2")).await?;
    expect_success(&deploy_by(&bed, "shop", &v2, "blue_green").await?)?;
    bed.load_sees(&load, "v2").await?;

    // No room for a whole second set: one more at most, so the old one shrinks on the way.
    bed.change("shop", json!({"rollout": {"max_surge": 1}}))
        .await?;
    let v3 = bed.image(Sample::version("v3")).await?;
    let rolled = deploy_by(&bed, "shop", &v3, "rolling").await?;
    expect_success(&rolled)?;
    bed.load_sees(&load, "v3").await?;

    let v4 = bed.image(Sample::version("v4")).await?;
    expect_success(&deploy_by(&bed, "shop", &v4, "canary").await?)?;
    bed.load_sees(&load, "v4").await?;

    for (act, body) in [
        ("scale", json!({"replicas": 4})),
        ("scale", json!({"replicas": 1})),
        ("scale", json!({"replicas": 2})),
        ("restart", json!({})),
    ] {
        let done = bed.act("shop", act, &body).await?;
        ensure!(
            done["status"] == "success" && done["act"] == act,
            "{done:#}"
        );
        bed.load_sees(&load, "v4").await?;
    }

    // What served before the restart stands by: the same version, so only the record tells.
    let back = bed
        .api
        .post("/apps/shop/rollback", &json!({"release": 3}))
        .await?
        .ok()?;
    let back = bed
        .api
        .wait_final(back["deployment_id"].as_str().context("id")?)
        .await?;
    expect_success(&back)?;
    bed.load_sees(&load, "v3").await?;

    let report = load.stop().await?;
    eprintln!("strategies and everyday acts: {report}");
    report.expect_no_failure(LEAST_LOAD)?;

    let receipt = &back["receipt"];
    ensure!(
        receipt["outcome"] == "success"
            && receipt["door"] == "rest"
            && receipt["requests"]["failed"] == 0
            && receipt["pinned_image"].is_string()
            && receipt["new_release"] == back["release"]
            && receipt["phases"]
                .as_array()
                .is_some_and(|phases| phases.len() == 5),
        "not a whole receipt: {receipt:#}"
    );
    let alone = bed
        .api
        .get(&format!(
            "/deployments/{}/receipt",
            back["deployment_id"].as_str().context("id")?
        ))
        .await?
        .ok()?;
    ensure!(alone == *receipt, "{alone:#}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_release_takes_nothing_down_whatever_the_strategy() -> Result<()> {
    let bed = Bed::shop_for_load("bad", Options::default(), 2).await?;
    bed.change(
        "shop",
        json!({"rollout": quick_canary(20), "health": {"path": "/health", "deadline_seconds": 3}}),
    )
    .await?;
    let sick = bed.image(Sample::version("v2").unhealthy()).await?;
    let dying = bed.image(Sample::version("v3").exits_with(3)).await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    for strategy in ["rolling", "blue_green", "canary"] {
        let failed = deploy_by(&bed, "shop", &sick, strategy).await?;
        ensure!(failed["status"] == "failed", "{strategy}: {failed:#}");
        expect_diagnosis(&failed, Some(&["health_check_failed"]))?;
        let failed = deploy_by(&bed, "shop", &dying, strategy).await?;
        expect_diagnosis(&failed, Some(&["exited_with_code"]))?;
        expect_ended_truthfully(&failed)?;
    }
    bed.load_sees(&load, "v1").await?;
    let report = load.stop().await?;
    report.expect_no_failure(LEAST_LOAD)?;
    ensure!(
        report.by_version.len() == 1,
        "a bad release was met: {report}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_with_a_volume_is_replaced_while_requests_wait() -> Result<()> {
    let bed = Bed::start_for_load("volume", Options::default()).await?;
    let image = async |version: &str| {
        bed.image(Sample::version(version).with("SAMPLE_DATA_DIR", "/data"))
            .await
    };
    let body = json!({
        "app_name": "files", "container_port": 8080,
        "health": {"path": "/health", "deadline_seconds": 10},
        "volumes": [{"name": "data", "path": "/data"}],
    });
    bed.api.post("/apps", &body).await?.ok()?;
    bed.api
        .deploy_and_wait("files", &image("v1").await?)
        .await?;
    // Requests may wait as long as they are held. Fewer than elsewhere: all that wait are open at
    // once, and Docker's proxy for 127.0.0.1 needs six file descriptors for each.
    let load = bed.load_of("files", |options| {
        options.timeout = Duration::from_mins(1);
        options.requests_per_second = 100;
    });
    bed.load_sees(&load, "v1").await?;
    let second = bed
        .api
        .deploy_and_wait("files", &image("v2").await?)
        .await?;
    ensure!(second["strategy"] == "recreate", "{second:#}");
    bed.load_sees(&load, "v2").await?;

    let dying = bed.image(Sample::version("v3").exits_with(3)).await?;
    let failed = bed
        .api
        .wait_final(&bed.api.deploy("files", &dying).await?)
        .await?;
    ensure!(
        failed["status"] == "rolled_back" && failed["returned_to"] == second["release"],
        "{failed:#}"
    );
    bed.load_sees(&load, "v2").await?;
    let restarted = bed.act("files", "restart", &json!({})).await?;
    ensure!(restarted["status"] == "success", "{restarted:#}");
    bed.load_sees(&load, "v2").await?;

    let report = load.stop().await?;
    eprintln!("one replica with a volume: {report}");
    report.expect_no_failure(80.0)?;
    let (_, starts) = bed.instance.get_app("files", "/data").await?;
    let starts: Vec<&str> = starts.lines().collect();
    ensure!(
        starts == ["v1", "v2", "v2", "v2"],
        "the data did not stay: {starts:?}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_with_five_percent_of_errors_goes_back_within_its_window() -> Result<()> {
    let bed = Bed::shop_for_load("canary", Options::default(), 2).await?;
    let window = 20;
    bed.change(
        "shop",
        json!({"rollout": {"canary": {"steps": [10, 50], "step_seconds": window, "min_requests": 50}}}),
    )
    .await?;
    let bad = bed
        .image(Sample::version("v2").with("SAMPLE_ERROR_PERCENT", "5"))
        .await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    let began = std::time::Instant::now();
    let done = deploy_by(&bed, "shop", &bad, "canary").await?;
    let took = began.elapsed();
    bed.load_sees(&load, "v1").await?;
    let report = load.stop().await?;
    eprintln!("a canary with 5 % of errors: {took:?}, {report}");
    ensure!(done["status"] == "rolled_back", "{done:#}");
    expect_diagnosis(&done, Some(&["canary_failed"]))?;
    ensure!(
        done["diagnosis"]["evidence"]["traffic"].is_string() && done["rollout"].is_null(),
        "{done:#}"
    );
    ensure!(
        took < Duration::from_secs(window + 15),
        "only after {took:?}"
    );
    // All that failed failed in the canary, and it got no more than its share of what was sent.
    let by_canary = report.by_version.get("v2").copied().unwrap_or(0) + report.failed.len();
    ensure!(
        report
            .failed
            .iter()
            .all(|failure| failure.reason.starts_with("status 500")),
        "{report}"
    );
    ensure!(by_canary > 20, "the canary met nobody: {report}");
    ensure!(
        by_canary <= report.sent / 10 + 2,
        "{by_canary} of {} went to the canary",
        report.sent
    );
    let requests = &done["receipt"]["requests"];
    ensure!(
        requests["failed"].as_u64() == Some(report.failed.len() as u64),
        "the receipt says {requests}, and {} failed",
        report.failed.len()
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn testers_meet_the_canary_and_it_is_promoted_by_hand() -> Result<()> {
    let bed = Bed::start("tester", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    bed.change(
        "shop",
        json!({"rollout": {"canary": {
            "steps": [1], "step_seconds": 1, "min_requests": 1000, "when_quiet": "pause",
            "testers": {"kind": "cookie", "name": "tester", "value": "yes"},
        }}}),
    )
    .await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let id = bed
        .api
        .deploy_with(&json!({"app_name": "shop", "image": v2, "strategy": "canary"}))
        .await?;
    flukedeploy_end2end::wait::until("the pause", WATCHED, || async {
        let summary = bed.api.deployment(&id).await?;
        Ok((summary["rollout"]["paused"] == true).then_some(()))
    })
    .await?;
    let ask = async |cookie: &str| -> Result<String> {
        let answer = reqwest::Client::new()
            .get(format!("http://{}/version", bed.instance.http_address()))
            .header("host", "shop.localhost")
            .header("cookie", cookie)
            .send()
            .await?;
        Ok(answer.text().await?)
    };
    for _ in 0..5 {
        ensure!(ask("a=b; tester=yes").await? == "v2");
        ensure!(ask("a=b; tester=no").await? == "v1");
    }
    let refused = bed
        .api
        .post(&format!("/deployments/{id}/nonsense"), &json!({}))
        .await?;
    ensure!(refused.status == 404);
    bed.api
        .post(&format!("/deployments/{id}/promote"), &json!({}))
        .await?
        .ok()?;
    let done = bed.api.wait_final(&id).await?;
    expect_success(&done)?;
    bed.expect_serving("shop", "v2").await?;
    let late = bed
        .api
        .post(&format!("/deployments/{id}/pause"), &json!({}))
        .await?;
    ensure!(
        late.status == 409 && late.problem()? == "already_ended",
        "{late:?}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_in_any_phase_leaves_what_served() -> Result<()> {
    let mut bed = Bed::shop_for_load("cancel", Options::default(), 1).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        bed.instance.stop().await?;
        bed.instance.options.hold_in_phase = Some(phase.to_owned());
        bed.instance.restart().await?;
        let id = bed.api.deploy("shop", &v2).await?;
        bed.api.wait_running(&id, phase).await?;
        bed.api
            .post(&format!("/deployments/{id}/cancel"), &json!({}))
            .await?
            .ok()?;
        let done = bed.api.wait_final(&id).await?;
        expect_diagnosis(&done, Some(&["cancelled"]))?;
        expect_ended_truthfully(&done)?;
        let status = if phase == "post_deploy" {
            "rolled_back"
        } else {
            "failed"
        };
        ensure!(done["status"] == status, "{phase}: {done:#}");
        bed.load_sees(&load, "v1").await?;
    }
    let report = load.stop().await?;
    report.expect_no_failure(LEAST_LOAD)?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_deployments_in_a_row_drop_nothing() -> Result<()> {
    let bed = Bed::shop_for_load("fifty", Options::default(), 1).await?;
    bed.change(
        "shop",
        json!({"rollout": {"warm_seconds": 0}, "objective": {"probation_seconds": 0}}),
    )
    .await?;
    let images = [
        bed.image(Sample::version("even")).await?,
        bed.image(Sample::version("odd")).await?,
    ];
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    let began = std::time::Instant::now();
    for number in 0..50 {
        bed.api.deploy_and_wait("shop", &images[number % 2]).await?;
    }
    let took = began.elapsed();
    bed.load_sees(&load, "odd").await?;
    let report = load.stop().await?;
    eprintln!("fifty deployments in {took:?}: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    let app = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(app["active_release"] == 51, "{app:#}");
    bed.finish().await
}
