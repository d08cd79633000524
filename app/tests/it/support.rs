//! A platform on the real store, with an engine and an ingress that are only pretended: enough to
//! draw every page in every state.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use flukedeploy_app::{DashboardSettings, dashboard_router};
use flukedeploy_domain::access::{Action, Actor, ActorKind, Door, Tier};
use flukedeploy_domain::app::{App, EnvVars, Environment, RunMode, Settings};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::rollout::Progress;
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, Event, HealthStatus, InitiatedBy, PhaseName, PhaseRecord, Queue,
    SettingsPatch, Source, State, ValidationLevel, Wishes,
};
use flukedeploy_domain::diagnosis::Diagnosis;
use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_logs::Logs;
use flukedeploy_platform::config::{BuildsConfig, PlatformConfig};
use flukedeploy_platform::ports::{LogBatch, LogStore, NewRelease, Store, Switch, SystemClock};
use flukedeploy_platform::{Platform, Ports};
use flukedeploy_store::SqliteStore;
use time::OffsetDateTime;

// Also read by the example `preview`, from another folder.
#[path = "pretended.rs"]
mod pretended;

use pretended::{PretendedEngine, PretendedTraffic};

#[path = "pretended_workshop.rs"]
mod pretended_workshop;

use pretended_workshop::PretendedWorkshop;

/// A platform with its stores, in a directory of its own that goes with it.
pub(crate) struct Stand {
    pub(crate) px: Platform,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) directory: PathBuf,
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("flukedeploy-app-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let store = SqliteStore::open(&directory.join("control.db")).await;
        let logs = Logs::open(&directory.join("logs")).await;
        let store = Arc::new(store.expect("the store opens"));
        let logs = Arc::new(logs.expect("the log store opens"));
        let config = PlatformConfig {
            instance: "main".parse().expect("a valid name"),
            root_domain: "apps.example.com".parse().expect("a valid host"),
            http_port: 80,
            public_url: "http://127.0.0.1:3000".to_owned(),
            stream_url: "ws://127.0.0.1:8767".to_owned(),
            bootstrap_token: None,
            builds: BuildsConfig::default(),
            sessions: flukedeploy_platform::config::SessionsConfig::default(),
            provider: None,
            flukebase: flukedeploy_platform::config::FlukebaseConfig::default(),
            trusted_proxies: flukedeploy_domain::addresses::Networks::default(),
            version: "0.1.0",
            logs: flukedeploy_platform::config::LogsConfig::default(),
            hold_in_phase: None,
        };
        let ports = Ports {
            engine: Arc::new(PretendedEngine),
            store: store.clone(),
            log_store: logs.clone(),
            traffic: Arc::new(PretendedTraffic),
            builder: Arc::new(flukedeploy_platform::ports::Absent),
            workshop: Arc::new(PretendedWorkshop(directory.clone())),
            inspector: Arc::new(flukedeploy_platform::ports::Absent),
            outgoing: Arc::new(flukedeploy_platform::ports::Absent),
            log_receivers: Arc::new(flukedeploy_platform::ports::Absent),
            identity_provider: Arc::new(flukedeploy_platform::ports::Absent),
            flukebase: Arc::new(flukedeploy_platform::ports::Absent),
            machine: Arc::new(flukedeploy_platform::ports::Absent),
            upkeep: Arc::new(flukedeploy_platform::ports::Absent),
            clock: Arc::new(SystemClock),
        };
        Self {
            px: Platform::new(config, ports),
            store,
            logs,
            directory,
        }
    }

    pub(crate) fn router(&self) -> Router {
        let sessions = self.store.sessions(Arc::new(SystemClock));
        dashboard_router(
            self.px.clone(),
            sessions,
            &DashboardSettings {
                cookie_secure: false,
            },
        )
    }

    pub(crate) async fn app(&self, name: &str, settings: Settings) -> Environment {
        let now = self.px.now();
        let app = App {
            name: name.parse().expect("a valid name"),
            created_at: now,
        };
        let environment = Environment {
            app: app.name.clone(),
            name: EnvironmentName::production(),
            settings,
            settings_version: 1,
            active_release: None,
            mode: RunMode::Running,
            standby: None,
            probation: None,
            expires_at: None,
            created_at: now,
        };
        let audit = AuditEntry::new(
            now,
            &admin(),
            Action::CreateApp,
            format!("app:{name}"),
            "made",
        );
        self.store
            .create_app(&app, &environment, &audit)
            .await
            .expect("the app is stored");
        environment
    }

    /// A deployment of `image` that began `ago` and went on until `end`.
    pub(crate) async fn deployment(
        &self,
        environment: &Environment,
        image: &str,
        ago: time::Duration,
        end: End,
    ) -> Deployment {
        let source = Source::Image {
            image: image.parse().expect("a valid image"),
            changes: SettingsPatch::default(),
        };
        self.act(environment, image, source, ago, end).await
    }

    /// Any act on what `image` is or was made of.
    pub(crate) async fn act(
        &self,
        environment: &Environment,
        image: &str,
        source: Source,
        ago: time::Duration,
        end: End,
    ) -> Deployment {
        let mut now = self.px.now() - ago;
        let image: ImageRef = image.parse().expect("a valid image");
        let pinned = PinnedImage {
            pinned: format!("{}@sha256:{}", image.repository(), "4f".repeat(32)),
            requested: image.clone(),
            local_only: false,
            architecture: Some("amd64".to_owned()),
            exposed_ports: vec![8080],
            has_healthcheck: false,
            user: "app".to_owned(),
        };
        let serving = self
            .store
            .environment(&environment.app, &environment.name)
            .await
            .expect("the store answers")
            .and_then(|environment| environment.active_release);
        let mut deployment = Deployment {
            id: DeploymentId::new(
                now,
                0x9f3c_0000 + u32::try_from(image.as_str().len()).unwrap_or(0),
            ),
            app: environment.app.clone(),
            environment: environment.name.clone(),
            source,
            version: image.tag().map(ToOwned::to_owned),
            strategy: environment.settings.strategy,
            replicas: environment.settings.replicas,
            validation_level: ValidationLevel::Basic,
            auto_rollback: true,
            reason: Some("Fixes the checkout".to_owned()),
            initiated_by: InitiatedBy::Api,
            initiated_as: admin(),
            initiated_at: now,
            completed_at: None,
            state: State::Pending,
            phases: [PhaseRecord::PENDING; 5],
            image: None,
            release: None,
            from_release: serving,
            replicas_ready: 0,
            health_status: HealthStatus::Starting,
            cancel_requested: false,
            preparation: flukedeploy_domain::deployment::Preparation::default(),
            wishes: Wishes::default(),
            progress: Progress {
                former: serving.map(|_| environment.settings.replicas),
                ..Progress::default()
            },
            receipt: None,
            settings: environment.settings.clone(),
        };
        let audit = AuditEntry::new(
            now,
            &admin(),
            Action::Deploy,
            format!("app:{}", environment.app),
            "deploys",
        );
        self.store
            .open_deployment(&deployment, Queue::Wait, None, &audit)
            .await
            .expect("it is stored");
        let mut entries = Vec::new();
        let mut events = vec![Event::Started];
        match &end {
            End::In(phase) => {
                events.extend(std::iter::repeat_with(|| Event::PhaseDone).take(phase.index()));
            }
            End::Success => events.extend(std::iter::repeat_with(|| Event::PhaseDone).take(5)),
            End::Failed(diagnosis) => {
                let done = diagnosis.phase.index();
                events.extend(std::iter::repeat_with(|| Event::PhaseDone).take(done));
                events.push(Event::PhaseFailed(diagnosis.as_ref().clone()));
            }
        }
        for event in events {
            deployment.apply(event, now).expect("the step is legal");
            if let State::Running { phase } = deployment.state {
                let entry = entry(
                    now,
                    Level::Info,
                    &format!("Phase {} started", phase.as_str()),
                    SourceType::Deployment,
                    EventType::of_phase_start(phase),
                    &deployment,
                    Some(phase),
                );
                entries.push(entry);
            }
            now += time::Duration::milliseconds(1_340);
        }
        deployment.image = Some(pinned.clone());
        if deployment.source.makes_release()
            && deployment.phases[PhaseName::Deploy.index()]
                .started_at
                .is_some()
        {
            let new = NewRelease {
                app: deployment.app.clone(),
                environment: deployment.environment.clone(),
                deployment: deployment.id.clone(),
                image: pinned,
                settings: deployment.settings.clone(),
                version: deployment.version.clone(),
                created_at: now,
            };
            // Going back makes no release: there is one.
            let number = if let Source::Release { number, .. } = &deployment.source {
                *number
            } else {
                let made = self.store.create_release(&new).await;
                made.expect("it is stored").number
            };
            deployment.release = Some(number);
            if matches!(end, End::Success) {
                deployment.replicas_ready = deployment.replicas;
                deployment.health_status = HealthStatus::Healthy;
                self.store
                    .switch_release(
                        &deployment.app,
                        &deployment.environment,
                        &Switch {
                            active: Some(number),
                            standby: None,
                            probation: None,
                        },
                    )
                    .await
                    .expect("it is stored");
            }
        }
        // `Returning` has no end of its own here: what failed in `deploy` is put back.
        if let State::Returning { diagnosis } = deployment.state.clone() {
            deployment.state = match serving {
                Some(to) => State::RolledBack { diagnosis, to },
                None => State::Failed { diagnosis },
            };
            deployment.completed_at = Some(now);
        }
        self.store
            .save_deployment(&deployment)
            .await
            .expect("it is stored");
        let batch = LogBatch::of(entries);
        self.logs
            .append(Arc::new(batch))
            .await
            .expect("they are stored");
        deployment
    }

    /// A line that a replica of the app printed.
    pub(crate) async fn line(&self, deployment: &Deployment, level: Level, message: &str) {
        let entry = entry(
            self.px.now(),
            level,
            message,
            SourceType::Container,
            EventType::DeployStart,
            deployment,
            Some(PhaseName::Deploy),
        );
        let batch = LogBatch::of(vec![entry]);
        self.logs
            .append(Arc::new(batch))
            .await
            .expect("it is stored");
    }
}

/// How far a pretended deployment went.
pub(crate) enum End {
    In(PhaseName),
    Success,
    Failed(Box<Diagnosis>),
}

pub(crate) fn settings(replicas: u32) -> Settings {
    Settings {
        container_port: 8080,
        replicas,
        health: HealthGate {
            probe: HealthProbe::Http {
                path: "/healthz".to_owned(),
                expect_status: None,
            },
            ..HealthGate::default()
        },
        env_vars: EnvVars(
            [("DATABASE_URL", "postgres://s3cret"), ("LOG_LEVEL", "info")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        ..Settings::default()
    }
}

pub(crate) fn admin() -> Actor {
    Actor {
        kind: ActorKind::User,
        id: "u1".to_owned(),
        name: "admin".to_owned(),
        persona: None,
        tier: Tier::Admin,
        door: Door::Dashboard,
        ..Actor::system()
    }
}

fn entry(
    at: OffsetDateTime,
    level: Level,
    message: &str,
    kind: SourceType,
    event: EventType,
    deployment: &Deployment,
    phase: Option<PhaseName>,
) -> LogEntry {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let source = LogSource {
        kind,
        container_name: deployment.app.to_string(),
        service_id: None,
        node_id: None,
        task_id: None,
        stream: None,
    };
    let metadata = LogMetadata {
        deployment_id: Some(deployment.id.to_string()),
        phase,
        ..LogMetadata::new(event, deployment.app.as_str())
    };
    let random = u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
    LogEntry::new(at, random, level, message, source, metadata)
}
