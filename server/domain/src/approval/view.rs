//! Approvals as every door shows them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Approval, ApprovalId, ApprovalPlan, ApprovalState};
use crate::access::{Actor, ActorKind};
use crate::deployment::DeploymentId;
use crate::names::{AppName, EnvironmentName};
use crate::timestamp;

/// One approval with its plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    pub approval_id: ApprovalId,
    pub deployment_id: DeploymentId,
    pub app_name: AppName,
    pub environment: EnvironmentName,
    pub state: ApprovalState,
    /// Account or token name.
    pub asked_by: String,
    /// `person` or `agent`.
    pub asked_as: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    /// In the words of who asks; not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    pub plan: ApprovalPlan,
    pub plan_digest: String,
    #[serde(with = "timestamp")]
    pub asked_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub expires_at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub decided_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `person` or `agent`, the words of a policy.
pub fn kind_of(actor: &Actor) -> &'static str {
    match actor.kind {
        ActorKind::User => "person",
        ActorKind::Token => "agent",
        ActorKind::System => "platform",
    }
}

impl From<&Approval> for ApprovalView {
    fn from(approval: &Approval) -> Self {
        let decision = approval.decision.as_ref();
        Self {
            approval_id: approval.id.clone(),
            deployment_id: approval.deployment.clone(),
            app_name: approval.app.clone(),
            environment: approval.environment.clone(),
            state: approval.state,
            asked_by: approval.asked_by.name.clone(),
            asked_as: kind_of(&approval.asked_by).to_owned(),
            persona: approval.asked_by.persona.clone(),
            intent: approval.intent.clone(),
            plan: approval.plan.clone(),
            plan_digest: approval.digest.clone(),
            asked_at: approval.asked_at,
            expires_at: approval.expires_at,
            decided_by: decision
                .and_then(|decision| decision.by.as_ref())
                .map(|by| by.name.clone()),
            decided_at: decision.map(|decision| decision.at),
            reason: decision.and_then(|decision| decision.reason.clone()),
        }
    }
}

/// What a deployment says of the approval it needs, or needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalBrief {
    pub approval_id: ApprovalId,
    pub state: ApprovalState,
    #[serde(with = "timestamp")]
    pub asked_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub expires_at: OffsetDateTime,
    pub plan_digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Approval> for ApprovalBrief {
    fn from(approval: &Approval) -> Self {
        let view = ApprovalView::from(approval);
        Self {
            approval_id: view.approval_id,
            state: view.state,
            asked_at: view.asked_at,
            expires_at: view.expires_at,
            plan_digest: view.plan_digest,
            decided_by: view.decided_by,
            reason: view.reason,
        }
    }
}
