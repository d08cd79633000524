//! Every line that replicas print is stored once and in order, whatever happens to the control plane
//! and the engine meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use flukedeploy_end2end::api::Api;
use flukedeploy_end2end::cluster::{self, Cluster};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::lease::Lease;
use flukedeploy_end2end::wait;
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::json;

const REPLICAS: usize = 4;
/// Of each replica; with those that are started anew it is more in all than `WANTED`.
const LINES: usize = 220_000;
/// So many a second: what is killed is killed while it has much to do.
const RATE: u32 = 8_000;
const WANTED: usize = 1_000_000;
/// Stored before the engine is restarted, so that the replicas after it make up the rest.
const BEFORE: usize = WANTED - REPLICAS * LINES + 30_000;
const PATIENCE: Duration = Duration::from_mins(6);

#[derive(Deserialize)]
struct Entry {
    message: String,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    task_id: Option<String>,
}

/// Replicas by their tasks.
type Counts = HashMap<String, usize>;

fn number(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("line ")?;
    rest.split(' ').next()?.parse().ok()
}

/// A replica and its log file, open: Swarm may remove what has ended.
struct Printer {
    task: String,
    log: File,
}

impl Printer {
    /// Those that run.
    async fn all(docker: &Docker) -> Result<Vec<Self>> {
        let labels = HashMap::from([("label", vec!["com.flukedeploy.app=shop"])]);
        let options = ListContainersOptionsBuilder::default()
            .filters(&labels)
            .build();
        let mut found = Vec::new();
        for container in docker.list_containers(Some(options)).await? {
            let labels = container.labels.unwrap_or_default();
            let task = labels.get("com.docker.swarm.task.id");
            let id = container.id.context("a container has an id")?;
            let about = docker
                .inspect_container(&id, None::<InspectContainerOptions>)
                .await?;
            let path = about.log_path.context("a container has a log")?;
            found.push(Self {
                task: task.context("a container of a task")?.clone(),
                log: File::open(&path).context(path)?,
            });
        }
        Ok(found)
    }

    /// How many lines it printed so far.
    fn count(&self) -> Result<usize> {
        let mut log = &self.log;
        log.rewind()?;
        let mut count = 0;
        for line in BufReader::new(log).split(b'\n') {
            count += usize::from(line?.starts_with(br#"{"log":"line "#));
        }
        Ok(count)
    }
}

fn count(printers: &[Printer]) -> Result<Counts> {
    let counts = printers
        .iter()
        .map(|one| Ok((one.task.clone(), one.count()?)));
    counts.collect()
}

/// How many lines each replica has in the store: they are 1, 2, 3 and so on, or it fails.
async fn stored(api: &Api) -> Result<Counts> {
    let request = api.request(
        http::Method::GET,
        "/logs/export?app_name=shop&source_type=container",
    );
    let request = request.timeout(PATIENCE);
    let mut body = request.send().await?.error_for_status()?.bytes_stream();
    let mut stored = Counts::new();
    let mut rest = Vec::new();
    while let Some(piece) = body.try_next().await? {
        rest.extend_from_slice(&piece);
        let end = rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        for line in rest[..end].split_inclusive(|byte| *byte == b'\n') {
            let entry: Entry = serde_json::from_slice(line)
                .with_context(|| String::from_utf8_lossy(line).into_owned())?;
            let Some(number) = number(&entry.message) else {
                continue;
            };
            let task = entry.source.task_id.context("no replica")?;
            let last = stored.entry(task).or_default();
            ensure!(number == *last + 1, "line {number} behind line {last}");
            *last = number;
        }
        rest.drain(..end);
    }
    Ok(stored)
}

/// Waits until so many lines are stored.
async fn wait_for(cluster: &Cluster, lines: usize) -> Result<()> {
    let api = cluster.api();
    wait::until(&format!("{lines} lines to be stored"), PATIENCE, || async {
        let query = "app_name=shop&source_type=container&since_minutes=60&limit=1";
        let total = api.logs(query).await?["total"].as_u64();
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(total
            .is_some_and(|total| total >= lines as u64)
            .then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_of_a_million_is_missing_or_double_after_kills_and_a_restart_of_the_engine()
-> Result<()> {
    if let Some(reason) = cluster::missing() {
        eprintln!("SKIPPED numbered lines: {reason}");
        return Ok(());
    }
    let _machine = Lease::take("load").await?;
    let mut cluster = Cluster::start().await?;
    // All on the node whose engine is restarted, and whose files are read.
    cluster.open_worker(false).await?;
    let app = json!({
        "app_name": "shop", "container_port": 8080, "replicas": REPLICAS,
        "health": {"path": "/health", "deadline_seconds": 60},
    });
    cluster.api().post("/apps", &app).await?.ok()?;
    let sample = Sample::version("v1")
        .logs_lines(u32::try_from(LINES)?)
        .at_a_rate(RATE, 0);
    let image = cluster.image(&sample, "v1").await?;
    cluster.api().deploy_and_wait("shop", &image).await?;

    let mut printers = Printer::all(&cluster.docker).await?;
    ensure!(printers.len() == REPLICAS);

    for lines in [20_000, BEFORE] {
        wait_for(&cluster, lines).await?;
        cluster.kill_server().await?;
        cluster.start_server().await?;
    }
    cluster.restart_engine().await?;
    let before = count(&printers)?;
    // With their containers, Swarm may remove the files of those that ended: who reads them has to
    // live until it has come to their end.
    wait_for(&cluster, before.values().sum()).await?;
    let running = wait::until("the replicas to run again", PATIENCE, || async {
        let found = Printer::all(&cluster.docker).await?;
        Ok((found.len() == REPLICAS).then_some(found))
    });
    let again = running.await?;
    wait_for(&cluster, before.values().sum::<usize>() + 50_000).await?;
    cluster.kill_server().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.start_server().await?;

    wait::until("all replicas to have printed", PATIENCE, || async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = count(&again)?;
        Ok(counts.values().all(|count| *count == LINES).then_some(()))
    })
    .await?;
    printers.extend(again);
    let printed = count(&printers)?;
    ensure!(count(&printers[..REPLICAS])? == before, "they ended");
    ensure!(printed.len() == 2 * REPLICAS, "{printed:?}");
    let all: usize = printed.values().sum();
    ensure!(all >= WANTED, "{printed:?}");
    // Beside these, each has said that it listens.
    wait_for(&cluster, all + printed.len()).await?;
    // Doubles would come a moment later than what is missing.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stored = stored(&cluster.api()).await?;
    ensure!(stored == printed, "printed {printed:?}, stored {stored:?}");
    cluster.finish().await
}
