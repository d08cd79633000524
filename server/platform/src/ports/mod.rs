//! What the use cases need from the outside. Adapters implement these; they know nothing of each
//! other.

mod clock;
mod engine;
mod store;
mod traffic;

pub use clock::{Clock, SystemClock};
pub use engine::{
    Engine, EngineError, EngineEvent, EngineInfo, HealthCommand, IngressSpec, NetworkReady,
    RawLine, ReplicaFailure, ResolveError, ResolvedImage, ServiceSpec, ServiceState, Task,
    TaskState, VolumeMount, VolumeUser,
};
pub use store::{
    Account, AppOverview, AuditRow, LogPage, LogQuery, LogStore, NewRelease, Opened, Scale, Store,
    StoreError, StoredToken, Switch,
};
pub use traffic::{Served, Traffic, TrafficError};
