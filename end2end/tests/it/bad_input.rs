//! Bad input gets a clear refusal with a stable code at every door, and harms nothing that serves.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::Answer;
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use flukedeploy_end2end::wait;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, expect_diagnosis, expect_ended_truthfully};

/// A refusal of this status and one of these codes.
fn expect_refusal(what: &str, answer: &Answer, statuses: &[u16], codes: &[&str]) -> Result<()> {
    let code = answer.problem().with_context(|| what.to_owned())?;
    ensure!(
        statuses.contains(&answer.status) && codes.contains(&code),
        "{what}: {} {code}, expected {statuses:?} {codes:?}: {}",
        answer.status,
        answer.body
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_not_allowed_are_refused_by_name() -> Result<()> {
    let bed = Bed::start("values", Options::default()).await?;
    let app = |field: &str, value: Value| {
        let mut body = json!({"app_name": "fine", "container_port": 8080, "replicas": 1});
        body[field] = value;
        body
    };
    let cases = [
        ("app_name", json!("")),
        ("app_name", json!("Shop")),
        ("app_name", json!("-shop")),
        ("app_name", json!("shop-")),
        ("app_name", json!("my--shop")),
        ("app_name", json!("captain")),
        ("app_name", json!("registry")),
        ("app_name", json!("läden")),
        ("app_name", json!("../../etc")),
        ("app_name", json!("a".repeat(50))),
        ("app_name", json!(7)),
        ("container_port", json!(0)),
        ("container_port", json!(65_536)),
        ("container_port", json!(-1)),
        ("container_port", json!("http")),
        ("replicas", json!(0)),
        ("replicas", json!(10_000)),
        ("replicas", json!(-1)),
        ("health", json!({"path": "no-slash"})),
        ("env_vars", json!({"A=B": "x"})),
        ("domains", json!(["not a host"])),
    ];
    for (field, value) in cases {
        let what = format!("{field} = {value}");
        let answer = bed.api.post("/apps", &app(field, value)).await?;
        expect_refusal(
            &what,
            &answer,
            &[400, 422],
            &["invalid_request", "bad_request"],
        )?;
        let message = answer.body["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains(field),
            "{what}: the message names no field: {message}"
        );
    }

    // All faults at once, not one per attempt.
    let two = json!({"app_name": "fine", "container_port": 0, "replicas": 0});
    let answer = bed.api.post("/apps", &two).await?;
    let message = answer.body["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("container_port") && message.contains("replicas"),
        "only a part of the faults: {message}"
    );

    let apps = bed.api.get("/apps").await?.ok()?;
    ensure!(
        !apps.to_string().contains("fine"),
        "a refused app exists: {apps}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_are_refused() -> Result<()> {
    let bed = Bed::start("sense", Options::default()).await?;
    let api = &bed.api;
    bed.app_on_v1("shop-web", 1).await?;

    for (what, body) in [
        ("not JSON", "{not json".to_owned()),
        ("JSON of the wrong kind", "[]".to_owned()),
        ("nothing", String::new()),
        ("deep nesting", "[".repeat(100_000)),
    ] {
        let request = api
            .request(Method::POST, "/deployments")
            .header("Content-Type", "application/json")
            .body(body);
        let answer = api.send(request).await?;
        expect_refusal(
            what,
            &answer,
            &[400, 422],
            &["bad_request", "invalid_request"],
        )?;
    }

    let huge = api
        .request(Method::POST, "/deployments")
        .header("Content-Type", "application/json")
        .body(vec![b' '; 50 * 1024 * 1024]);
    let started = Instant::now();
    let answer = api.send(huge).await.context("a body of 50 MB")?;
    ensure!(
        answer.status == 413,
        "a body of 50 MB: {} {}",
        answer.status,
        answer.body
    );
    answer.problem().context("a body of 50 MB")?;
    ensure!(
        started.elapsed() < Duration::from_secs(10),
        "a body of 50 MB took too long"
    );

    let unknown = json!({"app_name": "shop-wbe", "image": "fdtest/none:1"});
    let answer = api.post("/deployments", &unknown).await?;
    expect_refusal("an unknown app", &answer, &[404], &["app_not_found"])?;
    ensure!(
        answer.body.to_string().contains("shop-web"),
        "no near name is suggested: {}",
        answer.body
    );

    let answer = api.get("/deployments/dep-0-00000000").await?;
    expect_refusal(
        "an unknown deployment",
        &answer,
        &[404],
        &["deployment_not_found"],
    )?;
    let answer = api.get("/no/such/path").await?;
    expect_refusal("an unknown path", &answer, &[404], &["not_found"])?;
    let answer = api.send(api.request(Method::PUT, "/apps")).await?;
    ensure!(
        answer.status == 405,
        "a wrong method: {} {}",
        answer.status,
        answer.body
    );

    bed.expect_serving("shop-web", "v1").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_without_the_right_are_refused_at_every_door() -> Result<()> {
    let bed = Bed::start("right", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let deploy = json!({"app_name": "shop", "image": v2});

    let soon = time::OffsetDateTime::from(SystemTime::now() + Duration::from_secs(2))
        .format(&time::format_description::well_known::Rfc3339)?;
    let expiring = bed.token("advanced", json!({"expires_at": soon})).await?;
    let expired = bed.instance.api_as(Some(&expiring));
    wait::until("the token expires", Duration::from_secs(20), || async {
        Ok((expired.get("/apps").await?.status == 401).then_some(()))
    })
    .await?;
    for (what, token) in [
        ("no token", None),
        ("a wrong token", Some("nonsense")),
        ("an expired token", Some(expiring.as_str())),
    ] {
        let answer = bed
            .instance
            .api_as(token)
            .post("/deployments", &deploy)
            .await?;
        expect_refusal(what, &answer, &[401], &["unauthorized"])?;
    }

    let reading = bed.token("extended", json!({})).await?;
    let reader = bed.instance.api_as(Some(&reading));
    reader
        .get("/apps")
        .await?
        .ok()
        .context("an extended token reads")?;
    let answer = reader.post("/deployments", &deploy).await?;
    expect_refusal("an extended token deploys", &answer, &[403], &["forbidden"])?;
    let answer = reader.post("/apps/shop/rollback", &json!({})).await?;
    expect_refusal(
        "an extended token rolls back",
        &answer,
        &[403],
        &["forbidden"],
    )?;

    for era in [Era::Handshake, Era::Stateless] {
        let url = format!("{}/mcp", bed.instance.url());
        let mut mcp = flukedeploy_end2end::mcp::Mcp::http(&url, &reading, era).await?;
        let tools = mcp.tools().await?;
        ensure!(
            !tools.iter().any(|tool| tool["name"] == "deploy_app"),
            "an extended token is shown deploy_app"
        );
        // Calling it all the same must not deploy: refused as a result or as an unknown tool.
        if let Ok(result) = mcp.call("deploy_app", deploy.clone()).await {
            ensure!(result["isError"] == true, "it deployed: {result}");
        }
    }

    let mut stream = flukedeploy_end2end::stream::Stream::connect(
        bed.instance.stream_address(),
        "app_name=shop",
        None,
    )
    .await?;
    stream
        .send(&json!({"action": "auth", "token": "nonsense"}))
        .await?;
    wait::until("the stream closes", Duration::from_secs(10), || async {
        Ok(stream.close_code())
    })
    .await
    .and_then(|code| {
        ensure!(code == 4401, "the stream closed with {code}");
        ensure!(stream.entries().is_empty(), "entries came without a token");
        Ok(())
    })?;

    let history = bed.api.history("shop").await?;
    ensure!(history["total"] == 1, "something was deployed: {history}");
    bed.expect_serving("shop", "v1").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_cannot_serve_fail_with_a_diagnosis_and_change_nothing() -> Result<()> {
    let bed = Bed::start("images", Options::default()).await?;
    let app = json!({
        "app_name": "shop",
        "container_port": 8080,
        "health": {"path": "/health", "deadline_seconds": 8},
        "replicas": 1,
    });
    bed.api.post("/apps", &app).await?.ok()?;
    let v1 = bed.image(Sample::version("v1")).await?;
    bed.api.deploy_and_wait("shop", &v1).await?;

    let exits = bed.image(Sample::version("exits").exits_with(7)).await?;
    let sick = bed.image(Sample::version("sick").unhealthy()).await?;
    let hangs = bed.image(Sample::version("hangs").hanging_health()).await?;
    let elsewhere = bed
        .image(Sample::version("elsewhere").listens_on(9999))
        .await?;
    let cases: [(&str, &[&str]); 5] = [
        (
            "fdtest/does-not-exist:1",
            &["image_not_found", "registry_unreachable"],
        ),
        (&exits, &["exited_with_code"]),
        (&sick, &["health_check_failed"]),
        (&hangs, &["health_check_failed"]),
        (&elsewhere, &["listens_on_another_port", "never_listens"]),
    ];
    let mut mcp = bed.instance.mcp(Era::Handshake).await?;
    for (image, codes) in cases {
        let id = bed.api.deploy("shop", image).await?;
        let summary = bed.api.wait_final(&id).await?;
        ensure!(
            summary["status"] != "success",
            "{image} cannot serve: {summary:#}"
        );
        expect_ended_truthfully(&summary)?;
        expect_diagnosis(&summary, Some(codes)).with_context(|| image.to_owned())?;
        let told = mcp
            .call_ok("deploy_status", json!({"deployment_id": id}))
            .await?;
        ensure!(
            told["diagnosis"] == summary["diagnosis"],
            "MCP tells another story: {told:#}"
        );
        bed.expect_serving("shop", "v1").await?;
        if image == exits {
            let code = &summary["diagnosis"]["evidence"]["exit_code"];
            ensure!(*code == 7, "the exit code is {code}");
        }
    }
    // And the app still takes a good release.
    let v2 = bed.image(Sample::version("v2")).await?;
    bed.api.deploy_and_wait("shop", &v2).await?;
    bed.expect_serving("shop", "v2").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stops_answering_hangs_nothing() -> Result<()> {
    let options = Options {
        with_engine_proxy: true,
        ..Options::default()
    };
    let bed = Bed::start("frozen", options).await?;
    bed.app_on_v1("shop", 1).await?;
    let v2 = bed.image(Sample::version("v2")).await?;

    let proxy = bed.instance.engine_proxy()?;
    proxy.freeze_on("/services/create");
    let id = bed.api.deploy("shop", &v2).await?;
    wait::until("the engine is asked", Duration::from_secs(30), || async {
        Ok(proxy.is_frozen().then_some(()))
    })
    .await?;
    for path in [
        "/apps",
        "/apps/shop",
        &format!("/deployments/{id}"),
        "/health/docker",
    ] {
        let started = Instant::now();
        let answer = bed.api.get(path).await?;
        ensure!(
            answer.status != 500 && started.elapsed() < Duration::from_secs(10),
            "{path} with a frozen engine: {} after {:?}",
            answer.status,
            started.elapsed()
        );
    }
    bed.expect_serving("shop", "v1").await?;
    proxy.thaw();

    let summary = bed.api.wait_final(&id).await?;
    expect_ended_truthfully(&summary)?;
    let serving = if summary["status"] == "success" {
        "v2"
    } else {
        "v1"
    };
    bed.expect_serving("shop", serving).await?;
    bed.api.deploy_and_wait("shop", &v2).await?;
    bed.expect_serving("shop", "v2").await?;
    bed.finish().await
}
