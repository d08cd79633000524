//! The platform: ports, configuration and the live parts, wired together once.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::PlatformConfig;
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::people::{PasswordChecks, SignInLimits};
use crate::ports::{
    Builder, Clock, Engine, Flukebase, IdentityProvider, Inspector, LogReceivers, LogStore,
    Machine, Outgoing, Store, Traffic, Upkeep, Workshop,
};
use crate::rechecks::Rechecks;
use crate::routes::Routes;
use crate::runner::Runner;

/// Shared by every door. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    inner: Arc<Inner>,
}

/// Fields are open to this crate; doors use the functions.
pub(crate) struct Inner {
    pub(crate) config: PlatformConfig,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log_store: Arc<dyn LogStore>,
    pub(crate) traffic: Arc<dyn Traffic>,
    pub(crate) builder: Arc<dyn Builder>,
    pub(crate) workshop: Arc<dyn Workshop>,
    pub(crate) inspector: Arc<dyn Inspector>,
    pub(crate) outgoing: Arc<dyn Outgoing>,
    pub(crate) log_receivers: Arc<dyn LogReceivers>,
    pub(crate) identity_provider: Arc<dyn IdentityProvider>,
    pub(crate) flukebase: Arc<dyn Flukebase>,
    pub(crate) flukebase_link: crate::flukebase::Link,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) upkeep: Arc<dyn Upkeep>,
    /// A place for each build that may run at once.
    pub(crate) build_places: tokio::sync::Semaphore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) fleet: Fleet,
    pub(crate) routes: Routes,
    pub(crate) runner: Runner,
    pub(crate) sign_in_limits: SignInLimits,
    pub(crate) password_checks: PasswordChecks,
    pub(crate) provider: crate::people::Provider,
    pub(crate) rechecks: Rechecks,
    pub(crate) denials: crate::denials::Denials,
    pub(crate) budgets: crate::budgets::Budgets,
    pub(crate) drift: crate::drift::Drift,
    pub(crate) app_list: crate::apps::AppList,
    pub(crate) engine_status: crate::system::EngineStatus,
    pub(crate) watch: crate::health::Watch,
    pub(crate) repairs: crate::repairs::Turn,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The journal ends after everything that writes into it.
    journal_stop: CancellationToken,
    journal_tasks: TaskTracker,
}

/// How long the background work may take to end before the journal is closed all the same.
const WIND_UP: Duration = Duration::from_secs(7);

/// What the adapters are.
pub struct Ports {
    pub engine: Arc<dyn Engine>,
    pub store: Arc<dyn Store>,
    pub log_store: Arc<dyn LogStore>,
    pub traffic: Arc<dyn Traffic>,
    pub builder: Arc<dyn Builder>,
    pub workshop: Arc<dyn Workshop>,
    pub inspector: Arc<dyn Inspector>,
    pub outgoing: Arc<dyn Outgoing>,
    pub log_receivers: Arc<dyn LogReceivers>,
    pub identity_provider: Arc<dyn IdentityProvider>,
    pub flukebase: Arc<dyn Flukebase>,
    pub machine: Arc<dyn Machine>,
    pub upkeep: Arc<dyn Upkeep>,
    pub clock: Arc<dyn Clock>,
}

impl Platform {
    /// Puts the parts together. Does no I/O; [`Platform::start`] begins the work.
    pub fn new(config: PlatformConfig, ports: Ports) -> Self {
        let Ports {
            engine,
            store,
            log_store,
            traffic,
            builder,
            workshop,
            inspector,
            outgoing,
            log_receivers,
            identity_provider,
            flukebase,
            machine,
            upkeep,
            clock,
        } = ports;
        let started_at = clock.now();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let (journal_tasks, journal_stop) = (TaskTracker::new(), CancellationToken::new());
        let journal = Journal::new(
            Arc::clone(&log_store),
            Arc::clone(&clock),
            &journal_tasks,
            journal_stop.clone(),
        );
        Self {
            inner: Arc::new(Inner {
                build_places: tokio::sync::Semaphore::new(config.builds.at_once.max(1)),
                config,
                engine,
                store,
                log_store,
                traffic,
                builder,
                workshop,
                inspector,
                outgoing,
                log_receivers,
                identity_provider,
                flukebase,
                flukebase_link: crate::flukebase::Link::default(),
                machine,
                upkeep,
                clock,
                journal,
                fleet: Fleet::default(),
                routes: Routes::default(),
                runner: Runner::default(),
                sign_in_limits: SignInLimits::default(),
                password_checks: PasswordChecks::default(),
                provider: crate::people::Provider::default(),
                rechecks: Rechecks::default(),
                denials: crate::denials::Denials::default(),
                budgets: crate::budgets::Budgets::default(),
                drift: crate::drift::Drift::default(),
                app_list: crate::apps::AppList::default(),
                engine_status: crate::system::EngineStatus::default(),
                watch: crate::health::Watch::default(),
                repairs: crate::repairs::Turn::default(),
                started_at,
                stop,
                tasks,
                journal_stop,
                journal_tasks,
            }),
        }
    }

    /// The parts, for the use cases of this crate.
    pub(crate) fn parts(&self) -> &Inner {
        &self.inner
    }

    pub fn config(&self) -> &PlatformConfig {
        &self.inner.config
    }

    pub fn now(&self) -> OffsetDateTime {
        self.inner.clock.now()
    }

    /// Cancelled when the platform is asked to stop; long-lived doors (streams) end with it.
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Stops the background work. Deployments that run are left where they are: their state is
    /// stored, and the next start goes on with them. Returns when the journal is on disk.
    pub async fn shut_down(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        let ended = tokio::time::timeout(WIND_UP, self.inner.tasks.wait()).await;
        self.inner.journal_stop.cancel();
        self.inner.journal_tasks.close();
        self.inner.journal_tasks.wait().await;
        if ended.is_err() {
            self.inner.tasks.wait().await;
        }
    }
}
