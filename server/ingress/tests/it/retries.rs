use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use flukedeploy_ingress::Ingress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{
    Backend, Client, ask, closed_port, config, get, read_head, request, snapshot, start, within,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn refused_endpoints_cost_no_request() {
    let backend = Backend::named("alive").await;
    let (dead, deader) = (closed_port(), closed_port());
    let ingress = start();
    let upstreams: &[(&str, u32, &[_])] =
        &[("r1", 1, &[dead, backend.address]), ("r2", 1, &[deader])];
    ingress.apply(&snapshot(1, upstreams)).unwrap();
    for _ in 0..10 {
        let answer = ask(ingress.local_addr(), request("POST", "/", "payload")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "alive"));
    }
    assert_eq!(backend.requests(), 10);
}

#[tokio::test]
async fn an_app_that_accepts_no_connections_gets_503() {
    let dead = closed_port();
    let ingress = start();
    ingress.apply(&snapshot(1, &[("r1", 1, &[dead])])).unwrap();
    let answer = get(ingress.local_addr()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.body.contains("accepts connections"));
}

#[tokio::test]
async fn a_request_waits_for_the_replacement() {
    let dead = closed_port();
    let backend = Backend::named("replacement").await;
    let mut config = config();
    config.limits.retry_window = Duration::from_secs(15);
    let ingress = Ingress::start(config).unwrap();
    ingress.apply(&snapshot(1, &[("r1", 1, &[dead])])).unwrap();
    let address = ingress.local_addr();
    let waiting = tokio::spawn(async move { get(address).await });
    // Any moment will do; this one is after at least one attempt.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    ingress
        .apply(&snapshot(2, &[("r1", 1, &[backend.address])]))
        .unwrap();
    assert_eq!(waiting.await.unwrap().body, "replacement");
}

#[tokio::test]
async fn dns_knows_replicas_that_the_snapshot_does_not() {
    // The service's name is one that every resolver knows, and its port the living backend's.
    let backend = Backend::named("found").await;
    let dead = closed_port();
    let mut snapshot = snapshot(1, &[("localhost", 1, &[dead])]);
    snapshot.routes[0].upstreams[0].port = backend.address.port();
    let ingress = start();
    ingress.apply(&snapshot).unwrap();
    let answer = get(ingress.local_addr()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "found"));
}

/// Serves one request per connection, then closes it although keep-alive was promised.
async fn forgetful() -> Backend {
    Backend::raw(|mut stream, requests| async move {
        read_head(&mut stream).await;
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(OK).await;
    })
    .await
}

#[tokio::test]
async fn a_pooled_connection_closed_by_the_app_is_replaced() {
    let backend = forgetful().await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = Client::connect(ingress.local_addr()).await;
    for _ in 0..50 {
        let answer = within("an answer", client.get("/")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

/// Serves the first request of a connection and closes it, unanswered, on the second.
async fn breaks_on_second() -> Backend {
    Backend::raw(|mut stream, requests| async move {
        read_head(&mut stream).await;
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(OK).await;
        if !read_head(&mut stream).await.is_empty() {
            requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test]
async fn a_get_lost_on_a_pooled_connection_is_sent_again_and_a_post_is_not() {
    let backend = breaks_on_second().await;
    let mut config = config();
    config.worker_threads = 1;
    let ingress = Ingress::start(config).unwrap();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[backend.address])]))
        .unwrap();
    let mut client = Client::connect(ingress.local_addr()).await;
    for _ in 0..4 {
        assert_eq!(
            within("an answer", client.get("/")).await.unwrap().status,
            200
        );
    }
    let before = backend.requests();
    // The last GET left a connection that breaks with its next request.
    let answer = within("an answer", client.send(request("POST", "/", "once")))
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(backend.requests(), before + 1);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let reached = Arc::new(AtomicUsize::new(0));
    let backends = [
        eater(&reached).await,
        eater(&reached).await,
        eater(&reached).await,
    ];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &addresses)]))
        .unwrap();
    for (method, body) in [
        ("POST", "pay 10"),
        ("POST", ""),
        ("PATCH", "x"),
        ("PUT", "body"),
    ] {
        reached.store(0, Ordering::SeqCst);
        let answer = ask(ingress.local_addr(), request(method, "/pay", body)).await;
        assert_eq!(answer.status, 502, "{method}");
        assert_eq!(reached.load(Ordering::SeqCst), 1, "{method} {body:?}");
    }
    // Three times at most for what may be repeated.
    for method in ["GET", "PUT", "DELETE"] {
        reached.store(0, Ordering::SeqCst);
        let answer = ask(ingress.local_addr(), request(method, "/", "")).await;
        assert_eq!(answer.status, 502, "{method}");
        assert_eq!(reached.load(Ordering::SeqCst), 3, "{method}");
    }
}

/// Reads a request and dies.
async fn eater(reached: &Arc<AtomicUsize>) -> Backend {
    let reached = reached.clone();
    Backend::raw(move |mut stream: TcpStream, _| {
        let reached = reached.clone();
        async move {
            let head = read_head(&mut stream).await.to_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            let length = length.map_or(0, |text| text.parse().unwrap());
            let mut body = vec![0; length];
            let _ = stream.read_exact(&mut body).await;
            reached.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test]
async fn a_get_whose_replica_dies_is_answered_by_another() {
    let reached = Arc::new(AtomicUsize::new(0));
    let (bad, good) = (eater(&reached).await, Backend::named("good").await);
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r1", 1, &[bad.address, good.address])]))
        .unwrap();
    for _ in 0..10 {
        let answer = get(ingress.local_addr()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "good"));
    }
    assert!(reached.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn nonsense_from_an_app_is_a_502_and_silence_a_504() {
    let nonsense = Backend::raw(|mut stream, requests| async move {
        read_head(&mut stream).await;
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    let silent = Backend::raw(|mut stream, requests| async move {
        read_head(&mut stream).await;
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read_u8().await;
    })
    .await;
    let mut config = config();
    config.limits.response_header_timeout = Duration::from_millis(200);
    let ingress = Ingress::start(config).unwrap();
    for (version, backend, status) in [(1, &nonsense, 502), (2, &silent, 504)] {
        ingress
            .apply(&snapshot(version, &[("r1", 1, &[backend.address])]))
            .unwrap();
        assert_eq!(get(ingress.local_addr()).await.status, status);
        assert_eq!(backend.requests(), 1, "not asked again");
    }
}

#[tokio::test]
async fn a_replica_that_dies_after_it_left_the_snapshot_costs_no_request() {
    let mut current = Backend::named("r0").await;
    let ingress = start();
    ingress
        .apply(&snapshot(1, &[("r0", 1, &[current.address])]))
        .unwrap();
    let address = ingress.local_addr();
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for worker in 0..8 {
        let stop = stop.clone();
        load.spawn(async move {
            let mut answers = 0;
            let mut client = Client::connect(address).await;
            while !stop.load(Ordering::SeqCst) {
                // Half of the load on new connections.
                if worker % 2 == 0 {
                    client = Client::connect(address).await;
                }
                let sent = client.send(request(["GET", "POST"][worker / 2 % 2], "/", "x"));
                let answer = within("an answer", sent)
                    .await
                    .expect("no dropped connection");
                assert_eq!(answer.status, 200, "{}", answer.body);
                answers += 1;
            }
            answers
        });
    }
    let names = ["r1", "r2", "r3", "r4", "r5", "r6"];
    for (round, name) in names.into_iter().enumerate() {
        let next = Backend::named(name).await;
        let version = 2 + round as u64;
        ingress
            .apply(&snapshot(version, &[(name, 1, &[next.address])]))
            .unwrap();
        // What the control plane does: stop the old one as soon as it is drained.
        let served = next.requests.clone();
        let old = std::mem::replace(&mut current, next);
        let drained = async {
            while served.load(Ordering::SeqCst) < 50 {
                tokio::task::yield_now().await;
            }
        };
        within("load on the new replica", drained).await;
        drop(old);
    }
    stop.store(true, Ordering::SeqCst);
    let mut answers = 0;
    while let Some(done) = load.join_next().await {
        answers += done.unwrap();
    }
    assert!(answers > 300, "{answers}");
}
