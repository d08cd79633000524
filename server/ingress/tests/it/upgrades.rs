use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Backend, Control, config, exchange, read_head, snapshot, start, within};
use flukedeploy_domain::routing::{ControlFrame, IngressFrame};
use flukedeploy_ingress::Ingress;

async fn websocket_echo() -> Backend {
    Backend::raw(|stream, _| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    })
    .await
}

async fn open(address: std::net::SocketAddr) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let request = "ws://shop.localhost/socket".into_client_request().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let opening = tokio_tungstenite::client_async(request, stream);
    within("the handshake", opening).await.unwrap().0
}

#[tokio::test]
async fn websockets_pass_both_ways_and_count_until_closed() {
    let backend = websocket_echo().await;
    let control = Control::start().await;
    let mut config = config();
    config.control_urls = vec![control.url.clone()];
    let ingress = Ingress::start(config).unwrap();
    let (mut link, _) = control.accept().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;

    let mut socket = open(ingress.local_addr()).await;
    for size in [1, 1_000, 300_000] {
        let text = "x".repeat(size);
        socket.send(Message::text(text.clone())).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed.into_text().unwrap().as_str(), text);
    }
    let drained = |timeout_ms| ControlFrame::AwaitDrained {
        id: 1,
        service: "r1".into(),
        timeout_ms,
        close_after_ms: None,
    };
    link.send(&drained(1)).await;
    assert_eq!(
        link.next().await,
        IngressFrame::Drained {
            id: 1,
            in_flight: 1
        }
    );
    link.send(&drained(60_000)).await;
    drop(socket);
    assert_eq!(
        link.next().await,
        IngressFrame::Drained {
            id: 1,
            in_flight: 0
        }
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_websockets_for_ever() {
    let backend = websocket_echo().await;
    let mut config = config();
    config.drain_timeout = std::time::Duration::from_millis(200);
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut socket = open(ingress.local_addr()).await;
    within("the stop", ingress.stop()).await;
    let end = within("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn an_upgrade_that_the_app_declines_is_an_ordinary_answer() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let ask = |protocol: &str| {
        format!(
            "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close, upgrade\r\n\
             upgrade: {protocol}\r\n\r\n"
        )
    };
    let answer = exchange(ingress.local_addr(), ask("websocket")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"["upgrade","websocket"]"#), "{answer}");
    // HTTP/2 inside of an upgraded connection would escape routing.
    let answer = exchange(ingress.local_addr(), ask("h2c")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("h2c"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_refused() {
    let backend = Backend::raw(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
        let _ = stream.write_all(switch).await;
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let ask = "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n";
    let answer = exchange(ingress.local_addr(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}
