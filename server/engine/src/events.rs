//! Hints that something changed, from the engine's event stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use flukedeploy_platform::ports::{EngineError, EngineEvent};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::query;
use crate::engine::Inner;
use crate::labels::{INSTANCE, Names, SWARM_SERVICE, SWARM_TASK_ID};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A longer event is none of ours.
const MAX_EVENT: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) actor: Actor,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Actor {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) attributes: HashMap<String, String>,
}

/// An open stream of events.
pub(crate) struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    /// Loses nothing when it is dropped half-way. `Err` tells why there is no next one.
    pub(crate) async fn next(&mut self) -> Result<Event, String> {
        loop {
            while let Some(line) = take_line(&mut self.buffer) {
                match serde_json::from_slice(&line) {
                    Ok(event) => return Ok(event),
                    Err(error) => tracing::debug!(%error, "an event that cannot be understood"),
                }
            }
            if self.buffer.len() > MAX_EVENT {
                return Err("an event is too long".to_owned());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the engine closed it".to_owned()),
            }
        }
    }
}

struct Watch {
    inner: Arc<Inner>,
    events: Option<Events>,
    pause: Duration,
    /// The stream was open before, or should have been.
    has_gap: bool,
}

/// Containers are watched on this node only: the engine tells nothing of the others. Their tasks
/// show in the next look at all tasks.
pub(crate) fn watch(inner: Arc<Inner>) -> BoxStream<'static, EngineEvent> {
    let watch = Watch {
        inner,
        events: None,
        pause: Duration::ZERO,
        has_gap: false,
    };
    stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> EngineEvent {
        loop {
            let Some(events) = &mut self.events else {
                if self.open().await {
                    return EngineEvent::Missed;
                }
                continue;
            };
            match events.next().await {
                Ok(event) => {
                    if let Some(event) = fold(event, &self.inner.names) {
                        return event;
                    }
                }
                Err(why) => {
                    tracing::debug!(why, "the event stream ended");
                    self.events = None;
                    self.pause = FIRST_PAUSE;
                    self.has_gap = true;
                }
            }
        }
    }

    /// Whether the stream was opened after a gap.
    async fn open(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        // Services and nodes have no labels in events, so the label is looked at in `fold`.
        let filters = json!({
            "type": ["container", "service", "node"],
            "event": ["start", "die", "kill", "destroy", "health_status", "create", "update", "remove"],
        });
        match self.inner.events(&filters).await {
            Ok(events) => {
                self.events = Some(events);
                self.pause = Duration::ZERO;
                std::mem::replace(&mut self.has_gap, false)
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot watch events"
                );
                self.has_gap = true;
                false
            }
        }
    }
}

impl Inner {
    pub(crate) async fn events(&self, filters: &Value) -> Result<Events, EngineError> {
        let path = format!("/events{}", query(&[("filters", &filters.to_string())]));
        let opening = self.client.stream(&path);
        let body = self.client.call("watching events", opening).await?;
        let buffer = BytesMut::new();
        Ok(Events { body, buffer })
    }
}

fn take_line(buffer: &mut BytesMut) -> Option<BytesMut> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    let line = buffer.split_to(end);
    buffer.advance(1);
    Some(line)
}

fn fold(event: Event, names: &Names) -> Option<EngineEvent> {
    let attributes = event.actor.attributes;
    match event.kind.as_str() {
        "container" => {
            let kind = event.action.split(':').next().unwrap_or_default();
            let tells = matches!(kind, "start" | "die" | "kill" | "destroy" | "health_status");
            let is_ours = attributes
                .get(INSTANCE)
                .is_some_and(|name| name == names.instance.as_str());
            let service = attributes.get(SWARM_SERVICE)?.clone();
            let started = (kind == "start")
                .then(|| attributes.get(SWARM_TASK_ID).cloned())
                .flatten();
            (tells && is_ours).then_some(EngineEvent::Task { service, started })
        }
        "service" => {
            let service = attributes.get("name")?.clone();
            service
                .starts_with(&names.prefix())
                .then_some(EngineEvent::Service { service })
        }
        // A node came or went: tasks everywhere may change.
        "node" => attributes
            .contains_key("state.new")
            .then_some(EngineEvent::Missed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            instance: "main".parse().unwrap(),
        }
    }

    fn event(value: Value) -> Option<EngineEvent> {
        fold(serde_json::from_value(value).unwrap(), &names())
    }

    fn container(action: &str, instance: &str) -> Option<EngineEvent> {
        event(
            json!({"Type": "container", "Action": action, "Actor": {"ID": "c", "Attributes": {
                "com.flukedeploy.instance": instance,
                "com.docker.swarm.service.name": "fd-main-a-production-r1",
                "com.docker.swarm.task.id": "t1",
            }}}),
        )
    }

    #[test]
    fn events_of_other_instances_are_not_ours() {
        let ours = |started: Option<&str>| EngineEvent::Task {
            service: "fd-main-a-production-r1".to_owned(),
            started: started.map(ToOwned::to_owned),
        };
        assert_eq!(container("start", "main"), Some(ours(Some("t1"))));
        assert_eq!(
            container("health_status: healthy", "main"),
            Some(ours(None))
        );
        assert_eq!(container("start", "other"), None);
        assert_eq!(container("create", "main"), None);
    }

    #[test]
    fn services_and_nodes_are_seen() {
        let service = |name: &str| {
            event(
                json!({"Type": "service", "Action": "update", "Actor": {"Attributes": {"name": name}}}),
            )
        };
        assert_eq!(
            service("fd-main-a-production-r1"),
            Some(EngineEvent::Service {
                service: "fd-main-a-production-r1".to_owned()
            })
        );
        assert_eq!(service("other"), None);
        let node = json!({"Type": "node", "Action": "update", "Actor": {"Attributes": {"state.new": "down"}}});
        assert_eq!(event(node), Some(EngineEvent::Missed));
    }

    #[test]
    fn lines_come_apart() {
        let mut buffer = BytesMut::from(&b"one\ntwo\nthr"[..]);
        assert_eq!(take_line(&mut buffer).unwrap(), "one");
        assert_eq!(take_line(&mut buffer).unwrap(), "two");
        assert_eq!(take_line(&mut buffer), None);
        assert_eq!(buffer, "thr");
    }
}
