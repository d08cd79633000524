//! `FlukeBase` hangs, and no deployment notices; it comes back, and knows of every one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use http::Method;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::flukebase_stand_in::{Mood, PROJECT, SECRET_VALUE, StandIn, TOKEN};

/// It is left alone for up to a quarter of an hour when it was away for long; here, for seconds.
const PATIENCE: Duration = Duration::from_mins(3);
/// Deployments of each kind.
const ROUNDS: usize = 4;

async fn put(bed: &Bed, body: Value) -> Result<Value> {
    let request = bed.api.request(Method::PUT, "/flukebase").json(&body);
    bed.api.send(request).await?.ok()
}

/// Deploys, and answers the id and how long it took in milliseconds.
async fn deploy(bed: &Bed, image: &str) -> Result<(String, u64)> {
    let ended = bed.api.deploy_and_wait("shop", image).await?;
    let id = ended["deployment_id"].as_str().context("an id")?.to_owned();
    let took = ended["total_duration_ms"].as_u64().context("a duration")?;
    Ok((id, took))
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_flukebase_delays_no_deployment_and_hears_of_all_later() -> Result<()> {
    let there = StandIn::start(0).await;
    there.inside().variables = vec![("API_KEY".into(), Some(SECRET_VALUE.into()), true)];
    let options = Options {
        arguments: vec!["--allow-address".to_owned(), "127.0.0.1".to_owned()],
        env: vec![
            ("FLUKEBASE_API_URL".to_owned(), there.url()),
            ("FLUKEBASE_API_TOKEN".to_owned(), TOKEN.to_owned()),
        ],
        ..Options::default()
    };
    let bed = Bed::start("fluke", options).await?;
    bed.app_on_v1("shop", 1).await?;
    let images = [
        bed.image(Sample::version("v1")).await?,
        bed.image(Sample::version("v2")).await?,
    ];
    let bound = json!({"bindings": {"shop": {"project_id": PROJECT, "variables": true}}});
    put(&bed, bound).await?;

    there.will("", Mood::Hangs, u32::MAX);
    let (mut without, mut with, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let image = &images[(round + 1) % 2];
        put(&bed, json!({"active": false})).await?;
        without.push(deploy(&bed, image).await?.1);
        put(&bed, json!({"active": true})).await?;
        let (id, took) = deploy(&bed, image).await?;
        with.push(took);
        told.push(id);
    }
    println!("deployments took {without:?} ms without FlukeBase, {with:?} ms while it hangs");
    ensure!(
        median(with.clone()) < median(without.clone()) * 3 / 2 + 300,
        "{without:?} ms without, {with:?} ms with"
    );
    let view = bed.api.get("/flukebase").await?.ok()?;
    ensure!(
        view["outbox"]["waiting"].as_u64() >= Some(3 * ROUNDS as u64),
        "{view:#}"
    );
    ensure!(!there.asked().is_empty(), "nobody asked");

    there.is_well_again();
    wait::until("an empty outbox", PATIENCE, || async {
        let view = bed.api.get("/flukebase").await?.ok()?;
        Ok((view["outbox"]["waiting"] == 0).then_some(()))
    })
    .await?;
    for id in &told {
        let task = there.task(&format!("DEPLOY-{id}")).context("its task")?;
        ensure!(task["status"] == "completed", "{task:#}");
        let report = task["synthesis_report"].as_str().unwrap_or_default();
        ensure!(report.matches(id.as_str()).count() == 1, "{report}");
    }
    // The next one takes the variables along.
    wait::until("fetched variables", PATIENCE, || async {
        Ok((there.count("environment/variables") > 0).then_some(()))
    })
    .await?;
    wait::until("a record of the sync", PATIENCE, || async {
        deploy(&bed, &images[0]).await?;
        Ok((!there.inside().syncs.is_empty()).then_some(()))
    })
    .await?;
    let view = bed.api.get("/flukebase").await?.ok()?.to_string();
    for secret in [TOKEN, SECRET_VALUE] {
        ensure!(!view.contains(secret), "shown by GET /flukebase");
        ensure!(!bed.instance.log()?.contains(secret), "shown in the log");
    }
    bed.finish().await
}
