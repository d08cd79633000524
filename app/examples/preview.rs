//! The dashboard with invented apps, to look at while working on it: nothing is deployed.
//!
//! `cargo run -p flukedeploy-app --example preview [empty | LINES]`, where LINES is how much a replica
//! has printed (6,000), then sign in at
//! <http://127.0.0.1:3999> as `admin` with the password `preview-password`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use flukedeploy_app::{DashboardSettings, accept_session};
use flukedeploy_domain::access::{Actor, Door};
use flukedeploy_domain::app::{Environment, Probation, Standby};
use flukedeploy_domain::build::{BuildSource, GitSource, Instructions, Origin};
use flukedeploy_domain::check::Check;
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_domain::deployment::{
    Deployment, PhaseName, PhaseTime, Preparation, Receipt, SettingsChange, SettingsPatch, Source,
    Status, Strategy, SwitchTraffic,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::job::{JobKind, JobRecord, JobSettings, JobStatus};
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogFilter, LogMetadata, LogSource, SourceType,
};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Platform;
use flukedeploy_platform::credentials::{PutCredential, put_credential};
use flukedeploy_platform::follow::{Followed, Follower, Start};
use flukedeploy_platform::identity::ensure_admin;
use flukedeploy_platform::ports::{LogBatch, LogStore as _, Store, Switch, SystemClock};
use flukedeploy_platform::secret::Secret;
use time::Duration;

#[path = "../tests/it/support.rs"]
mod support;

use support::{End, Stand, settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stand = Stand::new().await;
    ensure_admin(&stand.px, Secret::new("preview-password")).await?;
    let asked = std::env::args().nth(1);
    if asked.as_deref() != Some("empty") {
        let lines = asked.and_then(|lines| lines.parse().ok());
        seed(&stand, lines.unwrap_or(6_000)).await;
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
    Query(asked): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let filter = LogFilter {
        app_name: asked.get("app_name").cloned(),
        deployment_id: asked.get("deployment_id").cloned(),
        ..LogFilter::default()
    };
    upgrade.on_upgrade(async move |mut socket| {
        let Ok(mut follower) = Follower::new(&px, actor) else {
            return;
        };
        if follower.select(filter, Start::Now).await.is_err() {
            return;
        }
        let mut frames = vec![r#"{"type":"connected"}"#.to_owned()];
        loop {
            for text in frames.drain(..) {
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            let Some(burst) = follower.next().await else {
                return;
            };
            frames.extend(burst.into_iter().filter_map(|followed| match followed {
                Followed::Entry(entry) => String::from_utf8(entry.json().to_vec()).ok(),
                Followed::Dropped(_) => None,
            }));
        }
    })
}

async fn seed(stand: &Stand, lines: u64) {
    for (name, replicas) in [("shop-web", 2), ("shop-api", 3), ("blog", 2), ("worker", 1)] {
        let mut wanted = settings(replicas);
        if name == "worker" {
            wanted.strategy = Strategy::Canary;
        }
        let app = stand.app(name, wanted).await;
        let image = |version: &str| format!("ghcr.io/fluke/{name}:{version}");
        stand
            .deployment(&app, &image("v1.8.0"), Duration::days(9), End::Success)
            .await;
        let second = stand
            .deployment(&app, &image("v1.9.2"), Duration::hours(5), End::Success)
            .await;
        match name {
            "shop-web" => just_moved(stand, second).await,
            "shop-api" => went_back(stand, &app, &image("v1.8.0")).await,
            "blog" => failed(stand, &app, &image("v2.0.0")).await,
            _ => under_way(stand, &app, &image("v2.0.0")).await,
        }
    }
    chatter(stand, lines).await;
    stand.app("landing-page", settings(1)).await;
    from_source(stand).await;
}

/// What three replicas printed within a day.
async fn chatter(stand: &Stand, lines: u64) {
    let now = stand.px.now();
    let entry = |ago: Duration, number: u64, level: Level, message: String| {
        let replica = match number / 4 % 3 {
            0 => "k2a",
            1 => "p7c",
            _ => "z4f",
        };
        let source = LogSource {
            kind: SourceType::Container,
            container_name: "shop-web".to_owned(),
            service_id: Some("shop-web-production-r2".to_owned()),
            node_id: Some("x7v0k2n5q9w1e3r4t6y8u0i2o".to_owned()),
            task_id: Some(format!("{replica}n5q9w1e3r4t6y8u")),
            stream: Some("stdout".to_owned()),
        };
        let mut metadata = LogMetadata::new(EventType::DeployStart, "shop-web");
        metadata.environment = Some("production".to_owned());
        metadata.release = Some(2);
        if level == Level::Info && number.is_multiple_of(5) {
            let fields = serde_json::json!({"user": number * 7, "cache": "miss", "ms": number % 900,
                "path": "/api/v1/products", "tags": ["a", "b"]});
            if let serde_json::Value::Object(fields) = fields {
                metadata.fields.extend(fields);
            }
        }
        if level == Level::Error && number.is_multiple_of(2) {
            let lines =
                (1..24).map(|line| format!("\tat com.example.Order.pay(Order.java:{line})"));
            let lines: Vec<_> = std::iter::once(message.clone()).chain(lines).collect();
            metadata.stack_trace = Some(lines.join("\n"));
        }
        LogEntry::new(now - ago, number, level, message, source, metadata)
    };
    let store = async |entries: Vec<LogEntry>| {
        let batch = LogBatch::of(entries);
        let stored = stand.logs.append(Arc::new(batch)).await;
        stored.expect("they are stored");
    };
    let mut entries = Vec::new();
    for number in 0..lines {
        // Denser towards the end, and a bad quarter of an hour.
        let left = lines - number;
        let ago = u128::from(left) * u128::from(left) * 86_400_000;
        let ago = i64::try_from(ago / u128::from(lines * lines)).unwrap_or(0);
        let ago = Duration::milliseconds(ago);
        if entries.len() == 5_000 {
            store(std::mem::take(&mut entries)).await;
        }
        let is_bad = (30..50).contains(&ago.whole_minutes());
        let (level, message) = match number % 40 {
            0 | 1 => (
                Level::Warn,
                format!(
                    "slow query took {} ms: SELECT id, name, price FROM products WHERE category_id = {} AND active ORDER BY created_at DESC LIMIT 50",
                    number % 4_000,
                    number % 300
                ),
            ),
            2..=5 if is_bad => (
                Level::Error,
                format!(
                    "payment failed: connection refused by 10.0.3.{}:5432 while handling POST /api/v1/orders/{}/payment",
                    number % 250,
                    number
                ),
            ),
            6 => (
                Level::Debug,
                format!("cache refreshed: {} keys", number % 512),
            ),
            7 => (
                Level::Info,
                "{\"nested\": {\"json\": true}, \"text\": \"".to_owned()
                    + &"very long ".repeat(90)
                    + "\"}",
            ),
            8..=11 => (Level::Info, "health check ok".to_owned()),
            _ => (
                Level::Info,
                format!(
                    "GET /api/v1/products/{}?page={} 200 {} ms",
                    number % 40_000,
                    number % 40,
                    number % 900
                ),
            ),
        };
        entries.push(entry(ago, number, level, message));
    }
    let last = [
        (
            Level::Error,
            "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quotes\"".to_owned(),
        ),
        (
            Level::Warn,
            "\u{202e}gnisrever\u{202c} zero\u{200b}width \u{1b}[31mred\u{1b}[0m bell\u{7}"
                .to_owned(),
        ),
        (Level::Info, "שלום עולם, hello".to_owned()),
        (Level::Info, "two lines\n  and an indented one".to_owned()),
        (Level::Info, "x".repeat(3_000)),
    ];
    for (number, (level, message)) in (9_001..).step_by(2).zip(last) {
        entries.push(entry(Duration::ZERO, number, level, message));
    }
    store(entries).await;
}

/// Built from a repository and stopped by its tests, in an app with all the settings for that.
async fn from_source(stand: &Stand) {
    let mut wanted = settings(1);
    wanted
        .build
        .args
        .0
        .insert("NODE".to_owned(), "22".to_owned());
    let token = ("NPM_TOKEN".to_owned(), "s3cret".to_owned());
    wanted.build.secrets.0.extend([token]);
    let command = |words: &[&str]| JobSettings {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        image: None,
        timeout_seconds: 600,
    };
    wanted.jobs.test = Some(command(&["npm", "test"]));
    wanted.jobs.release = Some(command(&["./manage", "migrate", "--no-input"]));
    let app = stand.app("docs", wanted).await;
    let repository = "https://git.example.com/team/docs.git".parse();
    let source = Source::Build {
        build: BuildSource {
            origin: Origin::Git(GitSource {
                repository: repository.expect("a valid address"),
                reference: Some("main".parse().expect("a valid branch")),
                subfolder: None,
                submodules: false,
            }),
            instructions: Instructions::Find,
        },
        changes: SettingsPatch::default(),
    };
    let found = Diagnosis {
        code: Cause::TestsFailed,
        phase: PhaseName::PreDeploy,
        message: "the tests ended with exit code 1".to_owned(),
        evidence: Evidence {
            exit_code: Some(1),
            untrusted_output: vec!["212 passed, 1 failed".to_owned()],
            ..Evidence::default()
        },
        next: vec!["read the tests' lines, correct the app and deploy again".to_owned()],
    };
    let end = End::Failed(Box::new(found));
    let ago = Duration::minutes(4);
    let mut one = stand.act(&app, "docs:built", source, ago, end).await;
    let at = one.initiated_at;
    let job = |kind, status, exit_code| JobRecord {
        kind,
        command: command(&["npm", "test"]).command,
        status,
        exit_code,
        started_at: at,
        completed_at: Some(at + Duration::seconds(21)),
        service: "job".to_owned(),
        note: None,
    };
    one.preparation = Preparation {
        commit: Some("4bf0a1c2d3e4f5061728394a5b6c7d8e9f001122".to_owned()),
        builder: Some("buildkit".to_owned()),
        checks: vec![
            Check::pass("architecture", "docker", "the image fits every node"),
            Check::pass("health_path", "configuration", "the health path is sane"),
            Check::warning(
                "runs_as_root",
                "security",
                "the image runs as root",
                "add a line 'USER app' to its Dockerfile",
            ),
            Check::not_run(
                "security_scan",
                "security",
                "no scanner's command is configured",
            ),
        ],
        jobs: vec![
            job(JobKind::PreBuild, JobStatus::NotRun, None),
            job(JobKind::Test, JobStatus::Failed, Some(1)),
        ],
    };
    let saved = stand.store.save_deployment(&one).await;
    saved.expect("it is stored");
    for (kind, host, username) in [
        (CredentialKind::Registry, "registry.example.com:5000", "ci"),
        (CredentialKind::GitToken, "git.example.com", "deploy"),
    ] {
        let put = PutCredential {
            kind,
            host: host.to_owned(),
            username: username.to_owned(),
            secret: "s3cret".to_owned(),
            known_hosts: None,
        };
        let stored = put_credential(&stand.px, &support::admin(), put).await;
        stored.expect("it is stored");
    }
}

/// With a receipt, the former release standing by and the new one watched.
async fn just_moved(stand: &Stand, mut one: Deployment) {
    let change = |name: &str, before: Option<&str>, after: &str| SettingsChange {
        name: name.to_owned(),
        before: before.map(ToOwned::to_owned),
        after: Some(after.to_owned()),
    };
    one.receipt = Some(Receipt {
        outcome: Status::Success,
        started_at: one.initiated_at,
        ended_at: one.initiated_at + Duration::milliseconds(8_420),
        by: "admin".to_owned(),
        persona: None,
        door: Door::Dashboard,
        old_release: Some(ReleaseNo(1)),
        new_release: Some(ReleaseNo(2)),
        pinned_image: one.image.as_ref().map(|image| image.pinned.clone()),
        phases: one
            .phases
            .iter()
            .zip(PhaseName::ALL)
            .map(|(record, phase)| PhaseTime {
                phase,
                status: record.status,
                duration_ms: record.duration_ms(),
            })
            .collect(),
        requests: Some(SwitchTraffic {
            served: 1_204,
            failed: 0,
            by_new_release: 388,
        }),
        changes: vec![
            change("replicas", Some("1"), "2"),
            change("health.probe.path", Some("/"), "/healthz"),
            change("env_vars.LOG_LEVEL", None, "(set)"),
        ],
    });
    let until = stand.px.now() + Duration::minutes(9);
    let switch = Switch {
        active: Some(ReleaseNo(2)),
        standby: Some(Standby {
            release: ReleaseNo(1),
            until,
        }),
        probation: Some(Probation {
            release: ReleaseNo(2),
            deployment: one.id.clone(),
            until,
            former_errors_permille: None,
        }),
    };
    let saved = stand.store.save_deployment(&one).await;
    saved.expect("it is stored");
    let switched = stand
        .store
        .switch_release(&one.app, &one.environment, &switch)
        .await;
    switched.expect("it is stored");
}

async fn went_back(stand: &Stand, app: &Environment, image: &str) {
    let found = Diagnosis {
        code: Cause::ObjectiveBroken,
        phase: PhaseName::PostDeploy,
        message: "release 2 failed 212 of 1000 requests; 50 are promised at most".to_owned(),
        evidence: Evidence {
            traffic: Some("53 of 250 requests failed in 20 s".to_owned()),
            ..Evidence::default()
        },
        next: vec!["read the log of release 2 around the time it was withdrawn".to_owned()],
    };
    let source = Source::Release {
        number: ReleaseNo(1),
        because: Some(Box::new(found)),
    };
    stand
        .act(app, image, source, Duration::minutes(3), End::Success)
        .await;
}

async fn failed(stand: &Stand, app: &Environment, image: &str) {
    let end = End::Failed(Box::new(diagnosis()));
    let one = stand
        .deployment(app, image, Duration::minutes(12), end)
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

async fn under_way(stand: &Stand, app: &Environment, image: &str) {
    let one = stand
        .deployment(
            app,
            image,
            Duration::seconds(40),
            End::In(PhaseName::Deploy),
        )
        .await;
    stand
        .line(&one, Level::Info, "listening on 0.0.0.0:8080")
        .await;
    stand.line(&one, Level::Warn, "the cache is cold").await;
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
