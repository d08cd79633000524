use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use flukedeploy_domain::access::{Actor, Limits, Tier};
use flukedeploy_platform::tokens::{self, CreateToken};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tower::ServiceExt as _;

use super::{ADMIN, House};
use crate::doors::{rest_router, stream_router};

/// Longer than any answer takes, shorter than a person waits for a failing test.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(super) async fn connect(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        Self(connect_async(request).await.unwrap().0)
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame; a close frame is its code.
    pub(super) async fn next(&mut self) -> Value {
        let reading = async {
            loop {
                match self
                    .0
                    .next()
                    .await
                    .expect("a frame")
                    .expect("no broken connection")
                {
                    Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                    Message::Close(frame) => return json!(frame.map(|f| u16::from(f.code))),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a frame in time")
    }

    pub(super) async fn ask(&mut self, text: &str) -> Value {
        self.say(text).await;
        self.next().await
    }

    /// The next log frame.
    pub(super) async fn entry(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame["@type"] == "UnifiedLogEntry" {
                return frame;
            }
        }
    }
}

pub(super) async fn open(house: &House) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = stream_router(house.state.clone(), address.port());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A change of settings writes an entry for the app.
pub(super) async fn make_entry(house: &House, app: &str, replicas: u32) {
    let path = format!("/api/v1/apps/{app}");
    let changed = house
        .call("PATCH", &path, Some(&json!({"replicas": replicas})))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
}

pub(super) async fn make_app(house: &House, app: &str) {
    let made = house
        .call("POST", "/api/v1/apps", Some(&json!({"app_name": app})))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test]
async fn the_conversation_is_the_contracts() {
    let house = House::new().await;
    let address = open(&house).await;
    let mut client = Client::connect(address, "/?app_name=shop&level=", Some(ADMIN)).await;
    let hello = client.next().await;
    assert_eq!(hello["type"], "connected");
    assert_eq!(hello["message"], "Connected to FlukeDeploy log stream");
    assert_eq!(
        (&hello["port"], &hello["filter"]),
        (&json!(address.port()), &json!({"app_name": "shop"}))
    );
    let pong = client.ask(r#"{"action":"ping"}"#).await;
    assert_eq!(pong["type"], "pong");
    assert!(pong["timestamp"].as_str().unwrap().ends_with('Z'));
    let stats = client.ask(r#"{"action":"get_stats"}"#).await;
    assert_eq!(
        (&stats["type"], &stats["stats"]["total_clients"]),
        (&json!("stats"), &json!(1))
    );
    assert_eq!(stats["stats"]["port"], address.port());
    assert_eq!(
        client.ask("hello?").await,
        json!({"type": "error", "message": "Invalid JSON message"})
    );
    assert_eq!(
        client.ask(r#"{"action":"dance"}"#).await,
        json!({"type": "error", "message": "Unknown action: dance"})
    );
    let subscribed = client
        .ask(r#"{"action":"subscribe","filter":{"level":"warn"}}"#)
        .await;
    assert_eq!(
        subscribed,
        json!({"type": "subscribed", "message": "Subscription updated", "filter": {"level": "warn"}})
    );
    let refused = client
        .ask(r#"{"action":"subscribe","filter":{"levl":"warn"}}"#)
        .await;
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("bad_request"))
    );
    let cleared = client.ask(r#"{"action":"subscribe"}"#).await;
    assert_eq!(cleared["filter"], json!({}));
}

#[tokio::test]
async fn entries_come_stored_and_live_each_once() {
    let house = House::new().await;
    let address = open(&house).await;
    make_app(&house, "shop").await;
    make_app(&house, "blog").await;
    for replicas in 2..5 {
        make_entry(&house, "shop", replicas).await;
        make_entry(&house, "blog", replicas).await;
    }
    let mut client = Client::connect(address, "/any/path?app_name=shop&tail=2", Some(ADMIN)).await;
    assert_eq!(client.next().await["type"], "connected");
    let (first, second) = (client.entry().await, client.entry().await);
    make_entry(&house, "blog", 9).await;
    make_entry(&house, "shop", 9).await;
    let third = client.entry().await;
    let mut ids = vec![
        first["id"].clone(),
        second["id"].clone(),
        third["id"].clone(),
    ];
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for entry in [&first, &second, &third] {
        assert_eq!(entry["flukedeploy_metadata"]["app_name"], "shop");
        assert!(entry.get("type").is_none(), "{entry}");
    }
    let stored = house
        .call("GET", "/api/v1/logs?app_name=shop&limit=3&order=desc", None)
        .await;
    assert_eq!(stored.body["logs"][0], third);
    assert_eq!(stored.body["logs"][2], first);

    assert_eq!(
        client.ask(r#"{"action":"unsubscribe"}"#).await["type"],
        "unsubscribed"
    );
    make_entry(&house, "shop", 10).await;
    // Nothing of that entry comes before the answer to what was sent after it.
    assert_eq!(client.ask(r#"{"action":"ping"}"#).await["type"], "pong");
}

#[tokio::test]
async fn a_client_has_to_say_who_it_is() {
    let house = House::new().await;
    let address = open(&house).await;
    let mut wrong = Client::connect(address, "/", Some("fd_wrong_wrong")).await;
    assert_eq!(wrong.next().await["code"], "unauthorized");
    assert_eq!(wrong.next().await, 4401);

    let mut first = Client::connect(address, "/", None).await;
    assert_eq!(first.next().await["authenticated"], false);
    let early = first.ask(r#"{"action":"subscribe"}"#).await;
    assert_eq!(early["code"], "unauthorized");
    let welcome = first
        .ask(&format!(r#"{{"action":"auth","token":"{ADMIN}"}}"#))
        .await;
    assert_eq!(welcome["type"], "authenticated");
    assert_eq!(
        first.ask(r#"{"action":"subscribe"}"#).await["type"],
        "subscribed"
    );

    let mut silent = Client::connect(address, "/", None).await;
    assert_eq!(silent.next().await["type"], "connected");
    assert_eq!(silent.next().await["code"], "unauthorized");
    assert_eq!(silent.next().await, 4401);

    let mut leaky = Client::connect(address, "/?token=fd_a_b", Some(ADMIN)).await;
    assert_eq!(leaky.next().await["type"], "connected");
    let refused = leaky.next().await;
    assert!(!refused.to_string().contains("fd_a_b"), "{refused}");
    assert_eq!(leaky.next().await, 4400);
}

#[tokio::test]
async fn a_revoked_token_ends_its_stream() {
    let house = House::new().await;
    let address = open(&house).await;
    let token = house.token(Tier::Extended).await;
    let mut client = Client::connect(address, "/?app_name=shop", Some(&token)).await;
    assert_eq!(client.next().await["authenticated"], true);
    let list = house.call("GET", "/api/v1/tokens", None).await;
    let id = list.body["tokens"][0]["id"].as_str().unwrap();
    assert_eq!(
        house
            .call("DELETE", &format!("/api/v1/tokens/{id}"), None)
            .await
            .status,
        204
    );
    let ended = client.next().await;
    assert_eq!(ended["code"], "unauthorized", "{ended}");
    assert_eq!(client.next().await, 4401);
}

#[tokio::test]
async fn the_stream_is_at_the_rest_address_too_and_ends_with_the_platform() {
    let house = House::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = rest_router(house.state.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut client = Client::connect(address, "/api/v1/stream", Some(ADMIN)).await;
    assert_eq!(client.next().await["type"], "connected");
    let plain = house.call("GET", "/api/v1/stream", None).await;
    assert_eq!(plain.problem(426), "upgrade_required");
    house.px.stopping().cancel();
    assert_eq!(client.next().await, 1001);
}

#[tokio::test]
async fn a_client_that_never_reads_stalls_nobody_and_is_let_go() {
    let house = House::new().await;
    let address = open(&house).await;
    make_app(&house, "shop").await;
    for round in 0..50 {
        make_entry(&house, "shop", round % 7 + 2).await;
    }
    let mut deaf = Client::connect(address, "/", Some(ADMIN)).await;
    // Asks for some forty megabytes, more than the sockets between us can hold.
    for _ in 0..2_000 {
        deaf.say(r#"{"action":"subscribe","tail":1000}"#).await;
    }
    let mut awake = Client::connect(address, "/", Some(ADMIN)).await;
    assert_eq!(awake.next().await["type"], "connected");
    for round in 0..20 {
        make_entry(&house, "shop", round % 7 + 20).await;
        awake.entry().await;
    }
    let let_go = async {
        while house.state.listeners.count() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(4 * PATIENCE, let_go)
        .await
        .expect("the deaf client is let go");
    // Entries that were on their way when it came may stand before the answer.
    let mut answer = awake.ask(r#"{"action":"ping"}"#).await;
    while answer["@type"] == "UnifiedLogEntry" {
        answer = awake.next().await;
    }
    assert_eq!(answer["type"], "pong");
}

#[tokio::test]
async fn plain_http_clients_get_the_stream_as_server_sent_events() {
    let house = House::new().await;
    make_app(&house, "shop").await;
    make_app(&house, "blog").await;
    make_entry(&house, "shop", 2).await;
    let ask = async |path: &str, token: Option<&str>| {
        let mut request = Request::builder().uri(format!("/api/v1/logs/stream{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        house.router.clone().oneshot(request).await.unwrap()
    };
    assert_eq!(ask("", None).await.status(), 401);
    assert_eq!(ask("?apps=shop", Some(ADMIN)).await.status(), 400);
    let token = house.token(Tier::Extended).await;
    let answer = ask("?app_name=shop&tail=1", Some(&token)).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    make_entry(&house, "blog", 3).await;
    make_entry(&house, "shop", 3).await;
    let mut body = answer.into_body();
    let mut told = String::new();
    // The stored one and the live one of this app, each once and in order.
    while told.matches("data: ").count() < 2 {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let data = frame
            .expect("in time")
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        told.push_str(std::str::from_utf8(&data).unwrap());
    }
    let entries: Vec<Value> = told
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    for entry in &entries {
        assert_eq!(entry["flukedeploy_metadata"]["app_name"], "shop");
        let id = entry["id"].as_str().unwrap();
        assert!(told.contains(&format!("id: {id}\n")), "{told}");
    }
    assert_ne!(entries[0]["id"], entries[1]["id"]);
    let list = house.call("GET", "/api/v1/tokens", None).await;
    let id = list.body["tokens"][0]["id"].as_str().unwrap();
    let revoked = house
        .call("DELETE", &format!("/api/v1/tokens/{id}"), None)
        .await;
    assert_eq!(revoked.status, 204);
    let rest = tokio::time::timeout(PATIENCE, body.collect()).await;
    let rest = rest.expect("its end in time").unwrap().to_bytes();
    let rest = std::str::from_utf8(&rest).unwrap();
    assert!(
        rest.contains("event: error") && rest.contains("unauthorized"),
        "{rest}"
    );
}

/// The entries of a stream of server-sent events, until there are so many.
pub(super) async fn events(body: &mut Body, count: usize) -> Vec<Value> {
    let mut told = String::new();
    while told.matches("\n\n").count() < count {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let data = frame
            .expect("in time")
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        told.push_str(std::str::from_utf8(&data).unwrap());
    }
    told.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

pub(super) fn listen(path: &str, token: &str) -> axum::http::request::Builder {
    Request::get(format!("/api/v1/logs/stream{path}"))
        .header("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn a_stream_begins_where_the_client_says() {
    let house = House::new().await;
    let address = open(&house).await;
    make_app(&house, "shop").await;
    for replicas in 2..8 {
        make_entry(&house, "shop", replicas).await;
    }
    let stored = house
        .call("GET", "/api/v1/logs?app_name=shop&order=asc", None)
        .await;
    let stored = stored.body["logs"].as_array().unwrap().clone();
    let id = |at: usize| stored[at]["id"].as_str().unwrap();

    let path = format!("/?app_name=shop&since={}", id(2));
    let mut behind = Client::connect(address, &path, Some(ADMIN)).await;
    let mut all = Client::connect(address, "/", Some(ADMIN)).await;
    for client in [&mut behind, &mut all] {
        assert_eq!(client.next().await["type"], "connected");
    }
    let everything = r#"{"action":"subscribe","since":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(all.ask(everything).await["type"], "subscribed");
    for entry in &stored[3..] {
        assert_eq!(behind.next().await, *entry);
    }
    for entry in &stored {
        assert_eq!(all.next().await, *entry);
    }
    make_entry(&house, "shop", 9).await;
    let live = behind.next().await;
    assert!(live["message"].as_str().unwrap().contains("replicas"));
    assert_eq!(all.next().await, live, "nothing twice and nothing between");
    let both = all.ask(r#"{"action":"subscribe","since":"1970-01-01T00:00:00Z","tail":1}"#);
    assert_eq!(both.await["code"], "bad_request");

    // Browsers say by themselves what they have.
    let request = listen("?app_name=shop&tail=1000", ADMIN).header("last-event-id", id(5));
    let request = request.body(Body::empty()).unwrap();
    let answer = house.router.clone().oneshot(request).await.unwrap();
    let told = events(&mut answer.into_body(), stored.len() - 6 + 1).await;
    assert_eq!(told[..told.len() - 1], stored[6..]);
    assert_eq!(told.last(), Some(&live));
    // Behind a place in the pages of what is stored.
    let page = house
        .call("GET", "/api/v1/logs?app_name=shop&order=asc&limit=4", None)
        .await;
    let cursor = page.body["cursor"].as_str().unwrap();
    let request = listen(&format!("?app_name=shop&since={cursor}"), ADMIN);
    let request = request.body(Body::empty()).unwrap();
    let answer = house.router.clone().oneshot(request).await.unwrap();
    let told = events(&mut answer.into_body(), stored.len() - 4 + 1).await;
    assert_eq!(told[..told.len() - 1], stored[4..]);
    for wrong in ["?since=yesterday", "?since=2026-02-04T10:13:20Z&tail=5"] {
        let request = listen(wrong, ADMIN).body(Body::empty()).unwrap();
        assert_eq!(house.send(request).await.problem(400), "bad_request");
    }
}

#[tokio::test]
async fn a_token_that_runs_out_ends_what_it_opened() {
    let house = House::new().await;
    let address = open(&house).await;
    let cmd = CreateToken {
        name: "short".to_owned(),
        persona: None,
        tier: Tier::Advanced,
        expires_at: Some(house.px.now() + Duration::from_secs(2)),
        only: None,
        limits: Limits::default(),
    };
    let token = tokens::create_token(&house.px, &Actor::system(), cmd).await;
    let token = token.unwrap().secret.expose().to_owned();
    let mut client = Client::connect(address, "/", Some(&token)).await;
    assert_eq!(client.next().await["authenticated"], true);
    make_app(&house, "shop").await;
    let deploy = json!({"app_name": "shop", "image": "shop:1"});
    let waiting = house.call_as(&token, "POST", "/api/v1/deployments?wait=50", Some(&deploy));
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    // The deployment waits for an engine that does not answer, and would for all those seconds.
    let answer = answer.expect("an end of the wait");
    assert_eq!(answer.problem(401), "unauthorized");
    loop {
        let frame = client.next().await;
        if frame["@type"].is_null() {
            assert_eq!(frame["code"], "unauthorized", "{frame}");
            break;
        }
    }
    assert_eq!(client.next().await, 4401);
}

#[tokio::test]
async fn a_client_takes_no_more_than_its_share() {
    let house = House::new().await;
    let address = open(&house).await;
    let token = house.token(Tier::Extended).await;
    let mut open = Vec::new();
    let refused = loop {
        let request = listen("", &token).body(Body::empty()).unwrap();
        let answer = house.router.clone().oneshot(request).await.unwrap();
        if answer.status() != 200 {
            break super::Answer::of(answer).await;
        }
        open.push(answer);
        assert!(open.len() < 1_000);
    };
    assert_eq!(refused.problem(503), "too_many_clients");
    let mut other = Client::connect(address, "/", Some(&token)).await;
    assert_eq!(other.next().await["code"], "too_many_clients");
    assert_eq!(other.next().await, 1013);
    // Others have their own share, and places are given back.
    let mut admin = Client::connect(address, "/", Some(ADMIN)).await;
    assert_eq!(admin.next().await["type"], "connected");
    drop(open);
    let mut again = Client::connect(address, "/", Some(&token)).await;
    assert_eq!(again.next().await["type"], "connected");

    let too_long = admin.ask(&"x".repeat(20 * 1024)).await;
    assert_eq!(too_long["code"], "bad_request");
    assert_eq!(admin.ask(r#"{"action":"ping"}"#).await["type"], "pong");
    let long = json!({"action": "subscribe", "filter": {"app_name": "x".repeat(200)}});
    assert_eq!(again.ask(&long.to_string()).await["code"], "bad_request");
}
