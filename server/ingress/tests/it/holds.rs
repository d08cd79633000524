use std::time::Duration;

use flukedeploy_domain::routing::{IngressFrame, RoutingSnapshot};
use flukedeploy_ingress::Ingress;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Answer, Backend, ask, closed_port, config, eventually, get, linked_with, read_head, request,
    snapshot, snapshot_with, start, upstream, within,
};

fn held(version: u64, max_wait_ms: u64) -> RoutingSnapshot {
    let hold = json!({ "hold": { "max_wait_ms": max_wait_ms } });
    snapshot_with(version, hold, &[])
}

/// Whether a request that is asked now gets its 503 at once, because there is no place to wait.
async fn is_full(ingress: &Ingress) -> bool {
    let asking = tokio::time::timeout(Duration::from_millis(200), get(ingress.local_addr())).await;
    asking.is_ok_and(|answer| answer.body.contains("Too many requests"))
}

#[tokio::test]
async fn requests_wait_for_a_replica_over_any_number_of_tables() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress.apply(&held(1, 60_000)).unwrap();
    let address = ingress.local_addr();
    let mut waiting: Vec<_> = ["GET", "POST", "PUT"]
        .map(|method| tokio::spawn(ask(address, request(method, "/", "the body"))))
        .into();
    for version in 2..20 {
        ingress.apply(&held(version, 60_000)).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(waiting.iter().all(|one| !one.is_finished()));
    ingress
        .apply(&snapshot(20, &[("r1", 1, &[backend.address])]))
        .unwrap();
    for one in waiting.drain(..) {
        let answer: Answer = within("an answer", one).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("the body"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_replica_that_answers_is_not_asked_while_all_are_held() {
    let (old, new) = (Backend::named("old").await, Backend::named("new").await);
    let ingress = start();
    let all = json!({ "hold": { "max_wait_ms": 60_000, "all": true } });
    let upstreams = [upstream("r1", 1, &[old.address])];
    ingress.apply(&snapshot_with(1, all, &upstreams)).unwrap();
    let waiting = tokio::spawn(get(ingress.local_addr()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    ingress
        .apply(&snapshot(2, &[("r2", 1, &[new.address])]))
        .unwrap();
    assert_eq!(within("an answer", waiting).await.unwrap().body, "new");
    assert_eq!(old.requests(), 0);
}

#[tokio::test]
async fn waiting_ends_with_a_503_that_says_why() {
    let ingress = start();
    let address = ingress.local_addr();
    for (version, closed, hold, code) in [
        (
            1,
            json!(null),
            json!({ "max_wait_ms": 50 }),
            "no_healthy_replica",
        ),
        (2, json!("stopped"), json!(null), "app_stopped"),
        (3, json!("maintenance"), json!(null), "app_in_maintenance"),
        (
            4,
            json!("maintenance"),
            json!({ "max_wait_ms": 50 }),
            "app_in_maintenance",
        ),
    ] {
        let route = json!({ "closed": closed, "hold": hold });
        let upstreams = [upstream("r1", 1, &[])];
        ingress
            .apply(&snapshot_with(version, route, &upstreams))
            .unwrap();
        let mut asked = request("GET", "/", "");
        let json = http::HeaderValue::from_static("application/json");
        asked.headers_mut().insert("accept", json);
        let answer = ask(address, asked).await;
        assert_eq!(answer.status, 503);
        assert!(answer.headers.contains_key("retry-after"));
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["error"], code);
    }
}

#[tokio::test]
async fn places_are_limited_and_free_again_when_a_client_leaves() {
    let mut config = config();
    config.limits.max_held = 1;
    let ingress = Ingress::start(config).unwrap();
    ingress.apply(&held(1, 60_000)).unwrap();
    // One has sent all, one part of a body that nobody reads, one the next request already.
    for sent in [
        "GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop.localhost\r\ncontent-length: 99\r\n\r\nbegin",
        "GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\nGET / HTTP/1.1\r\n",
    ] {
        // Our question may come first and take the place itself: then they try again.
        let taking = async {
            loop {
                let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
                client.write_all(sent.as_bytes()).await.unwrap();
                if is_full(&ingress).await {
                    return client;
                }
            }
        };
        drop(within("the place to be taken", taking).await);
        eventually("the place to be free", || async {
            !is_full(&ingress).await
        })
        .await;
    }
}

#[tokio::test]
async fn a_switch_of_protocols_waits_like_any_other_request() {
    let app = Backend::raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let ingress = start();
    ingress.apply(&held(1, 60_000)).unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let ask = "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let answer = tokio::spawn(async move { read_head(&mut client).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!answer.is_finished());
    ingress
        .apply(&snapshot(2, &[("r1", 1, &[app.address])]))
        .unwrap();
    let answer = within("the switch", answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}

#[tokio::test]
async fn what_was_held_has_all_its_tries_left() {
    let (dead, backend) = (closed_port(), Backend::named("one").await);
    let mut config = config();
    config.limits.retry_window = Duration::from_secs(10);
    let ingress = Ingress::start(config).unwrap();
    // The first failure starts the retry window; the hold outlives what would be left of it.
    let hold = json!({ "hold": { "max_wait_ms": 60_000 } });
    let dying = |version| snapshot_with(version, hold.clone(), &[upstream("r1", 1, &[dead])]);
    ingress.apply(&dying(1)).unwrap();
    let waiting = tokio::spawn(get(ingress.local_addr()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    ingress.apply(&held(2, 60_000)).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    ingress.apply(&dying(3)).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    ingress
        .apply(&snapshot(4, &[("r1", 1, &[backend.address])]))
        .unwrap();
    assert_eq!(within("an answer", waiting).await.unwrap().body, "one");
}

#[tokio::test]
async fn a_sleeping_app_is_wanted_while_somebody_waits() {
    let backend = Backend::named("awake").await;
    let (ingress, control, mut link) = linked_with(config()).await;
    let asleep = json!({ "hold": { "max_wait_ms": 60_000, "wake": true } });
    link.apply(snapshot_with(1, asleep, &[])).await;
    let waiting: Vec<_> = (0..5)
        .map(|_| tokio::spawn(get(ingress.local_addr())))
        .collect();
    let wanted = IngressFrame::Wanted {
        app: "shop".parse().unwrap(),
        environment: "production".parse().unwrap(),
    };
    assert_eq!(link.next().await, wanted);
    let first = tokio::time::Instant::now();
    assert_eq!(link.next().await, wanted);
    assert!(
        first.elapsed() > Duration::from_millis(700),
        "once a second"
    );
    drop(link);
    let (mut link, _) = control.accept().await;
    assert_eq!(link.next().await, wanted, "told again on a new link");
    link.apply_past(snapshot(2, &[("r1", 1, &[backend.address])]))
        .await;
    for one in waiting {
        assert_eq!(within("an answer", one).await.unwrap().body, "awake");
    }
    let more = tokio::time::timeout(Duration::from_millis(1_200), link.next()).await;
    assert!(more.is_err(), "nobody waits any more: {more:?}");
}

#[tokio::test]
async fn an_ingress_that_stops_lets_nobody_wait_in_vain() {
    let ingress = start();
    ingress.apply(&held(1, 60_000)).unwrap();
    let waiting = tokio::spawn(get(ingress.local_addr()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    within("the stop", ingress.stop()).await;
    let answer = within("an answer", waiting).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
}
