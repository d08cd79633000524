use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use flukedeploy_domain::app::{EnvVars, PlacementRule, PublishedPort, Resources};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use futures_util::stream::BoxStream;
use thiserror::Error;
use time::OffsetDateTime;

use super::{RawLines, ReadTo};

/// A Docker Swarm, in our words. Narrow on purpose.
///
/// Every call has a deadline of its own and may be repeated: the same call twice changes nothing.
/// An adapter belongs to one instance: it labels everything it makes with the instance's name and
/// never touches anything else.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Whether the engine answers, and what it is.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Initialises Swarm where needed and makes the instance's overlay network.
    async fn prepare(&self) -> Result<NetworkReady, EngineError>;

    /// Makes the ingress run exactly as `spec` says: its image (made from this very program),
    /// its secret, its global service with a host-mode port. An ingress that is already as wanted
    /// is left alone.
    async fn ensure_ingress(&self, spec: &IngressSpec) -> Result<(), EngineError>;

    /// Makes an image out of this very program that runs `flukedeploy sample-app`, so that there
    /// is something to deploy without any registry. Returns its reference.
    async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError>;

    /// Finds out what `image` is right now, pulls it to this node if needed and pins it.
    /// `progress` gets one line for people at a time.
    async fn resolve_image(
        &self,
        image: &ImageRef,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ResolvedImage, ResolveError>;

    /// What `image` is right now, without fetching anything: this node is asked first, then the
    /// registry.
    async fn look_up_image(&self, image: &ImageRef) -> Result<LookedUp, ResolveError> {
        Err(ResolveError::Engine(EngineError::Refused {
            doing: format!("looking for image {image}"),
            message: "this engine does not look without fetching".to_owned(),
        }))
    }

    /// Whether a pinned image can still be had: present here, or in its registry.
    async fn image_available(&self, image: &PinnedImage) -> Result<bool, EngineError>;

    /// Credentials to use beside those of Docker's own configuration on the node. Replaces those of
    /// before.
    fn use_registries(&self, credentials: Vec<Credential>);

    /// Starts a command once, as a Swarm service that is never restarted; one that exists is left
    /// alone. Its task, its end and its lines are seen as those of any service.
    async fn start_job(&self, spec: &JobSpec) -> Result<(), EngineError>;

    /// All job services of this instance.
    async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError>;

    /// Removes volumes by their Docker names; returns those that are still in use and were left.
    async fn remove_volumes(&self, names: &[String]) -> Result<Vec<String>, EngineError>;

    /// Makes these secrets exist. One that exists is left alone: its name stands for what it holds.
    /// Services that use them are made afterwards.
    async fn ensure_secrets(&self, secrets: &[SecretMount]) -> Result<(), EngineError> {
        match secrets.first() {
            None => Ok(()),
            Some(secret) => Err(EngineError::Refused {
                doing: format!("creating secret {}", secret.secret),
                message: "this engine keeps no secrets".to_owned(),
            }),
        }
    }

    /// Removes the secrets of this instance's apps that no service uses, and returns their names.
    /// Nobody may be about to make a service meanwhile.
    async fn remove_unused_secrets(&self) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    /// Makes the service exist exactly as `spec` says, with `spec.replicas` tasks. Its secrets exist
    /// already.
    async fn ensure_service(&self, spec: &ServiceSpec) -> Result<(), EngineError>;

    /// Which running containers on this node use one of these volumes.
    async fn volume_users(&self, volumes: &[String]) -> Result<Vec<VolumeUser>, EngineError>;

    /// What of a service differs from `spec`, in words ("image", "env", "replicas"…): empty if
    /// nothing does, `None` if there is no such service.
    async fn differences(&self, spec: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError>;

    /// Changes only the number of replicas. The service must exist.
    async fn scale_service(&self, name: &str, replicas: u32) -> Result<(), EngineError>;

    /// Removes the service; absent is fine. Returns at once: its tasks stop afterwards, see
    /// [`Engine::tasks`].
    async fn remove_service(&self, name: &str) -> Result<(), EngineError>;

    /// All release services of this instance (not the ingress, no jobs).
    async fn services(&self) -> Result<Vec<ServiceState>, EngineError>;

    /// Current and recent tasks of one service, newest first; also of one that was removed, while
    /// its tasks still run.
    async fn tasks(&self, service: &str) -> Result<Vec<Task>, EngineError>;

    /// Current and recent tasks of all services of this instance, in one call.
    async fn all_tasks(&self) -> Result<Vec<Task>, EngineError>;

    /// Hints that something changed. Reconnects by itself and never ends; after a gap it sends
    /// [`EngineEvent::Missed`].
    fn watch(&self) -> BoxStream<'static, EngineEvent>;

    /// Follows what all replicas of a service print, each from where it was read to; never an empty
    /// batch. Ends when the service is gone; errors end it too and the caller asks again.
    fn follow_logs(
        &self,
        service: &str,
        read: &ReadTo,
    ) -> BoxStream<'static, Result<RawLines, EngineError>>;

    /// Everything that can be learned about why a task is not well: exit code, out of memory,
    /// ports it listens on, its last 20 lines.
    async fn examine(&self, task: &Task) -> Result<ReplicaFailure, EngineError>;

    /// Removes everything of this instance from the engine: services, ingress, network, secrets,
    /// volumes, and the images made from this program for it.
    async fn purge(&self) -> Result<(), EngineError>;

    /// Stops what serves (release services are scaled away, the ingress removed) and keeps the
    /// rest. Started again by the reconciler.
    async fn stop_all(&self) -> Result<(), EngineError>;
}

/// A command to run once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Of the service.
    pub name: String,
    pub image: PinnedImage,
    /// Program and arguments; replaces the image's entrypoint.
    pub command: Vec<String>,
    pub env: EnvVars,
    /// Without the instance label, which the adapter adds, and with `com.flukedeploy.job`.
    pub labels: BTreeMap<String, String>,
    pub resources: Resources,
    pub placement: Vec<PlacementRule>,
    pub mounts: Vec<VolumeMount>,
    pub secrets: Vec<SecretMount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// "20.10.24".
    pub version: String,
    /// Negotiated API version, "1.41".
    pub api_version: String,
    /// `x86_64`, `aarch64`, as the engine says it.
    pub architecture: String,
    pub swarm_active: bool,
    pub is_manager: bool,
    /// Nodes that are ready; 0 without Swarm.
    pub nodes: u32,
    /// Nodes that may get replicas as soon as they are ready, those that are down included.
    pub member_nodes: u32,
    /// Names of the Swarm's nodes that are not ready.
    pub down_nodes: Vec<String>,
    pub node_id: Option<String>,
    pub node_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkReady {
    /// This host as containers see it: the gateway of `docker_gwbridge`.
    pub host_address: IpAddr,
    /// This node as other nodes see it.
    pub node_address: Option<IpAddr>,
}

/// The ingress service.
#[derive(Clone, PartialEq, Eq)]
pub struct IngressSpec {
    pub http_port: u16,
    /// `ws://…` addresses of the control plane, tried in turn.
    pub control_urls: Vec<String>,
    /// What the ingress shows to be let in. Delivered as a Swarm secret.
    pub token: String,
}

/// A release's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    pub name: String,
    pub image: PinnedImage,
    pub replicas: u32,
    pub env: EnvVars,
    /// DNS names on the instance's network beside the service's own.
    pub aliases: Vec<String>,
    /// Labels, without the instance label, which the adapter adds:
    /// `com.flukedeploy.app|environment|release|deployment`.
    pub labels: BTreeMap<String, String>,
    /// How long a task gets between SIGTERM and SIGKILL, in seconds.
    pub stop_grace_seconds: u32,
    pub resources: Resources,
    pub placement: Vec<PlacementRule>,
    pub mounts: Vec<VolumeMount>,
    pub secrets: Vec<SecretMount>,
    pub ports: Vec<PublishedPort>,
    /// Replaces the image's own HEALTHCHECK where given.
    pub health_command: Option<HealthCommand>,
}

/// A secret that a replica finds as a file in `/run/secrets`, readable by its owner alone. `Debug` does
/// not show what it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Swarm's name of it, which stands for what it holds: another value has another name.
    pub secret: String,
    /// Name of the file.
    pub file: String,
    pub uid: u32,
    pub gid: u32,
    pub value: String,
    /// Labels of the secret, without those that the adapter adds:
    /// `com.flukedeploy.app|environment|variable`.
    pub labels: BTreeMap<String, String>,
}

impl std::fmt::Debug for SecretMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretMount({} as {})", self.secret, self.file)
    }
}

/// A Docker volume in a replica. The volume is made where it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// Docker's name of it.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
}

/// A check that Docker runs inside the container (its `HEALTHCHECK`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCommand {
    /// Program and arguments.
    pub command: Vec<String>,
    pub timeout_ms: u64,
    /// Failures within so long after the start do not count.
    pub start_grace_seconds: u32,
}

/// Who uses a volume now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUser {
    /// Docker's name of the volume.
    pub volume: String,
    /// Name of the container.
    pub container: String,
    /// The release service it belongs to, if it is one of this instance.
    pub service: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    pub id: String,
    pub name: String,
    pub wanted_replicas: u32,
    /// The adapter's labels, instance label included.
    pub labels: BTreeMap<String, String>,
    pub created_at: Option<OffsetDateTime>,
}

/// Swarm's task states, folded to what decisions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// new, allocated, pending, assigned, accepted.
    Waiting,
    /// preparing, ready, starting (a HEALTHCHECK keeps it here until healthy).
    Starting,
    Running,
    /// It ended by itself with exit code 0.
    Completed,
    Failed,
    /// The node refused it (no such image, mount failed…).
    Rejected,
    /// shutdown, orphaned, remove.
    Stopped,
}

impl TaskState {
    /// A container of it may be running.
    pub fn may_run(self) -> bool {
        matches!(self, Self::Waiting | Self::Starting | Self::Running)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub service: String,
    pub service_id: String,
    pub slot: u32,
    pub node_id: Option<String>,
    pub state: TaskState,
    /// Swarm wants it to run (not to be shut down).
    pub wanted: bool,
    /// On the instance's overlay network.
    pub address: Option<IpAddr>,
    pub container_id: Option<String>,
    pub exit_code: Option<i64>,
    /// Swarm's own words: "no suitable node (…)", "task: non-zero exit (3)".
    pub message: Option<String>,
    pub created_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A container of this service started, died or changed its health.
    Task {
        service: String,
        /// The task whose container has just started: its address answers from now on.
        started: Option<String>,
    },
    /// A service of this instance was made, changed or removed.
    Service { service: String },
    /// The event stream was interrupted: look at everything again.
    Missed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaFailure {
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    /// Ports the replica listens on (0.0.0.0 or its own address), where they can be read.
    pub listening_ports: Vec<u16>,
    /// Newest last; raw text.
    pub last_lines: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    pub image: PinnedImage,
    /// What a person should know: "the registry did not answer; took the local image".
    pub notes: Vec<String>,
}

/// What was found of an image without fetching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookedUp {
    /// On this node.
    Here(PinnedImage),
    /// In its registry only.
    InRegistry {
        /// What it is for, as the registry says: `amd64`. May be empty.
        architectures: Vec<String>,
    },
    Nowhere,
}

#[derive(Debug, Error)]
pub enum EngineError {
    #[error("the Docker engine does not answer while {doing}")]
    Unreachable {
        doing: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the Docker engine took longer than {seconds} s while {doing}")]
    TimedOut { doing: String, seconds: u64 },
    #[error("not found while {doing}")]
    NotFound { doing: String },
    /// The engine said no; `message` holds its words.
    #[error("the Docker engine refused while {doing}: {message}")]
    Refused { doing: String, message: String },
    /// This node is no manager, or the managers have no quorum.
    #[error("Swarm cannot be changed from here while {doing}: {message}")]
    NoQuorum { doing: String, message: String },
}

impl EngineError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NoQuorum { .. } => true,
            Self::NotFound { .. } | Self::Refused { .. } => false,
        }
    }
}

#[derive(Debug, Error)]
pub enum ResolveError {
    /// Neither here nor in its registry.
    #[error("there is no image {image}")]
    NotFound { image: ImageRef, message: String },
    /// The registry wants (other) credentials.
    #[error("the registry refuses access to {image}")]
    Denied { image: ImageRef, message: String },
    #[error("the registry of {image} cannot be reached")]
    RegistryUnreachable { image: ImageRef, message: String },
    #[error("the image {image} is for {found}, but the nodes are {wanted}")]
    WrongArchitecture {
        image: ImageRef,
        found: String,
        wanted: String,
    },
    /// It exists only on this node, and the Swarm has others.
    #[error("the image {image} exists only on this node, but the Swarm has {nodes} nodes")]
    OnlyHere { image: ImageRef, nodes: u32 },
    #[error(transparent)]
    Engine(#[from] EngineError),
}
