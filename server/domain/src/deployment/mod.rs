//! The act of moving an environment to a release, in five phases.

mod record;
mod rollout;
mod state;
mod summary;

pub use record::{
    Deployment, DeploymentId, HealthStatus, InitiatedBy, Source, Strategy, ValidationLevel,
};
pub use rollout::{Shift, rolling_batches, shift_for};
pub use state::{Effect, Event, IllegalStep, PhaseName, PhaseRecord, PhaseStatus, State, Status};
pub use summary::{DeploymentSummary, PhaseSummary, Phases, ReplicaCounts};
