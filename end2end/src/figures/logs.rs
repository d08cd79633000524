//! The log store, measured in its own process on one core. Black box here: the program beside us
//! knows the store and its peers, and we pass on what it says.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::figures::Report;
use crate::{lease, profile_directory, random_name};

/// Over so many lines, or as many as the goals speak of.
pub(super) async fn run(report: &mut Report, lines: Option<u64>) -> Result<()> {
    let program = profile_directory()?.join("examples").join("figures");
    ensure!(
        program.is_file(),
        "no program at {}: run `cargo build --release -p flukedeploy-logs --example figures`",
        program.display()
    );
    let directory = lease::directory().join(format!("figures-{}", random_name(8)));
    let mut command = Command::new(program);
    command
        .arg(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command.args(lines.map(|lines| lines.to_string()));
    let mut child = command.spawn().context("starting the store's figures")?;
    let told = child.stdout.take().context("its output is ours")?;
    let mut told = BufReader::new(told).lines();
    while let Some(line) = told.next_line().await? {
        let mut parts = line.splitn(3, '\t');
        let mut next = || parts.next().unwrap_or_default();
        report.line(next(), next(), next())?;
    }
    let status = child.wait().await?;
    // It removes what it wrote when all went well.
    let _ = std::fs::remove_dir_all(&directory);
    ensure!(status.success(), "the store's figures ended with {status}");
    Ok(())
}
