//! The disk with the logs fills up: that is said, nothing else stops, and nothing is missing afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::stream::Stream;
use flukedeploy_end2end::wait;
use http::header::COOKIE;
use serde_json::Value;

use crate::bed::Bed;
use crate::live::sign_in;

const PATIENCE: Duration = Duration::from_mins(2);
/// In MiB, of which a twentieth is left to others.
const DISK: u64 = 128;
const FLOOR: u64 = (DISK << 20) / 20;
/// More than the space and the room in memory for lines that cannot be stored.
const LINES: usize = 120_000;
const RATE: u32 = 6_000;
const PASSWORD: &str = "correct-horse-battery";
const STOPPED: &str = "Log entries cannot be stored now";
const AGAIN: &str = "Log entries are stored again";

fn options(min_free_mb: u64) -> Options {
    Options {
        admin_password: Some(PASSWORD.to_owned()),
        logs_disk_mb: Some(DISK),
        arguments: vec!["--log-min-free-mb".to_owned(), min_free_mb.to_string()],
        ..Options::default()
    }
}

fn number(entry: &Value) -> Option<usize> {
    let rest = entry["message"].as_str()?.strip_prefix("line ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Every line once and in order.
fn expect_all(what: &str, entries: &[Value]) -> Result<()> {
    let numbers: Vec<usize> = entries.iter().filter_map(number).collect();
    let wrong = numbers
        .iter()
        .zip(1..)
        .find(|(found, wanted)| **found != *wanted);
    ensure!(
        numbers.len() == LINES && wrong.is_none(),
        "{what}: {} lines, first wrong: {wrong:?}",
        numbers.len()
    );
    Ok(())
}

impl Bed {
    async fn chatter(&self) -> Result<()> {
        self.api.create_app("chat", 1).await?;
        let lines = Sample::version("v1").logs_lines(u32::try_from(LINES)?);
        let image = self.image(lines.at_a_rate(RATE, 2_000)).await?;
        self.api.deploy_and_wait("chat", &image).await?;
        Ok(())
    }

    async fn lines_stored(&self) -> Result<u64> {
        let query = "app_name=chat&source_type=container&since_minutes=60&limit=1";
        let answer = self.api.logs(query).await?;
        answer["total"].as_u64().context("no total")
    }

    /// What the system says of its logs.
    async fn trouble(&self) -> Result<Option<String>> {
        let system = self.api.get("/system").await?.ok()?;
        let problems = system["problems"].as_array().context("problems")?;
        let mut problems = problems.iter().filter_map(Value::as_str);
        Ok(problems
            .find(|problem| problem.contains("log entries cannot be stored"))
            .map(ToOwned::to_owned))
    }

    /// Waits until it is said, and nothing is stored.
    async fn stands_still(&self) -> Result<u64> {
        wait::until("log storage to stand still", PATIENCE, || async {
            self.trouble().await
        })
        .await?;
        let stored = self.lines_stored().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(self.lines_stored().await? == stored, "something is stored");
        Ok(stored)
    }

    async fn expect_all_stored(&self) -> Result<()> {
        wait::until("all lines to be stored", PATIENCE, || async {
            Ok((self.lines_stored().await? > LINES as u64).then_some(()))
        })
        .await?;
        let path = "/logs/export?app_name=chat&source_type=container";
        let request = self.api.request(http::Method::GET, path);
        let text = request.send().await?.error_for_status()?.text().await?;
        let entries = text.lines().map(serde_json::from_str);
        expect_all("stored", &entries.collect::<Result<Vec<_>, _>>()?)
    }
}

async fn heard(stream: &Stream, text: &str) -> Result<()> {
    let is_it = |frame: &Value| {
        let message = frame["message"].as_str().unwrap_or_default();
        message.starts_with(text) && frame["source"]["type"] == "system"
    };
    stream.wait_for(text, PATIENCE, is_it).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_log_storage_alone_and_all_is_there_once_it_has_space() -> Result<()> {
    let bed = Bed::start_for_load("full", options(512)).await?;
    let disk = bed.instance.logs_disk()?;
    let lines = bed
        .instance
        .stream("app_name=chat&source_type=container")
        .await?;
    let system = bed.instance.stream("app_name=_system").await?;
    disk.fill_to(FLOOR + (3 << 19))?;
    bed.chatter().await?;
    heard(&system, STOPPED).await?;
    bed.stands_still().await?;

    // Everything else goes on, and says why this does not.
    bed.app_on_v1("shop", 1).await?;
    let second = bed.image(Sample::version("v2").logs_lines(2_000)).await?;
    bed.api.deploy_and_wait("shop", &second).await?;
    bed.expect_serving("shop", "v2").await?;
    wait::until("all lines to be heard", PATIENCE, || async {
        let last = lines.entries().last().and_then(number);
        Ok((last == Some(LINES)).then_some(()))
    })
    .await
    .with_context(|| format!("{} lines came", lines.entries().len()))?;
    expect_all("heard", &lines.entries())?;
    let stored = bed.stands_still().await?;
    ensure!(stored < LINES as u64, "{stored} lines are stored");
    ensure!(disk.free()? >= FLOOR / 2, "it took what is left to others");
    let session = sign_in(&bed, PASSWORD).await?;
    let page = reqwest::Client::new()
        .get(format!("{}/system", bed.instance.url()))
        .header(COOKIE, session);
    let page = page.send().await?.error_for_status()?.text().await?;
    ensure!(
        page.contains("og entries cannot be stored now") && page.contains("left to others"),
        "the page says nothing of it"
    );

    disk.clear()?;
    heard(&system, AGAIN).await?;
    ensure!(bed.trouble().await?.is_none());
    bed.expect_all_stored().await?;
    expect_all("heard, once", &lines.entries())?;
    for text in [STOPPED, AGAIN] {
        let is_it = |entry: &&Value| {
            let message = entry["message"].as_str().unwrap_or_default();
            message.starts_with(text)
        };
        let count = system.entries().iter().filter(is_it).count();
        ensure!(count == 1, "{count} entries say: {text}");
        let stored = bed.api.logs("app_name=_system&limit=1000").await?;
        let stored = stored["logs"].as_array().context("logs")?;
        let count = stored.iter().filter(is_it).count();
        ensure!(count == 1, "{count} entries are stored that say: {text}");
    }
    // What was printed by the other app meanwhile, too.
    wait::until("the other app's lines", PATIENCE, || async {
        let query = "app_name=shop&source_type=container&since_minutes=60&limit=1";
        let total = bed.api.logs(query).await?["total"].as_u64();
        Ok((total == Some(2_002)).then_some(()))
    })
    .await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_truly_fail_lose_nothing_not_even_across_a_kill() -> Result<()> {
    let mut bed = Bed::start_for_load("nospc", options(0)).await?;
    bed.instance.logs_disk()?.fill_to(1 << 20)?;
    bed.chatter().await?;
    let stored = bed.stands_still().await?;
    ensure!(stored > 1_000, "{stored} lines are stored");
    bed.instance.logs_disk()?.fill_to(0)?;
    bed.stands_still().await?;
    ensure!(bed.instance.exit_status()?.is_none(), "the process ended");

    // It starts on a full disk, and has what it had.
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    bed.api = bed.instance.api();
    let after = bed.stands_still().await?;
    ensure!(after == stored, "{stored} lines were stored, now {after}");
    let system = bed.instance.stream("app_name=_system").await?;
    bed.app_on_v1("shop", 1).await?;

    bed.instance.logs_disk()?.clear()?;
    heard(&system, AGAIN).await?;
    bed.expect_all_stored().await?;
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    bed.api = bed.instance.api();
    bed.expect_all_stored().await?;
    bed.finish().await
}
