//! Deploying, beside the same by raw Docker API calls in turns, and going back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::figures::by_hand::{self, first_answer};
use crate::figures::{Report, spread};
use crate::images::{Images, Sample};
use crate::instance::{Instance, Options};

const ROUNDS: usize = 5;
const APP: &str = "bench";

/// From the call to the first answer of the new release; and to the last of the one before.
pub(super) async fn run(report: &mut Report) -> Result<()> {
    let instance = Instance::start("bench", Options::default()).await?;
    let images = Images::new(instance.docker.clone())?;
    let network = by_hand::network(&instance).await?;
    let api = instance.api();
    api.create_app(APP, 1).await?;
    let first = images.build(&Sample::version("r0")).await?;
    api.deploy_and_wait(APP, &first).await?;

    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let version = format!("r{round}");
        let image = images.build(&Sample::version(&version)).await?;
        let by_hand = by_hand::deploy(&instance, &network, &image, &version).await?;
        let by_us = deploy(&instance, &image, &version).await?;
        raw.push(by_hand.as_secs_f64());
        ours.push(by_us.as_secs_f64());
        ratios.push(by_us.as_secs_f64() / by_hand.as_secs_f64());
    }
    let seconds = |values: &mut [f64]| format!("{} s", spread(values));
    report.line("deploy, POST to first answer", &seconds(&mut ours), "")?;
    report.line("the same by raw Docker API calls", &seconds(&mut raw), "")?;
    report.line("ratio", &spread(&mut ratios), "<= 1.20")?;
    let mut ratios = three_replicas(&instance, &images, &network).await?;
    report.line("ratio with 3 replicas", &spread(&mut ratios), "<= 1.15")?;
    let mut switches = warm_rollbacks(&instance, &images).await?;
    let switches = format!("{} ms", spread(&mut switches));
    report.line("back to a warm release", &switches, "< 100 ms")?;
    instance.finish().await
}

/// From `POST /deployments` to the first answer of the new release through the ingress.
async fn deploy(instance: &Instance, image: &str, version: &str) -> Result<Duration> {
    let started = Instant::now();
    let id = instance.api().deploy(APP, image).await?;
    let host = format!("{APP}.localhost");
    let took = first_answer(started, instance.http_address(), &host, version).await?;
    let summary = instance.api().wait_final(&id).await?;
    ensure!(
        summary["status"] == "success",
        "the deployment failed: {summary:#}"
    );
    Ok(took)
}

/// From the call to the moment after which every new request meets the former release.
async fn warm_rollbacks(instance: &Instance, images: &Images) -> Result<Vec<f64>> {
    let app = "warm";
    let api = instance.api();
    api.create_app(app, 1).await?;
    let image = [
        images.build(&Sample::version("warm-a")).await?,
        images.build(&Sample::version("warm-b")).await?,
    ];
    api.deploy_and_wait(app, &image[0]).await?;
    api.deploy_and_wait(app, &image[1]).await?;
    let mut serving = "warm-b";
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(last_answer_of(
            instance.http_address(),
            format!("{app}.localhost"),
            serving,
            Arc::clone(&stop),
        ));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let called = Instant::now();
        // Without a version: to what served before, which stands by.
        let release = if serving == "warm-b" { 1 } else { 2 };
        let path = format!("/apps/{app}/rollback");
        let body = serde_json::json!({"release": release});
        let begun = api.post(&path, &body).await?.ok()?;
        let id = begun["deployment_id"].as_str().context("an id")?;
        let summary = api.wait_final(id).await?;
        ensure!(summary["status"] == "success", "{summary:#}");
        stop.store(true, Ordering::Relaxed);
        let last = asking.await??;
        took.push(last.saturating_duration_since(called).as_secs_f64() * 1e3);
        serving = if serving == "warm-b" {
            "warm-a"
        } else {
            "warm-b"
        };
    }
    Ok(took)
}

/// When the last request began that was answered with `version`.
async fn last_answer_of(
    address: SocketAddr,
    host: String,
    version: &'static str,
    stop: Arc<AtomicBool>,
) -> Result<Instant> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .build()?;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client
            .get(format!("http://{address}/version"))
            .header("Host", &host)
            .send()
            .await?;
        if answer.text().await?.trim() == version {
            last = began;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(last)
}

/// Until all three new replicas are healthy and serve, against three containers started by hand.
async fn three_replicas(instance: &Instance, images: &Images, network: &str) -> Result<Vec<f64>> {
    let app = "three";
    let api = instance.api();
    let body = serde_json::json!({
        "app_name": app, "container_port": 8080, "health": {"path": "/health"},
        "replicas": 3, "strategy": "blue_green",
        "rollout": {"warm_seconds": 0},
    });
    api.post("/apps", &body).await?.ok()?;
    let first = images.build(&Sample::version("t0")).await?;
    api.deploy_and_wait(app, &first).await?;
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let version = format!("t{round}");
        let image = images.build(&Sample::version(&version)).await?;
        let by_hand = by_hand::start(instance, network, &image, 3).await?;
        let started = Instant::now();
        let id = api.deploy(app, &image).await?;
        let host = format!("{app}.localhost");
        let by_us = first_answer(started, instance.http_address(), &host, &version).await?;
        let summary = api.wait_final(&id).await?;
        ensure!(summary["status"] == "success", "{summary:#}");
        ratios.push(by_us.as_secs_f64() / by_hand.as_secs_f64());
    }
    Ok(ratios)
}
