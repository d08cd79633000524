//! What the log tells of replicas on a real Swarm: one that dies, and none that was told to stop.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{KillContainerOptions, ListContainersOptionsBuilder};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};

use crate::bed::Bed;

const SOON: Duration = Duration::from_mins(1);

async fn told(bed: &Bed, query: &str) -> Result<Vec<Value>> {
    let query = format!("{query}&limit=1000&order=asc");
    let answer = bed.api.logs(&query).await?;
    Ok(answer["logs"].as_array().context("a list")?.clone())
}

fn is_outside(entry: &Value) -> bool {
    entry["flukedeploy_metadata"]["deployment_id"].is_null()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_is_told_and_one_that_is_told_to_stop_is_not() -> Result<()> {
    let bed = Bed::start("health", Options::default()).await?;
    bed.app_on_v1("shop", 3).await?;
    for replicas in [1, 2] {
        let done = bed
            .act("shop", "scale", &json!({"replicas": replicas}))
            .await?;
        ensure!(done["status"] == "success", "{done:#}");
    }
    let v2 = bed.image(Sample::version("v2")).await?;
    bed.api.deploy_and_wait("shop", &v2).await?;
    bed.expect_serving("shop", "v2").await?;

    let service = format!("fd-{}-shop-production-r2", bed.instance.name);
    let label = format!("com.docker.swarm.service.name={service}");
    let options = ListContainersOptionsBuilder::default()
        .filters(&HashMap::from([("label", vec![label.as_str()])]))
        .build();
    let found = bed.instance.docker.list_containers(Some(options)).await?;
    let victim = found.first().and_then(|container| container.id.clone());
    let victim = victim.with_context(|| format!("found no container of {service}"))?;
    let health = "app_name=shop&event_type=health_check";
    let before = told(&bed, health).await?;
    ensure!(
        before
            .iter()
            .all(|entry| entry["level"] == "info" && !is_outside(entry)),
        "nothing was unwell so far: {before:#?}"
    );
    let scaled = told(&bed, "app_name=shop&event_type=scale_event").await?;
    let scaled: Vec<_> = scaled.iter().map(|one| one["message"].clone()).collect();
    let wanted = ["Scaled from 3 to 1 replicas", "Scaled from 1 to 2 replicas"];
    ensure!(scaled == wanted, "{scaled:?}");

    bed.instance
        .docker
        .kill_container(&victim, None::<KillContainerOptions>)
        .await?;
    let after = wait::until("it is well again", SOON, || async {
        let mut entries = told(&bed, health).await?;
        entries.retain(is_outside);
        let is_well = |entry: &Value| entry["flukedeploy_metadata"]["health_status"] == "healthy";
        Ok(entries.iter().any(is_well).then_some(entries))
    })
    .await?;
    let messages: Vec<_> = after.iter().map(|one| one["message"].clone()).collect();
    ensure!(
        messages == ["Health check: unhealthy", "Health check: healthy"],
        "{after:#?}"
    );
    let reason = after[0]["flukedeploy_metadata"]["fields"]["reason"].to_string();
    ensure!(reason.contains("137"), "{after:#?}");
    let all = told(&bed, "app_name=shop").await?;
    let ended = all.iter().filter(|entry| {
        let message = entry["message"].as_str().unwrap_or_default();
        message.contains("ended by itself")
    });
    ensure!(ended.count() == 1, "{all:#?}");

    let system = told(&bed, "app_name=_system").await?;
    let is_connected = |entry: &Value| {
        let message = entry["message"].as_str().unwrap_or_default();
        message.starts_with("The ingress on node ") && message.ends_with(" is connected")
    };
    ensure!(system.iter().any(is_connected), "{system:#?}");
    bed.finish().await
}
