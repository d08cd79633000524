//! The last step before a release may serve: somebody else's word, where the environment wants it.
//! While nobody has decided, nothing is held: the worker does what comes next, and the deployment
//! is taken up again when there is an answer.

use flukedeploy_domain::access::Action;
use flukedeploy_domain::approval::{
    APPROVAL_LASTS, Approval, ApprovalId, ApprovalPolicy, ApprovalRule, ApprovalState,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{Deployment, PhaseName};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence, tame};
use flukedeploy_domain::log_entry::Level;

use super::drive::Stop;
use super::phases::internal;
use super::report;
use crate::approvals;
use crate::deployments::approval_plan;
use crate::error::Error;
use crate::platform::Platform;
use crate::secret::random_u64;

const PHASE: PhaseName = PhaseName::PreDeploy;

/// What this deployment has asked already, if it has: then all that comes before is done.
pub(super) async fn asked(
    px: &Platform,
    deployment: &Deployment,
) -> Result<Option<Approval>, Stop> {
    let found = px.parts().store.approval_of(&deployment.id).await;
    found.map_err(|error| internal(PHASE, &error).into())
}

/// Asks the environment's policy as it is now, and whoever it wants to be asked.
pub(super) async fn ask(px: &Platform, deployment: &Deployment) -> Result<(), Stop> {
    let store = &px.parts().store;
    let policy = store
        .approval_policy(&deployment.app, &deployment.environment)
        .await
        .map_err(|error| internal(PHASE, &error))?;
    match policy.rule_for(deployment.initiated_as.kind) {
        ApprovalRule::Allow => return Ok(()),
        ApprovalRule::Deny => return Err(denied().into()),
        ApprovalRule::Approve => {}
    }
    let approval = question(px, deployment, policy)
        .await
        .map_err(|error| internal(PHASE, &error))?;
    let audit = AuditEntry::new(
        approval.asked_at,
        &deployment.initiated_as,
        Action::Deploy,
        format!("app:{}", deployment.app),
        format!(
            "asks for the approval {} of deployment {}, plan {}",
            approval.id,
            deployment.id,
            &approval.digest[..12]
        ),
    );
    store
        .ask_approval(&approval, &audit)
        .await
        .map_err(|error| internal(PHASE, &error))?;
    let who = approvals::who(px, &deployment.app, &deployment.environment)
        .await
        .map_err(|error| internal(PHASE, &error))?;
    let text = format!("Waiting for approval {}: {who}", approval.id);
    report::progress(px, deployment, Level::Warn, text);
    px.parts().runner.announce(&deployment.id);
    Err(Stop::Waiting)
}

/// What became of the question.
pub(super) async fn answered(
    px: &Platform,
    deployment: &Deployment,
    approval: &Approval,
) -> Result<(), Stop> {
    match approval.state {
        // Once it is too late to answer, the keeper says so.
        ApprovalState::Waiting => Err(Stop::Waiting),
        ApprovalState::Rejected => Err(rejected(approval).into()),
        ApprovalState::Expired | ApprovalState::Withdrawn => Err(expired(approval).into()),
        ApprovalState::Approved => {
            let plan = approval_plan(px, deployment)
                .await
                .map_err(|error| internal(PHASE, &error))?;
            if approvals::digest(&plan) == approval.digest {
                Ok(())
            } else {
                Err(stale(approval).into())
            }
        }
    }
}

async fn question(
    px: &Platform,
    deployment: &Deployment,
    policy: ApprovalPolicy,
) -> Result<Approval, Error> {
    let plan = approval_plan(px, deployment).await?;
    let now = px.now();
    let random = u32::try_from(random_u64() & u64::from(u32::MAX)).unwrap_or_default();
    Ok(Approval {
        id: ApprovalId::new(now, random),
        deployment: deployment.id.clone(),
        app: deployment.app.clone(),
        environment: deployment.environment.clone(),
        family: approvals::family_of(px, &deployment.initiated_as).await?,
        maker_may_answer: policy.person == ApprovalRule::Allow,
        asked_by: deployment.initiated_as.clone(),
        intent: deployment.reason.as_deref().map(|reason| tame(reason, 500)),
        digest: approvals::digest(&plan),
        plan,
        asked_at: now,
        expires_at: now + APPROVAL_LASTS,
        state: ApprovalState::Waiting,
        decision: None,
    })
}

fn diagnosis(code: Cause, message: String, next: &str) -> Diagnosis {
    Diagnosis {
        code,
        phase: PHASE,
        message,
        evidence: Evidence::default(),
        next: vec![next.to_owned()],
    }
}

fn denied() -> Diagnosis {
    diagnosis(
        Cause::DeniedByPolicy,
        "the environment's policy was changed: it does not let this one deploy any more".to_owned(),
        "ask an administrator about the environment's policy",
    )
}

fn rejected(approval: &Approval) -> Diagnosis {
    let decision = approval.decision.as_ref();
    let by = decision.and_then(|decision| decision.by.as_ref());
    let mut message = match by {
        Some(by) => format!("{} rejected it", tame(&by.name, 100)),
        None => "it was rejected".to_owned(),
    };
    if let Some(reason) = decision.and_then(|decision| decision.reason.as_deref()) {
        message = format!("{message}: {}", tame(reason, 500));
    }
    let next = "change what was objected to, then deploy again";
    diagnosis(Cause::ApprovalRejected, message, next)
}

fn expired(approval: &Approval) -> Diagnosis {
    let hours = (approval.expires_at - approval.asked_at).whole_hours();
    diagnosis(
        Cause::ApprovalExpired,
        format!("nobody approved it within {hours} h"),
        "deploy again, and tell somebody who can approve it",
    )
}

fn stale(approval: &Approval) -> Diagnosis {
    diagnosis(
        Cause::PlanStale,
        format!(
            "what was approved ({}) is not what would be done now: another release serves, or the settings were changed since",
            approval.id
        ),
        "deploy again: the new plan is shown to those who approve",
    )
}
