//! Stopping, sleeping, maintenance, and connections that stay open.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::bed::Bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_stopped_started_put_to_sleep_and_woken_by_a_request() -> Result<()> {
    let mut bed = Bed::start("mode", Options::default()).await?;
    bed.app_on_v1("shop", 2).await?;

    let stopped = bed
        .act("shop", "stop", &json!({"reason": "a test"}))
        .await?;
    ensure!(
        stopped["status"] == "success" && stopped["act"] == "stop",
        "{stopped:#}"
    );
    let (status, body) = bed.instance.get_app("shop", "/version").await?;
    ensure!(
        status == 503 && body.contains("stopped"),
        "{status}: {body}"
    );
    let view = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(view["state"] == "stopped", "{view:#}");
    // It stays stopped when the control plane comes back.
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    let refused = bed
        .api
        .post("/apps/shop/scale", &json!({"replicas": 3}))
        .await?;
    ensure!(
        refused.status == 409 && refused.problem()? == "not_now",
        "{refused:?}"
    );

    let started = bed.act("shop", "start", &json!({})).await?;
    ensure!(started["status"] == "success", "{started:#}");
    bed.expect_serving("shop", "v1").await?;

    let asleep = bed.act("shop", "sleep", &json!({})).await?;
    ensure!(asleep["status"] == "success", "{asleep:#}");
    let view = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(view["state"] == "asleep", "{view:#}");
    // The request that wakes it is answered by it.
    let (status, body) = bed.instance.get_app("shop", "/version").await?;
    ensure!(status == 200 && body == "v1", "{status}: {body}");

    bed.change("shop", json!({"rollout": {"hold_seconds": 1}}))
        .await?;
    flukedeploy_end2end::wait::until("rest", Duration::from_secs(20), || async {
        let active = bed.api.get("/deployments/active").await?.ok()?;
        Ok((active["total"] == 0).then_some(()))
    })
    .await?;
    let closed = bed.act("shop", "maintenance", &json!({})).await?;
    ensure!(closed["status"] == "success", "{closed:#}");
    let (status, body) = bed.instance.get_app("shop", "/version").await?;
    ensure!(
        status == 503 && body.contains("Maintenance"),
        "{status}: {body}"
    );
    // What maintenance is for: the next release is there before anybody is let in again.
    let v2 = bed.image(Sample::version("v2")).await?;
    bed.api.deploy_and_wait("shop", &v2).await?;
    let (status, _) = bed.instance.get_app("shop", "/version").await?;
    ensure!(status == 503, "users were let in: {status}");
    bed.act("shop", "start", &json!({})).await?;
    bed.expect_serving("shop", "v2").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_to_a_release_that_goes_is_closed_properly() -> Result<()> {
    let bed = Bed::start("wsdrain", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    bed.change(
        "shop",
        json!({"rollout": {"warm_seconds": 0, "drain_seconds": 1}}),
    )
    .await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    // The grace is a setting of the release that goes, so it needs one that has it.
    bed.act("shop", "restart", &json!({})).await?;

    let mut request = format!("ws://{}/ws", bed.instance.http_address()).into_client_request()?;
    request
        .headers_mut()
        .insert("host", "shop.localhost".parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    socket.send(Message::text("before")).await?;
    ensure!(socket.next().await.context("an echo")?? == Message::text("before"));

    bed.api.deploy_and_wait("shop", &v2).await?;
    socket.send(Message::Ping(Bytes::new())).await?;
    let closed = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(message) = socket.next().await {
            if let Message::Close(frame) = message? {
                return Ok(frame);
            }
        }
        bail!("it was cut without a word")
    })
    .await??;
    let frame = closed.context("a close frame with a reason")?;
    ensure!(frame.code == CloseCode::Away, "{frame:?}");
    bed.expect_serving("shop", "v2").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing_and_says_what_would() -> Result<()> {
    let bed = Bed::start("dryrun", Options::default()).await?;
    bed.app_on_v1("shop", 2).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let body = json!({
        "app_name": "shop", "image": v2, "dry_run": true, "replicas": 4,
        "env_vars": {"KEY": "hunter2"},
    });
    let plan = bed.api.post("/deployments", &body).await?;
    ensure!(plan.status == 200, "{plan:?}");
    let text = plan.body.to_string();
    ensure!(
        !text.contains("hunter2") && text.contains("env_vars.KEY"),
        "{text}"
    );
    ensure!(
        plan.body["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() == 4),
        "{text}"
    );
    let history = bed.api.history("shop").await?;
    ensure!(history["total"] == 1, "{history:#}");
    let back = bed
        .api
        .post("/apps/shop/rollback", &json!({"dry_run": true}))
        .await?;
    ensure!(
        back.status == 404 && back.problem()? == "release_not_found",
        "{back:?}"
    );
    bed.finish().await
}
