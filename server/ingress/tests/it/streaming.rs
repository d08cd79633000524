use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::{Backend, exchange, read_head, snapshot, start, within};

/// More than all the buffers of three sockets' worth of kernel and proxy.
const HUGE: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn an_answer_flows_as_it_is_made() {
    let (go, went) = oneshot::channel::<()>();
    let went = Arc::new(tokio::sync::Mutex::new(Some(went)));
    let backend = Backend::raw(move |mut stream, _| {
        let went = went.clone();
        async move {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            went.lock().await.take().unwrap().await.unwrap();
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n";
    client.write_all(ask).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut first = [0; 10];
    within("the first chunk", client.read_exact(&mut first))
        .await
        .unwrap();
    assert_eq!(&first, b"5\r\nfirst\r\n");
    go.send(()).unwrap();
    let mut rest = String::new();
    within("the rest", client.read_to_string(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, "6\r\nsecond\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_slow_reader_holds_the_app_back() {
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let backend = Backend::raw(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            write_counted(&mut stream, &counter).await;
        }
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n";
    client.write_all(ask).await.unwrap();
    read_head(&mut client).await;
    let stalled = within("the app to stall", stalls_at(&written)).await;
    assert!(stalled < HUGE / 2, "{stalled} bytes were taken in");
    let read = within("everything", drain(&mut client)).await;
    assert_eq!(read, HUGE);
}

#[tokio::test]
async fn a_slow_app_holds_the_client_back() {
    let (go, went) = oneshot::channel::<()>();
    let went = Arc::new(tokio::sync::Mutex::new(Some(went)));
    let backend = Backend::raw(move |mut stream, _| {
        let went = went.clone();
        async move {
            let head = read_head(&mut stream).await;
            assert!(head.contains(&format!("content-length: {HUGE}")), "{head}");
            went.lock().await.take().unwrap().await.unwrap();
            let mut body = (&mut stream).take(HUGE);
            let read = drain(&mut body).await.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{read}",
                read.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let (mut reader, mut writer) = client.into_split();
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let sending = tokio::spawn(async move {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\
             content-length: {HUGE}\r\n\r\n"
        );
        writer.write_all(head.as_bytes()).await.unwrap();
        write_counted(&mut writer, &counter).await;
        writer
    });
    let stalled = within("the client to stall", stalls_at(&written)).await;
    assert!(stalled < HUGE / 2, "{stalled} bytes were taken in");
    go.send(()).unwrap();
    let mut answer = String::new();
    within("the answer", reader.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.ends_with(&HUGE.to_string()), "{answer}");
    sending.await.unwrap();
}

#[tokio::test]
async fn a_body_may_wait_to_be_asked_for() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\
                content-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 100"));
    client.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    within("the answer", client.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.contains(r#""body":"body""#), "{answer}");
}

#[tokio::test]
async fn chunked_bodies_pass_even_on_a_get() {
    let backend = Backend::echo().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    for method in ["GET", "POST"] {
        let text = format!(
            "{method} / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        );
        let answer = exchange(ingress.local_addr(), text).await;
        assert!(answer.contains(r#""body":"abcde""#), "{answer}");
    }
}

#[tokio::test]
async fn a_broken_off_answer_is_not_passed_off_as_whole() {
    let backend = Backend::raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        let part = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
        stream.write_all(part).await.unwrap();
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let ask = "GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n";
    let answer = exchange(ingress.local_addr(), ask).await;
    assert!(
        answer.contains("4\r\npart\r\n") && !answer.contains("\r\n0\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request() {
    let (left, gone) = oneshot::channel();
    let left = Arc::new(tokio::sync::Mutex::new(Some(left)));
    let backend = Backend::raw(move |mut stream, _| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await;
            let end = stream.read(&mut [0; 1]).await;
            left.lock()
                .await
                .take()
                .unwrap()
                .send(matches!(end, Ok(0) | Err(_)))
                .unwrap();
        }
    })
    .await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = TcpStream::connect(ingress.local_addr()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n")
        .await
        .unwrap();
    let reached = async {
        while backend.connections.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the app to be reached", reached).await;
    drop(client);
    assert!(within("the app to notice", gone).await.unwrap());
}

async fn write_counted(stream: &mut (impl AsyncWriteExt + Unpin), counter: &AtomicU64) {
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..HUGE / chunk.len() as u64 {
        if stream.write_all(&chunk).await.is_err() {
            return;
        }
        counter.fetch_add(chunk.len() as u64, Ordering::SeqCst);
    }
}

/// Waits until the counter has moved and then stood still for a while.
async fn stalls_at(counter: &AtomicU64) -> u64 {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = counter.load(Ordering::SeqCst);
        if now > 0 && now == last {
            return now;
        }
        last = now;
    }
}

async fn drain(stream: &mut (impl AsyncReadExt + Unpin)) -> u64 {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return total,
            read => total += read as u64,
        }
    }
}
