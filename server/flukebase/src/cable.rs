//! Live news: a consumer of `ActionCable`. Servers of today accept no tokens there; who is rejected is
//! told so, and nothing depends on it.

use std::time::Duration;

use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::flukebase::ProjectId;
use flukedeploy_platform::ports::{Access, LiveEnd, LiveEvent};
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{FlukebaseClient, bearer};

/// Until the server has accepted the connection.
const OPEN: Duration = Duration::from_secs(10);
/// It pings every 3 s; who is silent for four of them is gone.
const SILENCE: Duration = Duration::from_secs(12);
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Frames that nobody understands, after which it is not the other side that we think it is.
const MAX_GARBLED: u32 = 10;
const CHANNEL: &str = "TeamBoardChannel";

pub(crate) async fn listen(
    client: &FlukebaseClient,
    access: &Access,
    projects: &[ProjectId],
    heard: &(dyn Fn(LiveEvent) + Send + Sync),
) -> LiveEnd {
    let opened = tokio::time::timeout(OPEN, open(client, access)).await;
    let mut socket = match opened {
        Ok(Ok(socket)) => socket,
        Ok(Err(end)) => return end,
        Err(_) => return LiveEnd::Broken("it did not accept the connection in time".to_owned()),
    };
    let mut session = Session {
        asked: projects.len(),
        rejected: 0,
        garbled: 0,
        welcomed: false,
    };
    let mut last_word = Instant::now();
    loop {
        let Ok(frame) = tokio::time::timeout_at(last_word + SILENCE, socket.next()).await else {
            return LiveEnd::Broken("it said nothing for too long".to_owned());
        };
        let text = match frame {
            None | Some(Ok(Message::Close(_))) => {
                return LiveEnd::Broken("it closed the connection".to_owned());
            }
            Some(Err(error)) => return LiveEnd::Broken(tame(&error.to_string(), 200)),
            Some(Ok(Message::Text(text))) => text,
            // Pings of the protocol alone do not count: whoever speaks ActionCable says more.
            Some(Ok(_)) => continue,
        };
        let Some(frame) = Frame::read(&text) else {
            session.garbled += 1;
            if session.garbled > MAX_GARBLED {
                return LiveEnd::Broken("it speaks another language".to_owned());
            }
            continue;
        };
        last_word = Instant::now();
        match session.take(frame, projects, heard) {
            Next::Go => {}
            Next::Subscribe => {
                for project in projects {
                    let command = json!({
                        "command": "subscribe",
                        "identifier": identifier(*project),
                    });
                    let sent = socket.send(Message::text(command.to_string()));
                    match tokio::time::timeout(OPEN, sent).await {
                        Ok(Ok(())) => {}
                        _ => return LiveEnd::Broken("it takes nothing".to_owned()),
                    }
                }
            }
            Next::End(end) => return end,
        }
    }
}

type Socket = tokio_tungstenite::WebSocketStream<Box<dyn crate::Stream>>;

async fn open(client: &FlukebaseClient, access: &Access) -> Result<Socket, LiveEnd> {
    let broken = |why: String| LiveEnd::Broken(tame(&why, 200));
    let scheme = if access.url.is_encrypted() {
        "wss"
    } else {
        "ws"
    };
    let address = format!("{scheme}://{}/cable", access.url.authority());
    let mut request = address
        .into_client_request()
        .map_err(|error| broken(error.to_string()))?;
    let token = bearer(access).map_err(|error| broken(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, token);
    if let Ok(origin) = HeaderValue::from_str(access.url.site()) {
        headers.insert(ORIGIN, origin);
    }
    headers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("actioncable-v1-json"),
    );
    let stream = client.connect(access).await;
    let stream = stream.map_err(|error| broken(error.to_string()))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) if answer.status().as_u16() < 500 => {
            let why = format!("it answered {}", answer.status().as_u16());
            Err(LiveEnd::Rejected(why))
        }
        Err(error) => Err(broken(error.to_string())),
    }
}

fn identifier(project: ProjectId) -> String {
    json!({"channel": CHANNEL, "project_id": project}).to_string()
}

enum Frame {
    Welcome,
    Ping,
    Confirmed(Option<ProjectId>),
    Rejected,
    /// `true`: it may be asked again.
    Disconnect(bool),
    News(Option<ProjectId>, String),
}

impl Frame {
    fn read(text: &str) -> Option<Self> {
        let frame: Value = serde_json::from_str(text).ok()?;
        let project = || {
            let identifier = frame.get("identifier")?.as_str()?;
            let identifier: Value = serde_json::from_str(identifier).ok()?;
            ProjectId::new(identifier.get("project_id")?.as_i64()?).ok()
        };
        match frame.get("type").and_then(Value::as_str) {
            Some("welcome") => Some(Self::Welcome),
            Some("ping") => Some(Self::Ping),
            Some("confirm_subscription") => Some(Self::Confirmed(project())),
            Some("reject_subscription") => Some(Self::Rejected),
            Some("disconnect") => {
                let again = frame.get("reconnect").and_then(Value::as_bool);
                let unwanted = frame.get("reason").and_then(Value::as_str) == Some("unauthorized");
                Some(Self::Disconnect(again.unwrap_or(true) && !unwanted))
            }
            Some(_) => None,
            None => {
                let kind = frame.get("message")?.get("type")?.as_str()?;
                Some(Self::News(project(), kind.to_owned()))
            }
        }
    }
}

struct Session {
    asked: usize,
    rejected: usize,
    garbled: u32,
    welcomed: bool,
}

enum Next {
    Go,
    Subscribe,
    End(LiveEnd),
}

impl Session {
    fn take(
        &mut self,
        frame: Frame,
        projects: &[ProjectId],
        heard: &(dyn Fn(LiveEvent) + Send + Sync),
    ) -> Next {
        let ours = |project: Option<ProjectId>| project.filter(|one| projects.contains(one));
        match frame {
            Frame::Welcome if !self.welcomed => {
                self.welcomed = true;
                return Next::Subscribe;
            }
            Frame::Welcome | Frame::Ping => {}
            Frame::Confirmed(project) => {
                if let Some(project) = ours(project) {
                    heard(LiveEvent::Joined { project });
                }
            }
            Frame::Rejected => {
                self.rejected += 1;
                if self.rejected >= self.asked {
                    let why = "it rejected every subscription".to_owned();
                    return Next::End(LiveEnd::Rejected(why));
                }
            }
            Frame::Disconnect(true) => {
                return Next::End(LiveEnd::Broken("it asked to come back later".to_owned()));
            }
            Frame::Disconnect(false) => {
                return Next::End(LiveEnd::Rejected("it accepts no tokens".to_owned()));
            }
            Frame::News(project, kind) => {
                if let Some(project) = ours(project)
                    && kind.starts_with("task.")
                {
                    heard(LiveEvent::TaskChanged { project });
                }
            }
        }
        Next::Go
    }
}
