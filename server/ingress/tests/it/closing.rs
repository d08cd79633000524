//! Tunnels of a release that is wanted no more.

use std::net::SocketAddr;
use std::time::Duration;

use flukedeploy_domain::routing::{ControlFrame, IngressFrame};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Backend, ControlLink, config, linked_with, read_head, snapshot, within};

/// "Going away", as the client gets it.
const GOODBYE: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// Switches protocols with anyone and hands out the connection.
async fn switching_app(protocol: &'static str) -> (Backend, mpsc::Receiver<TcpStream>) {
    let (opened, connections) = mpsc::channel(8);
    let app = Backend::raw(move |mut stream, _| {
        let opened = opened.clone();
        async move {
            read_head(&mut stream).await;
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: {protocol}\r\n\
                 connection: upgrade\r\n\r\n"
            );
            stream.write_all(switch.as_bytes()).await.unwrap();
            opened.send(stream).await.unwrap();
        }
    })
    .await;
    (app, connections)
}

async fn switch(address: SocketAddr, protocol: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!(
        "GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: upgrade\r\n\
         upgrade: {protocol}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

async fn await_drained(link: &mut ControlLink, timeout_ms: u64, close_after_ms: u64) {
    let drained = ControlFrame::AwaitDrained {
        id: 1,
        service: "r1".into(),
        timeout_ms,
        close_after_ms: Some(close_after_ms),
    };
    link.send(&drained).await;
}

fn drained(in_flight: u64) -> IngressFrame {
    IngressFrame::Drained { id: 1, in_flight }
}

async fn read_exactly<const N: usize>(what: &str, stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    within(what, stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

async fn read_rest(what: &str, stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = within(what, stream.read_to_end(&mut rest)).await;
    rest
}

/// Takes the mask off the ingress's own Close frame.
async fn read_masked_goodbye(stream: &mut TcpStream) {
    let frame: [u8; 8] = read_exactly("the app's goodbye", stream).await;
    assert_eq!(frame[..2], [0x88, 0x82]);
    assert_eq!([frame[6] ^ frame[2], frame[7] ^ frame[3]], [0x03, 0xe9]);
}

#[tokio::test]
async fn both_sides_of_a_websocket_are_told_that_it_goes_away() {
    let (told, mut goodbyes) = mpsc::channel(8);
    let app = Backend::raw(move |stream, _| {
        let told = told.clone();
        async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(close) = message {
                    told.send(close.unwrap().code).await.unwrap();
                } else {
                    socket.send(message).await.unwrap();
                }
            }
        }
    })
    .await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(snapshot(1, &[("r1", 1, &[app.address])])).await;
    let request = "ws://shop.localhost/".into_client_request().unwrap();
    let stream = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let opening = tokio_tungstenite::client_async(request, stream);
    let (mut socket, _) = within("the handshake", opening).await.unwrap();

    link.apply(snapshot(2, &[("r2", 1, &[])])).await;
    await_drained(&mut link, 60_000, 300).await;
    // It may be used until it is asked to close.
    socket.send(Message::text("still here")).await.unwrap();
    let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echoed.into_text().unwrap().as_str(), "still here");
    let goodbye = within("the goodbye", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(close)) = goodbye else {
        panic!("{goodbye:?}");
    };
    assert_eq!(close.code, CloseCode::Away);
    let app_heard = within("the app's goodbye", goodbyes.recv()).await;
    assert_eq!(app_heard, Some(CloseCode::Away));
    // The library answers while it is polled, and tells the end of the connection.
    let end = within("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    assert_eq!(link.next().await, drained(0));
}

#[tokio::test]
async fn a_goodbye_waits_for_the_end_of_the_frame_and_nothing_follows_it() {
    let (app, mut connections) = switching_app("websocket").await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(snapshot(1, &[("r1", 1, &[app.address])])).await;
    let mut client = switch(ingress.local_addr(), "websocket").await;
    let mut app_side = within("the app's side", connections.recv()).await.unwrap();

    // Half a frame from the app, and a masked one in three parts from the client.
    app_side.write_all(&[0x82, 126, 0, 200]).await.unwrap();
    app_side.write_all(&[0x88; 100]).await.unwrap();
    client.write_all(&[0x82]).await.unwrap();
    let half: [u8; 104] = read_exactly("half a frame", &mut client).await;
    assert_eq!(half[..5], [0x82, 126, 0, 200, 0x88]);
    await_drained(&mut link, 60_000, 0).await;
    let nothing = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?}");

    // The rest comes together with a frame that is too late.
    let mut rest = vec![0x88; 100];
    rest.extend([0x81, 4, b'l', b'a', b't', b'e']);
    app_side.write_all(&rest).await.unwrap();
    assert_eq!(
        read_exactly::<100>("the rest", &mut client).await,
        [0x88; 100]
    );
    assert_eq!(read_exactly("the goodbye", &mut client).await, GOODBYE);

    client.write_all(&[0x83, 1, 2]).await.unwrap();
    client.write_all(&[3, 4, 7, 7, 7]).await.unwrap();
    client
        .write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x'])
        .await
        .unwrap();
    let whole: [u8; 9] = read_exactly("the client's frame", &mut app_side).await;
    assert_eq!(whole, [0x82, 0x83, 1, 2, 3, 4, 7, 7, 7]);
    read_masked_goodbye(&mut app_side).await;

    // Both agree; the connections end without another byte.
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    app_side.write_all(&[0x88, 0]).await.unwrap();
    assert!(read_rest("the client's end", &mut client).await.is_empty());
    assert!(read_rest("the app's end", &mut app_side).await.is_empty());
    assert_eq!(link.next().await, drained(0));
}

#[tokio::test]
async fn who_does_not_answer_a_goodbye_is_cut_off_after_a_while() {
    let (app, mut connections) = switching_app("WebSocket").await;
    let mut config = config();
    config.limits.close_grace = Duration::from_millis(200);
    let (ingress, _control, mut link) = linked_with(config).await;
    link.apply(snapshot(1, &[("r1", 1, &[app.address])])).await;
    let mut client = switch(ingress.local_addr(), "websocket").await;
    let mut app_side = within("the app's side", connections.recv()).await.unwrap();
    await_drained(&mut link, 60_000, 0).await;
    assert_eq!(read_exactly("the goodbye", &mut client).await, GOODBYE);
    read_masked_goodbye(&mut app_side).await;
    assert!(read_rest("the client's end", &mut client).await.is_empty());
    assert!(read_rest("the app's end", &mut app_side).await.is_empty());
    assert_eq!(link.next().await, drained(0));
}

#[tokio::test]
async fn a_close_that_was_under_way_is_not_said_twice() {
    let (app, mut connections) = switching_app("websocket").await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(snapshot(1, &[("r1", 1, &[app.address])])).await;
    let mut client = switch(ingress.local_addr(), "websocket").await;
    let mut app_side = within("the app's side", connections.recv()).await.unwrap();
    app_side.write_all(&[0x88, 2, 0x03, 0xe8]).await.unwrap();
    let theirs: [u8; 4] = read_exactly("the app's own goodbye", &mut client).await;
    assert_eq!(theirs, [0x88, 2, 0x03, 0xe8]);
    await_drained(&mut link, 60_000, 0).await;
    read_masked_goodbye(&mut app_side).await;
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert!(read_rest("the client's end", &mut client).await.is_empty());
}

#[tokio::test]
async fn what_is_no_websocket_or_never_ends_its_frame_is_cut_at_the_time_out() {
    let (ingress, _control, mut link) = linked_with(config()).await;
    for (version, protocol) in [(1, "custom"), (2, "websocket")] {
        let (app, mut connections) = switching_app(protocol).await;
        link.apply(snapshot(version, &[("r1", 1, &[app.address])]))
            .await;
        let mut client = switch(ingress.local_addr(), protocol).await;
        let mut app_side = within("the app's side", connections.recv()).await.unwrap();
        // As WebSocket frames, the first has just begun.
        app_side.write_all(&[0x82, 0x64, 1]).await.unwrap();
        client.write_all(&[0x82, 0xe4, 1]).await.unwrap();
        await_drained(&mut link, 400, 0).await;
        assert_eq!(read_exactly("bytes", &mut client).await, [0x82, 0x64, 1]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Not asked, or not able to: it goes on.
        app_side.write_all(&[2]).await.unwrap();
        assert_eq!(read_exactly("a byte", &mut client).await, [2]);
        assert_eq!(link.next().await, drained(1), "what was left then");
        assert!(read_rest("the client's end", &mut client).await.is_empty());
        let end = read_rest("the app's end", &mut app_side).await;
        assert_eq!(end, [0x82, 0xe4, 1]);
    }
}

#[tokio::test]
async fn tunnels_that_were_opened_after_the_request_to_close_stay() {
    let (app, mut connections) = switching_app("websocket").await;
    let (ingress, _control, mut link) = linked_with(config()).await;
    link.apply(snapshot(1, &[("r1", 1, &[app.address])])).await;
    let mut old = switch(ingress.local_addr(), "websocket").await;
    let _old_app_side = within("the app's side", connections.recv()).await.unwrap();
    link.apply(snapshot(2, &[])).await;
    await_drained(&mut link, 500, 0).await;
    assert_eq!(read_exactly("the goodbye", &mut old).await, GOODBYE);

    // A rollback: the release is wanted again.
    link.apply_past(snapshot(3, &[("r1", 1, &[app.address])]))
        .await;
    let mut new = switch(ingress.local_addr(), "websocket").await;
    let mut app_side = within("the app's side", connections.recv()).await.unwrap();
    assert_eq!(link.next().await, drained(2));
    assert!(read_rest("the old one's end", &mut old).await.is_empty());
    app_side.write_all(&[0x81, 1, b'x']).await.unwrap();
    assert_eq!(read_exactly("a frame", &mut new).await, [0x81, 1, b'x']);
    new.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'y'])
        .await
        .unwrap();
    let frame: [u8; 7] = read_exactly("a frame", &mut app_side).await;
    assert_eq!(frame[6], b'y');
}
