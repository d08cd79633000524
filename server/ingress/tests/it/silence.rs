//! Machines that vanish: a filter on their sockets drops every packet, so that nothing is refused,
//! closed or acknowledged.

use std::net::SocketAddr;
use std::time::Duration;

use flukedeploy_ingress::Ingress;
use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Backend, config, get, read_head, snapshot, start, within};

/// "Return 0 bytes" of every packet, in classic BPF.
fn drop_all() -> [SockFilter; 1] {
    [SockFilter::new(0x06, 0, 0, 0)]
}

async fn ask_timed(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let answer = get(address).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "alive"));
    started.elapsed()
}

#[tokio::test]
async fn a_machine_that_takes_no_connections_slows_down_few() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&silent).attach_filter(&drop_all()).unwrap();
    let alive = Backend::named("alive").await;
    let ingress = start();
    let endpoints = [silent.local_addr().unwrap(), alive.address];
    ingress
        .apply(&snapshot(1, &[("r1", 1, &endpoints)]))
        .unwrap();
    let address = ingress.local_addr();
    let mut slow = Vec::new();
    let started = Instant::now();
    // Long enough for the suspicion to run out once and be renewed.
    while started.elapsed() < Duration::from_secs(4) {
        let mut together = JoinSet::new();
        for _ in 0..8 {
            together.spawn(ask_timed(address));
        }
        while let Some(took) = together.join_next().await {
            let took = took.unwrap();
            assert!(took < Duration::from_secs(3), "{took:?}");
            if took > Duration::from_millis(500) {
                slow.push(took);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Some of the first eight, and one that tried again.
    assert!(slow.len() <= 9, "{slow:?}");
}

#[tokio::test]
async fn a_request_on_a_connection_to_a_dead_machine_is_sent_elsewhere_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mortal = listener.local_addr().unwrap();
    let mut config = config();
    config.worker_threads = 1;
    config.limits.upstream_silence = Duration::from_secs(1);
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[mortal])]))
        .unwrap();
    // One request leaves a connection in the pool; then the machine dies.
    let asking = tokio::spawn(get(ingress.local_addr()));
    let (mut stream, _): (TcpStream, _) = within("a connection", listener.accept()).await.unwrap();
    read_head(&mut stream).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    assert_eq!(asking.await.unwrap().status, 200);
    SockRef::from(&stream).attach_filter(&drop_all()).unwrap();
    SockRef::from(&listener).attach_filter(&drop_all()).unwrap();

    let alive = Backend::named("alive").await;
    ingress
        .apply(&snapshot(2, &[("r1", 1, &[mortal, alive.address])]))
        .unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        slowest = slowest.max(ask_timed(ingress.local_addr()).await);
    }
    let expected = Duration::from_millis(900)..Duration::from_secs(5);
    assert!(expected.contains(&slowest), "{slowest:?}");
}

#[tokio::test]
async fn a_machine_that_dies_while_it_thinks_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mortal = listener.local_addr().unwrap();
    let mut config = config();
    config.limits.upstream_silence = Duration::from_secs(1);
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[mortal])]))
        .unwrap();
    let asking = tokio::spawn(ask_timed(ingress.local_addr()));
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    // The request has been acknowledged, so that only keep-alive can tell.
    read_head(&mut stream).await;
    SockRef::from(&stream).attach_filter(&drop_all()).unwrap();
    let alive = Backend::named("alive").await;
    ingress
        .apply(&snapshot(2, &[("r1", 1, &[alive.address])]))
        .unwrap();
    let took = within("an answer", asking).await.unwrap();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn an_app_that_is_slow_to_read_an_upload_is_not_thought_dead() {
    use tokio::io::AsyncReadExt;
    const SIZE: usize = 12 * 1024 * 1024;
    let app = Backend::raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        // Longer than a machine may be silent for; all buffers are full by now.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let mut body = vec![0; SIZE];
        stream.read_exact(&mut body).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let mut config = config();
    config.limits.upstream_silence = Duration::from_secs(1);
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[app.address])]))
        .unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: shop.localhost\r\ncontent-length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    within("the upload", client.write_all(&vec![b'x'; SIZE]))
        .await
        .unwrap();
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
