//! Every line that replicas print is stored once, whatever happens to the control plane meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use serde_json::Value;

use crate::bed::Bed;

const REPLICAS: u32 = 4;
const LINES: u32 = 25_000;
const PATIENCE: Duration = Duration::from_mins(3);

/// The numbers that each replica's lines have, in the order in which they are stored.
async fn numbers(bed: &Bed) -> Result<HashMap<String, Vec<u32>>> {
    let request = bed.api.request(
        http::Method::GET,
        "/logs/export?app_name=shop&source_type=container",
    );
    let text = request.send().await?.error_for_status()?.text().await?;
    let mut found: HashMap<String, Vec<u32>> = HashMap::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let message = entry["message"].as_str().context("no message")?;
        let number = message
            .strip_prefix("line ")
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok());
        let task = entry["source"]["task_id"].as_str().context("no replica")?;
        if let Some(number) = number {
            found.entry(task.to_owned()).or_default().push(number);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_missing_or_double_after_three_kills() -> Result<()> {
    let mut bed = Bed::start_for_load("lines", Options::default()).await?;
    bed.api.create_app("shop", REPLICAS).await?;
    let image = bed.image(Sample::version("v1").logs_lines(LINES)).await?;
    let id = bed.api.deploy("shop", &image).await?;
    // In the midst of the lines, wherever that is each time.
    for pause_ms in [1_500, 700, 1_100] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        bed.instance.kill_9().await?;
        bed.instance.restart().await?;
        bed.api = bed.instance.api();
    }
    let ended = bed.api.wait_final(&id).await?;
    ensure!(ended["status"] == "success", "{ended:#}");
    let wanted = (REPLICAS * LINES) as usize;
    let mut seen = 0;
    wait::until("all lines to be stored", PATIENCE, || async {
        let query = "app_name=shop&q=line&source_type=container&limit=1";
        let total = bed.api.logs(query).await?["total"].as_u64();
        Ok(total
            .is_some_and(|total| total >= wanted as u64)
            .then_some(()))
    })
    .await?;
    // Doubles would come a moment later than what is missing.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stored = numbers(&bed).await?;
    for (task, numbers) in &stored {
        ensure!(
            numbers.iter().copied().eq(1..=LINES),
            "{task}: {} lines, the first wrong one is {:?}",
            numbers.len(),
            numbers
                .iter()
                .zip(1..)
                .find(|(number, wanted)| **number != *wanted)
        );
        seen += numbers.len();
    }
    ensure!(seen == wanted && stored.len() == REPLICAS as usize);
    bed.finish().await
}
