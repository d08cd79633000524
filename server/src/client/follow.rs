//! Following a deployment to its end.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::api::{Api, Target};
use super::exit::{Exit, Failure};
use super::output::{self, Paint, note};
use super::report::{self, PHASES};
use crate::cli::Waiting;

/// How long a server that is away (it may restart) is asked again.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// What became of an act that the server accepted: waits for its end unless that is not wanted, shows it,
/// and says how the command ends.
pub(crate) async fn finish(
    api: &Api,
    accepted: Value,
    waiting: &Waiting,
    json: bool,
) -> anyhow::Result<Exit> {
    let id = accepted["deployment_id"]
        .as_str()
        .ok_or_else(|| Failure::unreadable("the answer names no deployment"))?
        .to_owned();
    if waiting.no_wait {
        if json {
            output::json(&accepted)?;
        } else {
            output::line(&id)?;
            note(&format!("follow it with: flukedeploy status {id} --watch"));
        }
        return Ok(Exit::Done);
    }
    to_the_end(api, &id, waiting.timeout, json).await
}

/// Follows it, shows how it ended, and says how the command ends.
pub(crate) async fn to_the_end(
    api: &Api,
    id: &str,
    timeout: Option<u64>,
    json: bool,
) -> anyhow::Result<Exit> {
    let mut going = Going(Some(id.to_owned()));
    let until = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut display = Display::new(json);
    let mut heard = Instant::now();
    let mut hold = 0;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_secs());
        let wait = left.map_or(hold, |left| hold.min(left));
        match state(api, id, wait).await {
            Ok(summary) => {
                heard = Instant::now();
                display.show(&summary)?;
                let ended = report::ended(&summary);
                let is_over = left == Some(0);
                if ended.is_some() || is_over {
                    if json {
                        output::json(&summary)?;
                    } else {
                        report::print(&summary)?;
                    }
                    if ended.is_some() {
                        going.0 = None;
                    }
                    return Ok(ended.unwrap_or(Exit::StillGoingOn));
                }
                hold = display.hold();
            }
            Err(error) => {
                let failure = error.downcast_ref::<Failure>();
                let pause = match failure {
                    Some(failure) if failure.exit == Exit::TooMany => {
                        Duration::from_secs(failure.retry_after.unwrap_or(5))
                    }
                    Some(failure)
                        if failure.exit == Exit::Unreachable && heard.elapsed() < PATIENCE =>
                    {
                        ASK_AGAIN
                    }
                    _ => return Err(error),
                };
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The answer is held back for so many seconds, unless it ends before.
async fn state(api: &Api, id: &str, wait: u64) -> anyhow::Result<Value> {
    let target = Target::of(&["deployments", id]).with("wait", (wait > 0).then_some(wait));
    api.call(Method::GET, &target, None, ANSWER_TIME).await
}

/// Says how to go on when the following ends before the deployment: stopped, cut off or out of time.
struct Going(Option<String>);

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(id) = &self.0 {
            note(&format!(
                "the deployment goes on: flukedeploy status {id} --watch"
            ));
        }
    }
}

/// Five phases: redrawn in their place on a terminal, a line for each change elsewhere, and nothing beside
/// JSON.
enum Display {
    Nothing,
    Lines { shown: Vec<String> },
    Redrawn { lines: usize },
}

impl Display {
    fn new(json: bool) -> Self {
        if json {
            Self::Nothing
        } else if io::stderr().is_terminal() && !output::is_dumb() {
            Self::Redrawn { lines: 0 }
        } else {
            Self::Lines { shown: Vec::new() }
        }
    }

    /// How often there is something to show, in seconds.
    fn hold(&self) -> u64 {
        match self {
            Self::Redrawn { .. } => 1,
            Self::Lines { .. } => 3,
            Self::Nothing => 25,
        }
    }

    fn show(&mut self, summary: &Value) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Lines { shown } => {
                if shown.is_empty() {
                    note(&report::head(summary));
                    shown.resize(PHASES.len(), "pending".to_owned());
                }
                for (phase, shown) in PHASES.into_iter().zip(shown) {
                    let status = output::text(&summary["phases"][phase]["status"]);
                    if status != *shown {
                        note(&report::phase(summary, phase, Paint(false)));
                        *shown = status;
                    }
                }
                Ok(())
            }
            Self::Redrawn { lines } => {
                let mut out = io::stderr().lock();
                if *lines > 0 {
                    write!(out, "\u{1b}[{lines}A")?;
                }
                let (paint, width) = (Paint::for_stderr(), width());
                let mut all = vec![cut(&report::head(summary), width)];
                for phase in PHASES {
                    // Painted after it was cut: what is not shown in full would move the rest.
                    let plain = report::phase(summary, phase, Paint(false));
                    all.push(if plain.chars().count() > width {
                        cut(&plain, width)
                    } else {
                        report::phase(summary, phase, paint)
                    });
                }
                *lines = all.len();
                for line in all {
                    writeln!(out, "\u{1b}[2K{line}")?;
                }
                out.flush()
            }
        }
    }
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

/// Of the terminal, in characters.
fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
        .unwrap_or(80)
}
