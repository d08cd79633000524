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
use flukedeploy_domain::log_entry::{Level, LogFilter};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Platform;
use flukedeploy_platform::credentials::{PutCredential, put_credential};
use flukedeploy_platform::follow::{Followed, Follower, Start};
use flukedeploy_platform::identity::ensure_admin;
use flukedeploy_platform::ports::{Store, Switch, SystemClock};
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

async fn seed(stand: &Stand) {
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
    stand.app("landing-page", settings(1)).await;
    from_source(stand).await;
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
