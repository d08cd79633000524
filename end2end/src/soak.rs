//! A bounded soak: deployments of all kinds one after the other, under load, while the control
//! plane is killed at random moments. The app must always serve, and every record must be true.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::images::{Images, Sample};
use crate::instance::{Instance, Options};
use crate::lease::Lease;
use crate::load::{Load, LoadOptions, LoadReport};

/// Longest time between two crashes.
const LONGEST_LIFE_MS: u64 = 2_500;

/// What came of it.
pub struct SoakReport {
    pub crashes: usize,
    /// Deployments by how they ended.
    pub success: usize,
    pub rolled_back: usize,
    pub failed: usize,
    pub load: LoadReport,
    /// Records that were not true, in words.
    pub untrue: Vec<String>,
}

impl SoakReport {
    pub fn expect_sound(&self) -> Result<()> {
        self.load.expect_no_failure(100.0)?;
        ensure!(self.untrue.is_empty(), "untrue records: {:#?}", self.untrue);
        Ok(())
    }
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes over {} deployments ({} success, {} rolled back, {} failed), {} untrue records; {}",
            self.crashes,
            self.success + self.rolled_back + self.failed,
            self.success,
            self.rolled_back,
            self.failed,
            self.untrue.len(),
            self.load
        )
    }
}

/// Kills the control plane so often. Deployments go round: good ones by each strategy, bad ones,
/// rollbacks, scaling and restarts.
pub async fn run(crashes: usize) -> Result<SoakReport> {
    let mut instance = Instance::start("soak", Options::default()).await?;
    let images = Images::new(instance.docker.clone())?;
    let api = instance.api();
    api.create_app("shop", 2).await?;
    let good = [
        images.build(&Sample::version("one")).await?,
        images.build(&Sample::version("two")).await?,
    ];
    let bad = images.build(&Sample::version("bad").exits_with(3)).await?;
    api.deploy_and_wait("shop", &good[0]).await?;
    let settings = json!({
        "rollout": {"warm_seconds": 3, "canary": {"steps": [50], "step_seconds": 1, "min_requests": 5}},
        "health": {"path": "/health", "deadline_seconds": 5},
    });
    api.patch("/apps/shop", &settings).await?.ok()?;
    let mut options = LoadOptions::new(instance.http_address(), "shop.localhost");
    options.requests_per_second = 200;
    options.timeout = Duration::from_secs(30);
    // Not before: what needs no load may go on beside another that does.
    let machine = Lease::take("load").await?;
    let load = Load::start(options);

    let mut ids: Vec<String> = Vec::new();
    for crash in 0..crashes {
        if let Some(id) = begin(&api, crash, &good, &bad).await? {
            ids.push(id);
        }
        let life = crate::random_below(LONGEST_LIFE_MS);
        tokio::time::sleep(Duration::from_millis(life)).await;
        instance.kill_9().await?;
        instance.restart().await?;
    }
    let mut report = SoakReport {
        crashes,
        success: 0,
        rolled_back: 0,
        failed: 0,
        load: LoadReport::default(),
        untrue: Vec::new(),
    };
    for id in &ids {
        let summary = api.wait_final(id).await?;
        match summary["status"].as_str() {
            Some("success") => report.success += 1,
            Some("rolled_back") => report.rolled_back += 1,
            _ => report.failed += 1,
        }
        report.untrue.extend(untrue(&summary));
    }
    // What the record says serves is what answers, alone.
    let app = api.get("/apps/shop").await?.ok()?;
    let (status, version) = instance.get_app("shop", "/version").await?;
    let image = app["image"].as_str().unwrap_or_default();
    let wanted = if image == good[0] { "one" } else { "two" };
    if status != 200 || version != wanted {
        report
            .untrue
            .push(format!("{image} should serve, and {status} {version} came"));
    }
    report.load = load.stop().await?;
    drop(machine);
    instance.finish().await?;
    Ok(report)
}

async fn begin(
    api: &crate::api::Api,
    turn: usize,
    good: &[String; 2],
    bad: &str,
) -> Result<Option<String>> {
    let image = &good[turn % 2];
    let deploy = |image: &str, strategy: &str| json!({"app_name": "shop", "image": image, "strategy": strategy});
    let answer = match turn % 8 {
        0 => api.post("/deployments", &deploy(image, "rolling")).await?,
        1 => {
            api.post("/deployments", &deploy(image, "blue_green"))
                .await?
        }
        2 => api.post("/deployments", &deploy(bad, "rolling")).await?,
        3 => api.post("/deployments", &deploy(image, "canary")).await?,
        4 => api.post("/apps/shop/rollback", &json!({})).await?,
        5 => {
            api.post("/apps/shop/scale", &json!({"replicas": 1 + turn % 3}))
                .await?
        }
        6 => api.post("/apps/shop/restart", &json!({})).await?,
        _ => {
            let mut body = deploy(image, "blue_green");
            body["queue"] = json!("supersede");
            api.post("/deployments", &body).await?
        }
    };
    // Nothing to go back to is an answer too.
    if answer.status == 404 {
        return Ok(None);
    }
    let body = answer.ok()?;
    let id = body["deployment_id"].as_str().context("an id")?;
    Ok(Some(id.to_owned()))
}

/// What of a record contradicts itself.
fn untrue(summary: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let id = summary["deployment_id"].as_str().unwrap_or("?");
    let status = summary["status"].as_str().unwrap_or_default();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{id} ({status}): {what}: {summary}"));
        }
    };
    check(
        summary["completed_at"].is_string(),
        "it does not say when it ended",
    );
    check(
        summary["receipt"]["outcome"] == status,
        "its receipt says otherwise",
    );
    check(
        summary["diagnosis"].is_object() != (status == "success"),
        "its diagnosis does not fit",
    );
    let phases = ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"];
    let is = |phase: &str, wanted: &str| summary["phases"][phase]["status"] == wanted;
    check(
        (status == "success") == phases.iter().all(|phase| is(phase, "success")),
        "its phases do not fit",
    );
    check(
        !phases.iter().any(|phase| is(phase, "running")),
        "a phase still runs",
    );
    found
}
