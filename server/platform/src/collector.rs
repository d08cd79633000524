//! Follows what the replicas print and makes entries of it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use flukedeploy_domain::app::{Environment, Settings};
use flukedeploy_domain::deployment::{Deployment, PhaseName};
use flukedeploy_domain::log_entry::{EventType, LogEntry, LogMetadata, LogSource, SourceType};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::ahead::Ahead;
use crate::meaning::{Printed, Streams};
use crate::platform::Platform;
use crate::ports::{ServiceState, StoreError};
use crate::reading::Reading;

/// Releases of an environment whose settings are searched for secrets at the start, the newest
/// first; older ones do not run any more.
const RELEASES: u32 = 50;

/// Follows every release service of the instance. Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    // Nothing is read before it is known what has to be taken out of it.
    while let Err(error) = learn_secrets(&px).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the apps' secrets could not be read; no logs are collected before"
        );
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    px.parts().tasks.spawn(crate::ingress_news::run(px.clone()));
    let mut followers: HashMap<String, JoinHandle<()>> = HashMap::new();
    let mut changes = px.parts().fleet.changes();
    loop {
        if let Ok(services) = px.parts().engine.services().await {
            let mut gone = Vec::new();
            followers.retain(|name, follower| {
                let there = services.iter().any(|service| service.name == *name);
                if !there && follower.is_finished() {
                    gone.push(name.clone());
                }
                // A stream ends by itself when its service is gone, with the last lines.
                !follower.is_finished()
            });
            for service in gone {
                crate::reading::forget(&px, &service).await;
            }
            for service in services {
                if !followers.contains_key(&service.name) {
                    let name = service.name.clone();
                    let handle = px.parts().tasks.spawn(follow(px.clone(), service));
                    followers.insert(name, handle);
                }
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = async {
                // A new service shows as a change of the fleet; look then, but not at each.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
            } => {}
        }
    }
}

/// What running replicas know and may print. What comes later is learnt where it takes effect.
async fn learn_secrets(px: &Platform) -> Result<(), StoreError> {
    let (store, redaction) = (&px.parts().store, px.parts().journal.redaction());
    redaction.learn_credentials(&store.credentials().await?);
    for environment in store.environments().await? {
        learn_environment(px, &environment, &environment.settings).await?;
    }
    for deployment in store.unfinished_deployments().await? {
        redaction.learn(deployment.app.as_str(), &deployment.settings);
    }
    Ok(())
}

/// Learns what is newly marked secret, also the values that it had in releases that may still run.
pub(crate) async fn learn_marked(
    px: &Platform,
    environment: &Environment,
    settings: &Settings,
) -> Result<(), StoreError> {
    let former = &environment.settings.secret_env_vars;
    if settings.secret_env_vars.is_subset(former) {
        return Ok(());
    }
    learn_environment(px, environment, settings).await
}

/// The same for what a deployment brings along.
pub(crate) async fn learn_marked_with(
    px: &Platform,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    let (app, name) = (&deployment.app, &deployment.environment);
    match px.parts().store.environment(app, name).await? {
        Some(environment) => learn_marked(px, &environment, &deployment.settings).await,
        None => Ok(()),
    }
}

async fn learn_environment(
    px: &Platform,
    environment: &Environment,
    settings: &Settings,
) -> Result<(), StoreError> {
    let (app, name) = (&environment.app, &environment.name);
    let (store, redaction) = (&px.parts().store, px.parts().journal.redaction());
    redaction.learn(app.as_str(), settings);
    for mut release in store.releases(app, name, RELEASES).await? {
        release.settings.keep_marks_of(settings);
        redaction.learn(app.as_str(), &release.settings);
    }
    Ok(())
}

async fn follow(px: Platform, service: ServiceState) {
    let mut reading = match Reading::of(&px, &service.name).await {
        Ok(reading) => reading,
        Err(error) => {
            // Begun anew a little later: reading from the start would bring everything twice.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "log position could not be read"
            );
            return;
        }
    };
    let labels = &service.labels;
    let app = labels
        .get("com.flukedeploy.app")
        .cloned()
        .unwrap_or_default();
    let release = labels
        .get("com.flukedeploy.release")
        .and_then(|number| number.parse().ok());
    let environment = labels.get("com.flukedeploy.environment").cloned();
    let deployment = labels.get("com.flukedeploy.deployment").cloned();
    let mut lines = px
        .parts()
        .engine
        .follow_logs(&service.name, &reading.read_to());
    let entry_of = |printed: Printed, until: Option<OffsetDateTime>| {
        let mut metadata = LogMetadata {
            environment: environment.clone(),
            release,
            ..LogMetadata::new(EventType::PostDeploy, app.as_str())
        };
        if until.is_some_and(|until| printed.at <= until) {
            metadata.deployment_id.clone_from(&deployment);
            metadata.event_type = EventType::DeployStart;
            metadata.phase = Some(PhaseName::Deploy);
        }
        entry(&service.name, &app, printed, metadata)
    };
    // What a release prints while it is being deployed belongs to that story.
    let story = || {
        let id = deployment.as_deref()?;
        px.parts().runner.runs_until(id)
    };
    let mut streams = Streams::default();
    let mut ahead = Ahead::new(&px, &service.name);
    let mut printed = Vec::new();
    let mut is_over = false;
    while !is_over {
        let next = tokio::select! {
            () = px.stopping().cancelled() => break,
            next = lines.next() => Some(next),
            () = until(streams.due()) => None,
        };
        let now = Instant::now();
        let mut give = |one| printed.push(one);
        match next {
            None => streams.tick(now, &mut give),
            Some(Some(Ok(lines))) => streams.feed(lines, now, &mut give),
            Some(Some(Err(error))) => {
                tracing::debug!(error = %error, service = service.name, "following logs was interrupted");
                is_over = true;
            }
            Some(None) => is_over = true,
        }
        let until = story();
        let entry_of = |one| entry_of(one, until);
        ahead.record(&mut reading, &mut printed, &entry_of).await;
    }
    streams.flush(&mut |one| printed.push(one));
    let until = story();
    ahead
        .record(&mut reading, &mut printed, &|one| entry_of(one, until))
        .await;
}

/// Records what was printed, and how far it was read, as one. For those who are waited for: what
/// has no room while nothing can be stored is lost.
pub(crate) async fn record_at_once(
    px: &Platform,
    reading: &mut Reading,
    printed: &mut Vec<Printed>,
    entry_of: &(impl Fn(Printed) -> LogEntry + Sync),
) {
    if printed.is_empty() {
        return;
    }
    let positions = reading.behind(printed);
    let entries: Vec<_> = printed.drain(..).map(entry_of).collect();
    let journal = &px.parts().journal;
    match journal.room_at_once(entries.len()).await {
        Some(room) => journal.record_read(room, entries, positions, None).await,
        None => journal.lose(entries),
    }
}

/// Comes when held lines have waited long enough; never, if nothing is held.
pub(crate) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn entry(
    service: &str,
    app: &str,
    printed: Printed,
    mut metadata: LogMetadata,
) -> LogEntry {
    let meaning = printed.meaning;
    metadata.error_code = meaning.error_code;
    metadata.stack_trace = meaning.stack_trace;
    metadata.fields = meaning.fields;
    let source = LogSource {
        kind: SourceType::Container,
        container_name: app.to_owned(),
        service_id: Some(service.to_owned()),
        node_id: printed.node_id.as_deref().map(str::to_owned),
        task_id: printed.task_id.as_deref().map(str::to_owned),
        stream: Some(if printed.stderr { "stderr" } else { "stdout" }.to_owned()),
    };
    let at = printed.at;
    // The same for the same line, if it is read again after a crash: whoever listened knows it.
    let mut hasher = DefaultHasher::new();
    let replica = (service, &source.task_id, printed.stderr);
    (replica, at, &meaning.message).hash(&mut hasher);
    LogEntry::new(
        at,
        hasher.finish(),
        meaning.level,
        meaning.message,
        source,
        metadata,
    )
}
