//! What self-diagnosis and repairs need of the engine beside what deploying needs.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::engine::{EngineError, EngineInfo};

/// The engine as something to be looked after. Every call has a deadline of its own. Nothing here can
/// touch a volume.
#[async_trait]
pub trait Upkeep: Send + Sync + 'static {
    /// What the engine says of itself, its Swarm and what it holds.
    ///
    /// # Errors
    /// [`EngineError::NoQuorum`] where the managers cannot decide anything any more.
    async fn facts(&self) -> Result<EngineFacts, EngineError>;

    /// The running containers of this instance on this node, with what they take.
    async fn containers(&self) -> Result<Vec<ContainerFacts>, EngineError>;

    /// Which of these pinned images are on this node.
    async fn images_here(&self, pinned: &[String]) -> Result<Vec<ImageHere>, EngineError>;

    /// Removes an image by the reference it is pinned to; `false`: something uses it, and it was left.
    async fn remove_image(&self, pinned: &str) -> Result<bool, EngineError>;

    /// How much the build cache takes that no build uses now, in bytes.
    async fn build_cache(&self) -> Result<u64, EngineError>;

    /// Removes what of the build cache no build uses now; returns how many bytes that were.
    async fn prune_build_cache(&self) -> Result<u64, EngineError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    pub info: EngineInfo,
    /// The engine's own clock.
    pub time: Option<OffsetDateTime>,
    pub managers: u32,
    pub reachable_managers: u32,
    pub containers: u64,
    pub containers_running: u64,
    pub networks: u64,
    pub overlay_networks: u64,
    /// `None`: they could not be listed.
    pub volumes: Option<u64>,
    /// Where the engine keeps what it has.
    pub directory: Option<String>,
}

/// One running container. What is not known is 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerFacts {
    pub id: String,
    pub name: String,
    pub image: String,
    /// Docker's words: "Up 3 minutes (healthy)".
    pub status: String,
    /// `healthy`, `unhealthy`, `starting` or `none`.
    pub health: String,
    pub cpu_percent: f64,
    pub memory: u64,
    /// 0: none.
    pub memory_limit: u64,
    pub network_in: u64,
    pub network_out: u64,
    pub read: u64,
    pub written: u64,
    pub processes: u64,
    pub started_at: Option<OffsetDateTime>,
}

/// A pinned image on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHere {
    pub pinned: String,
    /// Several references may be one image.
    pub id: String,
    pub bytes: u64,
}
