//! `flukedeploy logs`, as somebody at a terminal uses it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::bed::Bed;

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_entries_are_printed_and_followed_over_a_crash_of_the_server() -> Result<()> {
    let mut bed = Bed::start("tail", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let image = bed.image(Sample::version("v1").logs_lines(3)).await?;
    bed.api.deploy_and_wait("shop", &image).await?;

    let printed = bed
        .instance
        .command("logs")?
        .args(["shop", "--query", "line 2 of 3", "--json"])
        .output()
        .await?;
    ensure!(printed.status.success(), "{printed:?}");
    let entry: serde_json::Value = serde_json::from_slice(&printed.stdout)?;
    ensure!(entry["message"] == "line 2 of 3", "{entry}");
    let refused = bed
        .instance
        .command("logs")?
        .args(["shop", "--level", "loud"])
        .output()
        .await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("debug, info, warn or error"),
        "{refused:?}"
    );

    let mut following = bed
        .instance
        .command("logs")?
        .args(["shop", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = following.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    // The one that is stored tells that it listens.
    tokio::time::timeout(PATIENCE, lines.next_line()).await??;
    let mut seen = Vec::new();
    for replicas in [2, 3] {
        bed.change("shop", json!({"replicas": replicas})).await?;
    }
    changes(&mut lines, &mut seen, 2).await?;
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    bed.api = bed.instance.api();
    for replicas in [4, 5] {
        bed.change("shop", json!({"replicas": replicas})).await?;
    }
    changes(&mut lines, &mut seen, 4).await?;
    seen.sort();
    seen.dedup();
    ensure!(seen.len() == 4, "some came twice: {seen:?}");
    following.kill().await?;
    bed.finish().await
}

/// Reads until so many lines about changed settings have come.
async fn changes(
    lines: &mut Lines<BufReader<ChildStdout>>,
    seen: &mut Vec<String>,
    count: usize,
) -> Result<()> {
    while seen.len() < count {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .with_context(|| format!("only these came: {seen:?}"))??
            .context("it stopped following")?;
        if line.contains("changed replicas") {
            seen.push(line);
        }
    }
    Ok(())
}
