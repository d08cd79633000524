//! The dashboard with invented apps, to look at while working on it: nothing is deployed.
//!
//! `cargo run -p flukedeploy-app --example preview [empty]`, then sign in at
//! <http://127.0.0.1:3999> as `admin` with the password `preview-password`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use flukedeploy_app::{DashboardSettings, accept_session};
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::log_entry::{Level, LogFilter};
use flukedeploy_platform::Platform;
use flukedeploy_platform::identity::ensure_admin;
use flukedeploy_platform::journal::Live;
use flukedeploy_platform::logs::subscribe;
use flukedeploy_platform::ports::SystemClock;
use flukedeploy_platform::secret::Secret;
use time::Duration;

#[path = "../tests/it/support.rs"]
mod support;

use support::{End, Stand, settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stand = Stand::new().await;
    ensure_admin(&stand.px, Secret::new("preview-password")).await?;
    if std::env::args().nth(1).as_deref() != Some("empty") {
        seed(&stand).await;
    }
    stand.px.start();
    let stream = Router::new()
        .route("/api/v1/stream", any(stream))
        .with_state(stand.px.clone());
    let sessions = stand.store.sessions(Arc::new(SystemClock));
    let settings = DashboardSettings {
        cookie_secure: false,
    };
    let stream = accept_session(stream, &stand.px, sessions, &settings);
    let app = stand
        .router()
        .merge(stream)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 3999)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// What the pages' scripts need of the real stream.
async fn stream(
    State(px): State<Platform>,
    Extension(actor): Extension<Actor>,
    Query(filter): Query<LogFilter>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let Ok(mut entries) = subscribe(&px, &actor) else {
            return;
        };
        let mut frame = Some(r#"{"type":"connected"}"#.to_owned());
        loop {
            if let Some(text) = frame.take()
                && socket.send(Message::Text(text.into())).await.is_err()
            {
                return;
            }
            match entries.next().await {
                Some(Live::Entry(entry)) if filter.matches(&entry) => {
                    frame = serde_json::to_string(&*entry).ok();
                }
                Some(_) => {}
                None => return,
            }
        }
    })
}

async fn seed(stand: &Stand) {
    for (name, replicas) in [("shop-web", 2), ("shop-api", 3), ("blog", 2), ("worker", 1)] {
        let app = stand.app(name, settings(replicas)).await;
        let image = |version: &str| format!("ghcr.io/fluke/{name}:{version}");
        stand
            .deployment(&app, &image("v1.8.0"), Duration::days(9), End::Success)
            .await;
        stand
            .deployment(&app, &image("v1.9.2"), Duration::hours(5), End::Success)
            .await;
        if name == "blog" {
            let failed = diagnosis();
            let one = stand
                .deployment(
                    &app,
                    &image("v2.0.0"),
                    Duration::minutes(12),
                    End::Failed(failed),
                )
                .await;
            for line in [
                "starting blog 2.0.0",
                "connecting to the database",
                "<b>bold?</b> no",
            ] {
                stand.line(&one, Level::Info, line).await;
            }
            stand
                .line(&one, Level::Error, "panic: connection refused (db:5432)")
                .await;
        }
        if name == "worker" {
            let one = stand
                .deployment(
                    &app,
                    &image("v2.0.0"),
                    Duration::seconds(40),
                    End::In(PhaseName::Deploy),
                )
                .await;
            stand
                .line(&one, Level::Info, "listening on 0.0.0.0:8080")
                .await;
            stand.line(&one, Level::Warn, "the cache is cold").await;
        }
    }
    stand.app("landing-page", settings(1)).await;
}

fn diagnosis() -> Diagnosis {
    Diagnosis {
        code: Cause::ExitedWithCode,
        phase: PhaseName::Deploy,
        message: "the app exited with code 1 before it was healthy".to_owned(),
        evidence: Evidence {
            exit_code: Some(1),
            engine_message: Some("task: non-zero exit (1)".to_owned()),
            expected_port: Some(8080),
            replicas_ready: Some(0),
            replicas_wanted: Some(2),
            untrusted_output: vec![
                "starting blog 2.0.0".to_owned(),
                "connecting to the database".to_owned(),
                "panic: connection refused (db:5432)".to_owned(),
                "<script>alert(1)</script> is only text".to_owned(),
            ],
            ..Evidence::default()
        },
        next: vec![
            "read the last lines: they are from the replica that exited".to_owned(),
            "check that DATABASE_URL is set and reachable from the overlay network".to_owned(),
            "run the image by hand with the same variables".to_owned(),
        ],
    }
}
