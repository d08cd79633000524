//! What it costs to collect what replicas print, beside what it costs the engine alone to read the same
//! lines out through its API.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder};
use futures_util::TryStreamExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::figures::{Report, spread};
use crate::images::{Images, Sample};
use crate::instance::{Instance, Options};

const ROUNDS: usize = 3;
const RATE: u32 = 50_000;
const SECONDS: u32 = 20;
const LINES: u32 = RATE * SECONDS;
/// From the start of a replica to its first line: a deployment takes less.
const LEAD: Duration = Duration::from_secs(8);
/// How long what is idle is watched.
const IDLE: Duration = Duration::from_secs(5);
/// How long the last lines may take to the store.
const LATE: Duration = Duration::from_mins(1);

pub(super) async fn run(report: &mut Report) -> Result<()> {
    let instance = Instance::start("collect", Options::default()).await?;
    let images = Images::new(instance.docker.clone())?;
    let ms = u32::try_from(LEAD.as_millis())?;
    let sample = Sample::version("v1").logs_lines(LINES).at_a_rate(RATE, ms);
    let image = images.build(&sample).await?;
    let engine = engine_pid().await?;
    let (mut ours, mut theirs, mut ratios, mut lost) = (vec![], vec![], vec![], 0);
    for round in 1..=ROUNDS {
        let app = format!("printer-{round}");
        let collected = collect(&instance, &app, &image).await?;
        lost += u64::from(LINES) - collected.lines.min(u64::from(LINES));
        ours.push(collected.cpu_us);
        if let Some(engine) = engine {
            let served = serve(&instance, &app, engine).await?;
            theirs.push(served);
            ratios.push(collected.cpu_us / served);
        }
        instance
            .api()
            .post(&format!("/apps/{app}/stop"), &serde_json::json!({}))
            .await?
            .ok()?;
    }
    let printed = u64::from(LINES) * ROUNDS as u64;
    report.line(
        "collected line, CPU in µs",
        &format!(
            "{}; engine's API {}",
            spread(&mut ours),
            spread(&mut theirs)
        ),
        "",
    )?;
    report.line(
        "collected line / engine's API",
        &spread(&mut ratios),
        "≤ 0.25",
    )?;
    report.line(
        "one container, 50,000 lines/s, 20 s",
        &format!("{printed} printed, {lost} lost"),
        "none lost",
    )?;
    instance.finish().await
}

struct Collected {
    lines: u64,
    /// Of the control plane, for each line, from the file to the store.
    cpu_us: f64,
}

/// Deploys what prints, and watches the control plane while it does.
async fn collect(instance: &Instance, app: &str, image: &str) -> Result<Collected> {
    let api = instance.api();
    let pid = instance.pid().context("the control plane runs")?;
    let idle = {
        let before = cpu_us(pid)?;
        sleep(IDLE).await;
        (cpu_us(pid)? - before) / IDLE.as_secs_f64()
    };
    api.create_app(app, 1).await?;
    let started = Instant::now();
    api.deploy_and_wait(app, image).await?;
    ensure!(
        started.elapsed() < LEAD,
        "deploying took too long to measure"
    );
    let begun = Instant::now();
    let before = cpu_us(pid)?;
    sleep((LEAD + Duration::from_secs(SECONDS.into())).saturating_sub(started.elapsed())).await;
    let deadline = Instant::now() + LATE;
    // What asking costs is not the collector's.
    let mut asking = 0.0;
    loop {
        sleep(Duration::from_millis(500)).await;
        let now = cpu_us(pid)?;
        let cost = now - before - asking - idle * begun.elapsed().as_secs_f64();
        let query = format!("app_name={app}&source_type=container&limit=1");
        let total = api.logs(&query).await?["total"].as_u64().unwrap_or(0);
        asking += cpu_us(pid)? - now;
        // The sample app says that it listens.
        let lines = total.saturating_sub(1);
        if lines >= LINES.into() || Instant::now() > deadline {
            #[expect(clippy::cast_precision_loss, reason = "a million is far below 2^53")]
            let cpu_us = cost / lines.max(1) as f64;
            return Ok(Collected { lines, cpu_us });
        }
    }
}

/// What the engine spends for each line when a client reads all of them.
async fn serve(instance: &Instance, app: &str, engine: u32) -> Result<f64> {
    let label = format!("com.flukedeploy.app={app}");
    let instance_label = format!("com.flukedeploy.instance={}", instance.name);
    let filters = HashMap::from([("label", vec![label.as_str(), instance_label.as_str()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let found = instance.docker.list_containers(Some(options)).await?;
    let id = found.into_iter().find_map(|container| container.id);
    let id = id.context("the printer has a container")?;
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .build();
    let before = cpu_us(engine)?;
    let lines = instance
        .docker
        .logs(&id, Some(options))
        .try_fold(0_u32, async |count, _| Ok(count + 1))
        .await?;
    let spent = cpu_us(engine)? - before;
    ensure!(lines >= LINES, "the engine read {lines} lines out");
    Ok(spent / f64::from(lines))
}

/// Used so far, in µs.
fn cpu_us(pid: u32) -> Result<f64> {
    /// Linux tells it in hundredths of a second.
    const TICK_US: f64 = 10_000.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(')').context("a process has a name")?;
    let mut ticks = 0.0;
    for field in behind_name.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks * TICK_US)
}

/// The process behind the engine's socket; `None` if that is another one.
async fn engine_pid() -> Result<Option<u32>> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    let socket = UnixStream::connect(Path::new(path)).await?;
    let Some(pid) = socket.peer_cred()?.pid() else {
        return Ok(None);
    };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pid = u32::try_from(pid)?;
    Ok((name.trim() == "dockerd").then_some(pid))
}
