//! One deployment, read through every door, tells one story.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use serde_json::{Value, json};

use crate::bed::Bed;

/// The events of a deployment that succeeds, one at the start and one at the end of each phase.
const EVENTS: [&str; 10] = [
    "pre_build",
    "pre_build",
    "build_start",
    "build_complete",
    "pre_deploy",
    "pre_deploy",
    "deploy_start",
    "deploy_complete",
    "post_deploy",
    "post_deploy",
];

/// The `Phase … started` and `Phase … completed` entries of a deployment, oldest first.
fn phase_events(entries: &[Value], id: &str) -> Vec<(String, String)> {
    entries
        .iter()
        .filter(|entry| entry["flukedeploy_metadata"]["deployment_id"] == id)
        .filter(|entry| {
            let message = entry["message"].as_str().unwrap_or_default();
            message.starts_with("Phase ")
        })
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (
                text(&entry["id"]),
                text(&entry["flukedeploy_metadata"]["event_type"]),
            )
        })
        .collect()
}

fn expect_entry_shape(entry: &Value) -> Result<()> {
    ensure!(
        entry["@context"] == "https://flukebase.me/schemas/unified-log"
            && entry["@type"] == "UnifiedLogEntry"
            && entry["timestamp"]
                .as_str()
                .is_some_and(|at| at.len() == 24 && at.ends_with('Z'))
            && entry["source"]["container_name"].is_string()
            && entry["flukedeploy_metadata"]["app_name"] == "shop",
        "not a log entry of the app: {entry:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_mcp_and_stream_tell_the_same_story() -> Result<()> {
    let bed = Bed::start("doors", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let v2 = bed.image(Sample::version("v2")).await?;

    let stream = bed.instance.stream("app_name=shop").await?;
    stream
        .wait_for("the greeting", Duration::from_secs(10), |frame| {
            frame["type"] == "connected"
        })
        .await?;

    // Deployed through MCP, read everywhere.
    let mut mcp = bed.instance.mcp(Era::Stateless).await?;
    let started = mcp
        .call_ok("deploy_app", json!({"app_name": "shop", "image": v2}))
        .await?;
    let id = started["deployment_id"]
        .as_str()
        .context("no id")?
        .to_owned();
    let rest = bed.api.wait_final(&id).await?;
    ensure!(rest["status"] == "success", "{rest:#}");
    ensure!(
        rest["app_name"] == "shop" && rest["image"] == v2,
        "{rest:#}"
    );
    bed.expect_serving("shop", "v2").await?;

    let question = json!({"deployment_id": id});
    let mut others = vec![mcp.call_ok("deploy_status", question.clone()).await?];
    let mut handshake = bed.instance.mcp(Era::Handshake).await?;
    others.push(handshake.call_ok("deploy_status", question.clone()).await?);
    let mut stdio = bed.instance.mcp_stdio().await?;
    others.push(stdio.call_ok("deploy_status", question).await?);
    // Lists leave the receipt to the single deployment.
    let mut listed = rest.clone();
    let receipt = listed
        .as_object_mut()
        .context("no object")?
        .remove("receipt");
    ensure!(
        receipt.is_some_and(|receipt| receipt["outcome"] == "success"),
        "{rest:#}"
    );
    let history = bed.api.history("shop").await?;
    ensure!(
        history["deployments"][0] == listed,
        "two stories:\n{listed:#}\n{history:#}"
    );
    let logs = bed.api.deployment_logs(&id).await?;
    others.push(logs["deployment"].clone());
    for other in &others {
        ensure!(*other == rest, "two stories:\n{rest:#}\n{other:#}");
    }

    stream
        .wait_for("the last event", Duration::from_secs(10), |frame| {
            frame["message"]
                .as_str()
                .is_some_and(|message| message.starts_with("Phase post_deploy completed"))
        })
        .await?;
    let live = phase_events(&stream.entries(), &id);
    let events: Vec<&str> = live.iter().map(|(_, event)| event.as_str()).collect();
    ensure!(events == EVENTS, "the stream told {events:?}");
    for entry in stream.entries() {
        expect_entry_shape(&entry)?;
    }

    // What was live is what is stored, entry by entry.
    let stored = bed
        .api
        .logs(&format!("deployment_id={id}&limit=1000"))
        .await?;
    let mut entries = stored["logs"].as_array().context("no logs")?.clone();
    entries.reverse();
    ensure!(phase_events(&entries, &id) == live, "stored: {stored:#}");
    let told = mcp
        .call_ok("deploy_logs", json!({"deployment_id": id, "tail": 1000}))
        .await?;
    let mut told = phase_events(told["logs"].as_array().context("no logs")?, &id);
    let mut live = live;
    told.sort();
    live.sort();
    ensure!(told == live, "MCP has other entries: {told:?}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_same_at_every_door() -> Result<()> {
    let bed = Bed::start("refuse", Options::default()).await?;
    bed.api.create_app("shop-web", 1).await?;
    let cases = [
        json!({"app_name": "shop-wbe", "image": "fdtest/none:1"}),
        json!({"app_name": "Not A Name", "image": "fdtest/none:1"}),
        json!({"app_name": "shop-web", "image": "fdtest/none:1", "replicas": 0}),
        json!({"app_name": "shop-web", "image": "fdtest/none:1", "strategy": "yolo"}),
        json!({"app_name": "shop-web"}),
    ];
    let mut clients = vec![
        bed.instance.mcp(Era::Handshake).await?,
        bed.instance.mcp(Era::Stateless).await?,
        bed.instance.mcp_stdio().await?,
    ];
    for case in cases {
        let rest = bed.api.post("/deployments", &case).await?;
        let code = rest.problem().with_context(|| case.to_string())?;
        for mcp in &mut clients {
            let problem = mcp.call_refused("deploy_app", case.clone()).await?;
            ensure!(problem["code"] == code, "REST: {code}, MCP: {problem:#}");
            ensure!(
                problem["message"] == rest.body["message"],
                "two messages for {case}: {} and {problem:#}",
                rest.body
            );
        }
    }
    let history = bed.api.history("shop-web").await?;
    ensure!(
        history["total"] == 0,
        "a refused deployment exists: {history}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_sees_the_six_tools() -> Result<()> {
    let bed = Bed::start("tools", Options::default()).await?;
    let mut lists = Vec::new();
    for era in [Era::Handshake, Era::Stateless] {
        lists.push(bed.instance.mcp(era).await?.tools().await?);
    }
    lists.push(bed.instance.mcp_stdio().await?.tools().await?);
    for tools in &lists {
        for name in [
            "deploy_app",
            "deploy_status",
            "deploy_logs",
            "deploy_rollback",
            "deploy_validate",
            "deploy_history",
        ] {
            let tool = tools.iter().find(|tool| tool["name"] == name);
            let tool = tool.with_context(|| format!("{name} is missing"))?;
            for hint in [
                "readOnlyHint",
                "destructiveHint",
                "idempotentHint",
                "openWorldHint",
            ] {
                ensure!(
                    tool["annotations"][hint].is_boolean(),
                    "{name} has no {hint}"
                );
            }
            ensure!(tool["inputSchema"]["type"] == "object", "{tool:#}");
        }
        // Every model pays for this list with every request.
        let bytes = Value::from(tools.clone()).to_string().len();
        ensure!(bytes < 6_000 * 4, "tools/list has {bytes} bytes");
    }
    bed.finish().await
}
