use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, get, held_backend, read_head, snapshot, start, within};

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let (backend, mut arrivals, gate) = held_backend().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let address = ingress.local_addr();
    let mut idle = TcpStream::connect(address).await.unwrap();
    let asking = tokio::spawn(get(address));
    within("the request", arrivals.recv()).await;
    let stopping = tokio::spawn(ingress.stop());
    let closed = within("the idle connection's end", idle.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(0)), "{closed:?}");
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the port to be closed", refused).await;
    assert!(!stopping.is_finished());
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().body, "held");
    within("the stop", stopping).await.unwrap();
}

#[tokio::test]
async fn a_request_finishes_on_a_replica_that_has_left_and_its_connection_is_closed() {
    let (old, mut arrivals, gate) = held_backend().await;
    let new = Backend::named("new").await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[old.address])]))
        .unwrap();
    let asking = tokio::spawn(get(ingress.local_addr()));
    within("the request", arrivals.recv()).await;
    let upstreams: &[(&str, u32, &[_])] = &[("r1", 0, &[old.address]), ("r2", 1, &[new.address])];
    ingress.apply(&snapshot(2, upstreams)).unwrap();
    assert_eq!(get(ingress.local_addr()).await.body, "new");
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().body, "held");

    // Back at full weight, it is asked on a new connection: the old one was not kept.
    ingress
        .apply(&snapshot(3, &[("r1", 1, &[old.address])]))
        .unwrap();
    gate.add_permits(1);
    assert_eq!(get(ingress.local_addr()).await.body, "held");
    assert_eq!(old.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn idle_connections_to_a_replica_that_has_left_are_closed() {
    let (closed, mut closings) = tokio::sync::mpsc::channel(8);
    let backend = Backend::raw(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let end = within("the end", stream.read(&mut [0; 1])).await;
            closed.send(matches!(end, Ok(0))).await.unwrap();
        }
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    assert_eq!(get(ingress.local_addr()).await.status, 200);
    let nothing = tokio::time::timeout(Duration::from_millis(50), closings.recv()).await;
    assert!(nothing.is_err(), "kept until then");
    ingress
        .apply(&snapshot(2, &[("r1", 0, &[backend.address])]))
        .unwrap();
    assert_eq!(within("the end", closings.recv()).await, Some(true));
}
