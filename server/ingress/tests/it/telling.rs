//! Requests that are told to the control plane.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flukedeploy_domain::request_record::{LeftOut, RequestRecord};
use flukedeploy_domain::routing::{ControlFrame, IngressFrame, RoutingSnapshot};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Backend, Client, ControlLink, ask, closed_port, config, exchange, get, linked_with, request,
    snapshot_with, status, upstream, within,
};

/// Answers as its path says: `/fails…` with 500, `/late…` after 30 ms.
async fn backend() -> Backend {
    Backend::http(|request: Request<Incoming>| async move {
        if request.uri().path().starts_with("/late") {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if request.uri().path().starts_with("/fails") {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Response::new(Full::from("hello"))
    })
    .await
}

fn told_by(version: u64, access: &Value, backend: &Backend) -> RoutingSnapshot {
    let route = json!({ "access": access });
    snapshot_with(version, route, &[upstream("r1", 1, &[backend.address])])
}

struct Batch {
    id: u64,
    requests: Vec<RequestRecord>,
    left_out: Vec<LeftOut>,
}

async fn next_batch(link: &mut ControlLink) -> Batch {
    let is_batch = |frame: &IngressFrame| matches!(frame, IngressFrame::Requests { .. });
    let IngressFrame::Requests {
        id,
        requests,
        left_out,
    } = link.next_where(is_batch).await
    else {
        unreachable!()
    };
    Batch {
        id,
        requests,
        left_out,
    }
}

async fn take_batch(link: &mut ControlLink) -> Batch {
    let batch = next_batch(link).await;
    link.send(&ControlFrame::RequestsTaken { id: batch.id })
        .await;
    batch
}

/// Takes batches until so many requests were told or left out.
async fn take(link: &mut ControlLink, count: u64) -> (Vec<RequestRecord>, u64) {
    let (mut told, mut left_out) = (Vec::new(), 0);
    while told.len() as u64 + left_out < count {
        let batch = take_batch(link).await;
        told.extend(batch.requests);
        left_out += batch.left_out.iter().map(|one| one.count).sum::<u64>();
    }
    (told, left_out)
}

fn paths(requests: &[RequestRecord]) -> Vec<&str> {
    requests.iter().map(|one| one.path.as_str()).collect()
}

#[tokio::test]
async fn what_fails_is_told_with_its_parts_and_without_its_query() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(told_by(1, &json!({}), &backend)).await;
    get(ingress.local_addr()).await;
    let mut failing = request("GET", "/fails/7;sid=p4ram?token=s3cret", "");
    let headers = failing.headers_mut();
    headers.insert("user-agent", "shop-client/1.0".parse().unwrap());
    headers.insert("x-request-id", "request-7".parse().unwrap());
    headers.insert("authorization", "Bearer h1dden".parse().unwrap());
    headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
    assert_eq!(ask(ingress.local_addr(), failing).await.status, 500);

    let batch = take_batch(&mut link).await;
    let text = serde_json::to_string(&batch.requests).unwrap();
    for secret in ["s3cret", "p4ram", "h1dden", "198.51.100.1"] {
        assert!(!text.contains(secret), "{text}");
    }
    let [told] = &batch.requests[..] else {
        panic!("only what failed: {text}");
    };
    assert_eq!(
        (told.app.as_str(), told.environment.as_str()),
        ("shop", "production")
    );
    assert_eq!(
        (told.method.as_str(), told.path.as_str()),
        ("GET", "/fails/7")
    );
    assert_eq!((told.status, told.release), (Some(500), Some(1)));
    assert_eq!(told.service.as_deref(), Some("r1"));
    assert_eq!(told.upstream, Some(backend.address));
    assert_eq!(told.client, "127.0.0.1");
    assert_eq!(told.user_agent.as_deref(), Some("shop-client/1.0"));
    assert_eq!(told.request_id, "request-7");
    assert_eq!(
        (told.retries, told.slow, &told.error_code),
        (0, false, &None)
    );
    assert!(told.ended_at_ms > 1_600_000_000_000, "{}", told.ended_at_ms);
}

#[tokio::test]
async fn all_are_told_once_where_all_are_wanted() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    let all = json!({ "sample_permille": 1_000 });
    link.apply(told_by(1, &all, &backend)).await;
    let mut client = Client::connect(ingress.local_addr()).await;
    let sending = async {
        for number in 0..600 {
            client.get(&format!("/orders/{number}")).await.unwrap();
        }
    };
    let ((), (told, left_out)) = within("all of them", async {
        tokio::join!(sending, take(&mut link, 600))
    })
    .await;
    assert_eq!(left_out, 0);
    let mut numbers: Vec<u32> = paths(&told)
        .iter()
        .map(|path| path.trim_start_matches("/orders/").parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..600), "{numbers:?}");
    assert!(
        told.iter()
            .all(|one| one.bytes_out == 5 && one.status == Some(200))
    );
}

#[tokio::test]
async fn nothing_is_told_where_nothing_is_wanted_and_a_change_holds_at_once() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(told_by(1, &Value::Null, &backend)).await;
    let off = request("GET", "/fails/off", "");
    ask(ingress.local_addr(), off).await;
    link.apply(told_by(2, &json!({}), &backend)).await;
    ask(ingress.local_addr(), request("GET", "/fails/on", "")).await;
    assert_eq!(paths(&take_batch(&mut link).await.requests), ["/fails/on"]);
    link.apply_past(told_by(3, &Value::Null, &backend)).await;
    ask(ingress.local_addr(), request("GET", "/fails/off", "")).await;
    link.apply_past(told_by(4, &json!({}), &backend)).await;
    ask(ingress.local_addr(), request("GET", "/fails/again", "")).await;
    assert_eq!(
        paths(&take_batch(&mut link).await.requests),
        ["/fails/again"]
    );
}

#[tokio::test]
async fn what_is_slow_is_told_and_marked() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    let slow = json!({ "slow_ms": 20 });
    link.apply(told_by(1, &slow, &backend)).await;
    let answer = ask(ingress.local_addr(), request("GET", "/late", "")).await;
    assert_eq!(answer.status, 200);
    let batch = take_batch(&mut link).await;
    let told = batch
        .requests
        .iter()
        .find(|one| one.path == "/late")
        .unwrap();
    assert!(told.slow && told.first_byte_ms >= Some(20), "{told:?}");
}

#[tokio::test]
async fn what_waits_while_nobody_listens_comes_later_and_what_was_underway_again() {
    let backend = backend().await;
    let (ingress, control, mut link) = linked_with(config()).await;
    link.apply(told_by(1, &json!({}), &backend)).await;
    ask(ingress.local_addr(), request("GET", "/fails/first", "")).await;
    let lost = next_batch(&mut link).await;
    drop(link);
    ask(ingress.local_addr(), request("GET", "/fails/meanwhile", "")).await;

    let (mut link, _) = control.accept().await;
    let again = next_batch(&mut link).await;
    assert_eq!(
        (again.id, paths(&again.requests)),
        (lost.id, vec!["/fails/first"])
    );
    link.send(&ControlFrame::RequestsTaken { id: again.id })
        .await;
    let next = take_batch(&mut link).await;
    assert!(next.id > again.id);
    assert_eq!(paths(&next.requests), ["/fails/meanwhile"]);
}

#[tokio::test]
async fn the_next_batch_waits_until_the_last_was_taken() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(told_by(1, &json!({}), &backend)).await;
    ask(ingress.local_addr(), request("GET", "/fails/1", "")).await;
    let first = next_batch(&mut link).await;
    ask(ingress.local_addr(), request("GET", "/fails/2", "")).await;
    // An answer that is asked for after the second request comes before it is told.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let services = vec!["r1".to_owned()];
    link.send(&ControlFrame::ReportTraffic { id: 9, services })
        .await;
    let next = link.next().await;
    assert!(
        matches!(next, IngressFrame::Totals { id: 9, .. }),
        "{next:?}"
    );
    link.send(&ControlFrame::RequestsTaken { id: first.id })
        .await;
    assert_eq!(paths(&take_batch(&mut link).await.requests), ["/fails/2"]);
}

#[tokio::test]
async fn the_reason_is_told_where_the_ingress_could_not_serve() {
    let (ingress, _control, mut link) = linked_with(config()).await;
    let dead = [closed_port(), closed_port()];
    let route = json!({ "access": {} });
    link.apply(snapshot_with(1, route.clone(), &[upstream("r1", 1, &dead)]))
        .await;
    assert_eq!(get(ingress.local_addr()).await.status, 503);
    let batch = take_batch(&mut link).await;
    let told = &batch.requests[0];
    assert_eq!(told.error_code.as_deref(), Some("replicas_unreachable"));
    assert_eq!(
        (told.status, told.service.as_deref()),
        (Some(503), Some("r1"))
    );
    assert!(told.retries > 0, "{told:?}");

    link.apply(snapshot_with(2, route.clone(), &[upstream("r1", 1, &[])]))
        .await;
    assert_eq!(get(ingress.local_addr()).await.status, 503);
    let told = &take_batch(&mut link).await.requests[0];
    assert_eq!(told.error_code.as_deref(), Some("no_healthy_replica"));

    let hangs_up = Backend::raw(|mut stream, _| async move {
        let mut head = [0; 1_024];
        let _ = stream.read(&mut head).await;
    })
    .await;
    link.apply(snapshot_with(
        3,
        route.clone(),
        &[upstream("r2", 1, &[hangs_up.address])],
    ))
    .await;
    assert_eq!(get(ingress.local_addr()).await.status, 502);
    let told = &take_batch(&mut link).await.requests[0];
    assert_eq!(told.error_code.as_deref(), Some("bad_answer"));

    let breaks_off = Backend::raw(|mut stream, _| async move {
        let mut head = [0; 1_024];
        let _ = stream.read(&mut head).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let _ = stream.write_all(half).await;
    })
    .await;
    link.apply(snapshot_with(
        4,
        route,
        &[upstream("r3", 1, &[breaks_off.address])],
    ))
    .await;
    let text = "GET /half HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    exchange(ingress.local_addr(), text).await;
    let told = &take_batch(&mut link).await.requests[0];
    assert_eq!(told.error_code.as_deref(), Some("answer_broke_off"));
    assert_eq!((told.status, told.bytes_out), (Some(200), 4));
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_a_trace() {
    let (backend, mut arrivals, gate) = crate::support::held_backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    let all = json!({ "sample_permille": 1_000 });
    link.apply(told_by(1, &all, &backend)).await;
    let mut stream = tokio::net::TcpStream::connect(ingress.local_addr())
        .await
        .unwrap();
    let text = "GET /patience HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    within("the request", arrivals.recv()).await.unwrap();
    drop(stream);
    let batch = take_batch(&mut link).await;
    assert_eq!(paths(&batch.requests), ["/patience"]);
    assert_eq!(batch.requests[0].status, None);
    gate.add_permits(1);
}

#[tokio::test]
async fn a_flood_of_failures_is_told_in_part_and_counted_in_full() {
    const COUNT: u64 = 600;
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(told_by(1, &json!({}), &backend)).await;
    // One connection, and so one worker.
    let mut client = Client::connect(ingress.local_addr()).await;
    let began = Instant::now();
    let sending = async {
        for _ in 0..COUNT {
            client.get("/fails").await.unwrap();
        }
    };
    let ((), (told, left_out)) = within("the flood", async {
        tokio::join!(sending, take(&mut link, COUNT))
    })
    .await;
    assert_eq!(told.len() as u64 + left_out, COUNT);
    let most = 50 * (began.elapsed().as_secs() + 2);
    assert!(told.len() as u64 <= most, "{} of {most}", told.len());
}

#[tokio::test]
async fn a_request_cannot_forge_a_line() {
    let backend = backend().await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    let all = json!({ "sample_permille": 1_000 });
    link.apply(told_by(1, &all, &backend)).await;
    let mut forged = b"GET /\xe2\x80\xae%0a%1b[2J/x HTTP/1.1\r\nhost: shop.localhost\r\n".to_vec();
    forged.extend(b"user-agent: a\tb\xe2\x80\xae\xff\r\nconnection: close\r\n\r\n");
    exchange(ingress.local_addr(), &forged).await;
    let told = &take_batch(&mut link).await.requests[0];
    assert!(told.path.bytes().all(|b| b.is_ascii_graphic()), "{told:?}");
    let agent = told.user_agent.as_deref().unwrap();
    let harmless = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(agent.chars().all(harmless), "{agent:?}");
    let long = format!("/{}", "a".repeat(4_000));
    let mut client = Client::connect(ingress.local_addr()).await;
    let answer: hyper::Result<_> = client.get(&long).await;
    assert_eq!(answer.unwrap().body, Bytes::from("hello"));
    let told = &take_batch(&mut link).await.requests[0];
    assert!(told.path.len() < 600, "{}", told.path.len());
}
