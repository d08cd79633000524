use async_trait::async_trait;
use flukedeploy_domain::approval::{Approval, ApprovalId, ApprovalPolicy};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::names::{AppName, EnvironmentName};

use super::store::StoreError;

/// What the control plane remembers of approvals: the part of [`Store`](super::Store) that they
/// need. Each method is one transaction.
#[async_trait]
pub trait Approvals: Send + Sync + 'static {
    /// Everybody is allowed to deploy where nothing was set. It is kept by name, also while there is
    /// no such environment.
    async fn approval_policy(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<ApprovalPolicy, StoreError>;
    /// Takes the place of `seen`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such environment; [`StoreError::Stale`] if the policy
    /// is not `seen` any more.
    async fn set_approval_policy(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        seen: ApprovalPolicy,
        policy: ApprovalPolicy,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// Asks; false if this deployment has asked before.
    async fn ask_approval(
        &self,
        approval: &Approval,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    async fn approval(&self, id: &ApprovalId) -> Result<Option<Approval>, StoreError>;
    async fn approval_of(&self, deployment: &DeploymentId) -> Result<Option<Approval>, StoreError>;
    /// Those that wait, oldest first.
    async fn waiting_approvals(&self) -> Result<Vec<Approval>, StoreError>;
    /// Those that do not, the newest question first.
    async fn decided_approvals(&self, limit: u32) -> Result<Vec<Approval>, StoreError>;
    /// Stores how it was decided. False if it did not wait any more, or its deployment was asked to
    /// stop in between.
    async fn decide_approval(
        &self,
        approval: &Approval,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Deployments that can do nothing before somebody has decided. Those that were asked to stop
    /// can do that.
    async fn parked_deployments(&self) -> Result<Vec<DeploymentId>, StoreError>;
}
