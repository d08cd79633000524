//! What the use cases need from the outside. Adapters implement these; they know nothing of each
//! other.

mod absent;
mod approvals;
mod builder;
mod clock;
mod engine;
mod flukebase;
mod identity_provider;
mod inspector;
mod log_batch;
mod log_receivers;
mod log_store;
mod machine;
mod outgoing;
mod people;
mod raw_lines;
mod store;
mod traffic;
mod upkeep;
mod workshop;

pub use absent::Absent;
pub use approvals::Approvals;
pub use builder::{BuildError, BuildLine, BuildSpec, Builder, Built, ImageFacts};
pub use clock::{Clock, SystemClock};
pub use engine::{
    Engine, EngineError, EngineEvent, EngineInfo, HealthCommand, IngressSpec, JobSpec, LookedUp,
    NetworkReady, ReplicaFailure, ResolveError, ResolvedImage, SecretMount, ServiceSpec,
    ServiceState, Task, TaskState, VolumeMount, VolumeUser,
};
pub use flukebase::{
    Access, AgentCard, CachedVariables, Flukebase, FlukebaseEffect, FlukebaseError,
    FlukebaseMemory, FlukebaseSettings, LiveEnd, LiveEvent, OutboxCounts, RemoteProject,
    TokenFacts,
};
pub use identity_provider::{IdentityProvider, ProviderAnswer, ProviderRequest};
pub use inspector::{InspectError, Inspector, ScanReport};
pub use log_batch::{LineOrigin, LogBatch, Logged, ReplicaLine};
pub use log_receivers::{LogAnswer, LogPost, LogReceivers};
pub use log_store::{
    Bucket, Context, Cursor, Feed, FeedQuery, Histogram, Keep, LogPage, LogQuery, LogStore,
    LogUsage, MAX_REACH, Order, Paging, Retention, StoredLine, Total,
};
pub use machine::{DiskFacts, Machine, MachineError, MachineFacts, Reach};
pub use outgoing::{Answer, Outgoing, OutgoingError, OutgoingRequest};
pub use people::{Identity, Invitation, People, SecondFactor, StoredSession};
pub use raw_lines::{FilePlace, LineSpan, RawLine, RawLines, ReadTo, ReplicaRead};
pub use store::{
    Account, AppOverview, AuditOrder, AuditRow, LeftoverVolume, NewRelease, Opened, Outbound,
    Scale, Store, StoreError, StoredToken, Switch, WaitingDelivery,
};
pub use traffic::{IngressNews, RequestBatch, Served, Traffic, TrafficError};
pub use upkeep::{ContainerFacts, EngineFacts, ImageHere, Upkeep};
pub use workshop::{ContextDockerfile, Opened as OpenedSource, Received, SourceError, Workshop};
