//! Log entries arrive elsewhere: over a real connection, in order, whatever the receiver and the
//! control plane go through meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::bed::Bed;

const LINES: u32 = 12_000;
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Reads a little and closes, so that the system sends a reset.
    Resets,
    /// Accepts, and reads nothing.
    Hangs,
    Takes,
}

struct State {
    mood: Mood,
    /// Of batches that were read to their end.
    taken: Vec<String>,
    attempts: usize,
}

/// A syslog receiver (RFC 6587, octet counting) on a port of its own.
#[derive(Clone)]
struct Receiver {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self {
            state: Arc::new(Mutex::new(State {
                mood: Mood::Resets,
                taken: Vec::new(),
                attempts: 0,
            })),
            port: listener.local_addr()?.port(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        Ok(receiver)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is(&self, mood: Mood) {
        self.with(|state| state.mood = mood);
    }

    async fn serve(self, mut stream: TcpStream) {
        let mood = self.with(|state| {
            state.attempts += 1;
            state.mood
        });
        match mood {
            Mood::Resets => {
                let _ = stream.read(&mut [0; 10]).await;
            }
            Mood::Hangs => {
                while self.with(|state| state.mood) == Mood::Hangs {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Mood::Takes => {
                let mut bytes = Vec::new();
                if stream.read_to_end(&mut bytes).await.is_ok() {
                    let messages = unframed(&bytes);
                    self.with(|state| state.taken.extend(messages));
                }
            }
        }
    }

    /// The numbers of the app's lines, each at its first arrival.
    fn numbers(&self) -> Vec<u32> {
        let mut seen = std::collections::HashSet::new();
        self.with(|state| {
            let numbers = state.taken.iter().filter_map(|message| number(message));
            numbers.filter(|number| seen.insert(*number)).collect()
        })
    }
}

/// A length, a space, as many bytes.
fn unframed(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&bytes[..space]).ok();
        let end = length
            .and_then(|text| text.parse::<usize>().ok())
            .map_or(bytes.len(), |length| space + 1 + length);
        let message = &bytes[space + 1..end.min(bytes.len())];
        messages.push(String::from_utf8_lossy(message).into_owned());
        bytes = &bytes[end.min(bytes.len())..];
    }
    messages
}

/// The number of a line that the sample app printed.
fn number(message: &str) -> Option<u32> {
    let (_, text) = message.split_once('\u{feff}')?;
    let rest = text.strip_prefix("line ")?;
    rest.split(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_arrive_in_order_at_a_receiver_that_was_away_also_across_a_kill() -> Result<()> {
    let options = Options {
        arguments: vec!["--allow-address".to_owned(), "127.0.0.1".to_owned()],
        ..Options::default()
    };
    let mut bed = Bed::start("forward", options).await?;
    let receiver = Receiver::start().await?;
    let url = format!("tcp://127.0.0.1:{}", receiver.port);
    bed.api.create_app("shop", 1).await?;
    let wish = json!({"kind": "syslog", "url": url, "app_name": "shop"});
    let made = bed.api.post("/log-forwarders", &wish).await?.ok()?;
    let path = format!("/log-forwarders/{}", made["id"].as_str().context("an id")?);

    let sample = Sample::version("v1").logs_lines(LINES).at_a_rate(1_500, 0);
    let image = bed.image(sample).await?;
    bed.api.deploy_and_wait("shop", &image).await?;
    // It is away: that is told, and nothing of it is lost.
    wait::until("a second attempt", PATIENCE, || async {
        Ok((receiver.with(|state| state.attempts) >= 2).then_some(()))
    })
    .await?;
    let told: Value = bed.api.get(&path).await?.ok()?;
    ensure!(told["last_error"].is_string(), "{told:#}");

    receiver.is(Mood::Takes);
    arrived(&receiver, LINES / 4).await?;
    bed.instance.kill_9().await?;
    receiver.is(Mood::Hangs);
    bed.instance.restart().await?;
    bed.api = bed.instance.api();
    let before = receiver.with(|state| state.attempts);
    wait::until("an attempt at a receiver that hangs", PATIENCE, || async {
        Ok((receiver.with(|state| state.attempts) > before).then_some(()))
    })
    .await?;
    receiver.is(Mood::Takes);
    arrived(&receiver, LINES).await?;

    let numbers = receiver.numbers();
    let wrong = numbers
        .iter()
        .zip(1..)
        .find(|(number, place)| **number != *place);
    ensure!(
        numbers.len() == LINES as usize && wrong.is_none(),
        "{} lines, first wrong: {wrong:?}",
        numbers.len()
    );
    bed.finish().await
}

async fn arrived(receiver: &Receiver, last: u32) -> Result<()> {
    wait::until("lines to arrive", PATIENCE, || async {
        let there = receiver
            .numbers()
            .last()
            .is_some_and(|number| *number >= last);
        Ok(there.then_some(()))
    })
    .await
}
