//! A small `FlukeBase` over real HTTP: its routes answer as the wire contract says, and it can be told to
//! lie, hang, or fall over.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::stream;
use serde_json::{Map, Value, json};

pub(crate) const TOKEN: &str = "fbk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
/// The one project that this token reaches.
pub(crate) const PROJECT: i64 = 7;
pub(crate) const SECRET_VALUE: &str = "remote-s3cret-value-of-flukebase";

/// How a request goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It never answers, and does nothing.
    Hangs,
    /// An HTML page with this status.
    Html(u16),
    /// A problem in JSON with this status.
    Says(u16),
    /// 429 with a wish.
    Busy(u64),
    /// Far more than anybody wants to read.
    Endless,
    /// 200 with this.
    Answers(String),
    /// It ends the connection in the middle of the answer.
    HangsUp,
    /// It does what was asked, and then ends the connection in the middle of the answer.
    Lost,
    Redirects(String),
    /// Somebody else changes the task a moment before.
    ChangedByOthers,
}

/// What becomes of those who want live news.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Cable {
    /// As today: a token is no session.
    #[default]
    Unauthorised,
    /// Refused at the door.
    Forbidden,
    Accepts,
    RejectsSubscriptions,
    ClosesAtOnce,
    Garbles,
    Quiet,
    Enormous,
}

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /projects/7`
    pub(crate) what: String,
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) tasks: BTreeMap<String, Map<String, Value>>,
    pub(crate) memories: Vec<Value>,
    pub(crate) agents: BTreeMap<String, u32>,
    /// Key, value, secret; of production.
    pub(crate) variables: Vec<(String, Option<String>, bool)>,
    pub(crate) syncs: Vec<String>,
    pub(crate) ends: Vec<Value>,
    /// It has the routes that are only planned.
    pub(crate) has_planned: bool,
    pub(crate) cable: Cable,
    pub(crate) revoked: bool,
    asked: Vec<Asked>,
    /// What goes wrong next: which requests, how, how many times.
    moods: Vec<(String, Mood, u32)>,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    server: Arc<tokio::task::AbortHandle>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The last one: the server holds none of these.
        if Arc::strong_count(&self.server) == 1 {
            self.server.abort();
        }
    }
}

impl StandIn {
    /// On a free port, or on this one.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside {
            scopes: BTreeSet::from(["*".to_owned()]),
            ..Inside::default()
        }));
        let router = Router::new()
            .route("/cable", any(cable))
            .fallback(answer)
            .with_state(Arc::clone(&inside));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            inside,
            server: Arc::new(server.abort_handle()),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `times` requests whose line contains `what` go like this.
    pub(crate) fn will(&self, what: &str, mood: Mood, times: u32) {
        self.inside().moods.push((what.to_owned(), mood, times));
    }

    pub(crate) fn is_well_again(&self) {
        self.inside().moods.clear();
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inside().asked.clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let inside = self.inside();
        inside
            .asked
            .iter()
            .filter(|one| one.what.contains(what))
            .count()
    }

    pub(crate) fn task(&self, id: &str) -> Option<Value> {
        self.inside().tasks.get(id).cloned().map(Value::Object)
    }
}

type Shared = State<Arc<Mutex<Inside>>>;

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(inside): Shared, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let Some(path) = path.strip_prefix("/api/v1/flukebase_connect") else {
        return html(404);
    };
    let what = format!("{} {path}", head.method);
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mood = {
        let mut inside = lock(&inside);
        inside.asked.push(Asked {
            what: what.clone(),
            body: body.clone(),
            headers: head.headers.clone(),
        });
        let found = inside
            .moods
            .iter_mut()
            .find(|(about, _, left)| *left > 0 && what.contains(about.as_str()));
        found.map(|(_, mood, left)| {
            *left -= 1;
            mood.clone()
        })
    };
    match mood {
        Some(Mood::Hangs) => std::future::pending().await,
        Some(Mood::Html(status)) => return html(status),
        Some(Mood::Says(status)) => return says(status, "error", "as the test says"),
        Some(Mood::Busy(seconds)) => {
            let wish = [(header::RETRY_AFTER, seconds.to_string())];
            let text = "Rate limit exceeded. Please try again later.\n";
            return (StatusCode::TOO_MANY_REQUESTS, wish, text).into_response();
        }
        Some(Mood::Endless) => {
            let chunk = Bytes::from(vec![b'['; 64 * 1024]);
            let endless = stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
            return Body::from_stream(endless).into_response();
        }
        Some(Mood::Answers(text)) => return text.into_response(),
        Some(Mood::HangsUp) => return cut_off(),
        Some(Mood::Redirects(to)) => {
            return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
        }
        Some(Mood::ChangedByOthers) => {
            let mut inside = lock(&inside);
            for task in inside.tasks.values_mut() {
                raise(task);
                task.insert("tags".into(), json!(["deployment", "by-others"]));
            }
        }
        Some(Mood::Lost) | None => {}
    }
    let response = routed(&inside, head.method.as_ref(), path, &head.headers, &body);
    match mood {
        Some(Mood::Lost) => cut_off(),
        _ => response,
    }
}

fn cut_off() -> Response {
    let broken = stream::iter([
        Ok(Bytes::from_static(b"{\"task\":")),
        Err(std::io::Error::other("gone")),
    ]);
    Body::from_stream(broken).into_response()
}

fn html(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (
        status,
        axum::response::Html("<html>The page you were looking for</html>"),
    )
        .into_response()
}

fn says(status: u16, error: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let body = json!({"error": error, "message": message});
    (status, axum::Json(body)).into_response()
}

fn ok(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

fn not_found() -> Response {
    says(404, "not_found", "Resource not found")
}

fn routed(
    inside: &Mutex<Inside>,
    method: &str,
    path: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Response {
    let mut inside = lock(inside);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if sent != Some(&format!("Bearer {TOKEN}")) || inside.revoked {
        return says(401, "unauthorized", "Invalid or expired API token");
    }
    let may =
        |scope: &str, inside: &Inside| inside.scopes.contains("*") || inside.scopes.contains(scope);
    let lacks = |scope: &str| {
        let message = format!("Token does not have required scope: {scope}");
        says(403, "forbidden", &message)
    };
    let ours = |id: &str| id == PROJECT.to_string();
    let project = json!({"id": PROJECT, "name": "Shop", "repository_url": "acme/shop"});
    match (method, parts.as_slice()) {
        ("GET", ["auth", "validate"]) => ok(
            200,
            json!({"valid": true, "token": {
                "prefix": &TOKEN[..8], "name": "deploys", "scopes": inside.scopes, "expires_at": null,
            }}),
        ),
        ("GET", ["projects", "find"]) => {
            if !may("read:projects", &inside) {
                return lacks("read:projects");
            }
            match query.strip_prefix("repository_url=") {
                Some("acme%2Fshop") => ok(200, json!({"project": project})),
                Some(_) => ok(200, json!({"project": null})),
                None => says(400, "bad_request", "param is missing: repository_url"),
            }
        }
        ("GET", ["projects", id]) => {
            if !ours(id) {
                return not_found();
            }
            if !may("read:projects", &inside) {
                return lacks("read:projects");
            }
            ok(200, json!({"project": project}))
        }
        (_, ["projects", id, "wedo_tasks" | "memories" | "agents", ..]) if !ours(id) => {
            says(403, "forbidden", "Access denied")
        }
        (_, ["projects", id, "environment", ..]) if !ours(id) => not_found(),
        (_, ["projects", _, "wedo_tasks", rest @ ..]) => {
            let scope = if method == "GET" {
                "read:tasks"
            } else {
                "write:tasks"
            };
            if let [id] = rest
                && !inside.tasks.contains_key(*id)
            {
                return not_found();
            }
            if !may(scope, &inside) {
                return lacks(scope);
            }
            tasks(&mut inside, method, rest, body)
        }
        ("GET", ["projects", _, "environment", "variables"]) => {
            if !may("read:environment", &inside) {
                return lacks("read:environment");
            }
            let Some(name) = query.strip_prefix("environment=") else {
                return html(500);
            };
            if !matches!(name, "development" | "staging" | "production") {
                return html(500);
            }
            let all: Vec<Value> = inside
                .variables
                .iter()
                .filter(|_| name == "production")
                .map(|(key, value, secret)| {
                    json!({"key": key, "value": value, "description": null,
                        "is_secret": secret, "is_required": value.is_none(), "example_value": null})
                })
                .collect();
            let meta = json!({"environment": name, "count": all.len()});
            ok(200, json!({"variables": all, "meta": meta}))
        }
        ("POST", ["projects", _, "environment", "sync"]) => {
            if !may("read:environment", &inside) {
                return lacks("read:environment");
            }
            let name = body["environment"]
                .as_str()
                .unwrap_or("development")
                .to_owned();
            inside.syncs.push(name.clone());
            let at = "2026-01-01T00:00:00Z";
            ok(
                200,
                json!({"synced": true, "environment": name, "synced_at": at}),
            )
        }
        ("POST", ["projects", _, "memories"]) => {
            if !may("write:memories", &inside) {
                return lacks("write:memories");
            }
            let memory = &body["memory"];
            if !memory["content"].is_string() {
                return says(400, "bad_request", "param is missing: memory");
            }
            inside.memories.push(memory.clone());
            ok(201, json!({"memory": memory}))
        }
        ("POST", ["projects", _, "agents", "register"]) => {
            if !may("write:agents", &inside) {
                return lacks("write:agents");
            }
            let Some(id) = body["agent"]["agent_id"].as_str() else {
                return says(400, "bad_request", "param is missing: agent");
            };
            let is_new = inside.agents.insert(id.to_owned(), 0).is_none();
            let agent = json!({"id": 31, "agent_id": id});
            ok(if is_new { 201 } else { 200 }, json!({"agent": agent}))
        }
        ("POST", ["projects", _, "agents", "31", "heartbeat"]) => {
            if !may("write:agents", &inside) {
                return lacks("write:agents");
            }
            inside.agents.values_mut().for_each(|beats| *beats += 1);
            ok(200, json!({"agent": {"id": 31}}))
        }
        (_, ["projects", _, "agents", ..]) => not_found(),
        ("POST", ["deployments"]) if inside.has_planned => {
            if body["deployment"].is_null() {
                return says(400, "bad_request", "param is missing: deployment");
            }
            inside.ends.push(body["deployment"].clone());
            ok(201, json!({}))
        }
        (_, ["projects", _, "webhooks", ..]) => html(500),
        _ => html(404),
    }
}

fn raise(task: &mut Map<String, Value>) {
    let version = task["version"].as_i64().unwrap_or(0) + 1;
    task.insert("version".into(), json!(version));
}

const STATUSES: [&str; 4] = ["pending", "in_progress", "completed", "blocked"];
const CREATED: [&str; 8] = [
    "task_id",
    "description",
    "status",
    "scope",
    "external_id",
    "tags",
    "artifact_path",
    "remote_url",
];
const UPDATED: [&str; 5] = [
    "description",
    "status",
    "tags",
    "artifact_path",
    "remote_url",
];

fn tasks(inside: &mut Inside, method: &str, rest: &[&str], body: &Value) -> Response {
    let sent = &body["task"];
    if method != "GET" && !sent.is_object() {
        return says(
            400,
            "bad_request",
            "param is missing or the value is empty: task",
        );
    }
    let status = sent["status"].as_str();
    if status.is_some_and(|status| !STATUSES.contains(&status)) {
        return says(422, "error", "Status is not included in the list");
    }
    let note = |task: &mut Map<String, Value>| {
        if let Some(note) = sent["synthesis_note"].as_str() {
            let agent = sent["agent_id"].as_str().unwrap_or("agent");
            let report = task["synthesis_report"].as_str().unwrap_or_default();
            let report = format!("{report}- 2026-01-01T00:00:00Z [{agent}]: {note}\n");
            task.insert("synthesis_report".into(), json!(report));
        }
    };
    match (method, rest) {
        ("GET", [id]) => {
            let mut task = inside.tasks[*id].clone();
            task.insert("subtasks".into(), json!([]));
            ok(200, json!({"task": task}))
        }
        ("POST", []) => {
            let (Some(id), Some(_)) = (sent["task_id"].as_str(), sent["description"].as_str())
            else {
                return says(422, "error", "Task can't be blank");
            };
            if inside.tasks.contains_key(id) {
                return says(422, "error", "Task has already been taken");
            }
            let mut task = Map::from_iter([
                ("status".to_owned(), json!("pending")),
                ("version".to_owned(), json!(0)),
                ("synthesis_report".to_owned(), json!("")),
                ("project_id".to_owned(), json!(PROJECT)),
            ]);
            for field in CREATED {
                if !sent[field].is_null() {
                    task.insert(field.to_owned(), sent[field].clone());
                }
            }
            inside.tasks.insert(id.to_owned(), task.clone());
            ok(201, json!({"task": task}))
        }
        ("PATCH" | "PUT", [id]) => {
            let Some(task) = inside.tasks.get_mut(*id) else {
                return not_found();
            };
            let (theirs, seen) = (
                task["version"].as_i64().unwrap_or(0),
                sent["version"].as_i64().unwrap_or(0),
            );
            if seen > 0 && seen < theirs {
                let message = format!(
                    "Task has been modified. Your version: {seen}, Server version: {theirs}"
                );
                let body = json!({"error": "conflict", "message": message, "server_task": task});
                return ok(409, body);
            }
            for field in UPDATED {
                if !sent[field].is_null() {
                    task.insert(field.to_owned(), sent[field].clone());
                }
            }
            note(task);
            raise(task);
            ok(200, json!({"task": task}))
        }
        _ => html(404),
    }
}

async fn cable(State(inside): Shared, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let mood = {
        let mut inside = lock(&inside);
        inside.asked.push(Asked {
            what: "GET /cable".to_owned(),
            body: Value::Null,
            headers,
        });
        inside.cable
    };
    if mood == Cable::Forbidden {
        return html(404);
    }
    upgrade
        .protocols(["actioncable-v1-json"])
        .on_upgrade(move |socket| talk(socket, mood))
}

async fn talk(mut socket: WebSocket, mood: Cable) {
    let mut say = async |text: String| {
        let _ = socket.send(Message::Text(text.into())).await;
    };
    let frame = |value: Value| value.to_string();
    match mood {
        Cable::Unauthorised => {
            let no = json!({"type": "disconnect", "reason": "unauthorized", "reconnect": false});
            return say(frame(no)).await;
        }
        Cable::ClosesAtOnce => return,
        Cable::Garbles => {
            for n in 0..50 {
                say(format!("{{\"type\": {n} garble")).await;
            }
            return std::future::pending().await;
        }
        Cable::Enormous => {
            say("x".repeat(1 << 20)).await;
            return std::future::pending().await;
        }
        Cable::Quiet => return std::future::pending().await,
        Cable::Accepts | Cable::RejectsSubscriptions | Cable::Forbidden => {}
    }
    say(frame(json!({"type": "welcome"}))).await;
    say(frame(json!({"type": "ping", "message": 1}))).await;
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        let command: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(command["command"], "subscribe");
        let kind = if mood == Cable::Accepts {
            "confirm_subscription"
        } else {
            "reject_subscription"
        };
        let identifier = &command["identifier"];
        let answer = json!({"type": kind, "identifier": identifier});
        let _ = socket.send(Message::Text(answer.to_string().into())).await;
        if mood == Cable::Accepts {
            for news in [
                json!({"type": "connected", "project_id": 7, "max_version": 0}),
                json!({"type": "task.updated", "task": {"task_id": "x"}}),
            ] {
                let news = json!({"identifier": identifier, "message": news});
                let _ = socket.send(Message::Text(news.to_string().into())).await;
            }
            // Then it restarts.
            let bye = json!({"type": "disconnect", "reason": "server_restart", "reconnect": true});
            let _ = socket.send(Message::Text(bye.to_string().into())).await;
        }
    }
}
