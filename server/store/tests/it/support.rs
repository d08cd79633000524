//! Directories that go away, and things to store.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use flukedeploy_domain::access::{Action, Actor, ActorKind, Door, Tier};
use flukedeploy_domain::app::{App, Environment, RunMode, Settings};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, HealthStatus, InitiatedBy, PhaseRecord, Queue, SettingsPatch, Source,
    State, Strategy, ValidationLevel, Wishes, rollout::Progress,
};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{AuditOrder, NewRelease, Opened, Store, Switch};
use flukedeploy_store::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

pub(crate) const NOW: OffsetDateTime = datetime!(2026-02-04 10:13:20.123 UTC);

/// A directory of one test, removed with all in it.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "flukedeploy-store-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("test.db")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn open() -> (Dir, SqliteStore) {
    let dir = Dir::new();
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    (dir, store)
}

/// A connection beside the store's, to look and to tamper.
pub(crate) async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

pub(crate) fn name(app: &str) -> AppName {
    app.parse().unwrap()
}

pub(crate) fn production() -> EnvironmentName {
    EnvironmentName::production()
}

pub(crate) fn actor(id: &str) -> Actor {
    Actor {
        kind: ActorKind::Token,
        id: id.to_owned(),
        name: format!("token {id}"),
        persona: Some("OPERATOR".to_owned()),
        tier: Tier::Advanced,
        door: Door::Rest,
        rights: std::sync::Arc::default(),
        ..Actor::system()
    }
}

pub(crate) fn audit(summary: &str) -> AuditEntry {
    AuditEntry::new(NOW, &actor("t1"), Action::Deploy, "app:shop", summary)
}

pub(crate) fn settings(domains: &[&str]) -> Settings {
    let mut settings = Settings {
        domains: domains.iter().map(|host| host.parse().unwrap()).collect(),
        ..Settings::default()
    };
    settings
        .env_vars
        .0
        .insert("GREETING".to_owned(), "grüß 'Gott' \"x\"".to_owned());
    settings
}

pub(crate) fn app(app: &str, domains: &[&str]) -> (App, Environment) {
    let environment = Environment {
        app: name(app),
        name: production(),
        settings: settings(domains),
        settings_version: 1,
        active_release: None,
        mode: RunMode::Running,
        standby: None,
        probation: None,
        expires_at: None,
        created_at: NOW,
    };
    let app = App {
        name: name(app),
        created_at: NOW,
    };
    (app, environment)
}

pub(crate) async fn create_app(store: &SqliteStore, app_name: &str, domains: &[&str]) {
    let (app, environment) = app(app_name, domains);
    store
        .create_app(&app, &environment, &audit("create"))
        .await
        .unwrap();
}

/// The `number`-th second after [`NOW`].
pub(crate) fn deployment(app: &str, number: u32) -> Deployment {
    let at = NOW + Duration::seconds(i64::from(number));
    Deployment {
        id: DeploymentId::new(at, number),
        app: name(app),
        environment: production(),
        source: Source::Image {
            image: "registry.example.com/shop:v2".parse().unwrap(),
            changes: SettingsPatch::default(),
        },
        version: Some("v2".to_owned()),
        strategy: Strategy::BlueGreen,
        replicas: 3,
        validation_level: ValidationLevel::Strict,
        auto_rollback: true,
        reason: None,
        initiated_by: InitiatedBy::Agent,
        initiated_as: actor("t1"),
        initiated_at: at,
        completed_at: None,
        state: State::Pending,
        phases: [PhaseRecord::PENDING; 5],
        image: None,
        release: None,
        from_release: None,
        replicas_ready: 0,
        health_status: HealthStatus::Starting,
        cancel_requested: false,
        wishes: Wishes::default(),
        preparation: flukedeploy_domain::deployment::Preparation::default(),
        progress: Progress::default(),
        receipt: None,
        settings: settings(&[]),
    }
}

/// A new deployment that ended no other.
pub(crate) const NEW: Opened = Opened::New {
    superseded: Vec::new(),
};

pub(crate) async fn open_deployment(store: &SqliteStore, app: &str, number: u32) -> Deployment {
    let deployment = deployment(app, number);
    store
        .open_deployment(&deployment, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap();
    deployment
}

pub(crate) fn image() -> PinnedImage {
    PinnedImage {
        requested: "registry.example.com/shop:v2".parse().unwrap(),
        pinned: format!("registry.example.com/shop@sha256:{}", "ab".repeat(32)),
        local_only: false,
        architecture: Some("amd64".to_owned()),
        exposed_ports: vec![80, 8080],
        has_healthcheck: true,
        user: "nobody".to_owned(),
    }
}

pub(crate) fn new_release(of: &Deployment) -> NewRelease {
    NewRelease {
        app: of.app.clone(),
        environment: of.environment.clone(),
        deployment: of.id.clone(),
        image: image(),
        settings: settings(&[]),
        version: Some("v2".to_owned()),
        created_at: NOW,
    }
}

/// Nothing but another release that serves.
pub(crate) fn switch(active: Option<ReleaseNo>) -> Switch {
    Switch {
        active,
        standby: None,
        probation: None,
    }
}

/// How many entries the audit trail has.
pub(crate) async fn audited(store: &SqliteStore) -> usize {
    store
        .audit_entries(
            &AuditFilter::default(),
            AuditOrder::NewestBefore(None),
            1_000,
        )
        .await
        .unwrap()
        .len()
}
