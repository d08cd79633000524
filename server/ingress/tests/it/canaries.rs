use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flukedeploy_domain::routing::RoutingSnapshot;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    Backend, Client, ask, closed_port, get, request, snapshot_with, start, upstream, within,
};

fn canary(version: u64, stable: &[SocketAddr], canary: &[SocketAddr]) -> RoutingSnapshot {
    let mut under_test = upstream("r2", 5, canary);
    under_test["fallback"] = json!(false);
    let upstreams = [upstream("r1", 95, stable), under_test];
    snapshot_with(version, json!({}), &upstreams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_its_share_and_no_more_however_often_the_table_changes() {
    let (stable, other) = (
        Backend::named("stable").await,
        Backend::named("stable").await,
    );
    let under_test = Backend::named("canary").await;
    let ingress = Arc::new(start());
    let replicas = [
        [stable.address].to_vec(),
        [other.address, stable.address].to_vec(),
    ];
    ingress
        .apply(&canary(1, &replicas[0], &[under_test.address]))
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = tokio::spawn({
        let (ingress, stop, address) = (ingress.clone(), stop.clone(), under_test.address);
        async move {
            let mut version = 1;
            while !stop.load(Ordering::SeqCst) {
                version += 1;
                let stable = &replicas[usize::from(version % 2 == 0)];
                ingress.apply(&canary(version, stable, &[address])).unwrap();
                tokio::task::yield_now().await;
            }
            version
        }
    });
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let address = ingress.local_addr();
        load.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..100 {
                let answer = within("an answer", client.get("/")).await.unwrap();
                assert_eq!(answer.status, 200);
            }
        });
    }
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let swaps = swapping.await.unwrap();
    assert!(swaps > 20, "{swaps}");
    let (canaries, all) = (under_test.requests(), 800);
    assert!(
        (all / 20 - 1..=all / 20 + 1).contains(&canaries),
        "{canaries} after {swaps} swaps"
    );
    assert_eq!(canaries + stable.requests() + other.requests(), all);
}

#[tokio::test]
async fn a_canary_does_not_answer_for_a_release_that_cannot() {
    let under_test = Backend::named("canary").await;
    let dead = closed_port();
    let ingress = start();
    for (version, stable) in [(1, &[dead][..]), (2, &[])] {
        ingress
            .apply(&canary(version, stable, &[under_test.address]))
            .unwrap();
        let before = under_test.requests();
        let address = ingress.local_addr();
        let mut asking = JoinSet::new();
        for _ in 0..40 {
            asking.spawn(get(address));
        }
        let mut answered = 0;
        while let Some(answer) = asking.join_next().await {
            let answer = answer.unwrap();
            assert!(answer.status == 503 || answer.body == "canary");
            answered += usize::from(answer.status == 200);
        }
        assert_eq!((answered, under_test.requests() - before), (2, 2));
    }
}

#[tokio::test]
async fn a_broken_canary_costs_no_request() {
    let stable = Backend::named("stable").await;
    let dead = closed_port();
    let ingress = start();
    ingress
        .apply(&canary(1, &[stable.address], &[dead]))
        .unwrap();
    for _ in 0..40 {
        assert_eq!(get(ingress.local_addr()).await.body, "stable");
    }
}

#[tokio::test]
async fn testers_meet_the_release_under_test_whatever_its_weight() {
    let (stable, under_test) = (
        Backend::named("stable").await,
        Backend::named("canary").await,
    );
    let ingress = start();
    let asked = |name: &'static str, value: &'static str| {
        let mut asked = request("GET", "/", "");
        let name = http::HeaderName::from_static(name);
        asked.headers_mut().append(name, value.parse().unwrap());
        asked
    };
    let by_header = json!({ "kind": "header", "name": "X-Beta", "value": "yes" });
    let by_cookie = json!({ "kind": "cookie", "name": "beta" });
    for (version, rule, weight) in [(1, by_header, 0), (2, by_cookie, 1)] {
        let mut for_testers = upstream("r2", weight, &[under_test.address]);
        for_testers["testers"] = rule;
        for_testers["fallback"] = json!(false);
        let upstreams = [upstream("r1", 99, &[stable.address]), for_testers];
        ingress
            .apply(&snapshot_with(version, json!({}), &upstreams))
            .unwrap();
        for _ in 0..10 {
            let (yes, no) = if version == 1 {
                (asked("x-beta", "yes"), asked("x-beta", "no"))
            } else {
                (
                    asked("cookie", "a=1; beta=1"),
                    asked("cookie", "alpha=beta"),
                )
            };
            assert_eq!(ask(ingress.local_addr(), yes).await.body, "canary");
            assert_eq!(ask(ingress.local_addr(), no).await.body, "stable");
        }
    }
    // Without a replica there, a tester is a user like any other.
    let mut empty = upstream("r2", 0, &[]);
    empty["testers"] = json!({ "kind": "header", "name": "x-beta" });
    let upstreams = [upstream("r1", 1, &[stable.address]), empty];
    ingress
        .apply(&snapshot_with(3, json!({}), &upstreams))
        .unwrap();
    let answer = ask(ingress.local_addr(), asked("x-beta", "yes")).await;
    assert_eq!(answer.body, "stable");
}
