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
use serde_json::json;

use crate::client::query;
use crate::engine::Inner;
use crate::labels::{INSTANCE, Names, SWARM_SERVICE};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A longer event is none of ours.
const MAX_EVENT: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    actor: Actor,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    attributes: HashMap<String, String>,
}

struct Watch {
    inner: Arc<Inner>,
    body: Option<Incoming>,
    buffer: BytesMut,
    pause: Duration,
    /// The stream was open before, or should have been.
    has_gap: bool,
}

/// Containers are watched on this node only: the engine tells nothing of the others. Their tasks
/// show in the next look at all tasks.
pub(crate) fn watch(inner: Arc<Inner>) -> BoxStream<'static, EngineEvent> {
    let watch = Watch {
        inner,
        body: None,
        buffer: BytesMut::new(),
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
            while let Some(line) = take_line(&mut self.buffer) {
                if let Some(event) = fold(&line, &self.inner.names) {
                    return event;
                }
            }
            let Some(body) = &mut self.body else {
                if self.open().await {
                    return EngineEvent::Missed;
                }
                continue;
            };
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                    if self.buffer.len() > MAX_EVENT {
                        self.close("an event is too long");
                    }
                }
                Some(Err(error)) => self.close(&error.to_string()),
                None => self.close("the engine closed it"),
            }
        }
    }

    /// Whether the stream was opened after a gap.
    async fn open(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        match self.inner.events().await {
            Ok(body) => {
                self.body = Some(body);
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

    fn close(&mut self, why: &str) {
        tracing::debug!(why, "the event stream ended");
        self.body = None;
        self.buffer.clear();
        self.pause = FIRST_PAUSE;
        self.has_gap = true;
    }
}

impl Inner {
    async fn events(&self) -> Result<Incoming, EngineError> {
        // Services and nodes have no labels in events, so the label is looked at here.
        let filters = json!({
            "type": ["container", "service", "node"],
            "event": ["start", "die", "kill", "destroy", "health_status", "create", "update", "remove"],
        });
        let path = format!("/events{}", query(&[("filters", &filters.to_string())]));
        self.client
            .call("watching events", self.client.stream(&path))
            .await
    }
}

fn take_line(buffer: &mut BytesMut) -> Option<BytesMut> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    let line = buffer.split_to(end);
    buffer.advance(1);
    Some(line)
}

fn fold(line: &[u8], names: &Names) -> Option<EngineEvent> {
    let event: Event = serde_json::from_slice(line).ok()?;
    let attributes = event.actor.attributes;
    match event.kind.as_str() {
        "container" => {
            let kind = event.action.split(':').next().unwrap_or_default();
            let tells = matches!(kind, "start" | "die" | "kill" | "destroy" | "health_status");
            let is_ours = attributes
                .get(INSTANCE)
                .is_some_and(|name| name == names.instance.as_str());
            let service = attributes.get(SWARM_SERVICE)?.clone();
            (tells && is_ours).then_some(EngineEvent::Task { service })
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

    fn container(action: &str, instance: &str) -> Vec<u8> {
        json!({"Type": "container", "Action": action, "Actor": {"ID": "c", "Attributes": {
            "com.flukedeploy.instance": instance, "com.docker.swarm.service.name": "fd-main-a-production-r1",
        }}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn events_of_other_instances_are_not_ours() {
        let ours = EngineEvent::Task {
            service: "fd-main-a-production-r1".to_owned(),
        };
        assert_eq!(
            fold(&container("start", "main"), &names()),
            Some(ours.clone())
        );
        assert_eq!(
            fold(&container("health_status: healthy", "main"), &names()),
            Some(ours)
        );
        assert_eq!(fold(&container("start", "other"), &names()), None);
        assert_eq!(fold(&container("create", "main"), &names()), None);
        assert_eq!(fold(b"{nonsense", &names()), None);
    }

    #[test]
    fn services_and_nodes_are_seen() {
        let service = |name: &str| {
            json!({"Type": "service", "Action": "update", "Actor": {"Attributes": {"name": name}}})
                .to_string()
        };
        assert_eq!(
            fold(service("fd-main-a-production-r1").as_bytes(), &names()),
            Some(EngineEvent::Service {
                service: "fd-main-a-production-r1".to_owned()
            })
        );
        assert_eq!(fold(service("other").as_bytes(), &names()), None);
        let node =
            br#"{"Type":"node","Action":"update","Actor":{"Attributes":{"state.new":"down"}}}"#;
        assert_eq!(fold(node, &names()), Some(EngineEvent::Missed));
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
