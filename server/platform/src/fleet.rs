//! Which replicas run and are well, right now.
//!
//! One loop looks at the engine (on its events, and every so often in case one was missed) and
//! probes, through an ingress, every replica that is not known to be healthy yet. Everybody else
//! reads this view; nobody polls on their own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use flukedeploy_domain::health::HealthGate;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::routing::ProbeOutcome;
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, watch};

mod replica_changes;

use replica_changes::Of;
pub(crate) use replica_changes::{Change, ReplicaChange};

use crate::platform::Platform;
use crate::ports::{EngineEvent, StoreError, Task, TaskState, TrafficError};

/// How often the engine is asked while a deployment waits; events make it faster.
const BUSY: Duration = Duration::from_millis(60);
/// How long a replica may be called starting before it is probed anyway.
const STARTING: time::Duration = time::Duration::milliseconds(2_500);
/// How often it is asked when nothing is going on.
const IDLE: Duration = Duration::from_secs(3);
/// Changes of replicas that may wait to be told.
const MAX_CHANGES: usize = 1_024;
/// Starts that may wait to be seen in a look.
const MAX_STARTED: usize = 10_000;
/// Pause between two probes of one replica: short at first, since most are ready soon.
const PROBE_PAUSES_MS: [u64; 5] = [20, 40, 80, 150, 250];
/// Between two probes of a replica that is well and has to stay so for a while.
const STEADY_PAUSE_MS: u64 = 300;

pub(crate) struct Fleet {
    view: Mutex<View>,
    /// Counts changes; readers wait on it.
    changed: watch::Sender<u64>,
    /// The shares of before the start are put back; from then on deployments may move them.
    put_back: watch::Sender<bool>,
    look: Notify,
    /// What is to be told of single replicas, and its listener until it comes.
    told: mpsc::Sender<Change>,
    listener: Mutex<Option<mpsc::Receiver<Change>>>,
}

impl Default for Fleet {
    fn default() -> Self {
        let (told, listener) = mpsc::channel(MAX_CHANGES);
        Self {
            view: Mutex::default(),
            changed: watch::channel(0).0,
            put_back: watch::channel(false).0,
            look: Notify::new(),
            told,
            listener: Mutex::new(Some(listener)),
        }
    }
}

#[derive(Default)]
struct View {
    services: HashMap<String, Life>,
    /// The engine was looked at once since the start.
    known: bool,
    /// Why the last look at the engine failed, if it did.
    trouble: Option<String>,
    /// Tasks whose containers were seen to start; forgotten once Swarm says so itself.
    started: HashSet<String>,
}

#[derive(Default)]
struct Life {
    /// `None`: seen on the engine, but nobody asked to watch it.
    watched: Option<Watched>,
    tasks: Vec<Task>,
    healthy: BTreeMap<String, SocketAddr>,
    /// Since when without a break, as far as this process has seen.
    healthy_since: HashMap<String, Instant>,
    /// Places whose replica was well and is not now.
    unwell: BTreeSet<u32>,
    /// A replica of it was well once.
    was_healthy: bool,
    /// Replicas with a prober at work.
    probing: HashSet<String>,
    last_probe: HashMap<String, Result<ProbeOutcome, TrafficError>>,
}

#[derive(Clone)]
struct Watched {
    of: Of,
    port: u16,
    gate: HealthGate,
    /// A deployment waits for it.
    awaited: bool,
    /// It was what served when this process began.
    served: bool,
}

/// One service at one moment.
#[derive(Clone, Default)]
pub(crate) struct ServiceView {
    pub(crate) tasks: Vec<Task>,
    pub(crate) healthy: u32,
    /// Newest probe of a replica that is not healthy.
    pub(crate) last_probe: Option<(IpAddr, Result<ProbeOutcome, TrafficError>)>,
}

impl Fleet {
    fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Watches a service's replicas from now on. `awaited`: look often.
    pub(crate) fn watch(&self, service: &str, release: &Release, awaited: bool) {
        let mut view = self.lock();
        let life = view.services.entry(service.to_owned()).or_default();
        let served = life.watched.as_ref().is_some_and(|watched| watched.served);
        life.watched = Some(Watched {
            of: Of::release(release),
            port: release.settings.container_port,
            gate: release.settings.health.clone(),
            awaited,
            served,
        });
        drop(view);
        self.look.notify_one();
    }

    /// Watches a service that served when the control plane ended. Before the first look at the
    /// engine, so that this look takes its replicas as they are.
    fn watch_serving(&self, service: &str, release: &Release) {
        let mut view = self.lock();
        let life = view.services.entry(service.to_owned()).or_default();
        let awaited = life.watched.as_ref().is_some_and(|watched| watched.awaited);
        life.watched = Some(Watched {
            of: Of::release(release),
            port: release.settings.container_port,
            gate: release.settings.health.clone(),
            awaited,
            served: true,
        });
    }

    pub(crate) fn calm_down(&self, service: &str) {
        if let Some(life) = self.lock().services.get_mut(service)
            && let Some(watched) = &mut life.watched
        {
            watched.awaited = false;
        }
    }

    pub(crate) fn forget(&self, service: &str) {
        self.lock().services.remove(service);
        self.bump();
    }

    pub(crate) fn look_now(&self) {
        self.look.notify_one();
    }

    /// Whether the engine was seen at least once: before that, an empty view means nothing.
    pub(crate) fn is_known(&self) -> bool {
        self.lock().known
    }

    /// Why the engine cannot be seen now, if it cannot.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    pub(crate) fn endpoints(&self, service: &str) -> Vec<SocketAddr> {
        self.lock()
            .services
            .get(service)
            .map(|life| life.healthy.values().copied().collect())
            .unwrap_or_default()
    }

    pub(crate) fn ready_count(&self, service: &str) -> u32 {
        let view = self.lock();
        let count = view
            .services
            .get(service)
            .map_or(0, |life| life.healthy.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(crate) fn service(&self, service: &str) -> ServiceView {
        let view = self.lock();
        let Some(life) = view.services.get(service) else {
            return ServiceView::default();
        };
        let last_probe = life.tasks.iter().find_map(|task| {
            let outcome = life.last_probe.get(&task.id)?;
            Some((task.address?, outcome.clone()))
        });
        ServiceView {
            tasks: life.tasks.clone(),
            healthy: u32::try_from(life.healthy.len()).unwrap_or(u32::MAX),
            last_probe,
        }
    }

    /// What becomes of single replicas, for one listener.
    pub(crate) fn replica_changes(&self) -> Option<mpsc::Receiver<Change>> {
        self.listener
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }

    /// Whoever cannot keep up misses some: nobody waits here.
    fn tell(&self, change: Change) {
        if self.told.try_send(change).is_err() {
            tracing::warn!("a change of a replica was not told");
        }
    }

    /// The task of a service that has this address, and its node.
    pub(crate) fn task_at(
        &self,
        service: &str,
        address: IpAddr,
    ) -> Option<(String, Option<String>)> {
        let view = self.lock();
        let mut tasks = view.services.get(service)?.tasks.iter();
        let task = tasks.find(|task| task.address == Some(address))?;
        Some((task.id.clone(), task.node_id.clone()))
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns once the shares of before the start are put back. A deployment that went on sooner
    /// could take its own back first, and have it put back over its head for good.
    pub(crate) async fn shares_put_back(&self) {
        // It ends with the fleet only.
        let _ = self.put_back.subscribe().wait_for(|done| *done).await;
    }

    /// Rises with every change.
    pub(crate) fn change_count(&self) -> u64 {
        *self.changed.borrow()
    }

    fn bump(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn is_busy(&self) -> bool {
        self.lock()
            .services
            .values()
            .any(|life| life.watched.as_ref().is_some_and(|watched| watched.awaited))
    }

    /// Takes what the engine says. Returns replicas that want a prober, and whether anything
    /// changed that routes depend on.
    fn take(&self, tasks: Vec<Task>, now: OffsetDateTime) -> (Vec<Job>, bool) {
        let mut by_service: HashMap<String, Vec<Task>> = HashMap::new();
        for task in tasks {
            by_service
                .entry(task.service.clone())
                .or_default()
                .push(task);
        }
        let mut view = self.lock();
        let first = !view.known;
        view.known = true;
        view.trouble = None;
        let mut started = std::mem::take(&mut view.started);
        started.retain(|id| {
            let task = by_service.values().flatten().find(|task| task.id == *id);
            task.is_none_or(|task| task.state != TaskState::Running)
        });
        if started.len() > MAX_STARTED {
            started.clear();
        }
        for service in by_service.keys() {
            if !view.services.contains_key(service) {
                view.services.insert(service.clone(), Life::default());
            }
        }
        let mut jobs = Vec::new();
        let mut told = Vec::new();
        let mut changed = first;
        view.services.retain(|service, life| {
            let tasks = by_service.remove(service).unwrap_or_default();
            changed |= tasks != life.tasks;
            let before_tasks = std::mem::replace(&mut life.tasks, tasks);
            let before = life.healthy.len();
            let were_healthy: Vec<String> = life.healthy.keys().cloned().collect();
            let alive: HashMap<&str, SocketAddr> = match &life.watched {
                Some(watched) => life
                    .tasks
                    .iter()
                    .filter(|task| is_candidate(task, &watched.gate, &started, now))
                    .filter_map(|task| {
                        Some((
                            task.id.as_str(),
                            SocketAddr::new(task.address?, watched.port),
                        ))
                    })
                    .collect(),
                None => HashMap::new(),
            };
            life.healthy
                .retain(|id, address| alive.get(id.as_str()) == Some(address));
            let Life {
                healthy,
                healthy_since,
                ..
            } = life;
            healthy_since.retain(|id, _| healthy.contains_key(id));
            life.last_probe
                .retain(|id, _| life.tasks.iter().any(|task| task.id == *id));
            changed |= life.healthy.len() != before;
            if let Some(watched) = &life.watched {
                for (id, target) in alive {
                    if life.healthy.contains_key(id) {
                        continue;
                    }
                    let runs = life
                        .tasks
                        .iter()
                        .any(|task| task.id == id && task.state == TaskState::Running);
                    if first && runs && watched.served {
                        // It served when the control plane last looked; it is not taken away
                        // because the control plane restarted.
                        life.healthy.insert(id.to_owned(), target);
                        changed = true;
                    } else if life.probing.insert(id.to_owned()) {
                        jobs.push(Job {
                            service: service.clone(),
                            task: id.to_owned(),
                            target,
                            gate: watched.gate.clone(),
                        });
                    }
                }
            }
            if !first && life.watched.is_some() {
                told.extend(life.what_became(service, &before_tasks, &were_healthy));
            }
            life.watched.is_some() || !life.tasks.is_empty()
        });
        view.started = started;
        drop(view);
        for change in told {
            self.tell(change);
        }
        (jobs, changed)
    }

    /// How many replicas have been well for at least so long. Those that served before this process
    /// began count at once.
    pub(crate) fn steady_count(&self, service: &str, at_least: Duration) -> u32 {
        let view = self.lock();
        let Some(life) = view.services.get(service) else {
            return 0;
        };
        let steady = life.healthy.keys().filter(|id| {
            life.healthy_since
                .get(*id)
                .is_none_or(|since| since.elapsed() >= at_least)
        });
        u32::try_from(steady.count()).unwrap_or(u32::MAX)
    }

    /// Replicas of a service that may be running, whatever is wanted of them.
    pub(crate) fn wanted_count(&self, service: &str) -> u32 {
        let view = self.lock();
        let count = view.services.get(service).map_or(0, |life| {
            let wanted = |task: &&Task| task.wanted && task.state.may_run();
            life.tasks.iter().filter(wanted).count()
        });
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(crate) fn was_ever_healthy(&self, service: &str) -> bool {
        let view = self.lock();
        view.services
            .get(service)
            .is_some_and(|life| life.was_healthy)
    }

    /// Notes a probe; false when the prober should end.
    fn probed(
        &self,
        job: &Job,
        outcome: Result<ProbeOutcome, TrafficError>,
        now: OffsetDateTime,
    ) -> bool {
        let mut view = self.lock();
        let View {
            services, started, ..
        } = &mut *view;
        let Some(life) = services.get_mut(&job.service) else {
            return false;
        };
        let still_there = life.watched.as_ref().is_some_and(|watched| {
            watched.port == job.target.port()
                && life.tasks.iter().any(|task| {
                    task.id == job.task
                        && is_candidate(task, &watched.gate, started, now)
                        && task.address == Some(job.target.ip())
                })
        });
        let healthy = matches!(&outcome, Ok(outcome) if outcome.is_healthy());
        let why = match &outcome {
            Ok(outcome) => outcome.describe(job.target.ip()),
            Err(error) => error.to_string(),
        };
        life.last_probe.insert(job.task.clone(), outcome);
        if still_there && !healthy {
            // A break: the time begins anew.
            life.healthy_since.remove(&job.task);
            if life.healthy.remove(&job.task).is_some() {
                let change = life.unwell(&job.service, &job.task, why);
                drop(view);
                self.bump();
                if let Some(change) = change {
                    self.tell(change);
                }
            }
            return true;
        }
        if still_there {
            let steady = Duration::from_secs(u64::from(job.gate.min_healthy_seconds));
            let since = *life
                .healthy_since
                .entry(job.task.clone())
                .or_insert_with(Instant::now);
            let was_new = life.healthy.insert(job.task.clone(), job.target).is_none();
            life.was_healthy = true;
            if let Some(change) = life.well(&job.service, &job.task) {
                self.tell(change);
            }
            // Watched on until it has been well for as long as it must.
            if since.elapsed() < steady {
                drop(view);
                if was_new {
                    self.bump();
                }
                return true;
            }
        }
        life.probing.remove(&job.task);
        drop(view);
        self.bump();
        false
    }
}

/// A replica to probe.
struct Job {
    service: String,
    task: String,
    target: SocketAddr,
    gate: HealthGate,
}

/// Whether a task may get traffic once it answers. With Docker's own health check, Swarm calls a
/// task running only when it is healthy.
///
/// A replica that is still starting is left alone until its container was seen to start: a packet to an address that nobody has
/// yet makes the kernel ask for it once a second, and the first answer then comes that much later.
/// One that stays in this state for longer (on a node whose events are not seen) has a HEALTHCHECK
/// and runs; it need not wait for it.
fn is_candidate(
    task: &Task,
    gate: &HealthGate,
    started: &HashSet<String>,
    now: OffsetDateTime,
) -> bool {
    let up = match task.state {
        TaskState::Running => true,
        TaskState::Starting => {
            !gate.probe.is_dockers()
                && (started.contains(&task.id)
                    || task.created_at.is_some_and(|at| now - at > STARTING))
        }
        _ => false,
    };
    task.wanted && up && task.address.is_some()
}

/// The loop. Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    while let Err(error) = watch_what_serves(&px).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "what serves could not be read"
        );
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    px.parts().fleet.put_back.send_replace(true);
    let mut events = px.parts().engine.watch();
    loop {
        let pause = if px.parts().fleet.is_busy() {
            BUSY
        } else {
            IDLE
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = px.parts().fleet.look.notified() => {}
            () = tokio::time::sleep(pause) => {}
            event = events.next() => match event {
                Some(EngineEvent::Task { started: Some(task), .. }) => {
                    px.parts().fleet.lock().started.insert(task);
                }
                Some(EngineEvent::Task { .. } | EngineEvent::Service { .. } | EngineEvent::Missed) => {}
                None => tokio::time::sleep(IDLE).await,
            }
        }
        look(&px).await;
    }
}

/// The first table that is published must hold every app that serves, and be about what the last
/// one was where a deployment was moving traffic. So all of them are watched, and the shares put
/// back, before anything is looked at.
async fn watch_what_serves(px: &Platform) -> Result<(), StoreError> {
    let store = &px.parts().store;
    let unfinished = store.unfinished_deployments().await?;
    for environment in store.environments().await? {
        let underway = unfinished
            .iter()
            .filter(|d| d.app == environment.app && d.environment == environment.name);
        let moved: Vec<ReleaseNo> = underway
            .clone()
            .filter_map(|d| crate::runner::shift_after_restart(d, environment.active_release))
            .flat_map(|shift| {
                let numbers = shift.releases();
                px.parts()
                    .routes
                    .set_shift(&environment.app, &environment.name, Some(shift));
                numbers
            })
            .collect();
        let standby = environment.standby.map(|standby| standby.release);
        for number in environment
            .active_release
            .into_iter()
            .chain(standby)
            .chain(moved)
        {
            if let Some(release) = store
                .release(&environment.app, &environment.name, number)
                .await?
            {
                let service = release.service_name(&px.config().instance);
                px.parts().fleet.watch_serving(&service, &release);
            }
        }
    }
    Ok(())
}

async fn look(px: &Platform) {
    let tasks = match px.parts().engine.all_tasks().await {
        Ok(tasks) => tasks,
        Err(error) => {
            // What was seen last stays: an engine that does not answer has not stopped the apps.
            tracing::debug!(error = %error, "the engine could not be looked at");
            let former = px.parts().fleet.lock().trouble.replace(error.to_string());
            if former.is_none() {
                let text = format!(
                    "The Docker engine cannot be asked: {error}. What runs goes on; what deploys waits"
                );
                crate::system::note(px, Level::Error, text);
            }
            return;
        }
    };
    if px.parts().fleet.trouble().is_some() {
        let text = "The Docker engine answers again".to_owned();
        crate::system::note(px, Level::Info, text);
    }
    let (jobs, changed) = px.parts().fleet.take(tasks, px.now());
    for job in jobs {
        let px = px.clone();
        px.clone()
            .parts()
            .tasks
            .spawn(async move { probe(&px, job).await });
    }
    if changed {
        px.parts().fleet.bump();
        px.parts().routes.refresh(px).await;
    }
}

/// Probes one replica until it is well or gone.
async fn probe(px: &Platform, job: Job) {
    let mut was_healthy = false;
    for round in 0.. {
        let outcome = tokio::select! {
            () = px.stopping().cancelled() => return,
            outcome = px.parts().traffic.probe(job.target, &job.gate.probe, job.gate.timeout_ms) => outcome,
        };
        let healthy = matches!(&outcome, Ok(outcome) if outcome.is_healthy());
        let goes_on = px.parts().fleet.probed(&job, outcome, px.now());
        // A replica that is well, or no longer, is news for the table; a look without news is cheap.
        if healthy || goes_on && was_healthy {
            px.parts().routes.refresh(px).await;
        }
        if !goes_on {
            return;
        }
        was_healthy = healthy;
        let pause = if healthy {
            STEADY_PAUSE_MS
        } else {
            PROBE_PAUSES_MS[round.min(PROBE_PAUSES_MS.len() - 1)]
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
        }
    }
}
