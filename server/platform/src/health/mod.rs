//! Self-diagnosis: a loop looks at the machine, the engine and the store every so often, and every
//! door answers from what it saw last. No answer waits for anything but memory.

mod checks;
mod findings;
mod sample;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::issue::{Issue, Severity};
use flukedeploy_domain::timestamp;
use time::OffsetDateTime;
use tokio::sync::Notify;

pub use self::checks::{Report, ReportCheck, ReportStatus, ReportSummary};
pub(crate) use self::sample::{Sample, ServiceSample, plain};
pub use self::views::{
    ContainerView, ContainersView, DockerView, Health, HealthStatus, IssueList, MachineView,
    ServiceView,
};
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{ContainerFacts, Reach};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Between two looks at containers and registries, which cost more.
const SELDOM: Duration = Duration::from_secs(30);
/// Since when issues are there, over a restart.
const FIRST_SEEN: &str = "issues_first_seen";

/// What was seen last.
#[derive(Default)]
pub(crate) struct Watch {
    sample: Mutex<Option<Arc<Sample>>>,
    issues: Mutex<Arc<Vec<Issue>>>,
    containers: Mutex<Option<Arc<ContainerSample>>>,
    registries: Mutex<BTreeMap<String, Reach>>,
    /// What services run; a release never changes its image.
    images: Mutex<HashMap<String, String>>,
    /// Since when; filled from the store at the first look.
    first_seen: tokio::sync::Mutex<Option<BTreeMap<String, i64>>>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
    wanted: Notify,
}

pub(crate) struct ContainerSample {
    pub(crate) at: OffsetDateTime,
    pub(crate) containers: Vec<ContainerFacts>,
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(crate) fn sample(&self) -> Option<Arc<Sample>> {
        lock(&self.sample).clone()
    }

    pub(crate) fn issues(&self) -> Arc<Vec<Issue>> {
        Arc::clone(&lock(&self.issues))
    }

    pub(crate) fn containers(&self) -> Option<Arc<ContainerSample>> {
        lock(&self.containers).clone()
    }

    fn image(&self, service: &str) -> Option<String> {
        lock(&self.images).get(service).cloned()
    }

    fn remember_image(&self, service: &str, image: String) {
        lock(&self.images).insert(service.to_owned(), image);
    }

    pub(crate) fn registries(&self) -> BTreeMap<String, Reach> {
        lock(&self.registries).clone()
    }
}

/// Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    let slow = px.clone();
    px.parts()
        .tasks
        .spawn(async move { run_seldom(slow).await });
    loop {
        look(&px).await;
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            () = px.parts().watch.wanted.notified() => {}
        }
    }
}

async fn run_seldom(px: Platform) {
    loop {
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = look_outside(&px) => {}
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(SELDOM) => {}
        }
    }
}

/// Looks now, and returns when what was seen is known. For whoever has just changed something.
pub async fn look(px: &Platform) {
    let _turn = px.parts().watch.turn.lock().await;
    let sample = tokio::select! {
        () = px.stopping().cancelled() => return,
        sample = sample::take(px) => Arc::new(sample),
    };
    let mut found = findings::all(&sample);
    found.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.id()));
    let first_seen = first_seen(px, &found, sample.at).await;
    let issues = found
        .into_iter()
        .map(|finding| {
            let since = first_seen.get(&finding.id()).copied();
            let since = since.map_or(sample.at, timestamp::from_unix_ms);
            Issue::new(finding, since, sample.at)
        })
        .collect();
    *lock(&px.parts().watch.issues) = Arc::new(issues);
    *lock(&px.parts().watch.sample) = Some(sample);
}

/// Looks at containers and registries now.
pub async fn look_outside(px: &Platform) {
    look_at_containers(px).await;
    let mut seen = BTreeMap::new();
    for address in sample::registries(px).await {
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
        let port = port.parse().unwrap_or(443);
        let reach = px.parts().machine.reach(host, port).await;
        seen.insert(address, reach);
    }
    *lock(&px.parts().watch.registries) = seen;
}

async fn look_at_containers(px: &Platform) {
    match px.parts().upkeep.containers().await {
        Ok(containers) => {
            let at = px.now();
            let sample = ContainerSample { at, containers };
            *lock(&px.parts().watch.containers) = Some(Arc::new(sample));
        }
        Err(error) => tracing::debug!(
            error = &error as &dyn std::error::Error,
            "containers could not be looked at"
        ),
    }
}

/// Since when each of these is there, in milliseconds since 1970. Stored, so that a restart does not
/// make an old trouble look new.
async fn first_seen(
    px: &Platform,
    found: &[flukedeploy_domain::issue::Finding],
    now: OffsetDateTime,
) -> BTreeMap<String, i64> {
    let mut known = px.parts().watch.first_seen.lock().await;
    let store = &px.parts().store;
    let before = match known.take() {
        Some(before) => before,
        None => match store.remembered(FIRST_SEEN).await {
            Ok(text) => text
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            Err(_) => BTreeMap::new(),
        },
    };
    let now = timestamp::to_unix_ms(now);
    let after: BTreeMap<String, i64> = found
        .iter()
        .map(|finding| {
            let id = finding.id();
            let since = before.get(&id).copied().unwrap_or(now);
            (id, since)
        })
        .collect();
    if after != before {
        let text = serde_json::to_string(&after).unwrap_or_default();
        if let Err(error) = store.remember(FIRST_SEEN, &text).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "since when issues are there could not be stored"
            );
        }
    }
    *known = Some(after.clone());
    after
}

/// Who may see more than one word of it.
fn allow(px: &Platform, actor: &Actor) -> Result<(), Error> {
    authorise(px, actor, Action::ViewSystem, Resource::System)
}

/// The one word, for everybody.
pub fn status(px: &Platform) -> HealthStatus {
    match px.parts().watch.sample() {
        None => HealthStatus::Unhealthy,
        Some(_) => HealthStatus::of(&px.parts().watch.issues()),
    }
}

/// Everything at a glance. `websocket_clients` is known to the door alone.
pub fn health(px: &Platform, actor: &Actor) -> Result<Health, Error> {
    allow(px, actor)?;
    Ok(views::health(px))
}

pub fn system(px: &Platform, actor: &Actor) -> Result<MachineView, Error> {
    allow(px, actor)?;
    Ok(views::machine(px))
}

pub fn docker(px: &Platform, actor: &Actor) -> Result<DockerView, Error> {
    allow(px, actor)?;
    Ok(views::docker(px))
}

/// The worst first.
pub fn issues(px: &Platform, actor: &Actor) -> Result<IssueList, Error> {
    allow(px, actor)?;
    let issues = views::issues_now(px);
    let count = |severity| issues.iter().filter(|one| one.severity == severity).count();
    Ok(IssueList {
        total: issues.len(),
        critical: count(Severity::Critical),
        warnings: count(Severity::Warning),
        issues,
    })
}

/// `refresh`: looks at the engine first, whose answer this then waits for.
pub async fn containers(
    px: &Platform,
    actor: &Actor,
    detailed: bool,
    refresh: bool,
) -> Result<ContainersView, Error> {
    allow(px, actor)?;
    if refresh {
        look_at_containers(px).await;
    }
    Ok(views::containers(px, detailed, refresh))
}

/// All checks, or those that a machine asks for often.
pub fn diagnose(px: &Platform, actor: &Actor, quick: bool) -> Result<Report, Error> {
    allow(px, actor)?;
    Ok(checks::report(px, quick))
}
