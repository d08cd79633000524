//! `flukedeploy logs`: what apps and deployments say, on the terminal.

use std::collections::{HashSet, VecDeque};
use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use bytes::{Bytes, BytesMut};
use flukedeploy_domain::log_entry::{LogEntry, plain_line};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::ports::{Clock as _, SystemClock};
use http::header::ACCEPT;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use serde_json::Value;

use crate::cli::Logs;
use crate::client::api::{Api, Target};
use crate::client::exit::{Exit, Failure};
use crate::client::output::{escaped, note};
use crate::http_client;

const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The server says something every 15 s; after three times that it is gone.
const SILENCE: Duration = Duration::from_secs(45);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Entries remembered: should the one that was shown last be gone from the store, some come twice.
const REMEMBERED: usize = 2_000;
/// Longest event read, in bytes.
const MAX_EVENT: usize = 1024 * 1024;

pub(crate) async fn run(args: &Logs) -> anyhow::Result<Exit> {
    crate::telemetry::start("warn");
    let api = Api::of(&args.client)?;
    if args.follow {
        follow(args, &api).await?;
    } else {
        show(args, &api).await?;
    }
    Ok(Exit::Done)
}

/// The parameters that `/logs` and `/logs/stream` share.
fn target(args: &Logs, parts: &[&str]) -> Target {
    Target::of(parts)
        .with("app_name", args.app.as_ref())
        .with("deployment_id", args.deployment.as_ref())
        .with("min_level", args.level.as_ref())
}

async fn show(args: &Logs, api: &Api) -> anyhow::Result<()> {
    let target = target(args, &["logs"])
        .with("limit", Some(args.lines))
        .with("q", args.query.as_ref())
        .with("since_minutes", args.since_minutes)
        .with("since", args.since.as_ref());
    let mut answer = api.get(&target).await?;
    let entries: Vec<LogEntry> = serde_json::from_value(answer["logs"].take())?;
    for entry in entries.iter().rev() {
        print(args, entry)?;
    }
    Ok(())
}

/// Goes on after a lost connection, without a gap or a double.
async fn follow(args: &Logs, api: &Api) -> anyhow::Result<()> {
    if args.query.is_some() {
        return Err(
            Failure::usage("--query looks into what is stored", "leave --follow out").into(),
        );
    }
    let mut shown = Shown::default();
    let mut was_connected = false;
    loop {
        // What was shown last is where it goes on.
        let (name, value) = match &shown.last {
            Some(id) => ("since", id.clone()),
            None => start(args),
        };
        let target = target(args, &["logs", "stream"]).with(name, Some(value));
        let mut request = api
            .request(Method::GET, &target)?
            .body(Empty::<Bytes>::new())?;
        let accepted = HeaderValue::from_static("application/json, text/event-stream");
        request.headers_mut().insert(ACCEPT, accepted);
        match http_client::open(request, ANSWER_TIME).await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                was_connected = true;
                read(args, answer, &mut shown).await?;
            }
            Ok(answer) if answer.status().is_server_error() && was_connected => {}
            Ok(answer) => {
                let status = answer.status();
                let body = http_client::whole(answer.into_body()).await?;
                return Err(Failure::of_answer(status, &body, None).into());
            }
            Err(error) if !was_connected => return Err(api.unreachable(&error).into()),
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// With which stored entries it begins.
fn start(args: &Logs) -> (&'static str, String) {
    if let Some(since) = &args.since {
        return ("since", since.clone());
    }
    match args.since_minutes {
        Some(minutes) => {
            let now = SystemClock.now();
            let at = now.checked_sub(time::Duration::minutes(minutes.into()));
            let at = at.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
            ("since", timestamp::to_wire(at))
        }
        None => ("tail", args.lines.to_string()),
    }
}

/// Until the connection is lost.
async fn read(args: &Logs, answer: Response<Incoming>, shown: &mut Shown) -> anyhow::Result<()> {
    let mut body = answer.into_body();
    let mut buffer = BytesMut::new();
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            buffer.extend_from_slice(&data);
        }
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event = buffer.split_to(end + 2);
            handle(args, &String::from_utf8_lossy(&event), shown)?;
        }
        if buffer.len() > MAX_EVENT {
            bail!("the server sends an event without end");
        }
    }
    Ok(())
}

fn handle(args: &Logs, event: &str, shown: &mut Shown) -> anyhow::Result<()> {
    let field = |name: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let Some(data) = field("data") else {
        return Ok(());
    };
    match field("event") {
        Some("dropped") => {
            let count = serde_json::from_str::<Value>(data)?["count"].clone();
            note(&format!(
                "-- {count} entries were missed: this reader is too slow --"
            ));
            Ok(())
        }
        Some("error") => {
            let told: Value = serde_json::from_str(data)?;
            bail!(
                "the server ended the stream: {}",
                told["message"].as_str().unwrap_or("no reason given")
            )
        }
        Some(_) => Ok(()),
        None => {
            let entry: LogEntry = serde_json::from_str(data)?;
            if shown.is_new(&entry.id) {
                print(args, &entry)?;
            }
            Ok(())
        }
    }
}

/// Ids of the entries that were shown last.
#[derive(Default)]
struct Shown {
    last: Option<String>,
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Shown {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.last = Some(id.to_owned());
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

fn print(args: &Logs, entry: &LogEntry) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", escaped(&serde_json::to_string(entry)?))?;
    } else {
        writeln!(out, "{}", plain_line(entry))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, LogSource, SourceType};
    use time::OffsetDateTime;

    #[test]
    fn what_an_app_printed_does_not_speak_to_the_terminal() {
        let source = LogSource {
            kind: SourceType::Container,
            container_name: "shop".to_owned(),
            service_id: None,
            node_id: None,
            task_id: None,
            stream: None,
        };
        let metadata = LogMetadata::new(EventType::DeployStart, "shop");
        let message = "red \u{1b}[31m\u{7}\u{9b}2J\tend";
        let at = OffsetDateTime::UNIX_EPOCH;
        let entry = LogEntry::new(at, 1, Level::Warn, message, source, metadata);
        assert_eq!(
            plain_line(&entry),
            "1970-01-01T00:00:00.000Z warn  shop red [31m2J\tend"
        );
    }

    #[test]
    fn an_entry_is_shown_once_and_memory_is_bounded() {
        let mut shown = Shown::default();
        for number in 0..5_000 {
            assert!(shown.is_new(&number.to_string()));
            assert!(!shown.is_new(&number.to_string()));
        }
        assert_eq!(shown.ids.len(), REMEMBERED);
        assert_eq!(shown.last.as_deref(), Some("4999"));
        assert_eq!(shown.ids.len(), shown.order.len());
    }
}
