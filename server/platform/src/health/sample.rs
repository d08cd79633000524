//! One look at everything that may be wrong.

use std::collections::{BTreeSet, HashSet};

use flukedeploy_domain::deployment::{Deployment, PhaseName, State, Strategy};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_domain::webhook::DeliveryStatus;
use time::OffsetDateTime;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{
    ContainerFacts, EngineError, EngineFacts, MachineFacts, Reach, ServiceState, TaskState,
};

/// Replicas that ended within this count as a loop.
const LOOP_WINDOW: time::Duration = time::Duration::minutes(10);
/// Deliveries of a webhook that are looked at.
const DELIVERIES: u32 = 50;
/// Failed attempts after which a receiver counts as dead, though its delivery waits for more.
const DEAD_AFTER: u32 = 3;
/// Longest text of others in evidence, in characters.
const MAX_WORDS: usize = 300;
/// Where images without a registry in their name come from.
const USUAL_REGISTRY: &str = "registry-1.docker.io:443";

pub(crate) struct Sample {
    pub(crate) at: OffsetDateTime,
    pub(crate) machine: Result<MachineFacts, String>,
    pub(crate) engine: Result<EngineFacts, EngineTrouble>,
    /// How far the engine's clock is ahead of ours, in milliseconds.
    pub(crate) clock_ahead_ms: Option<i64>,
    pub(crate) services: Vec<ServiceSample>,
    pub(crate) containers: Vec<ContainerFacts>,
    pub(crate) ingresses: usize,
    /// Since when the ingresses have not confirmed the newest routes, and why.
    pub(crate) routes_unconfirmed: Option<(OffsetDateTime, String)>,
    pub(crate) log_trouble: Option<String>,
    pub(crate) store_trouble: Option<String>,
    pub(crate) drift: Vec<String>,
    pub(crate) deployments: Vec<DeploymentSample>,
    pub(crate) webhooks: Vec<WebhookSample>,
    pub(crate) forwarders: Vec<ForwarderSample>,
    pub(crate) leftover_volumes: Vec<String>,
    /// Those that images of active releases come from, and cannot be reached.
    pub(crate) registries: Vec<(String, Reach)>,
    pub(crate) apps: u64,
    pub(crate) deployments_active: u64,
}

pub(crate) struct EngineTrouble {
    pub(crate) words: String,
    pub(crate) no_quorum: bool,
}

impl From<EngineError> for EngineTrouble {
    fn from(error: EngineError) -> Self {
        Self {
            no_quorum: matches!(error, EngineError::NoQuorum { .. }),
            words: plain(&error.to_string()),
        }
    }
}

#[derive(Clone)]
pub(crate) struct ServiceSample {
    pub(crate) name: String,
    pub(crate) app: String,
    pub(crate) environment: String,
    pub(crate) image: String,
    pub(crate) wanted: u32,
    pub(crate) running: u32,
    /// Replicas that ended by themselves lately.
    pub(crate) ended: u32,
    pub(crate) ended_since: Option<OffsetDateTime>,
    pub(crate) exit_code: Option<i64>,
    /// Why a node could not get hold of the image.
    pub(crate) pull_failure: Option<String>,
    /// A deployment of its environment is under way, and decides what runs.
    pub(crate) busy: bool,
    /// It belongs to nothing, and is not removed by itself.
    pub(crate) orphaned: bool,
}

pub(crate) struct DeploymentSample {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) phase: Option<PhaseName>,
    pub(crate) since: OffsetDateTime,
    pub(crate) limit: time::Duration,
}

pub(crate) struct WebhookSample {
    pub(crate) id: String,
    pub(crate) failed: u64,
    pub(crate) attempts: u32,
    pub(crate) since: OffsetDateTime,
    pub(crate) last_status: Option<u16>,
    pub(crate) last_error: Option<String>,
}

pub(crate) struct ForwarderSample {
    pub(crate) id: String,
    pub(crate) why: String,
    /// The last that got through.
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) failures: u32,
}

/// Without control characters, and not too long: others wrote it.
pub(crate) fn plain(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    kept.take(MAX_WORDS).collect()
}

pub(super) async fn take(px: &Platform) -> Sample {
    let parts = px.parts();
    let before = px.now();
    let engine = parts.upkeep.facts().await;
    let (now, directory) = (
        px.now(),
        engine
            .as_ref()
            .ok()
            .and_then(|facts| facts.directory.clone()),
    );
    let clock_ahead_ms = engine.as_ref().ok().and_then(|facts| {
        // Its answer was written somewhere in between.
        let middle = before + (now - before) / 2;
        let ahead: time::Duration = facts.time? - middle;
        i64::try_from(ahead.whole_milliseconds()).ok()
    });
    let places: Vec<String> = directory.into_iter().collect();
    let machine = parts.machine.facts(&places).await;
    let mut sample = Sample {
        at: now,
        machine: machine.map_err(|error| error.to_string()),
        engine: engine.map_err(EngineTrouble::from),
        clock_ahead_ms,
        services: Vec::new(),
        containers: parts
            .watch
            .containers()
            .map(|sample| sample.containers.clone())
            .unwrap_or_default(),
        ingresses: parts.traffic.connected(),
        routes_unconfirmed: parts.routes.unconfirmed(),
        log_trouble: parts.journal.trouble().map(|text| plain(&text)),
        store_trouble: None,
        drift: parts.drift.all(),
        deployments: Vec::new(),
        webhooks: Vec::new(),
        forwarders: Vec::new(),
        leftover_volumes: Vec::new(),
        registries: unreached(px),
        apps: 0,
        deployments_active: 0,
    };
    if let Err(error) = read_store(px, &mut sample).await {
        sample.store_trouble = Some(plain(&error.to_string()));
    }
    sample
}

fn unreached(px: &Platform) -> Vec<(String, Reach)> {
    let seen = px.parts().watch.registries();
    seen.into_iter()
        .filter(|(_, reach)| *reach != Reach::Connected)
        .collect()
}

async fn read_store(px: &Platform, sample: &mut Sample) -> Result<(), Error> {
    let store = &px.parts().store;
    store.ping().await?;
    sample.apps = store.app_names().await?.len() as u64;
    let unfinished = store.unfinished_deployments().await?;
    sample.deployments_active = unfinished.len() as u64;
    sample.deployments = slow_ones(&unfinished);
    let leftovers = store.leftover_volumes().await?;
    let instance = &px.config().instance;
    sample.leftover_volumes = leftovers
        .iter()
        .map(|one| {
            let (app, environment) = (&one.app, &one.environment);
            flukedeploy_domain::release::volume_name(instance, app, environment, &one.volume)
        })
        .collect();
    sample.webhooks = dead_webhooks(px).await?;
    sample.forwarders = failing_forwarders(px).await?;
    if sample.engine.is_ok() {
        let busy: HashSet<(AppName, EnvironmentName)> = unfinished
            .into_iter()
            .map(|one| (one.app, one.environment))
            .collect();
        match services(px, sample.at, &busy).await {
            Ok(services) => sample.services = services,
            Err(Error::Engine(error)) => sample.engine = Err(error.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn services(
    px: &Platform,
    now: OffsetDateTime,
    busy: &HashSet<(AppName, EnvironmentName)>,
) -> Result<Vec<ServiceSample>, Error> {
    let found = px.parts().engine.services().await?;
    let orphans = crate::reconcile::orphans(px, &found).await?;
    let mut services = Vec::new();
    for service in &found {
        let mut sample = one_service(px, service, now, busy, &orphans);
        sample.image = image_of(px, service).await?;
        services.push(sample);
    }
    Ok(services)
}

/// As it was asked for; empty for what belongs to no release.
async fn image_of(px: &Platform, service: &ServiceState) -> Result<String, Error> {
    if let Some(known) = px.parts().watch.image(&service.name) {
        return Ok(known);
    }
    let label = |name: &str| service.labels.get(&format!("com.flukedeploy.{name}"));
    let (Some(Ok(app)), Some(Ok(environment)), Some(Ok(number))) = (
        label("app").map(|app| app.parse::<AppName>()),
        label("environment").map(|name| name.parse::<EnvironmentName>()),
        label("release").map(|number| number.parse::<u32>()),
    ) else {
        return Ok(String::new());
    };
    let store = &px.parts().store;
    let release = store.release(&app, &environment, ReleaseNo(number)).await?;
    let image = release.map(|release| release.image.requested.to_string());
    if let Some(image) = &image {
        px.parts()
            .watch
            .remember_image(&service.name, image.clone());
    }
    Ok(image.unwrap_or_default())
}

fn one_service(
    px: &Platform,
    service: &ServiceState,
    now: OffsetDateTime,
    busy: &HashSet<(AppName, EnvironmentName)>,
    orphans: &HashSet<String>,
) -> ServiceSample {
    let label = |name: &str| {
        let value = service.labels.get(&format!("com.flukedeploy.{name}"));
        value.cloned().unwrap_or_default()
    };
    let (app, environment) = (label("app"), label("environment"));
    let view = px.parts().fleet.service(&service.name);
    let is_recent = |at: Option<OffsetDateTime>| at.is_none_or(|at| now - at < LOOP_WINDOW);
    let running = view
        .tasks
        .iter()
        .filter(|task| task.wanted && task.state == TaskState::Running)
        .count();
    let ended: Vec<_> = view
        .tasks
        .iter()
        .filter(|task| task.state == TaskState::Failed && is_recent(task.created_at))
        .collect();
    let running = u32::try_from(running).unwrap_or(u32::MAX);
    let lacks = running < service.wanted_replicas;
    let pull_failure = view
        .tasks
        .iter()
        .filter(|task| is_recent(task.created_at))
        .filter_map(|task| task.message.as_deref())
        .find(|message| lacks && is_about_pulling(message))
        .map(plain);
    let is_busy = busy
        .iter()
        .any(|(of, name)| of.as_str() == app && name.as_str() == environment);
    ServiceSample {
        name: service.name.clone(),
        image: String::new(),
        wanted: service.wanted_replicas,
        running,
        ended: u32::try_from(ended.len()).unwrap_or(u32::MAX),
        ended_since: ended.iter().filter_map(|task| task.created_at).min(),
        exit_code: ended.first().and_then(|task| task.exit_code),
        pull_failure,
        busy: is_busy,
        orphaned: orphans.contains(&service.name),
        app,
        environment,
    }
}

fn is_about_pulling(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "no such image",
        "pull access denied",
        "manifest unknown",
        "could not be accessed on a registry",
        "failed to pull",
        "error pulling",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// How long each phase may take before somebody should look.
fn slow_ones(unfinished: &[Deployment]) -> Vec<DeploymentSample> {
    let waits = |one: &Deployment| {
        unfinished.iter().any(|other| {
            other.id != one.id
                && other.app == one.app
                && other.environment == one.environment
                && other.initiated_at < one.initiated_at
        })
    };
    unfinished
        .iter()
        .filter(|one| !one.wishes.paused)
        .filter_map(|one| {
            let phase = match &one.state {
                State::Pending if waits(one) => return None,
                State::Running { phase } => Some(*phase),
                _ => None,
            };
            // Its steps have their own times, and may wait for somebody.
            if one.strategy == Strategy::Canary && phase == Some(PhaseName::Deploy) {
                return None;
            }
            let since = phase
                .and_then(|phase| one.phase(phase).started_at)
                .unwrap_or(one.initiated_at);
            Some(DeploymentSample {
                id: one.id.to_string(),
                app: one.app.to_string(),
                limit: limit_of(one, phase),
                phase,
                since,
            })
        })
        .collect()
}

fn limit_of(one: &Deployment, phase: Option<PhaseName>) -> time::Duration {
    let own = match phase {
        Some(PhaseName::Build) => i64::from(one.settings.build.timeout_seconds),
        Some(PhaseName::Deploy | PhaseName::PostDeploy) => {
            let per_batch = i64::from(one.settings.health.progress_deadline());
            per_batch * i64::from(one.replicas.max(1))
        }
        _ => 0,
    };
    time::Duration::minutes(30) + time::Duration::seconds(own)
}

async fn dead_webhooks(px: &Platform) -> Result<Vec<WebhookSample>, Error> {
    let store = &px.parts().store;
    let mut dead = Vec::new();
    for webhook in store.webhooks().await? {
        if !webhook.active {
            continue;
        }
        let deliveries = store.deliveries(&webhook.id, DELIVERIES).await?;
        // Newest first: what was taken since shows that it is well again.
        let open: Vec<_> = deliveries
            .iter()
            .take_while(|one| one.status != DeliveryStatus::Delivered)
            .filter(|one| {
                one.status == DeliveryStatus::Failed
                    || one.status == DeliveryStatus::Pending && one.attempts >= DEAD_AFTER
            })
            .collect();
        let (Some(newest), Some(oldest)) = (open.first(), open.last()) else {
            continue;
        };
        let failed = open
            .iter()
            .filter(|one| one.status == DeliveryStatus::Failed);
        dead.push(WebhookSample {
            id: webhook.id.to_string(),
            failed: failed.count() as u64,
            attempts: open.iter().map(|one| one.attempts).max().unwrap_or(0),
            since: oldest.created_at,
            last_status: newest.last_status,
            last_error: newest.last_error.as_deref().map(plain),
        });
    }
    Ok(dead)
}

async fn failing_forwarders(px: &Platform) -> Result<Vec<ForwarderSample>, Error> {
    let all = px.parts().store.forwarders().await?;
    Ok(all
        .into_iter()
        .filter(|one| one.active)
        .filter_map(|one| {
            let why = plain(one.progress.last_error.as_deref()?);
            Some(ForwarderSample {
                id: one.id.to_string(),
                why,
                since: one.progress.last_success_at,
                failures: one.progress.failures,
            })
        })
        .collect())
}

/// Of the images of active releases, with their ports; the usual one where there is none.
pub(super) async fn registries(px: &Platform) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let store = &px.parts().store;
    let Ok(environments) = store.environments().await else {
        return found;
    };
    for environment in environments {
        let Some(number) = environment.active_release else {
            continue;
        };
        let release = store
            .release(&environment.app, &environment.name, number)
            .await;
        let Ok(Some(release)) = release else { continue };
        if release.image.local_only || !release.image.pinned.contains('@') {
            continue;
        }
        found.insert(match release.image.requested.registry() {
            None | Some("docker.io") => USUAL_REGISTRY.to_owned(),
            Some(host) if host.contains(':') => host.to_owned(),
            Some(host) => format!("{host}:443"),
        });
    }
    found
}
