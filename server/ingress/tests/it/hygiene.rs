use std::time::Duration;

use flukedeploy_ingress::Ingress;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, ask, config, exchange, read_head, snapshot, start, within};

#[tokio::test]
async fn the_app_sees_who_really_asked() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let request = Request::get("/")
        .header("host", "shop.localhost")
        .header("x-forwarded-for", "6.6.6.6, 7.7.7.7")
        .header("x-forwarded-for", "8.8.8.8")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.example")
        .header("x-real-ip", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("connection", "x-hidden")
        .header("x-hidden", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("x-request-id", "given-1")
        .body(Full::default())
        .unwrap();
    let answer = ask(ingress.local_addr(), request).await;
    assert_eq!(answer.headers["x-request-id"], "given-1");
    let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let mut headers: Vec<(String, String)> =
        serde_json::from_value(seen["headers"].clone()).unwrap();
    headers.sort();
    let expected = [
        ("host", "shop.localhost"),
        ("x-flukedeploy-hops", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.localhost"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "127.0.0.1"),
        ("x-request-id", "given-1"),
    ];
    assert_eq!(
        headers,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_the_app_stay_here() {
    let backend = Backend::raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-inner\r\n\
                      keep-alive: timeout=5\r\nx-inner: 1\r\nx-outer: 1\r\nset-cookie: a\r\n\
                      set-cookie: b\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let answer = crate::support::get(ingress.local_addr()).await;
    for hidden in ["connection", "keep-alive", "x-inner"] {
        assert!(!answer.headers.contains_key(hidden), "{hidden}");
    }
    assert_eq!(answer.headers["x-outer"], "1");
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answer.headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn garbage_and_excess_are_turned_away() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let address = ingress.local_addr();
    let host = "host: shop.localhost\r\n";
    let big = format!("x-big: {}\r\n", "x".repeat(70_000));
    let many = "x-many: 1\r\n".repeat(200);
    for (bytes, status) in [
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7f\x03\r\n\r\n".to_owned(),
            "400",
        ),
        ("NONSENSE\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{host}{big}\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), "431"),
        (
            format!("GET / HTTP/1.1\r\n{host}bad header: x\r\n\r\n"),
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            "400",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}{host}connection: close\r\n\r\n"),
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n".to_owned(),
            "400",
        ),
        (
            format!("CONNECT a.example:443 HTTP/1.1\r\n{host}connection: close\r\n\r\n"),
            "405",
        ),
    ] {
        let start: String = bytes.chars().take(40).collect();
        let answer = exchange(address, bytes).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{start:?}: {answer}"
        );
    }
    assert_eq!(backend.requests(), 0);
}

/// Two readings of where a body ends must never reach an app.
#[tokio::test]
async fn no_request_is_smuggled() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let address = ingress.local_addr();
    let host = "host: shop.localhost\r\n";
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    for headers in [
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: +4\r\n",
        "content-length: 4, 5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let answer = exchange(
            address,
            format!("POST / HTTP/1.1\r\n{host}{headers}\r\n{hidden}"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers:?}: {answer}");
    }
    let old = format!("POST / HTTP/1.0\r\n{host}transfer-encoding: chunked\r\n\r\n{hidden}");
    assert!(exchange(address, old).await.contains(" 400 "));
    assert_eq!(backend.requests(), 0);

    // With both, the chunks count, the length is not passed on, and the connection ends there.
    for both in [
        "content-length: 60\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 60\r\n",
    ] {
        let before = backend.requests();
        let text = format!("POST / HTTP/1.1\r\n{host}{both}\r\n2\r\nab\r\n0\r\n\r\n{hidden}");
        let answer = exchange(address, text).await;
        assert!(answer.contains(r#""body":"ab""#), "{answer}");
        assert!(!answer.contains(r#"["content-length""#), "{answer}");
        assert!(!answer.contains("smuggled"), "{answer}");
        assert_eq!(backend.requests(), before + 1);
    }
}

#[tokio::test]
async fn slow_and_idle_clients_are_let_go() {
    let backend = Backend::named("ok").await;
    let mut config = config();
    config.limits.header_timeout = Duration::from_millis(200);
    config.limits.idle_timeout = Duration::from_millis(400);
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();

    let half = exchange(ingress.local_addr(), "GET / HTTP/1.1\r\nhost: shop.loc").await;
    assert_eq!(half, "", "ended without an answer");

    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    for _ in 0..3 {
        // A used connection may rest for longer than a new one.
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n")
            .await
            .unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
        client.read_exact(&mut [0; 2]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let end = within("the end", client.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0)), "{end:?}");

    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\nGET / HT")
        .await
        .unwrap();
    read_head(&mut client).await;
    let mut rest = Vec::new();
    let _ = within("the end", client.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"ok");
}

#[tokio::test]
async fn an_app_that_calls_itself_through_the_ingress_comes_to_an_end() {
    let ingress = start();
    let address = ingress.local_addr();
    // Forwards every request, with all its headers, back to the ingress.
    let backend = Backend::http(move |request| async move {
        let (head, _) = request.into_parts();
        let again = Request::from_parts(head, Full::default());
        let answer = ask(address, again).await;
        crate::support::status(http::StatusCode::from_u16(answer.status).unwrap())
    })
    .await;
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    assert_eq!(crate::support::get(address).await.status, 508);
    assert_eq!(backend.requests(), 8);
}
