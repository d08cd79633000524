//! The figures the product is measured by, each with its goal, in parts that can be run alone.
//! Comparisons are ratios taken in turns on the same machine in the same run.

mod by_hand;
mod collecting;
mod deploying;
mod idle;
mod logs;
mod streaming;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::soak;

/// The names of all parts, in the order in which they run.
pub const PARTS: [&str; 6] = ["deploy", "idle", "crash", "logs", "collecting", "stream"];

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

/// What to measure.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Names of parts; none: all of them.
    parts: Vec<String>,
    /// Log lines to search, if not as many as the goals speak of.
    lines: Option<u64>,
}

impl Wanted {
    /// Reads `[PART...] [--lines N]`.
    ///
    /// # Errors
    /// A name is unknown, or a number is missing.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut wanted = Self::default();
        while let Some(argument) = arguments.next() {
            if argument == "--lines" {
                let lines = arguments.next().context("--lines needs a number")?;
                wanted.lines = Some(lines.parse().context("--lines needs a number")?);
                continue;
            }
            ensure!(
                PARTS.contains(&argument.as_str()),
                "no part {argument:?}: there are {}",
                PARTS.join(", ")
            );
            wanted.parts.push(argument);
        }
        Ok(wanted)
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|name| name == part)
    }
}

/// Measures one part after the other.
///
/// # Errors
/// A part could not be measured; those after it are measured all the same.
pub async fn run(wanted: &Wanted) -> Result<()> {
    let mut report = Report::default();
    let mut failed = Vec::new();
    for part in PARTS.into_iter().filter(|part| wanted.has(part)) {
        if let Err(error) = measure(part, wanted, &mut report).await {
            report.line(part, "FAILED", "")?;
            failed.push(format!("{part}: {error:?}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn measure(part: &str, wanted: &Wanted, report: &mut Report) -> Result<()> {
    match part {
        "deploy" => deploying::run(report).await,
        "idle" => idle::run(report).await,
        "crash" => {
            // Bounded: about five minutes.
            let soak = soak::run(CRASHES).await?;
            report.line("kill -9 at random moments", &soak.to_string(), "all sound")?;
            soak.expect_sound()
        }
        "logs" => logs::run(report, wanted.lines).await,
        "collecting" => collecting::run(report).await,
        "stream" => streaming::run(report).await,
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
