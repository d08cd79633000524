//! The streams as everybody: who hears what, and that it ends when the right to it does.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use flukedeploy_domain::access::Role;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::House;
use super::matrix::{Reach, Somebody, everybody, furnished};
use super::stream::{Client, events, listen, make_entry, open};

/// Somebody who listens to it must be gone this soon.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Where entries come up, in this order: production of the one app, its staging, and another app.
async fn something_everywhere(house: &House, replicas: u32) {
    make_entry(house, "shop", replicas).await;
    let staging = "/api/v1/apps/shop/environments/staging";
    let body = json!({"replicas": replicas});
    let changed = house.call("PATCH", staging, Some(&body)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    make_entry(house, "bank", replicas).await;
}

fn place_of(entry: &Value) -> (String, String) {
    let metadata = &entry["flukedeploy_metadata"];
    let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    (text("app_name"), text("environment"))
}

/// The first frame that is no entry.
async fn after_entries(client: &mut Client) -> Value {
    loop {
        let frame = client.next().await;
        if frame["@type"].is_null() {
            return frame;
        }
    }
}

/// Whether it is one of those entries: deployments go on meanwhile.
fn is_change(entry: &Value) -> bool {
    let message = entry["message"].as_str().unwrap_or_default();
    message.contains("changed replicas")
}

async fn next_change(client: &mut Client) -> Value {
    loop {
        let entry = client.entry().await;
        if is_change(&entry) {
            return entry;
        }
    }
}

async fn next_change_sent(body: &mut Body) -> Value {
    loop {
        let entry = events(body, 1).await.remove(0);
        if is_change(&entry) {
            return entry;
        }
    }
}

/// The first entries that somebody hears of what [`something_everywhere`] makes.
fn heard_by(reach: Reach) -> Vec<(&'static str, &'static str)> {
    let shop = ("shop", "production");
    let all = vec![shop, ("shop", "staging"), ("bank", "production")];
    match reach {
        Reach::Nobody => Vec::new(),
        Reach::OtherApp => all[2..].to_vec(),
        Reach::InShop(_) => all[..2].to_vec(),
        Reach::InStaging => all[1..2].to_vec(),
        Reach::Everywhere => all,
    }
}

fn check_heard(who: &Somebody, entries: &[Value]) {
    let places: Vec<_> = entries.iter().map(place_of).collect();
    let expected: Vec<_> = heard_by(who.reach)
        .into_iter()
        .map(|(app, environment)| (app.to_owned(), environment.to_owned()))
        .collect();
    assert_eq!(places, expected, "{}", who.what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_hears_what_is_theirs_and_nothing_else() {
    let (house, _) = furnished().await;
    let address = open(&house).await;
    let mut all = Vec::new();
    for who in everybody(&house).await {
        let mut socket = Client::connect(address, "/", who.token.as_deref()).await;
        let first = socket.next().await;
        if who.reach == Reach::Nobody {
            if who.token.is_none() {
                assert_eq!(first["authenticated"], false, "{}", who.what);
                let asked = socket.ask(r#"{"action":"subscribe"}"#).await;
                assert_eq!(asked["code"], "unauthorized", "{}", who.what);
            } else {
                assert_eq!(first["code"], "unauthorized", "{}", who.what);
                assert_eq!(socket.next().await, 4401, "{}", who.what);
            }
            let request = Request::get("/api/v1/logs/stream");
            let request = match &who.token {
                Some(token) => request.header("authorization", format!("Bearer {token}")),
                None => request,
            };
            let answer = house.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.problem(401), "unauthorized", "{}", who.what);
            continue;
        }
        assert_eq!(first["authenticated"], true, "{}", who.what);
        let token = who.token.as_deref().unwrap();
        let request = listen("", token).body(Body::empty()).unwrap();
        let sent = house.router.clone().oneshot(request).await.unwrap();
        assert_eq!(sent.status(), 200, "{}", who.what);
        all.push((who, socket, sent.into_body()));
    }
    assert!(all.len() >= 7);
    // What comes second tells what was kept back of the first time.
    something_everywhere(&house, 5).await;
    something_everywhere(&house, 6).await;
    for (who, mut socket, mut sent) in all {
        let (mut heard, mut heard_sent) = (Vec::new(), Vec::new());
        for _ in heard_by(who.reach) {
            heard.push(next_change(&mut socket).await);
            heard_sent.push(next_change_sent(&mut sent).await);
        }
        check_heard(&who, &heard);
        check_heard(&who, &heard_sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_the_grant_it_lives_on() {
    let (house, _) = furnished().await;
    let address = open(&house).await;
    let all = everybody(&house).await;
    let viewer = all
        .iter()
        .find(|who| who.reach == Reach::InShop(Role::Viewer));
    let token = viewer.unwrap().token.clone().unwrap();
    let mut everything = Client::connect(address, "/", Some(&token)).await;
    let mut shop = Client::connect(address, "/?app_name=shop", Some(&token)).await;
    let mut bank = Client::connect(address, "/?app_name=bank", Some(&token)).await;
    for client in [&mut everything, &mut shop, &mut bank] {
        assert_eq!(client.next().await["authenticated"], true);
    }
    let request = listen("?app_name=shop", &token)
        .body(Body::empty())
        .unwrap();
    let sent = house.router.clone().oneshot(request).await.unwrap();
    let mut sent = sent.into_body();
    make_entry(&house, "shop", 5).await;
    assert_eq!(place_of(&next_change(&mut everything).await).0, "shop");
    assert_eq!(place_of(&next_change(&mut shop).await).0, "shop");
    assert_eq!(place_of(&next_change_sent(&mut sent).await).0, "shop");

    let id = token.split('_').nth(1).unwrap();
    let grants = house.call("GET", "/api/v1/grants", None).await;
    let grants = grants.body["grants"].as_array().unwrap().clone();
    let of_token = |grant: &&Value| grant["subject"].to_string().contains(id);
    let grant = grants
        .iter()
        .find(of_token)
        .unwrap_or_else(|| panic!("{grants:?}"));
    let path = format!("/api/v1/grants/{}", grant["id"].as_str().unwrap());
    let withdrawn = Instant::now();
    assert_eq!(house.call("DELETE", &path, None).await.status, 204);
    for client in [&mut everything, &mut shop] {
        let told = after_entries(client).await;
        assert_eq!(told["code"], "unauthorized", "{told}");
        assert_eq!(client.next().await, 4401);
    }
    while let Some(Ok(_)) = sent.frame().await {}
    assert!(withdrawn.elapsed() < AT_ONCE, "{:?}", withdrawn.elapsed());
    // Of the other app nothing ever came, and a stream's end would tell that it is there.
    assert_eq!(bank.ask(r#"{"action":"ping"}"#).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_the_token_that_opened_it_and_with_its_makers() {
    let (house, _) = furnished().await;
    let address = open(&house).await;
    let maker = house
        .token(flukedeploy_domain::access::Tier::Advanced)
        .await;
    let body = json!({"name": "child", "tier": "extended"});
    let made = house
        .call_as(&maker, "POST", "/api/v1/tokens", Some(&body))
        .await;
    let child = made.body["token"].as_str().unwrap().to_owned();
    let mut streams = Vec::new();
    for token in [&maker, &child] {
        let mut client = Client::connect(address, "/", Some(token)).await;
        assert_eq!(client.next().await["authenticated"], true);
        streams.push(client);
    }
    let id = maker.split('_').nth(1).unwrap();
    let revoked = Instant::now();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(house.call("DELETE", &path, None).await.status, 204);
    for client in &mut streams {
        let told = after_entries(client).await;
        assert_eq!(told["code"], "unauthorized", "{told}");
        assert_eq!(client.next().await, 4401);
    }
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
}
