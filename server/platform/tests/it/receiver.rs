//! Somebody outside who is told things, and the line to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_platform::ports::{Answer, Outgoing, OutgoingError, OutgoingRequest};

use crate::tap::Tap;

/// What the receiver does with what comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    Answers(u16),
    Down,
    Slow,
    /// Where it is may not be reached.
    Inside,
    /// It takes it, and its answer never comes.
    Silent,
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) accepted: bool,
}

impl Heard {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.header("X-FlukeDeploy-Delivery-ID")
    }

    pub(crate) fn event(&self) -> &str {
        self.header("X-FlukeDeploy-Event")
    }
}

#[derive(Default)]
struct State {
    /// By what the address contains.
    moods: Vec<(String, Mood)>,
    heard: Vec<Heard>,
}

/// All that listens outside; it outlives control planes.
#[derive(Default)]
pub(crate) struct Receiver(Mutex<State>);

impl Receiver {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the one at this address does from now on.
    pub(crate) fn is(&self, address: &str, mood: Mood) {
        let mut state = self.lock();
        state.moods.retain(|(known, _)| known != address);
        state.moods.push((address.to_owned(), mood));
    }

    /// Everything that came to this address, refused or not.
    pub(crate) fn heard(&self, address: &str) -> Vec<Heard> {
        let state = self.lock();
        let here = |heard: &&Heard| heard.url.contains(address);
        state.heard.iter().filter(here).cloned().collect()
    }

    /// The events that were accepted, each id once, in the order of their first arrival.
    pub(crate) fn accepted(&self, address: &str) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let mut events = Vec::new();
        for heard in self.heard(address).into_iter().filter(|one| one.accepted) {
            if !ids.contains(&heard.id().to_owned()) {
                ids.push(heard.id().to_owned());
                events.push(heard.event().to_owned());
            }
        }
        events
    }
}

pub(crate) struct SimOutgoing {
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) tap: Arc<Tap>,
}

#[async_trait]
impl Outgoing for SimOutgoing {
    async fn post(&self, request: &OutgoingRequest) -> Result<Answer, OutgoingError> {
        let url = request.url.as_str();
        let _ = self.tap.before("outgoing", url, true).await;
        let mood = {
            let mut state = self.receiver.lock();
            let found = state.moods.iter().find(|(known, _)| url.contains(known));
            let mood = found.map(|(_, mood)| *mood).unwrap_or_default();
            state.heard.push(Heard {
                url: url.to_owned(),
                headers: request.headers.clone(),
                body: String::from_utf8(request.body.to_vec()).unwrap(),
                accepted: matches!(mood, Mood::Well | Mood::Silent),
            });
            mood
        };
        self.tap.after(true).await;
        match mood {
            Mood::Well => Ok(Answer { status: 200 }),
            Mood::Answers(status) => Ok(Answer { status }),
            Mood::Down => Err(OutgoingError::NotConnected(std::io::Error::other(
                "refused",
            ))),
            Mood::Slow => Err(OutgoingError::TimedOut(Duration::from_secs(10))),
            Mood::Inside => Err(OutgoingError::Refused),
            Mood::Silent => std::future::pending().await,
        }
    }
}
