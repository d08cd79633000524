//! The act of moving an environment to a release, in five phases.

mod preparation;
mod receipt;
mod record;
pub mod rollout;
mod state;
mod summary;

pub use preparation::Preparation;
pub use receipt::{PhaseTime, Receipt, SettingsChange, SwitchTraffic, changes_between};
pub use record::{
    Deployment, DeploymentId, HealthStatus, InitiatedBy, Queue, SettingsPatch, Source, Strategy,
    ValidationLevel, Wishes,
};
pub use state::{Effect, Event, IllegalStep, PhaseName, PhaseRecord, PhaseStatus, State, Status};
pub use summary::{DeploymentSummary, PhaseSummary, Phases, ReplicaCounts, RolloutSummary};
