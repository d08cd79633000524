//! The ingress's service. Its program is this test program, which stands in for the ingress when
//! it is started as `/flukedeploy ingress`: the test harness then runs the tests with that word in
//! their name, of which there is one.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bollard::models::ServiceSpec as DockerService;
use bollard::query_parameters::InspectServiceOptions;
use flukedeploy_platform::ports::{Engine, IngressSpec, TaskState};

use tokio::signal::unix::{SignalKind, signal};

use crate::support::{Bed, eventually};

const LISTEN: &str = "FLUKEDEPLOY_INGRESS_LISTEN";

/// In the container, tells over HTTP what it found there; elsewhere there is nothing to do.
#[test]
fn stand_in_for_the_ingress() {
    let Ok(listen) = std::env::var(LISTEN) else {
        return;
    };
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut asked = signal(SignalKind::terminate()).unwrap();
            asked.recv().await;
        });
        // The first process of a container has to end by itself.
        std::process::exit(0);
    });
    let listener = TcpListener::bind(listen).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let token =
            std::fs::read_to_string(std::env::var("FLUKEDEPLOY_INGRESS_TOKEN_FILE").unwrap());
        let snapshot = std::env::var("FLUKEDEPLOY_INGRESS_SNAPSHOT").unwrap();
        let written = std::fs::write(&snapshot, "{}");
        let elsewhere = std::fs::write("/elsewhere", "");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default();
            line.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let report = serde_json::json!({
            "token": token.map_err(|error| error.to_string()),
            "snapshot": written.map_err(|error| error.to_string()),
            "can_write_elsewhere": elsewhere.is_ok(),
            "uid": field("Uid:"),
            "capabilities": field("CapBnd:"),
            "urls": std::env::var("FLUKEDEPLOY_INGRESS_CONTROL_URLS").unwrap(),
            "node": std::env::var("FLUKEDEPLOY_INGRESS_NODE").unwrap(),
            "id": std::env::var("FLUKEDEPLOY_INGRESS_ID").unwrap(),
        })
        .to_string();
        let _ = write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{report}",
            report.len()
        );
    }
}

fn ask(port: u16) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

async fn service(bed: &Bed) -> DockerService {
    let name = format!("fd-{}-ingress", bed.instance);
    let found = bed
        .docker
        .inspect_service(&name, None::<InspectServiceOptions>)
        .await;
    found.unwrap().spec.unwrap()
}

#[tokio::test]
async fn the_data_plane_runs_with_its_secret_and_without_rights() {
    let Some(bed) = Bed::new().await else { return };
    let name = format!("fd-{}-ingress", bed.instance);
    let mut spec = IngressSpec {
        http_port: free_port(),
        control_urls: vec!["ws://192.0.2.1:1".to_owned(), "ws://192.0.2.2:2".to_owned()],
        token: "first-token".to_owned(),
    };
    bed.engine.ensure_ingress(&spec).await.unwrap();
    let report = eventually("the stand-in's answer", || async { ask(spec.http_port) }).await;
    let task = bed
        .task(&name, |task| task.state == TaskState::Running)
        .await;
    let info = bed.engine.info().await.unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "token": {"Ok": "first-token"},
            "snapshot": {"Ok": null},
            "can_write_elsewhere": false,
            "uid": "65534",
            "capabilities": "0000000000000000",
            "urls": "ws://192.0.2.1:1,ws://192.0.2.2:2",
            "node": info.node_name,
            "id": task.id,
        })
    );
    assert!(
        bed.engine.services().await.unwrap().is_empty(),
        "it is no release"
    );

    let version = bed.version(&name).await;
    bed.engine.ensure_ingress(&spec).await.unwrap();
    assert_eq!(
        bed.version(&name).await,
        version,
        "the same again changes nothing"
    );

    "second-token".clone_into(&mut spec.token);
    bed.engine.ensure_ingress(&spec).await.unwrap();
    assert!(bed.version(&name).await > version);
    eventually("the new token", || async {
        ask(spec.http_port).filter(|report| report["token"]["Ok"] == "second-token")
    })
    .await;
    eventually("the end of the old secret", || async {
        bed.engine.ensure_ingress(&spec).await.unwrap();
        let secrets = bed.docker.list_secrets(None).await.unwrap();
        let mine = secrets.iter().filter(|secret| {
            let labels: HashMap<_, _> = secret
                .spec
                .as_ref()
                .and_then(|spec| spec.labels.clone())
                .unwrap_or_default();
            labels.get("com.flukedeploy.instance") == Some(&bed.instance)
        });
        (mine.count() == 1).then_some(())
    })
    .await;
    let docker = service(&bed).await;
    assert!(
        !format!("{docker:?}").contains("second-token"),
        "{docker:?}"
    );

    bed.engine.stop_all().await.unwrap();
    assert!(ask(spec.http_port).is_none());
    bed.engine.purge().await.unwrap();
    let volume = bed.docker.inspect_volume(&name).await;
    assert!(volume.is_err(), "{volume:?}");
}
