//! Finds the replicas of a service, and how each of them can be read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::InspectContainerOptions;
use flukedeploy_platform::ports::{EngineError, RawLines, TaskState};
use futures_util::StreamExt;
use futures_util::stream::{self, AbortHandle, BoxStream};
use serde_json::json;
use tokio::time::Instant;

use super::place::Place;
use super::sources::{Ended, Origin, Running, Sources};
use super::tail::Tail;
use super::{api, file};
use crate::client::encode;
use crate::engine::Inner;
use crate::events::{Event, Events};
use crate::labels::{SWARM_NODE_ID, SWARM_SERVICE, SWARM_TASK_ID};

/// When to look for what no event told, while there is something to read; nodes other than this
/// one tell no events at all.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_AT_OTHER_NODES: Duration = Duration::from_secs(3);
/// When to look whether the service is still there, while there is nothing to read.
const LOOK_WHEN_QUIET: Duration = Duration::from_secs(2);
/// Pause after something broke off.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) enum News {
    /// A replica to read, to its end.
    Source(BoxStream<'static, RawLines>),
    ServiceGone,
}

pub(super) struct Scout {
    inner: Arc<Inner>,
    service: String,
    doing: String,
    sources: Arc<Sources>,
    news: VecDeque<News>,
    /// Tells of containers that start or end from now on.
    events: Option<Events>,
    /// Containers of this node whose log is or was read.
    containers: HashMap<String, Arc<Ended>>,
    /// Tasks of other nodes whose log is read; such a stream does not end by itself.
    tasks: HashMap<String, AbortHandle>,
    own_node: Option<String>,
    /// Where the engine keeps its files, if that can be on this machine.
    root: Option<PathBuf>,
    look_at: Instant,
    is_over: bool,
}

/// A container of the service.
struct Container {
    id: String,
    origin: Origin,
    is_running: bool,
}

impl Scout {
    pub(super) fn new(inner: Arc<Inner>, service: &str, sources: Arc<Sources>) -> Self {
        Self {
            inner,
            service: service.to_owned(),
            doing: format!("following the logs of {service}"),
            sources,
            news: VecDeque::new(),
            events: None,
            containers: HashMap::new(),
            tasks: HashMap::new(),
            own_node: None,
            root: None,
            look_at: Instant::now(),
            is_over: false,
        }
    }

    /// Goes on after errors, if it is asked again.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<News, EngineError>> {
        stream::unfold(self, |mut scout| async move {
            let news = scout.next().await?;
            Some((news, scout))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<News, EngineError>> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(Ok(news));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.step().await {
                self.events = None;
                self.look_at = Instant::now() + AGAIN;
                return Some(Err(error));
            }
        }
    }

    async fn step(&mut self) -> Result<(), EngineError> {
        let Some(events) = &mut self.events else {
            tokio::time::sleep_until(self.look_at).await;
            let label = format!("{SWARM_SERVICE}={}", self.service);
            let filters =
                json!({"type": ["container"], "event": ["start", "die"], "label": [label]});
            // Before the first look, so that no container falls in between.
            self.events = Some(self.inner.events(&filters).await?);
            let membership = self.inner.membership().await?;
            self.own_node = membership.node_id;
            self.root = membership
                .directory
                .filter(|_| self.inner.client.is_local());
            return self.look().await;
        };
        tokio::select! {
            event = events.next() => match event {
                Ok(event) => self.take(event).await,
                Err(why) => Err(EngineError::Unreachable {
                    doing: self.doing.clone(),
                    source: why.into(),
                }),
            },
            () = tokio::time::sleep_until(self.look_at) => self.look().await,
            () = self.sources.look.notified() => {
                self.look_at = self.look_at.min(Instant::now() + AGAIN);
                Ok(())
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), EngineError> {
        let Event { action, actor, .. } = event;
        if action == "start" {
            let mut labels = actor.attributes;
            self.found(Container {
                id: actor.id,
                origin: origin(&mut labels),
                is_running: true,
            })
            .await?;
        } else if let Some(ended) = self.containers.get(&actor.id) {
            ended.set();
            // Soon there may be nothing left to read.
            self.look_at = self.look_at.min(Instant::now() + LOOK_WHEN_QUIET);
        }
        Ok(())
    }

    /// Finds what is there and not read yet; notices when there will be nothing more.
    async fn look(&mut self) -> Result<(), EngineError> {
        for key in self.sources.take_broken() {
            self.containers.remove(&key);
            self.tasks.remove(&key);
        }
        let found = self.inner.containers_of(&self.service).await?;
        let ids: HashSet<&str> = found.iter().filter_map(|one| one.id.as_deref()).collect();
        self.containers.retain(|id, ended| {
            let is_there = ids.contains(id.as_str());
            if !is_there {
                ended.set();
            }
            is_there
        });
        for container in found {
            use ContainerSummaryStateEnum::{CREATED, DEAD, EXITED};
            if container.state == Some(CREATED) {
                // It has no log yet; an event will tell when it starts.
                continue;
            }
            let mut labels = container.labels.unwrap_or_default();
            self.found(Container {
                id: container.id.unwrap_or_default(),
                origin: origin(&mut labels),
                is_running: !matches!(container.state, Some(EXITED | DEAD)),
            })
            .await?;
        }
        self.look_at_other_nodes().await?;
        let is_quiet = self.news.is_empty() && self.sources.count().0 == 0;
        if is_quiet && !self.inner.service_exists(&self.service).await? {
            self.news.push_back(News::ServiceGone);
            self.is_over = true;
        }
        let pause = match (is_quiet, self.tasks.is_empty()) {
            (true, _) => LOOK_WHEN_QUIET,
            (false, false) => LOOK_AT_OTHER_NODES,
            (false, true) => LOOK,
        };
        self.look_at = Instant::now() + pause;
        Ok(())
    }

    async fn look_at_other_nodes(&mut self) -> Result<(), EngineError> {
        let mut there = HashSet::new();
        for task in self.inner.tasks(&self.service).await? {
            let has_begun = !matches!(task.state, TaskState::Waiting | TaskState::Rejected);
            if task.node_id.is_none() || task.node_id == self.own_node || !has_begun {
                continue;
            }
            there.insert(task.id.clone());
            if !self.tasks.contains_key(&task.id) {
                let path = format!("/tasks/{}/logs", encode(&task.id));
                let origin = Origin {
                    task_id: Some(task.id.clone()),
                    node_id: task.node_id,
                };
                let (source, handle) = stream::abortable(self.through_api(&task.id, &path, origin));
                self.news.push_back(News::Source(source.boxed()));
                self.tasks.insert(task.id, handle);
            }
        }
        self.tasks.retain(|id, handle| {
            let stays = there.contains(id);
            if !stays {
                handle.abort();
            }
            stays
        });
        Ok(())
    }

    async fn found(&mut self, container: Container) -> Result<(), EngineError> {
        if let Some(ended) = self.containers.get(&container.id) {
            if !container.is_running {
                ended.set();
            }
            return Ok(());
        }
        let ended = Arc::new(Ended::default());
        if !container.is_running {
            ended.set();
        }
        let source = if let Some(tail) = self.tail(&container).await? {
            let running = Running::new(&self.sources, &container.id, &container.origin, true);
            let (inner, ended) = (Arc::clone(&self.inner), Arc::clone(&ended));
            file::Source::new(inner, tail, container.origin, ended, running).into_stream()
        } else {
            let path = format!("/containers/{}/logs", encode(&container.id));
            self.through_api(&container.id, &path, container.origin)
        };
        self.news.push_back(News::Source(source));
        self.containers.insert(container.id, ended);
        Ok(())
    }

    fn through_api(&self, key: &str, path: &str, origin: Origin) -> BoxStream<'static, RawLines> {
        let running = Running::new(&self.sources, key, &origin, false);
        let read = self.sources.read_of(origin.task_id.as_deref()).times;
        let inner = Arc::clone(&self.inner);
        api::Source::new(inner, &self.doing, path, origin, read, running).into_stream()
    }

    /// The container's log files; `None`: they are of another kind or cannot be read.
    async fn tail(&mut self, container: &Container) -> Result<Option<Tail>, EngineError> {
        let Some(root) = self.root.clone() else {
            return Ok(None);
        };
        let docker = self.inner.client.docker();
        let inspection = docker.inspect_container(&container.id, None::<InspectContainerOptions>);
        let about = match self.inner.client.call(&self.doing, inspection).await {
            Err(EngineError::NotFound { .. }) => return Ok(None),
            about => about?,
        };
        let config = about.host_config.and_then(|config| config.log_config);
        let driver = config.and_then(|config| config.typ);
        let path = about.log_path.filter(|path| !path.is_empty());
        let (Some("json-file"), Some(path)) = (driver.as_deref(), path) else {
            return Ok(None);
        };
        let read = self.sources.read_of(container.origin.task_id.as_deref());
        let id = container.id.clone();
        let opening = tokio::task::spawn_blocking(move || {
            Place::open(&root, Path::new(&path), &id).and_then(|place| Tail::open(place, read))
        });
        let Ok(outcome) = opening.await else {
            return Ok(None);
        };
        Ok(outcome
            .inspect_err(|error| {
                tracing::debug!(%error, container = container.id, "its log is read through the engine");
            })
            .ok())
    }
}

fn origin(labels: &mut HashMap<String, String>) -> Origin {
    Origin {
        task_id: labels.remove(SWARM_TASK_ID),
        node_id: labels.remove(SWARM_NODE_ID),
    }
}
