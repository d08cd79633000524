use std::time::Duration;

use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::routing::{ControlFrame, IngressFrame, ProbeOutcome};
use flukedeploy_ingress::{ControlToken, Ingress};
use http::StatusCode;
use tokio::io::AsyncReadExt;

use crate::support::{
    Backend, Control, ControlLink, closed_port, config, get, held_backend, snapshot, status, within,
};

async fn linked() -> (Ingress, Control, ControlLink) {
    let control = Control::start().await;
    let mut config = config();
    // The first does not answer: the second is tried in turn.
    config.control_urls = vec![
        format!("ws://{}/ingress", closed_port()),
        control.url.clone(),
    ];
    let ingress = Ingress::start(config).unwrap();
    let (link, hello) = control.accept().await;
    let expected = IngressFrame::Hello {
        ingress_id: "ingress-1".into(),
        node: "node-1".into(),
        epoch: None,
        version: None,
    };
    assert_eq!(hello, expected);
    (ingress, control, link)
}

#[tokio::test]
async fn snapshots_are_applied_in_order() {
    let (one, two) = (Backend::named("one").await, Backend::named("two").await);
    let (ingress, _control, mut link) = linked().await;
    let to = |version, backend: &Backend| snapshot(version, &[("r1", 1, &[backend.address])]);
    assert_eq!(link.apply(to(5, &one)).await, ("e1".into(), 5));
    assert_eq!(get(ingress.local_addr()).await.body, "one");
    let older = to(4, &two);
    link.send(&ControlFrame::Snapshot { snapshot: older }).await;
    let refused = link.next().await;
    let told = matches!(
        &refused,
        IngressFrame::Refused { epoch, version: 4, current: Some(5), .. } if epoch == "e1"
    );
    assert!(told, "an older one changes nothing: {refused:?}");
    assert_eq!(get(ingress.local_addr()).await.body, "one");
    assert_eq!(link.apply(to(6, &two)).await, ("e1".into(), 6));
    assert_eq!(get(ingress.local_addr()).await.body, "two");
    let mut other_epoch = to(1, &one);
    other_epoch.epoch = "e2".into();
    assert_eq!(link.apply(other_epoch).await, ("e2".into(), 1));
    assert_eq!(get(ingress.local_addr()).await.body, "one");
}

#[tokio::test]
async fn a_bad_snapshot_is_refused_and_the_link_stays() {
    let backend = Backend::named("one").await;
    let (ingress, _control, mut link) = linked().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;
    let bad = snapshot(2, &[("r1", 1, &["0.0.0.0:0".parse().unwrap()])]);
    link.send(&ControlFrame::Snapshot { snapshot: bad }).await;
    let refused = IngressFrame::Refused {
        epoch: "e1".into(),
        version: 2,
        current: Some(1),
        reason: "service r1 has an endpoint that cannot be connected to".into(),
    };
    assert_eq!(link.next().await, refused);
    let probe = ControlFrame::Probe {
        id: 7,
        target: backend.address,
        probe: HealthProbe::Tcp,
        timeout_ms: 5_000,
    };
    link.send(&probe).await;
    let next = link.next().await;
    assert!(
        matches!(next, IngressFrame::Probed { id: 7, .. }),
        "{next:?}"
    );
    assert_eq!(get(ingress.local_addr()).await.body, "one");
}

#[tokio::test]
async fn a_link_comes_back_and_the_app_is_served_meanwhile() {
    let backend = Backend::named("one").await;
    let (ingress, control, mut link) = linked().await;
    link.apply(snapshot(3, &[("r1", 1, &[backend.address])]))
        .await;
    drop(link);
    assert_eq!(get(ingress.local_addr()).await.body, "one");
    let (_link, hello) = control.accept().await;
    let IngressFrame::Hello { epoch, version, .. } = hello else {
        unreachable!()
    };
    assert_eq!((epoch.as_deref(), version), (Some("e1"), Some(3)));
}

#[tokio::test]
async fn a_silent_link_is_given_up() {
    let control = Control::start().await;
    let mut config = config();
    config.control_urls = vec![control.url.clone()];
    config.limits.control_silence = Duration::from_millis(300);
    let _ingress = Ingress::start(config).unwrap();
    let (link, _) = control.accept().await;
    let _frozen = link.freeze();
    control.accept().await;
}

#[tokio::test]
async fn a_wrong_token_gets_no_link() {
    let control = Control::start().await;
    let mut wrong = config();
    wrong.control_urls = vec![control.url.clone()];
    wrong.token = ControlToken::new("guess").unwrap();
    wrong.ingress_id = "stranger".into();
    let _stranger = Ingress::start(wrong).unwrap();
    let mut right = config();
    right.control_urls = vec![control.url.clone()];
    let _ingress = Ingress::start(right).unwrap();
    let (_link, hello) = control.accept().await;
    let IngressFrame::Hello { ingress_id, .. } = hello else {
        unreachable!()
    };
    assert_eq!(ingress_id, "ingress-1");
}

#[tokio::test]
async fn the_last_good_snapshot_outlives_the_process() {
    let backend = Backend::named("one").await;
    let control = Control::start().await;
    let directory =
        std::env::temp_dir().join(format!("flukedeploy-ingress-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut config = config();
    config.snapshot_path = Some(directory.join("routes.json"));
    config.control_urls = vec![control.url.clone()];
    let ingress = Ingress::start(config.clone()).unwrap();
    let (mut link, _) = control.accept().await;
    for version in 1..=20 {
        link.apply(snapshot(version, &[("r1", 1, &[backend.address])]))
            .await;
    }
    within("the stop", ingress.stop()).await;

    config.control_urls.clear();
    let ingress = Ingress::start(config.clone()).unwrap();
    assert_eq!(get(ingress.local_addr()).await.body, "one");
    within("the stop", ingress.stop()).await;

    config.control_urls = vec![control.url.clone()];
    let ingress = Ingress::start(config.clone()).unwrap();
    let (_link, hello) = control.accept().await;
    assert!(
        matches!(
            hello,
            IngressFrame::Hello {
                version: Some(20),
                ..
            }
        ),
        "{hello:?}"
    );
    drop(ingress);

    std::fs::write(directory.join("routes.json"), "{ half of it").unwrap();
    config.control_urls.clear();
    let ingress = Ingress::start(config).unwrap();
    assert_eq!(get(ingress.local_addr()).await.status, 503);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn draining_waits_for_the_request_in_flight() {
    let (backend, mut arrivals, gate) = held_backend().await;
    let (ingress, _control, mut link) = linked().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;
    let asking = tokio::spawn(get(ingress.local_addr()));
    within("the request", arrivals.recv()).await;
    link.apply(snapshot(2, &[])).await;

    let drained = |id, service: &str, timeout_ms| ControlFrame::AwaitDrained {
        id,
        service: service.into(),
        timeout_ms,
        close_after_ms: None,
    };
    link.send(&drained(1, "unknown", 60_000)).await;
    assert_eq!(
        link.next().await,
        IngressFrame::Drained {
            id: 1,
            in_flight: 0
        }
    );
    link.send(&drained(2, "r1", 10)).await;
    assert_eq!(
        link.next().await,
        IngressFrame::Drained {
            id: 2,
            in_flight: 1
        }
    );
    link.send(&drained(3, "r1", 60_000)).await;
    gate.add_permits(1);
    assert_eq!(
        link.next().await,
        IngressFrame::Drained {
            id: 3,
            in_flight: 0
        }
    );
    assert_eq!(asking.await.unwrap().body, "held");
}

#[tokio::test]
async fn probes_tell_what_they_saw() {
    let backend = Backend::http(|request| async move {
        match request.uri().path() {
            "/moved" => status(StatusCode::FOUND),
            "/teapot" => status(StatusCode::IM_A_TEAPOT),
            "/ill" => {
                let mut response = status(StatusCode::INTERNAL_SERVER_ERROR);
                *response.body_mut() = "out of\r\n\x1bmemory".into();
                response
            }
            _ => status(StatusCode::OK),
        }
    })
    .await;
    let silent = Backend::raw(|mut stream, _| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    let rude = Backend::raw(|stream, _| async move { drop(stream) }).await;
    let closed = closed_port();
    let http = |path: &str, expect_status| HealthProbe::Http {
        path: path.into(),
        expect_status,
    };
    let (_ingress, _control, mut link) = linked().await;
    for (target, probe, timeout_ms, expected) in [
        (
            backend.address,
            http("/", None),
            5_000,
            ProbeOutcome::Healthy { status: Some(200) },
        ),
        (
            backend.address,
            http("/moved", None),
            5_000,
            ProbeOutcome::Healthy { status: Some(302) },
        ),
        (
            backend.address,
            http("/teapot", Some(418)),
            5_000,
            ProbeOutcome::Healthy { status: Some(418) },
        ),
        (
            backend.address,
            http("/", Some(204)),
            5_000,
            ProbeOutcome::WrongAnswer {
                status: 200,
                body_start: String::new(),
            },
        ),
        (
            backend.address,
            http("/ill", None),
            5_000,
            ProbeOutcome::WrongAnswer {
                status: 500,
                body_start: "out of  memory".into(),
            },
        ),
        (
            backend.address,
            HealthProbe::Tcp,
            5_000,
            ProbeOutcome::Healthy { status: None },
        ),
        (
            backend.address,
            HealthProbe::Docker,
            5_000,
            ProbeOutcome::Healthy { status: None },
        ),
        (closed, http("/", None), 5_000, ProbeOutcome::Refused),
        (closed, HealthProbe::Tcp, 5_000, ProbeOutcome::Refused),
        (
            silent.address,
            http("/", None),
            50,
            ProbeOutcome::TimedOut { connected: true },
        ),
    ] {
        let asked = (target, probe.clone());
        link.send(&ControlFrame::Probe {
            id: 9,
            target,
            probe,
            timeout_ms,
        })
        .await;
        assert_eq!(
            link.next().await,
            IngressFrame::Probed {
                id: 9,
                outcome: expected
            },
            "{asked:?}"
        );
    }
    let (target, probe) = (rude.address, http("/", None));
    link.send(&ControlFrame::Probe {
        id: 1,
        target,
        probe,
        timeout_ms: 5_000,
    })
    .await;
    let answer = link.next().await;
    let failed = matches!(
        answer,
        IngressFrame::Probed {
            outcome: ProbeOutcome::Failed { .. },
            ..
        }
    );
    assert!(failed, "{answer:?}");
}

#[tokio::test]
async fn a_request_on_demand_names_the_service_that_answered() {
    let backend = Backend::http(|request| async move {
        assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
        status(StatusCode::from_u16(request.uri().query().unwrap().parse().unwrap()).unwrap())
    })
    .await;
    let (_ingress, _control, mut link) = linked().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;
    let ask = |host: &str, path: &str| ControlFrame::Request {
        id: 4,
        host: host.parse().unwrap(),
        path: path.into(),
        timeout_ms: 10_000,
    };
    for code in [200, 500] {
        link.send(&ask("shop.localhost", &format!("/?{code}")))
            .await;
        let served = IngressFrame::Served {
            id: 4,
            status: Some(code),
            service: Some("r1".into()),
            error: None,
        };
        assert_eq!(link.next().await, served);
    }
    link.send(&ask("nobody.localhost", "/?200")).await;
    let answer = link.next().await;
    let own = matches!(
        &answer,
        IngressFrame::Served {
            status: Some(404),
            service: None,
            error: Some(_),
            ..
        }
    );
    assert!(own, "{answer:?}");
    link.send(&ask("shop.localhost", "not a path")).await;
    let answer = link.next().await;
    assert!(
        matches!(&answer, IngressFrame::Served { status: None, .. }),
        "{answer:?}"
    );
}

#[tokio::test]
async fn traffic_is_reported_while_there_is_some() {
    let backend = Backend::http(|request| async move {
        let ill = request.uri().path() == "/ill";
        status(if ill {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        })
    })
    .await;
    let dead = closed_port();
    let (ingress, _control, mut link) = linked().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;
    for path in ["/", "/", "/ill"] {
        let mut client = crate::support::Client::connect(ingress.local_addr()).await;
        within("an answer", client.get(path)).await.unwrap();
    }
    link.apply(snapshot(2, &[("r2", 1, &[dead])])).await;
    assert_eq!(get(ingress.local_addr()).await.status, 503);
    let mut seen = std::collections::HashMap::new();
    while seen.get("r1") != Some(&(3, 1, 0, 0)) || seen.get("r2") != Some(&(1, 0, 1, 0)) {
        let report = link
            .next_where(|frame| matches!(frame, IngressFrame::Traffic { .. }))
            .await;
        let IngressFrame::Traffic { services } = report else {
            unreachable!()
        };
        assert!(!services.is_empty());
        for s in services {
            seen.insert(
                s.service,
                (s.requests, s.server_errors, s.failed, s.in_flight),
            );
        }
    }
}

#[tokio::test]
async fn totals_are_told_when_asked_for() {
    let backend = Backend::http(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        status(StatusCode::OK)
    })
    .await;
    let (ingress, _control, mut link) = linked().await;
    link.apply(snapshot(1, &[("r1", 1, &[backend.address])]))
        .await;
    for _ in 0..3 {
        get(ingress.local_addr()).await;
    }
    let services = vec!["r1".to_owned(), "nobody".to_owned()];
    link.send(&ControlFrame::ReportTraffic { id: 8, services })
        .await;
    let answer = link.next().await;
    let IngressFrame::Totals { id: 8, services } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(services.len(), 1, "{services:?}");
    let total = &services[0];
    assert_eq!((total.service.as_str(), total.requests), ("r1", 3));
    assert_eq!(total.latency.total(), 3);
    let p95_ms = total.traffic().p95_ms().unwrap();
    assert!((20..2_000).contains(&p95_ms), "{p95_ms}");
}
