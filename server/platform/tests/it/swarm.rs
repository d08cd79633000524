//! A Swarm in memory: services whose replicas behave as their image says.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_platform::ports::{
    Clock, Engine, EngineError, EngineEvent, EngineInfo, IngressSpec, JobSpec, LookedUp,
    NetworkReady, RawLine, RawLines, ReadTo, ReplicaFailure, ResolveError, ResolvedImage,
    SecretMount, ServiceSpec, ServiceState, SystemClock, Task, TaskState, VolumeUser,
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::ingress::Ingress;
use crate::tap::{Tap, Trouble};

/// How the containers of an image behave.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent things that can be wrong with an image"
)]
pub(crate) struct Behaviour {
    /// It ends by itself: after so many milliseconds, with this code.
    pub(crate) exits: Option<(u64, i64)>,
    pub(crate) out_of_memory: bool,
    pub(crate) listens_on: Option<u16>,
    pub(crate) answers: u16,
    pub(crate) ready_after_ms: u64,
    /// "no suitable node".
    pub(crate) fits_nowhere: bool,
    /// A node refuses it, with these words.
    pub(crate) rejected: Option<&'static str>,
    pub(crate) exists: bool,
    pub(crate) has_healthcheck: bool,
    /// Lines told while it is resolved.
    pub(crate) chatter: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            exits: None,
            out_of_memory: false,
            listens_on: Some(80),
            answers: 200,
            ready_after_ms: 0,
            fits_nowhere: false,
            rejected: None,
            exists: true,
            has_healthcheck: false,
            chatter: 0,
        }
    }
}

struct Replica {
    id: String,
    slot: u32,
    address: IpAddr,
    born: Instant,
    born_at: OffsetDateTime,
    behaviour: Behaviour,
    ended: Option<(Instant, TaskState, Option<i64>)>,
}

struct Service {
    id: String,
    spec: ServiceSpec,
    replicas: Vec<Replica>,
}

impl Service {
    /// One that ended by itself is wanted until there is another in its place.
    fn wants(&self, replica: &Replica) -> bool {
        let by_itself = replica
            .ended
            .is_some_and(|(_, state, _)| state != TaskState::Stopped);
        let newest = self
            .replicas
            .iter()
            .rfind(|other| other.slot == replica.slot);
        replica.ended.is_none()
            || by_itself
                && replica.slot <= self.spec.replicas
                && newest.is_some_and(|newest| newest.id == replica.id)
    }
}

#[derive(Default)]
struct State {
    services: BTreeMap<String, Service>,
    images: HashMap<String, Behaviour>,
    /// Jobs, with the time they were started.
    jobs: BTreeMap<String, (JobSpec, Instant)>,
    /// Addresses whose replica ended without being told to.
    died: HashSet<IpAddr>,
    /// Made with the first service that mounts them.
    volumes: BTreeSet<String>,
    /// What secrets hold, by name.
    secrets: BTreeMap<String, String>,
    next: u32,
    swarm_active: bool,
    down_nodes: Vec<String>,
    /// Services that are older than everything else.
    old: BTreeSet<String>,
}

/// What replicas of a service print: a part of its name, and lines, of which some are of stderr.
pub(crate) type Print = (String, Vec<(bool, String)>);

/// Outlives every control plane of a test.
pub(crate) struct Swarm {
    state: Mutex<State>,
    events: broadcast::Sender<()>,
    /// What was done, in order: "ensure <service> 3", "remove <service>", and what the ingress did.
    pub(crate) trail: Mutex<Vec<String>>,
    pub(crate) prints: Mutex<Vec<Print>>,
    began_at: OffsetDateTime,
    /// The last lines of a replica that ended.
    pub(crate) last_words: Mutex<Vec<String>>,
}

impl Default for Swarm {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(64).0,
            trail: Mutex::default(),
            prints: Mutex::default(),
            began_at: SystemClock.now(),
            last_words: Mutex::new(vec!["goodbye".to_owned()]),
        }
    }
}

impl Swarm {
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.move_on();
        state
    }

    pub(crate) fn note(&self, what: String) {
        self.trail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    pub(crate) fn trail(&self) -> Vec<String> {
        self.trail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn image(&self, name: &str, behaviour: Behaviour) {
        self.lock().images.insert(name.to_owned(), behaviour);
    }

    fn expect_secrets(&self, wanted: &[SecretMount]) -> Result<(), EngineError> {
        let state = self.lock();
        match wanted
            .iter()
            .find(|mount| !state.secrets.contains_key(&mount.secret))
        {
            None => Ok(()),
            Some(mount) => Err(EngineError::Refused {
                doing: "making a service".to_owned(),
                message: format!("secret {} not found", mount.secret),
            }),
        }
    }

    /// Names of the services that exist.
    pub(crate) fn services(&self) -> Vec<String> {
        self.lock().services.keys().cloned().collect()
    }

    /// A node goes down, or comes back.
    pub(crate) fn set_down_nodes(&self, names: &[&str]) {
        self.lock().down_nodes = names.iter().map(ToString::to_string).collect();
    }

    fn down_nodes(&self) -> Vec<String> {
        self.lock().down_nodes.clone()
    }

    /// What is kept, by name.
    pub(crate) fn secrets(&self) -> BTreeMap<String, String> {
        self.lock().secrets.clone()
    }

    /// What a replica of a service, or a job, finds in its files.
    pub(crate) fn files(&self, service: &str) -> BTreeMap<String, String> {
        let state = self.lock();
        let mounts = match (state.services.get(service), state.jobs.get(service)) {
            (Some(service), _) => &service.spec.secrets,
            (None, Some((job, _))) => &job.secrets,
            (None, None) => return BTreeMap::new(),
        };
        let file = |mount: &SecretMount| {
            let value = state.secrets.get(&mount.secret);
            let value = value.expect("Swarm keeps what services use");
            (mount.file.clone(), value.clone())
        };
        mounts.iter().map(file).collect()
    }

    pub(crate) fn volumes(&self) -> Vec<String> {
        self.lock().volumes.iter().cloned().collect()
    }

    pub(crate) fn spec(&self, service: &str) -> Option<ServiceSpec> {
        self.lock()
            .services
            .get(service)
            .map(|service| service.spec.clone())
    }

    /// Somebody else removes or makes a service.
    pub(crate) fn remove_behind_our_back(&self, service: &str) {
        self.lock().services.remove(service);
        let _ = self.events.send(());
    }

    /// An event without news.
    pub(crate) fn add_nothing(&self) {
        let _ = self.events.send(());
    }

    pub(crate) fn add_behind_our_back(&self, spec: ServiceSpec) {
        self.lock().ensure(spec);
        let _ = self.events.send(());
    }

    /// A service that is older than the data directory.
    pub(crate) fn add_old(&self, spec: ServiceSpec) {
        self.lock().old.insert(spec.name.clone());
        self.add_behind_our_back(spec);
    }

    /// Ends one running replica the hard way; Swarm starts another.
    pub(crate) fn kill_one(&self, service: &str) {
        let mut state = self.lock();
        let victim = state.services.get_mut(service).and_then(|service| {
            service
                .replicas
                .iter_mut()
                .find(|replica| replica.ended.is_none())
        });
        if let Some(victim) = victim {
            victim.ended = Some((Instant::now(), TaskState::Failed, Some(137)));
            let address = victim.address;
            state.died.insert(address);
        }
        drop(state);
        let _ = self.events.send(());
    }

    pub(crate) fn endpoints_that_are_well(&self, service: &str) -> Vec<SocketAddr> {
        let state = self.lock();
        let Some(service) = state.services.get(service) else {
            return Vec::new();
        };
        service
            .replicas
            .iter()
            .filter(|replica| replica.is_well())
            .filter_map(|replica| {
                Some(SocketAddr::new(
                    replica.address,
                    replica.behaviour.listens_on?,
                ))
            })
            .collect()
    }

    pub(crate) fn is_well(&self, target: SocketAddr) -> bool {
        self.lock()
            .running(target)
            .is_some_and(|(_, replica)| replica.is_well())
    }

    pub(crate) fn died_by_itself(&self, address: IpAddr) -> bool {
        self.lock().died.contains(&address)
    }

    /// Status and service of what answers there, if anything does.
    pub(crate) fn answer(&self, target: SocketAddr) -> Option<(u16, String)> {
        let state = self.lock();
        let (service, replica) = state.running(target)?;
        (replica.born.elapsed().as_millis() >= u128::from(replica.behaviour.ready_after_ms))
            .then(|| (replica.behaviour.answers, service.to_owned()))
    }
}

impl Replica {
    fn is_well(&self) -> bool {
        self.ended.is_none()
            && self.behaviour.answers == 200
            && !self.behaviour.fits_nowhere
            && self.born.elapsed().as_millis() >= u128::from(self.behaviour.ready_after_ms)
    }

    fn state(&self) -> (TaskState, Option<&'static str>) {
        if let Some((_, state, _)) = self.ended {
            return (state, self.behaviour.rejected);
        }
        if self.behaviour.fits_nowhere {
            return (
                TaskState::Waiting,
                Some("no suitable node (insufficient resources)"),
            );
        }
        let ready = self.born.elapsed().as_millis() >= u128::from(self.behaviour.ready_after_ms);
        if self.behaviour.has_healthcheck && !ready {
            return (TaskState::Starting, None);
        }
        (TaskState::Running, None)
    }
}

impl State {
    /// Lets replicas end and be replaced, as time has gone by.
    fn move_on(&mut self) {
        let State {
            services,
            images,
            died,
            next,
            ..
        } = self;
        for service in services.values_mut() {
            let wanted = service.spec.replicas;
            for replica in service.replicas.iter_mut().filter(|r| r.ended.is_none()) {
                let age = replica.born.elapsed();
                if replica.slot > wanted {
                    replica.ended = Some((Instant::now(), TaskState::Stopped, None));
                } else if replica.behaviour.rejected.is_some() {
                    replica.ended = Some((Instant::now(), TaskState::Rejected, None));
                } else if let Some((after, code)) = replica.behaviour.exits
                    && age >= Duration::from_millis(after)
                {
                    replica.ended = Some((Instant::now(), TaskState::Failed, Some(code)));
                    died.insert(replica.address);
                }
            }
            for slot in 1..=wanted {
                let newest = service
                    .replicas
                    .iter()
                    .rfind(|replica| replica.slot == slot);
                let due = newest.is_none_or(|replica| {
                    replica
                        .ended
                        .is_some_and(|(at, ..)| at.elapsed() >= Duration::from_millis(30))
                });
                if due {
                    *next += 1;
                    let [_, a, b, c] = next.to_be_bytes();
                    service.replicas.push(Replica {
                        id: format!("task-{next}"),
                        slot,
                        address: Ipv4Addr::new(10, a, b, c).into(),
                        born: Instant::now(),
                        born_at: SystemClock.now(),
                        behaviour: images
                            .get(service.spec.image.requested.as_str())
                            .cloned()
                            .unwrap_or_default(),
                        ended: None,
                    });
                }
            }
        }
    }

    fn unused_secrets(&self) -> Vec<String> {
        let of_services = self.services.values().flat_map(|it| &it.spec.secrets);
        let of_jobs = self.jobs.values().flat_map(|(spec, _)| &spec.secrets);
        let used: BTreeSet<String> = (of_services.chain(of_jobs))
            .map(|mount| mount.secret.clone())
            .collect();
        let unused = self.secrets.keys().filter(|name| !used.contains(*name));
        unused.cloned().collect()
    }

    fn ensure(&mut self, spec: ServiceSpec) {
        let volumes = spec.mounts.iter().map(|mount| mount.volume.clone());
        self.volumes.extend(volumes);
        if let Some(service) = self.services.get_mut(&spec.name) {
            if service.spec.image != spec.image
                || service.spec.env != spec.env
                || service.spec.secrets != spec.secrets
            {
                for replica in &mut service.replicas {
                    replica
                        .ended
                        .get_or_insert((Instant::now(), TaskState::Stopped, None));
                }
            }
            service.spec = spec;
        } else {
            self.next += 1;
            let service = Service {
                id: format!("service-{}", self.next),
                spec,
                replicas: Vec::new(),
            };
            self.services.insert(service.spec.name.clone(), service);
        }
        self.move_on();
    }

    fn running(&self, target: SocketAddr) -> Option<(&str, &Replica)> {
        self.services.iter().find_map(|(name, service)| {
            let replica = service.replicas.iter().find(|replica| {
                replica.address == target.ip()
                    && replica.ended.is_none()
                    && replica.behaviour.listens_on == Some(target.port())
                    && !replica.behaviour.fits_nowhere
            })?;
            Some((name.as_str(), replica))
        })
    }

    fn tasks(&self, of: Option<&str>) -> Vec<Task> {
        let services = self
            .services
            .iter()
            .filter(|(name, _)| of.is_none_or(|of| of == **name));
        services
            .flat_map(|(name, service)| {
                service.replicas.iter().rev().map(|replica| {
                    let (state, message) = replica.state();
                    Task {
                        id: replica.id.clone(),
                        service: name.clone(),
                        service_id: service.id.clone(),
                        slot: replica.slot,
                        node_id: Some("node-1".to_owned()),
                        state,
                        wanted: service.wants(replica),
                        address: (state != TaskState::Waiting).then_some(replica.address),
                        container_id: None,
                        exit_code: replica.ended.and_then(|(_, _, code)| code),
                        message: message.map(ToOwned::to_owned),
                        created_at: Some(replica.born_at),
                    }
                })
            })
            .collect()
    }
}

/// The port, as one control plane sees it.
pub(crate) struct SimEngine {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) tap: Arc<Tap>,
}

fn failed(trouble: Trouble, doing: &str) -> EngineError {
    match trouble {
        Trouble::Away => EngineError::TimedOut {
            doing: doing.to_owned(),
            seconds: 1,
        },
        Trouble::Refused => EngineError::Refused {
            doing: doing.to_owned(),
            message: "not like this".to_owned(),
        },
    }
}

impl SimEngine {
    async fn before(&self, call: &'static str, about: &str) -> Result<(), EngineError> {
        let changes = matches!(
            call,
            "ensure_secrets"
                | "ensure_service"
                | "scale_service"
                | "remove_service"
                | "remove_unused_secrets"
                | "start_job"
        );
        // "engine" stands for all of its calls.
        for rule in ["engine", call] {
            let counts = rule == call;
            if counts {
                self.tap.before(call, about, changes).await
            } else {
                self.tap.before(rule, about, false).await
            }
            .map_err(|trouble| failed(trouble, call))?;
        }
        Ok(())
    }

    async fn after(&self, call: &'static str) {
        let changes = matches!(
            call,
            "ensure_secrets"
                | "ensure_service"
                | "scale_service"
                | "remove_service"
                | "remove_unused_secrets"
        );
        self.tap.after(changes).await;
    }
}

#[async_trait]
impl Engine for SimEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.before("info", "").await?;
        let swarm_active = self.swarm.lock().swarm_active;
        Ok(EngineInfo {
            version: "20.10.24".to_owned(),
            api_version: "1.41".to_owned(),
            architecture: "x86_64".to_owned(),
            swarm_active,
            is_manager: swarm_active,
            nodes: 1,
            member_nodes: 1,
            down_nodes: self.swarm.down_nodes(),
            node_id: Some("node-1".to_owned()),
            node_name: "here".to_owned(),
        })
    }

    async fn prepare(&self) -> Result<NetworkReady, EngineError> {
        self.before("prepare", "").await?;
        self.swarm.lock().swarm_active = true;
        Ok(NetworkReady {
            host_address: Ipv4Addr::new(172, 18, 0, 1).into(),
            node_address: None,
        })
    }

    async fn ensure_ingress(&self, _: &IngressSpec) -> Result<(), EngineError> {
        self.before("ensure_ingress", "").await
    }

    async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError> {
        self.before("ensure_sample_image", "").await?;
        Ok("sample:v1".parse().unwrap())
    }

    async fn resolve_image(
        &self,
        image: &ImageRef,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ResolvedImage, ResolveError> {
        self.before("resolve_image", image.as_str()).await?;
        let behaviour = self
            .swarm
            .lock()
            .images
            .get(image.as_str())
            .cloned()
            .unwrap_or_default();
        for line in 0..behaviour.chatter {
            progress(format!("layer {line}"));
        }
        if !behaviour.exists {
            return Err(ResolveError::NotFound {
                image: image.clone(),
                message: "manifest unknown".to_owned(),
            });
        }
        Ok(ResolvedImage {
            image: pinned(image, &behaviour),
            notes: Vec::new(),
        })
    }

    /// Names below `far/` are in a registry only.
    async fn look_up_image(&self, image: &ImageRef) -> Result<LookedUp, ResolveError> {
        self.before("look_up_image", image.as_str()).await?;
        let behaviour = self.swarm.lock().images.get(image.as_str()).cloned();
        let behaviour = behaviour.unwrap_or_default();
        Ok(match image.as_str().starts_with("far/") {
            _ if !behaviour.exists => LookedUp::Nowhere,
            true => LookedUp::InRegistry {
                architectures: vec!["amd64".to_owned()],
            },
            false => LookedUp::Here(pinned(image, &behaviour)),
        })
    }

    async fn image_available(&self, image: &PinnedImage) -> Result<bool, EngineError> {
        self.before("image_available", image.requested.as_str())
            .await?;
        Ok(self
            .swarm
            .lock()
            .images
            .get(image.requested.as_str())
            .is_none_or(|behaviour| behaviour.exists))
    }

    async fn ensure_secrets(&self, secrets: &[SecretMount]) -> Result<(), EngineError> {
        for secret in secrets {
            self.before("ensure_secrets", &secret.secret).await?;
            let held = {
                let mut state = self.swarm.lock();
                let held = state.secrets.entry(secret.secret.clone());
                held.or_insert_with(|| secret.value.clone()).clone()
            };
            assert_eq!(held, secret.value, "a name stands for one value");
            self.after("ensure_secrets").await;
        }
        Ok(())
    }

    async fn remove_unused_secrets(&self) -> Result<Vec<String>, EngineError> {
        if self.swarm.lock().unused_secrets().is_empty() {
            return Ok(Vec::new());
        }
        self.before("remove_unused_secrets", "").await?;
        let removed = {
            let mut state = self.swarm.lock();
            let removed = state.unused_secrets();
            state.secrets.retain(|name, _| !removed.contains(name));
            removed
        };
        for name in &removed {
            self.swarm.note(format!("remove secret {name}"));
        }
        self.after("remove_unused_secrets").await;
        Ok(removed)
    }

    async fn ensure_service(&self, spec: &ServiceSpec) -> Result<(), EngineError> {
        self.before("ensure_service", &spec.name).await?;
        self.swarm.expect_secrets(&spec.secrets)?;
        self.swarm
            .note(format!("ensure {} {}", spec.name, spec.replicas));
        self.swarm.lock().ensure(spec.clone());
        let _ = self.swarm.events.send(());
        self.after("ensure_service").await;
        Ok(())
    }

    async fn volume_users(&self, volumes: &[String]) -> Result<Vec<VolumeUser>, EngineError> {
        self.before("volume_users", "").await?;
        let state = self.swarm.lock();
        let users = state.services.values().flat_map(|service| {
            let mounts = service.spec.mounts.iter();
            let runs = service
                .replicas
                .iter()
                .any(|replica| replica.ended.is_none());
            mounts
                .filter(move |mount| runs && volumes.contains(&mount.volume))
                .map(|mount| VolumeUser {
                    volume: mount.volume.clone(),
                    container: format!("{}.1", service.spec.name),
                    service: Some(service.spec.name.clone()),
                })
        });
        Ok(users.collect())
    }

    async fn differences(&self, spec: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError> {
        self.before("differences", &spec.name).await?;
        let state = self.swarm.lock();
        Ok(state.services.get(&spec.name).map(|service| {
            let differs = service.spec.image != spec.image;
            differs.then(|| "image".to_owned()).into_iter().collect()
        }))
    }

    async fn scale_service(&self, name: &str, replicas: u32) -> Result<(), EngineError> {
        self.before("scale_service", name).await?;
        self.swarm.note(format!("scale {name} {replicas}"));
        match self.swarm.lock().services.get_mut(name) {
            Some(service) => service.spec.replicas = replicas,
            None => {
                return Err(EngineError::NotFound {
                    doing: format!("scaling {name}"),
                });
            }
        }
        let _ = self.swarm.events.send(());
        self.after("scale_service").await;
        Ok(())
    }

    async fn remove_service(&self, name: &str) -> Result<(), EngineError> {
        self.before("remove_service", name).await?;
        if self.swarm.lock().jobs.remove(name).is_some() {
            self.swarm.note(format!("remove job {name}"));
        }
        if self.swarm.lock().services.contains_key(name) {
            self.ingress.about_to_be_removed(name);
            self.swarm.note(format!("remove {name}"));
            self.swarm.lock().services.remove(name);
            let _ = self.swarm.events.send(());
        }
        self.after("remove_service").await;
        Ok(())
    }

    async fn services(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.before("services", "").await?;
        let state = self.swarm.lock();
        Ok(state
            .services
            .iter()
            .map(|(name, service)| ServiceState {
                id: service.id.clone(),
                name: name.clone(),
                wanted_replicas: service.spec.replicas,
                labels: service.spec.labels.clone(),
                created_at: state
                    .old
                    .contains(name)
                    .then_some(OffsetDateTime::UNIX_EPOCH),
            })
            .collect())
    }

    async fn tasks(&self, service: &str) -> Result<Vec<Task>, EngineError> {
        self.before("tasks", service).await?;
        let state = self.swarm.lock();
        if let Some((spec, started)) = state.jobs.get(service) {
            return Ok(vec![task_of(spec, *started)]);
        }
        Ok(state.tasks(Some(service)))
    }

    async fn all_tasks(&self) -> Result<Vec<Task>, EngineError> {
        self.before("all_tasks", "").await?;
        Ok(self.swarm.lock().tasks(None))
    }

    fn watch(&self) -> BoxStream<'static, EngineEvent> {
        stream::unfold(self.swarm.events.subscribe(), |mut events| async move {
            match events.recv().await {
                Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some((EngineEvent::Missed, events))
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        })
        .boxed()
    }

    fn follow_logs(
        &self,
        service: &str,
        read: &ReadTo,
    ) -> BoxStream<'static, Result<RawLines, EngineError>> {
        let prints = self
            .swarm
            .prints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lines = prints.iter().filter(|(of, _)| service.contains(of));
        let read = read.of(Some("t1")).times;
        let lines: Vec<_> = (1_u64..)
            .zip(lines.flat_map(|(_, lines)| lines.clone()))
            .map(|(n, (stderr, text))| RawLine {
                at: self.swarm.began_at + Duration::from_millis(n),
                stderr,
                text,
                span: None,
            })
            .filter(|line| read[usize::from(line.stderr)].is_none_or(|read| line.at > read))
            .map(|line| {
                Ok(RawLines {
                    task_id: Some("t1".to_owned()),
                    node_id: Some("n1".to_owned()),
                    lines: vec![line],
                })
            })
            .collect();
        stream::iter(lines).chain(stream::pending()).boxed()
    }

    async fn examine(&self, task: &Task) -> Result<ReplicaFailure, EngineError> {
        self.before("examine", &task.service).await?;
        let state = self.swarm.lock();
        let replica = state
            .services
            .values()
            .flat_map(|service| &service.replicas)
            .find(|replica| replica.id == task.id);
        Ok(
            replica.map_or_else(ReplicaFailure::default, |replica| ReplicaFailure {
                exit_code: replica.ended.and_then(|(_, _, code)| code),
                oom_killed: replica.behaviour.out_of_memory,
                listening_ports: replica.behaviour.listens_on.into_iter().collect(),
                last_lines: self
                    .swarm
                    .last_words
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            }),
        )
    }

    fn use_registries(&self, _: Vec<Credential>) {}

    async fn start_job(&self, spec: &JobSpec) -> Result<(), EngineError> {
        self.before("start_job", &spec.name).await?;
        self.swarm.expect_secrets(&spec.secrets)?;
        if !self.swarm.lock().jobs.contains_key(&spec.name) {
            self.swarm.note(format!("job {}", spec.name));
            let started = (spec.clone(), Instant::now());
            self.swarm.lock().jobs.insert(spec.name.clone(), started);
        }
        self.after("start_job").await;
        Ok(())
    }

    async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.before("jobs", "").await?;
        let state = self.swarm.lock();
        let jobs = state.jobs.iter().map(|(name, (spec, _))| ServiceState {
            id: name.clone(),
            name: name.clone(),
            wanted_replicas: 1,
            labels: spec.labels.clone(),
            created_at: None,
        });
        Ok(jobs.collect())
    }

    async fn remove_volumes(&self, names: &[String]) -> Result<Vec<String>, EngineError> {
        self.before("remove_volumes", "").await?;
        let mut in_use = Vec::new();
        for name in names {
            let mounts = |service: &Service| service.spec.mounts.iter().any(|m| m.volume == *name);
            let used = self.swarm.lock().services.values().any(mounts);
            if used {
                in_use.push(name.clone());
            } else if self.swarm.lock().volumes.remove(name) {
                self.swarm.note(format!("remove volume {name}"));
            }
        }
        self.after("remove_volumes").await;
        Ok(in_use)
    }

    async fn purge(&self) -> Result<(), EngineError> {
        self.before("purge", "").await
    }

    async fn stop_all(&self) -> Result<(), EngineError> {
        self.before("stop_all", "").await
    }
}

fn pinned(image: &ImageRef, behaviour: &Behaviour) -> PinnedImage {
    PinnedImage {
        requested: image.clone(),
        pinned: format!("{}@sha256:{}", image.repository(), "ab".repeat(32)),
        local_only: false,
        architecture: Some("amd64".to_owned()),
        exposed_ports: vec![80],
        has_healthcheck: behaviour.has_healthcheck,
        user: "nobody".to_owned(),
    }
}

/// The task of a job: `["true"]` ends well, `["false"]` with exit code 1, `["wait"]` never.
fn task_of(spec: &JobSpec, started: Instant) -> Task {
    let (state, exit_code) = match spec.command.first().map(String::as_str) {
        _ if started.elapsed() < Duration::from_millis(20) => (TaskState::Running, None),
        Some("true") => (TaskState::Completed, Some(0)),
        Some("false") => (TaskState::Failed, Some(1)),
        _ => (TaskState::Running, None),
    };
    Task {
        id: format!("{}-task", spec.name),
        service: spec.name.clone(),
        service_id: spec.name.clone(),
        slot: 1,
        node_id: Some("node-1".to_owned()),
        state,
        wanted: true,
        address: None,
        container_id: None,
        exit_code,
        message: None,
        created_at: None,
    }
}
