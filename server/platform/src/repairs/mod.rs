//! Putting right what self-diagnosis finds. Each repair says what it would do, and does just that; none
//! of them touches a volume.

mod acts;
mod images;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::repair::{RepairAction, RepairStatus, RiskLevel};
use serde::Serialize;

use crate::authorise::authorise;
use crate::error::Error;
use crate::health;
use crate::platform::Platform;

/// A repair that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ActionView {
    pub action: RepairAction,
    pub description: &'static str,
    pub automated: bool,
    pub risk_level: RiskLevel,
}

impl From<RepairAction> for ActionView {
    fn from(action: RepairAction) -> Self {
        Self {
            action,
            description: action.description(),
            automated: action.is_automated(),
            risk_level: action.risk_level(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Repair {
    pub action: RepairAction,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Needed where the risk is high.
    pub confirm: bool,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairResult {
    pub action: RepairAction,
    pub status: RepairStatus,
    pub message: String,
    /// What was done, or would be, by name.
    pub logs: Vec<String>,
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AutoResult {
    pub total: usize,
    pub successful: usize,
    pub failed: usize,
    pub results: Vec<RepairResult>,
}

/// One repair at a time.
#[derive(Default)]
pub(crate) struct Turn(tokio::sync::Mutex<()>);

pub fn list_actions(px: &Platform, actor: &Actor) -> Result<Vec<ActionView>, Error> {
    authorise(px, actor, Action::Repair, Resource::System)?;
    Ok(RepairAction::ALL.into_iter().map(Into::into).collect())
}

/// Does one, or says what it would do.
///
/// # Errors
/// [`Error::ConfirmationNeeded`] where the risk is high and nobody confirmed it;
/// [`Error::NotNow`] while another one runs. A repair that fails is no error: its result says so.
pub async fn repair(px: &Platform, actor: &Actor, cmd: Repair) -> Result<RepairResult, Error> {
    authorise(px, actor, Action::Repair, Resource::System)?;
    if cmd.dry_run {
        return plan(px, cmd.action).await;
    }
    if cmd.action.risk_level() == RiskLevel::High && !cmd.confirm {
        return Err(Error::ConfirmationNeeded { action: cmd.action });
    }
    let _turn = turn(px)?;
    let result = run(px, actor, cmd.action).await?;
    health::look(px).await;
    Ok(result)
}

/// Runs every automated one whose risk is low.
pub async fn heal(px: &Platform, actor: &Actor) -> Result<AutoResult, Error> {
    authorise(px, actor, Action::Repair, Resource::System)?;
    let _turn = turn(px)?;
    let mut results = Vec::new();
    for action in RepairAction::ALL {
        if action.is_automated() && action.risk_level() == RiskLevel::Low {
            results.push(run(px, actor, action).await?);
        }
    }
    health::look(px).await;
    let count = |status| results.iter().filter(|one| one.status == status).count();
    Ok(AutoResult {
        total: results.len(),
        successful: count(RepairStatus::Success),
        failed: count(RepairStatus::Failed),
        results,
    })
}

fn turn(px: &Platform) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
    px.parts()
        .repairs
        .0
        .try_lock()
        .map_err(|_| Error::NotNow("another repair is under way; try again soon".to_owned()))
}

async fn plan(px: &Platform, action: RepairAction) -> Result<RepairResult, Error> {
    let (status, message, logs) = match acts::plan(px, action).await {
        Ok(steps) if steps.is_empty() => (
            RepairStatus::Skipped,
            "there is nothing to do".to_owned(),
            steps,
        ),
        Ok(steps) => (
            RepairStatus::Skipped,
            format!("nothing was done; {} things would be", steps.len()),
            steps,
        ),
        Err(error) => (RepairStatus::Failed, told(&error), Vec::new()),
    };
    Ok(RepairResult {
        action,
        status,
        message,
        logs,
        dry_run: true,
    })
}

async fn run(px: &Platform, actor: &Actor, action: RepairAction) -> Result<RepairResult, Error> {
    // Before it is done: who asked is known even if it never ends.
    note(px, actor, action, format!("asked for the repair {action}")).await?;
    let mut logs = Vec::new();
    let done = acts::run(px, actor, action, &mut logs).await;
    let (status, message) = match done {
        Ok(()) if logs.is_empty() => (RepairStatus::Skipped, "there was nothing to do".to_owned()),
        Ok(()) => (
            RepairStatus::Success,
            format!("{} things were done", logs.len()),
        ),
        Err(error) => (RepairStatus::Failed, told(&error)),
    };
    let summary = format!("the repair {action} ended: {}; {message}", status.as_str());
    note(px, actor, action, summary).await?;
    Ok(RepairResult {
        action,
        status,
        message,
        logs,
        dry_run: false,
    })
}

fn told(error: &Error) -> String {
    tracing::warn!(error = error as &dyn std::error::Error, "a repair failed");
    health::plain(&error.public_detail())
}

async fn note(
    px: &Platform,
    actor: &Actor,
    action: RepairAction,
    summary: String,
) -> Result<(), Error> {
    let resource = format!("repair:{action}");
    let audit = AuditEntry::new(px.now(), actor, Action::Repair, resource, summary);
    px.parts().store.note(&audit).await?;
    crate::changes::tell(px, &audit);
    Ok(())
}
