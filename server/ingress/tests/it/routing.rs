use std::collections::HashMap;

use http::Request;
use http_body_util::Full;

use crate::support::{Backend, Client, ask, exchange, get, request, snapshot, start, within};

#[tokio::test]
async fn an_ingress_without_routes_says_that_it_starts() {
    let ingress = start();
    let answer = get(ingress.local_addr()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    flukedeploy_ingress::check(ingress.local_addr())
        .await
        .unwrap();
    ingress.stop().await;
}

#[tokio::test]
async fn an_unknown_host_gets_a_page_or_json() {
    let ingress = start();
    ingress.apply(&snapshot(1, &[])).unwrap();
    let unknown = |accept: &str| {
        Request::get("/secret?token=1")
            .header("host", "nobody.localhost")
            .header("accept", accept)
            .body(Full::default())
            .unwrap()
    };
    let page = ask(ingress.local_addr(), unknown("text/html,*/*;q=0.8")).await;
    assert_eq!(page.status, 404);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("No app here"));
    assert!(!page.body.contains("<script") && !page.body.contains("token"));

    let json = ask(ingress.local_addr(), unknown("application/json")).await;
    assert_eq!(json.status, 404);
    let problem: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(problem["error"], "unknown_host");
    assert_eq!(problem["status"], 404);
}

#[tokio::test]
async fn a_route_without_replicas_gets_a_503_that_says_when_to_come_back() {
    let ingress = start();
    ingress.apply(&snapshot(1, &[("r1", 1, &[])])).unwrap();
    let answer = get(ingress.local_addr()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "2");
    assert!(answer.body.contains("No replica of this app is healthy"));
}

#[tokio::test]
async fn the_host_decides_in_any_spelling() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let address = ingress.local_addr();
    for host in ["shop.localhost", "SHOP.localhost:8080", "shop.localhost."] {
        let text = format!("GET /a?b=c HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(address, text).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(answer.contains(r#""target":"/a?b=c""#), "{answer}");
    }
    let absolute =
        "GET http://Shop.localhost:80/x HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n";
    let answer = exchange(address, absolute).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""target":"/x""#), "{answer}");
    assert!(
        answer
            .to_lowercase()
            .contains(r#"["host","shop.localhost:80"]"#),
        "{answer}"
    );

    let old = exchange(address, "GET / HTTP/1.0\r\nhost: shop.localhost\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[tokio::test]
async fn all_kinds_of_answers_pass() {
    let backend = Backend::http(|request| async move {
        let mut response = http::Response::new(Full::from("0123456789"));
        match request.uri().path() {
            "/304" => *response.status_mut() = http::StatusCode::NOT_MODIFIED,
            "/204" => *response.status_mut() = http::StatusCode::NO_CONTENT,
            "/500" => *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR,
            _ => {}
        }
        if response.status().as_u16() < 400 && response.status() != 200 {
            *response.body_mut() = Full::default();
        }
        response
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = Client::connect(ingress.local_addr()).await;
    for (method, path, status, body) in [
        ("GET", "/", 200, "0123456789"),
        ("HEAD", "/", 200, ""),
        ("GET", "/304", 304, ""),
        ("GET", "/204", 204, ""),
        ("OPTIONS", "/", 200, "0123456789"),
        ("GET", "/500", 500, "0123456789"),
        ("GET", "/", 200, "0123456789"),
    ] {
        let asked = client.send(request(method, path, ""));
        let answer = within("an answer", asked).await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, body),
            "{method} {path}"
        );
        if method == "HEAD" {
            assert_eq!(answer.headers["content-length"], "10");
        }
    }
    assert_eq!(
        backend
            .connections
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn weights_are_respected() {
    let (one, two, zero) = (
        Backend::named("one").await,
        Backend::named("two").await,
        Backend::named("zero").await,
    );
    let ingress = start();
    let upstreams: &[(&str, u32, &[_])] = &[
        ("r1", 75, &[one.address]),
        ("r2", 25, &[two.address]),
        ("r3", 0, &[zero.address]),
    ];
    ingress.apply(&snapshot(1, upstreams)).unwrap();
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut client = Client::connect(ingress.local_addr()).await;
    for _ in 0..100 {
        let answer = within("an answer", client.get("/")).await.unwrap();
        *seen.entry(answer.body).or_default() += 1;
    }
    assert_eq!(
        seen,
        HashMap::from([("one".into(), 75), ("two".into(), 25)])
    );
}

#[tokio::test]
async fn replicas_share_the_load() {
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[one.address, two.address])]))
        .unwrap();
    let mut client = Client::connect(ingress.local_addr()).await;
    for _ in 0..40 {
        within("an answer", client.get("/")).await.unwrap();
    }
    assert_eq!((one.requests(), two.requests()), (20, 20));
}

#[tokio::test]
async fn a_second_ingress_on_the_same_port_is_refused() {
    let ingress = start();
    let mut config = crate::support::config();
    config.http_listen = ingress.local_addr();
    let error = flukedeploy_ingress::Ingress::start(config).unwrap_err();
    assert!(
        error.to_string().starts_with("listen on 127.0.0.1:"),
        "{error}"
    );
}
