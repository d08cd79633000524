//! Deployments: everything that changes what serves, and the look at it.

mod commands;
mod everyday;
mod plan;
mod promote;
mod queries;
mod steer;

pub use commands::{Accepted, Deploy, Rollback, RollbackTarget, Wanted, deploy, rollback};
pub(crate) use commands::{check_texts, open_return};
pub(crate) use everyday::wake;
pub use everyday::{Everyday, What, act};
pub(crate) use plan::approval_plan;
pub use plan::{DeploymentPlan, PlannedStep, plan_deploy, plan_promote, plan_rollback};
pub use promote::{Promote, promote};
pub use queries::{
    active_deployments, deployment_logs, deployment_stats, get_deployment, history,
    recent_deployments, wait_for_begun, wait_for_deployment,
};
pub(crate) use steer::pause_for_quiet;
pub use steer::{Steer, cancel, steer};
