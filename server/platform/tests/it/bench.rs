//! A world (engine, ingress, disk) and the control planes that live in it, one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::app::{EnvVars, Objective, RolloutSettings, Settings};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, Queue, State, Strategy, ValidationLevel,
};
use flukedeploy_domain::diagnosis::Diagnosis;
use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_logs::Logs;
use flukedeploy_platform::config::{BuildsConfig, PlatformConfig};
use flukedeploy_platform::deployments::{Accepted, Deploy, Rollback, RollbackTarget, Wanted};
use flukedeploy_platform::logs::ReadLogs;
use flukedeploy_platform::ports::{
    AuditOrder, AuditRow, Clock, LogReceivers, Order, Store as _, SystemClock,
};
use flukedeploy_platform::{Error, Platform, Ports, apps, deployments, logs};
use flukedeploy_store::SqliteStore;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use crate::ingress::{Ingress, SimTraffic};
use crate::receiver::{Receiver, SimOutgoing};
use crate::shop::{Shop, SimShop};
use crate::sinks::Sinks;
use crate::store::{TappedLogStore, TappedStore};
use crate::swarm::{Behaviour, SimEngine, Swarm};
use crate::tap::{Counting, Tap};
use crate::upkeep::{SimUpkeep, Ward};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A directory that goes away; in memory where that is possible, since the store waits for the
/// disk at every step.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("flukedeploy-platform-{}-{number}", std::process::id());
        let memory = PathBuf::from("/dev/shm").join(&name);
        if std::fs::create_dir(&memory).is_ok() {
            return Self(memory);
        }
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The machine's clock, moved.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn forward(&self, by: time::Duration) {
        let seconds = by.whole_seconds();
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> OffsetDateTime {
        SystemClock.now() + time::Duration::seconds(self.0.load(Ordering::Relaxed))
    }
}

/// Changes the adapters a platform is made of.
type Fit = Box<dyn Fn(&mut Ports)>;

pub(crate) struct World {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) clock: Arc<MovedClock>,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) sinks: Arc<Sinks>,
    pub(crate) shop: Arc<Shop>,
    pub(crate) ward: Arc<Ward>,
    /// Puts other adapters in the place of the usual ones.
    pub(crate) fit: std::sync::OnceLock<Fit>,
    dir: Dir,
}

impl World {
    pub(crate) fn new() -> Self {
        let swarm = Arc::new(Swarm::default());
        Self {
            ingress: Arc::new(Ingress::new(Arc::clone(&swarm))),
            swarm,
            clock: Arc::default(),
            receiver: Arc::default(),
            sinks: Arc::default(),
            shop: Arc::default(),
            ward: Arc::default(),
            fit: std::sync::OnceLock::new(),
            dir: Dir::new(),
        }
    }

    /// A control plane begins.
    pub(crate) fn boot(&self) -> Life<'_> {
        let life = self.boot_quietly(|_| {});
        life.start();
        life
    }

    /// One that does not work on anything by itself yet, and may be meddled with.
    pub(crate) fn boot_quietly(&self, prepare: impl FnOnce(&Tap)) -> Life<'_> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tap = Arc::new(Tap::default());
        prepare(&tap);
        let guard = runtime.enter();
        let (store, log_store) = runtime.block_on(async {
            let store = SqliteStore::open(&self.dir.0.join("control.db"))
                .await
                .unwrap();
            let logs = Logs::open(&self.dir.0.join("logs")).await.unwrap();
            (store, logs)
        });
        let config = PlatformConfig {
            instance: "it".parse().unwrap(),
            root_domain: "localhost".parse().unwrap(),
            http_port: 80,
            public_url: "http://127.0.0.1:3000".to_owned(),
            stream_url: "ws://127.0.0.1:8767".to_owned(),
            bootstrap_token: None,
            builds: BuildsConfig::default(),
            sessions: flukedeploy_platform::config::SessionsConfig::default(),
            provider: None,
            flukebase: flukedeploy_platform::config::FlukebaseConfig::default(),
            trusted_proxies: flukedeploy_domain::addresses::Networks::default(),
            version: "0.0.0",
            logs: flukedeploy_platform::config::LogsConfig::default(),
            hold_in_phase: None,
        };
        let shop = Arc::new(SimShop {
            shop: Arc::clone(&self.shop),
            swarm: Arc::clone(&self.swarm),
            tap: Arc::clone(&tap),
        });
        let engine = Arc::new(SimEngine {
            swarm: Arc::clone(&self.swarm),
            ingress: Arc::clone(&self.ingress),
            tap: Arc::clone(&tap),
        });
        let upkeep = Arc::new(SimUpkeep {
            ward: Arc::clone(&self.ward),
            engine: Arc::clone(&engine),
        });
        let mut ports = Ports {
            engine,
            machine: upkeep.clone(),
            upkeep,
            store: Arc::new(TappedStore {
                inner: store.clone(),
                tap: Arc::clone(&tap),
            }),
            log_store: Arc::new(TappedLogStore {
                inner: log_store,
                tap: Arc::clone(&tap),
            }),
            traffic: Arc::new(SimTraffic {
                ingress: Arc::clone(&self.ingress),
                swarm: Arc::clone(&self.swarm),
                tap: Arc::clone(&tap),
            }),
            builder: shop.clone(),
            workshop: shop,
            inspector: Arc::new(flukedeploy_platform::ports::Absent),
            outgoing: Arc::new(SimOutgoing {
                receiver: Arc::clone(&self.receiver),
                tap: Arc::clone(&tap),
            }),
            log_receivers: Arc::clone(&self.sinks) as Arc<dyn LogReceivers>,
            identity_provider: Arc::new(flukedeploy_platform::ports::Absent),
            flukebase: Arc::new(flukedeploy_platform::ports::Absent),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        };
        if let Some(fit) = self.fit.get() {
            fit(&mut ports);
        }
        let px = Platform::new(config, ports);
        drop(guard);
        Life {
            px,
            store,
            tap,
            runtime: Some(runtime),
            world: self,
        }
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir.0
    }

    /// What the ingress had to complain about.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let faults = self.ingress.faults();
        assert!(faults.is_empty(), "{faults:#?}\n{:#?}", self.swarm.trail());
    }
}

/// One control plane, from its start to its end.
pub(crate) struct Life<'w> {
    pub(crate) px: Platform,
    /// Past the tap.
    pub(crate) store: SqliteStore,
    pub(crate) tap: Arc<Tap>,
    runtime: Option<Runtime>,
    pub(crate) world: &'w World,
}

pub(crate) fn name(app: &str) -> AppName {
    app.parse().unwrap()
}

pub(crate) fn production() -> EnvironmentName {
    EnvironmentName::production()
}

/// The service of an app's release.
pub(crate) fn service(app: &str, number: u32) -> String {
    format!("fd-it-{app}-production-r{number}")
}

pub(crate) fn settings(replicas: u32) -> Settings {
    Settings {
        replicas,
        health: HealthGate {
            probe: HealthProbe::Http {
                path: "/".to_owned(),
                expect_status: None,
            },
            deadline_seconds: 30,
            timeout_ms: 1_000,
            ..HealthGate::default()
        },
        // What stands by and what is watched has stories of its own.
        rollout: RolloutSettings {
            warm_seconds: Some(0),
            ..RolloutSettings::default()
        },
        objective: Objective {
            probation_seconds: 0,
            ..Objective::default()
        },
        ..Settings::default()
    }
}

/// Settings that give up soon.
pub(crate) fn impatient(replicas: u32) -> Settings {
    let mut settings = settings(replicas);
    settings.health.deadline_seconds = 2;
    settings
}

pub(crate) fn deploy_of(app: &str, image: &str) -> Deploy {
    Deploy {
        app: name(app),
        environment: production(),
        what: Wanted::Image(image.parse().unwrap()),
        version: None,
        env_vars: EnvVars::default(),
        marks: flukedeploy_domain::app::Marks::default(),
        replicas: None,
        strategy: None,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        queue: Queue::Wait,
        create: false,
        container_port: None,
        reason: None,
        idempotency_key: None,
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

impl Life<'_> {
    pub(crate) fn start(&self) {
        self.run(async { self.px.start() });
    }

    /// The audit trail, newest first.
    pub(crate) fn audit_rows(&self) -> Vec<AuditRow> {
        let order = AuditOrder::NewestBefore(None);
        self.run(
            self.store
                .audit_entries(&AuditFilter::default(), order, 500),
        )
        .unwrap()
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(work)
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.as_ref().unwrap().spawn(work)
    }

    pub(crate) fn create_app(&self, app: &str, settings: Settings) {
        let new = apps::NewApp {
            name: name(app),
            settings,
        };
        self.run(apps::create_app(&self.px, &Actor::system(), new))
            .unwrap();
    }

    pub(crate) fn try_deploy(&self, cmd: Deploy) -> Result<Accepted, Error> {
        self.run(deployments::deploy(&self.px, &Actor::system(), cmd))
    }

    pub(crate) fn deploy(&self, app: &str, image: &str) -> DeploymentId {
        self.try_deploy(deploy_of(app, image))
            .unwrap()
            .deployment
            .deployment_id
    }

    pub(crate) fn deploy_with(&self, app: &str, image: &str, strategy: Strategy) -> DeploymentId {
        let cmd = Deploy {
            strategy: Some(strategy),
            ..deploy_of(app, image)
        };
        self.try_deploy(cmd).unwrap().deployment.deployment_id
    }

    pub(crate) fn try_rollback(
        &self,
        app: &str,
        to: RollbackTarget,
        key: Option<&str>,
    ) -> Result<Accepted, Error> {
        let cmd = Rollback {
            app: name(app),
            environment: production(),
            to,
            queue: Queue::Wait,
            reason: None,
            idempotency_key: key.map(ToOwned::to_owned),
        };
        self.run(deployments::rollback(&self.px, &Actor::system(), cmd))
    }

    pub(crate) fn rollback(&self, app: &str, to: u32) -> DeploymentId {
        let to = RollbackTarget::Release(ReleaseNo(to));
        self.try_rollback(app, to, None)
            .unwrap()
            .deployment
            .deployment_id
    }

    pub(crate) fn cancel(&self, id: &DeploymentId) {
        self.run(deployments::cancel(&self.px, &Actor::system(), id))
            .unwrap();
    }

    /// The settings for deployments that come.
    pub(crate) fn change_settings(&self, app: &str, change: impl FnOnce(&mut Settings)) {
        let found = self
            .run(self.store.environment(&name(app), &production()))
            .unwrap()
            .unwrap();
        let mut settings = found.settings;
        change(&mut settings);
        let audit = AuditEntry::new(
            self.px.now(),
            &Actor::system(),
            Action::ChangeSettings,
            format!("app:{app}"),
            "changed".to_owned(),
        );
        self.run(self.store.change_settings(
            &name(app),
            &production(),
            found.settings_version,
            &settings,
            &audit,
        ))
        .unwrap();
    }

    pub(crate) fn record(&self, id: &DeploymentId) -> Deployment {
        self.run(self.store.deployment(id)).unwrap().unwrap()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(&self, id: &DeploymentId) -> Deployment {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let record = self.record(id);
            if record.state.is_final() {
                return record;
            }
            assert!(
                Instant::now() < deadline,
                "{id} never ended: {:?}\n{:#?}",
                record.state,
                self.world.swarm.trail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Deploys and expects success.
    #[track_caller]
    pub(crate) fn ship(&self, app: &str, image: &str) -> Deployment {
        let record = self.end(&self.deploy(app, image));
        assert_eq!(record.state, State::Success);
        record
    }

    pub(crate) fn active(&self, app: &str) -> Option<u32> {
        let environment = self
            .run(self.store.environment(&name(app), &production()))
            .unwrap();
        environment
            .and_then(|found| found.active_release)
            .map(|number| number.0)
    }

    /// What is stored of the story of a deployment that has ended, once its end is told too: that
    /// happens a moment after the record has it.
    #[track_caller]
    pub(crate) fn entries(&self, id: &DeploymentId) -> Vec<LogEntry> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let entries = self.entries_now(id);
            let over = |entry: &LogEntry| {
                entry.flukedeploy_metadata.error_code.is_some()
                    || entry.message.ends_with("serves all traffic")
            };
            if entries.iter().any(over) {
                return entries;
            }
            assert!(Instant::now() < deadline, "no end in {entries:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether an entry of the app holds this text.
    pub(crate) fn told(&self, app: &str, text: &str) -> bool {
        let request = ReadLogs {
            filter: LogFilter {
                app_name: Some(app.to_owned()),
                ..LogFilter::default()
            },
            limit: 5_000,
            ..ReadLogs::default()
        };
        let page = self.run(logs::read_logs(&self.px, &Actor::system(), request));
        page.unwrap()
            .entries
            .iter()
            .any(|entry| entry.message.contains(text))
    }

    pub(crate) fn entries_now(&self, id: &DeploymentId) -> Vec<LogEntry> {
        let request = ReadLogs {
            filter: LogFilter {
                deployment_id: Some(id.to_string()),
                ..LogFilter::default()
            },
            limit: 5_000,
            order: Order::OldestFirst,
            ..ReadLogs::default()
        };
        self.run(logs::read_logs(&self.px, &Actor::system(), request))
            .unwrap()
            .entries
    }

    /// The release serves, alone and well, and nothing else runs.
    #[track_caller]
    pub(crate) fn assert_serves(&self, app: &str, number: u32) {
        let service = service(app, number);
        assert_eq!(self.active(app), Some(number));
        let (swarm, ingress) = (&self.world.swarm, &self.world.ingress);
        let others = format!("fd-it-{app}-");
        let settled = || {
            let running = swarm
                .services()
                .into_iter()
                .filter(|name| name.starts_with(&others));
            ingress.routed(app) == [(service.clone(), 1)]
                && running.eq([service.clone()])
                && !swarm.endpoints_that_are_well(&service).is_empty()
        };
        let deadline = Instant::now() + PATIENCE;
        while !settled() {
            assert!(
                Instant::now() < deadline,
                "{service} does not serve alone: routed {:?}, services {:?}\n{:#?}",
                ingress.routed(app),
                swarm.services(),
                swarm.trail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`.
    pub(crate) fn crash(mut self) {
        self.tap.die();
        if let Some(runtime) = self.runtime.take() {
            drop(runtime);
        }
    }

    pub(crate) fn shut_down(mut self) {
        self.run(self.px.shut_down());
        if let Some(runtime) = self.runtime.take() {
            drop(runtime);
        }
    }

    /// Asks for a deployment that may never be answered, and waits until the process is dead or
    /// the deployment has ended.
    pub(crate) fn deploy_and_die(&self, cmd: Deploy, count: u32, counting: Counting) -> bool {
        self.tap.die_at(count, counting);
        let px = self.px.clone();
        let asked = self.spawn(async move {
            deployments::deploy(&px, &Actor::system(), cmd)
                .await
                .unwrap()
                .deployment
                .deployment_id
        });
        let mut id = None;
        let mut asked = Some(asked);
        loop {
            if self.tap.is_dead() {
                return true;
            }
            if asked
                .as_ref()
                .is_some_and(tokio::task::JoinHandle::is_finished)
            {
                id = asked.take().map(|asked| self.run(asked).unwrap());
            }
            if let Some(id) = &id
                && self.record(id).state.is_final()
            {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[track_caller]
pub(crate) fn diagnosis(record: &Deployment) -> &Diagnosis {
    record.state.diagnosis().unwrap()
}

/// An image that ends at once.
pub(crate) fn dying() -> Behaviour {
    Behaviour {
        exits: Some((5, 3)),
        listens_on: None,
        ..Behaviour::default()
    }
}
