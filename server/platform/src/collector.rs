//! Follows what the replicas print and makes entries of it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flukedeploy_domain::app::{Environment, Settings, Variables};
use flukedeploy_domain::deployment::{Deployment, PhaseName};
use flukedeploy_domain::log_entry::{EventType, LogMetadata, LogSource, SourceType};
use flukedeploy_domain::names::AppName;
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::ahead::Ahead;
use crate::meaning::{Printed, Streams};
use crate::platform::Platform;
use crate::ports::{LineOrigin, Logged, ReplicaLine, ServiceState, StoreError};
use crate::reading::{Reading, nanoseconds};

/// Releases of an environment whose settings are searched for secrets at the start, the newest
/// first; older ones do not run any more.
const RELEASES: u32 = 50;

/// Replicas' streams that are remembered with what their lines have in common.
const MAX_ORIGINS: usize = 256;

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
    if settings.secret_env_vars.is_subset(former) && settings.shared.secret.is_empty() {
        return Ok(());
    }
    learn_environment(px, environment, settings).await
}

/// The same for what a project shares with an app.
pub(crate) async fn learn_shared(
    px: &Platform,
    app: &AppName,
    variables: &Variables,
) -> Result<(), StoreError> {
    let settings = Settings {
        shared: variables.clone(),
        ..Settings::default()
    };
    px.parts()
        .journal
        .redaction()
        .learn(app.as_str(), &settings);
    for environment in px.parts().store.environments().await? {
        if environment.app == *app {
            learn_environment(px, &environment, &settings).await?;
        }
    }
    Ok(())
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
    let metadata_of = |is_deploying: bool| {
        let mut metadata = LogMetadata {
            environment: environment.clone(),
            release,
            ..LogMetadata::new(EventType::PostDeploy, app.as_str())
        };
        if is_deploying {
            metadata.deployment_id.clone_from(&deployment);
            metadata.event_type = EventType::DeployStart;
            metadata.phase = Some(PhaseName::Deploy);
        }
        metadata
    };
    let mut origins = Origins::new(&service.name, &app, metadata_of);
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
        let mut line_of = |one| origins.logged(one, until);
        ahead.record(&mut reading, &mut printed, &mut line_of).await;
    }
    streams.flush(&mut |one| printed.push(one));
    let until = story();
    let mut line_of = |one| origins.logged(one, until);
    ahead.record(&mut reading, &mut printed, &mut line_of).await;
}

/// Records what was printed, and how far it was read, as one. For those who are waited for: what
/// has no room while nothing can be stored is lost.
pub(crate) async fn record_at_once<F: Fn(bool) -> LogMetadata>(
    px: &Platform,
    reading: &mut Reading,
    printed: &mut Vec<Printed>,
    origins: &mut Origins<'_, F>,
) {
    if printed.is_empty() {
        return;
    }
    let positions = reading.behind(printed);
    let lines = printed.drain(..).map(|one| origins.logged(one, None));
    let logged: Vec<_> = lines.collect();
    let journal = &px.parts().journal;
    match journal.room_at_once(logged.len()).await {
        Some(room) => journal.record_read(room, logged, positions, None).await,
        None => journal.lose(logged),
    }
}

/// Comes when held lines have waited long enough; never, if nothing is held.
pub(crate) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What the lines of a service have in common, stream by stream: made once, and not for every line.
pub(crate) struct Origins<'a, F> {
    service: &'a str,
    app: &'a str,
    /// Gets whether a line belongs to the story of the deployment.
    metadata_of: F,
    known: Vec<Known>,
    /// Place of the one that was asked for last.
    last: usize,
}

struct Known {
    task_id: Option<Arc<str>>,
    node_id: Option<Arc<str>>,
    stderr: bool,
    is_deploying: bool,
    origin: Arc<LineOrigin>,
    /// Has taken in what tells the stream from others.
    hasher: DefaultHasher,
}

impl Known {
    fn is_of(&self, printed: &Printed, is_deploying: bool) -> bool {
        self.stderr == printed.stderr
            && self.is_deploying == is_deploying
            && self.task_id == printed.task_id
            && self.node_id == printed.node_id
    }
}

impl<'a, F: Fn(bool) -> LogMetadata> Origins<'a, F> {
    pub(crate) fn new(service: &'a str, app: &'a str, metadata_of: F) -> Self {
        Self {
            service,
            app,
            metadata_of,
            known: Vec::new(),
            last: 0,
        }
    }

    /// What was printed up to `deploying` belongs to the deployment.
    fn logged(&mut self, printed: Printed, deploying: Option<OffsetDateTime>) -> Logged {
        let is_deploying = deploying.is_some_and(|until| printed.at <= until);
        Logged::Line(self.line(printed, is_deploying))
    }

    fn line(&mut self, printed: Printed, is_deploying: bool) -> ReplicaLine {
        let known = self.of(&printed, is_deploying);
        let meaning = printed.meaning;
        let mut origin = Arc::clone(&known.origin);
        if meaning.error_code.is_some() {
            Arc::make_mut(&mut origin).metadata.error_code = meaning.error_code;
        }
        let at = nanoseconds(printed.at);
        // The same for the same line, if it is read again after a crash: whoever listened knows it.
        let mut hasher = known.hasher.clone();
        (at, &meaning.message).hash(&mut hasher);
        ReplicaLine {
            origin,
            at,
            number: hasher.finish(),
            level: meaning.level,
            message: meaning.message,
            stack_trace: meaning.stack_trace,
            fields: meaning.fields,
        }
    }

    fn of(&mut self, printed: &Printed, is_deploying: bool) -> &Known {
        let is = |known: &Known| known.is_of(printed, is_deploying);
        if !self.known.get(self.last).is_some_and(is) {
            self.last = self.known.iter().position(is).unwrap_or_else(|| {
                if self.known.len() == MAX_ORIGINS {
                    self.known.clear();
                }
                self.known.push(self.new_of(printed, is_deploying));
                self.known.len() - 1
            });
        }
        &self.known[self.last]
    }

    fn new_of(&self, printed: &Printed, is_deploying: bool) -> Known {
        let (task_id, node_id, stderr) = (&printed.task_id, &printed.node_id, printed.stderr);
        let mut hasher = DefaultHasher::new();
        (self.service, task_id, stderr).hash(&mut hasher);
        let source = LogSource {
            kind: SourceType::Container,
            container_name: self.app.to_owned(),
            service_id: Some(self.service.to_owned()),
            node_id: node_id.as_deref().map(str::to_owned),
            task_id: task_id.as_deref().map(str::to_owned),
            stream: Some(if stderr { "stderr" } else { "stdout" }.to_owned()),
        };
        Known {
            task_id: task_id.clone(),
            node_id: node_id.clone(),
            stderr,
            is_deploying,
            origin: Arc::new(LineOrigin {
                source,
                metadata: (self.metadata_of)(is_deploying),
            }),
            hasher,
        }
    }
}
