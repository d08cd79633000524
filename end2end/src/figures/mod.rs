//! The figures the product is measured by, each with its goal, in parts that can be run alone.
//! Comparisons are ratios taken in turns on the same machine in the same run.

mod by_hand;
mod deploying;
mod idle;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::soak;

/// The names of all parts, in the order in which they run.
pub const PARTS: [&str; 3] = ["deploy", "idle", "crash"];

/// What stands in place of a figure whose peer is not installed here.
const NOT_MEASURED: &str = "not measured";
const DEADLINE: Duration = Duration::from_mins(1);
const CRASHES: usize = 100;

/// Takes a figure and tells it.
#[derive(Debug, Default)]
pub struct Report {
    lines: usize,
}

impl Report {
    /// One line: what was measured, the figure, and its goal, which may be empty.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn line(&mut self, what: &str, figure: &str, goal: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.lines == 0 {
            writeln!(out, "{:<40}  {:<44}  goal", "what", "figure")?;
        }
        self.lines += 1;
        let line = format!("{what:<40}  {figure:<44}  {goal}");
        writeln!(out, "{}", line.trim_end())?;
        out.flush().context("telling a figure")
    }
}

/// Measures the parts of these names, or all.
///
/// # Errors
/// A name is unknown, or a part could not be measured; those after it are measured all the same.
pub async fn run(names: &[String]) -> Result<()> {
    for name in names {
        ensure!(
            PARTS.contains(&name.as_str()),
            "no part {name:?}: there are {}",
            PARTS.join(", ")
        );
    }
    let mut report = Report::default();
    let mut failed = Vec::new();
    for part in PARTS {
        if !names.is_empty() && !names.iter().any(|name| name == part) {
            continue;
        }
        if let Err(error) = measure(part, &mut report).await {
            report.line(part, "FAILED", "")?;
            failed.push(format!("{part}: {error:?}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn measure(part: &str, report: &mut Report) -> Result<()> {
    match part {
        "deploy" => deploying::run(report).await,
        "idle" => idle::run(report).await,
        "crash" => {
            // Bounded: about five minutes.
            let soak = soak::run(CRASHES).await?;
            report.line("kill -9 at random moments", &soak.to_string(), "all sound")?;
            soak.expect_sound()
        }
        _ => bail!("no part {part:?}"),
    }
}

/// Median and range.
pub fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return NOT_MEASURED.to_owned();
    };
    format!("{:.2} ({least:.2}..{most:.2})", values[values.len() / 2])
}
