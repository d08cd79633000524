//! Receivers of forwarded log entries, and the line to them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::forwarder::SyslogAddress;
use flukedeploy_platform::ports::{LogAnswer, LogPost, LogReceivers, OutgoingError};
use serde_json::Value;

/// What a receiver does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Down,
    /// It answers in time only if there are no more entries than this.
    Slow(usize),
    /// It answers 413 if there are more entries than this.
    Small(usize),
    Answers(u16),
    /// 429, and to be asked again after so many seconds.
    Busy(u32),
    /// It takes it, and its answer never comes.
    Silent,
    /// It takes all but so many.
    Refuses(u32),
}

/// One batch as it came.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) address: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) messages: Vec<String>,
    pub(crate) taken: bool,
}

impl Batch {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    moods: Vec<(String, Mood)>,
    batches: Vec<Batch>,
}

/// All that listens outside; it outlives control planes.
#[derive(Default)]
pub(crate) struct Sinks(Mutex<State>);

impl Sinks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the one at this address does from now on.
    pub(crate) fn is(&self, address: &str, mood: Mood) {
        let mut state = self.lock();
        state.moods.retain(|(known, _)| known != address);
        state.moods.push((address.to_owned(), mood));
    }

    pub(crate) fn batches(&self, address: &str) -> Vec<Batch> {
        let state = self.lock();
        let here = state.batches.iter().filter(|b| b.address.contains(address));
        here.cloned().collect()
    }

    /// What was taken, each message once, in the order of first arrival.
    pub(crate) fn taken(&self, address: &str) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let batches = self.batches(address).into_iter().filter(|b| b.taken);
        let messages = batches.flat_map(|batch| batch.messages);
        messages.filter(|one| seen.insert(one.clone())).collect()
    }

    async fn take(&self, batch: Batch) -> Result<LogAnswer, OutgoingError> {
        let count = batch.messages.len();
        let mood = {
            let mut state = self.lock();
            let found = state
                .moods
                .iter()
                .find(|(known, _)| batch.address.contains(known));
            let mood = found.map_or(Mood::Well, |(_, mood)| *mood);
            let taken = match mood {
                Mood::Well | Mood::Silent | Mood::Refuses(_) => true,
                Mood::Slow(most) | Mood::Small(most) => count <= most,
                Mood::Down | Mood::Answers(_) | Mood::Busy(_) => false,
            };
            state.batches.push(Batch { taken, ..batch });
            mood
        };
        let answer = |status| LogAnswer {
            status,
            ..LogAnswer::default()
        };
        match mood {
            Mood::Slow(most) if count > most => {
                Err(OutgoingError::TimedOut(Duration::from_secs(20)))
            }
            Mood::Small(most) if count > most => Ok(answer(413)),
            Mood::Well | Mood::Slow(_) | Mood::Small(_) => Ok(answer(200)),
            Mood::Down => Err(OutgoingError::NotConnected(std::io::Error::other("no"))),
            Mood::Answers(status) => Ok(answer(status)),
            Mood::Busy(seconds) => Ok(LogAnswer {
                retry_after: Some(seconds.to_string()),
                ..answer(429)
            }),
            Mood::Silent => std::future::pending().await,
            Mood::Refuses(count) => {
                let body = format!(r#"{{"partialSuccess":{{"rejectedLogRecords":"{count}"}}}}"#);
                Ok(LogAnswer {
                    body: body.into(),
                    ..answer(200)
                })
            }
        }
    }
}

#[async_trait]
impl LogReceivers for Sinks {
    async fn post(&self, request: &LogPost) -> Result<LogAnswer, OutgoingError> {
        let messages = match request.content_type {
            "application/x-ndjson" => lines(&request.body),
            _ => records(&request.body),
        };
        let batch = Batch {
            address: request.url.as_str().to_owned(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            messages,
            taken: false,
        };
        self.take(batch).await
    }

    async fn syslog(&self, to: &SyslogAddress, messages: &[Bytes]) -> Result<(), OutgoingError> {
        let texts = messages.iter().map(|message| {
            let text = std::str::from_utf8(message).unwrap();
            text.split_once('\u{feff}').unwrap().1.to_owned()
        });
        let batch = Batch {
            address: to.to_string(),
            headers: Vec::new(),
            body: Bytes::new(),
            messages: texts.collect(),
            taken: false,
        };
        match self.take(batch).await?.status {
            200 => Ok(()),
            _ => Err(OutgoingError::Broken("reset".into())),
        }
    }
}

fn lines(body: &[u8]) -> Vec<String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let entry: Value = serde_json::from_slice(line).unwrap();
            entry["message"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn records(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let groups = body["resourceLogs"].as_array().unwrap().iter();
    let records = groups.flat_map(|group| {
        let records = group["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.iter().map(|record| {
            let text = record["body"]["stringValue"].as_str();
            text.unwrap().to_owned()
        })
    });
    records.collect()
}
