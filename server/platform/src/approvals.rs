//! Approvals: who has to be asked before a release may serve, and what they said.

use flukedeploy_domain::access::{
    Action, Actor, ActorKind, Needed, Resource, Subject, Tier, lacks, may_know_of,
};
use flukedeploy_domain::approval::{
    Answer, Approval, ApprovalId, ApprovalPlan, ApprovalPolicy, ApprovalRule, ApprovalState,
    ApprovalView, NotDecided, kind_of, may_answer,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{PhaseName, Source};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use serde::{Deserialize, Serialize};

use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::deployments::check_texts;
use crate::environments::called;
use crate::error::Error;
use crate::people::require_recent_proof;
use crate::platform::Platform;
use crate::reach::MAX_CHAIN;
use crate::secret::sha256_hex;

/// Stands for whoever operates the machine: tokens that were made there count as made by one.
const OPERATOR: &str = "operator";
/// Most answered ones that are looked through.
const MOST_SEARCHED: u32 = 500;

/// An approval as one actor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalEntry {
    #[serde(flatten)]
    pub approval: ApprovalView,
    /// The actor can answer it now.
    pub may_decide: bool,
}

/// Those the actor may see: the waiting ones, oldest first, then as many answered ones, the newest
/// first.
pub async fn list(px: &Platform, actor: &Actor, limit: u32) -> Result<Vec<ApprovalEntry>, Error> {
    authorise(px, actor, Action::ListApprovals, Resource::Shown)?;
    let store = &px.parts().store;
    let waiting = store.waiting_approvals().await?;
    let wanted = if actor.rights.is_everything() {
        limit.min(MOST_SEARCHED)
    } else {
        MOST_SEARCHED
    };
    let decided = store.decided_approvals(wanted).await?;
    let family = family_of(px, actor).await?;
    let decided = decided
        .iter()
        .filter(|one| shows(actor, one))
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let shown = waiting
        .iter()
        .filter(|one| shows(actor, one))
        .chain(decided);
    Ok(shown.map(|one| entry(px, actor, &family, one)).collect())
}

/// How many wait for this actor's word.
pub async fn waiting_count(px: &Platform, actor: &Actor) -> Result<usize, Error> {
    if !may_answer(actor) {
        return Ok(0);
    }
    let waiting = px.parts().store.waiting_approvals().await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let family = family_of(px, actor).await?;
    let its = waiting
        .iter()
        .filter(|one| may_decide(px, actor, &family, one));
    Ok(its.count())
}

pub async fn get(px: &Platform, actor: &Actor, id: &ApprovalId) -> Result<ApprovalEntry, Error> {
    let approval = require(px, actor, Action::ListApprovals, id).await?;
    let family = family_of(px, actor).await?;
    Ok(entry(px, actor, &family, &approval))
}

/// Approves or rejects, once.
///
/// # Errors
/// [`Error::OwnApproval`] for who asked and all who stand behind or were made by them;
/// [`Error::ApprovalClosed`] if it was answered, withdrawn or too late.
pub async fn decide(
    px: &Platform,
    actor: &Actor,
    id: &ApprovalId,
    approve: bool,
    reason: Option<String>,
) -> Result<ApprovalEntry, Error> {
    let action = Action::DecideApproval;
    let former = require(px, actor, action, id).await?;
    let resource = Resource::Environment(&former.app, &former.environment);
    if !may_answer(actor) {
        let needed = Needed::Tier(Tier::Admin);
        let words = crate::error::words_of(needed);
        px.parts().denials.note(actor, action, resource, words);
        return Err(Error::Forbidden { action, needed });
    }
    let reason = reason.filter(|text| !text.trim().is_empty());
    check_texts(None, reason.as_deref(), None)?;
    let (by, family) = (actor.clone(), family_of(px, actor).await?);
    let mut approval = former.clone();
    let answer = if approve {
        Answer::Approve {
            by,
            family: family.clone(),
            reason,
        }
    } else {
        Answer::Reject {
            by,
            family: family.clone(),
            reason,
        }
    };
    approval
        .decide(answer, px.now())
        .map_err(|why| not_decided(id, why))?;
    let word = if approve { "approves" } else { "rejects" };
    let summary = format!(
        "{word} deployment {} ({id}, plan {})",
        approval.deployment,
        short(&approval.digest)
    );
    let summary = match approval.decision.as_ref().and_then(|d| d.reason.as_ref()) {
        Some(reason) => format!("{summary}: {reason}"),
        None => summary,
    };
    let of = format!("app:{}", approval.app);
    let audit = AuditEntry::new(px.now(), actor, action, of, &summary);
    if !px.parts().store.decide_approval(&approval, &audit).await? {
        let now = px.parts().store.approval(id).await?;
        let why = match now.map(|now| now.state) {
            Some(state) if state != ApprovalState::Waiting => NotDecided::Already(state),
            _ => NotDecided::Already(ApprovalState::Withdrawn),
        };
        return Err(not_decided(id, why));
    }
    told(px, &approval, format!("{} {summary}", actor.name));
    Ok(entry(px, actor, &family, &approval))
}

/// The rules of an environment.
pub async fn policy(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<ApprovalPolicy, Error> {
    let target = Resource::Environment(app, environment);
    authorise(px, actor, Action::ViewApp, target)?;
    require_environment(px, actor, app, environment).await?;
    let store = &px.parts().store;
    Ok(store.approval_policy(app, environment).await?)
}

/// Sets the rules of an environment. A token can only make them stricter: no agent loosens what
/// binds it.
pub async fn set_policy(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
    wanted: ApprovalPolicy,
) -> Result<ApprovalPolicy, Error> {
    let action = Action::ChangeApprovalPolicy;
    authorise(px, actor, action, Resource::System)?;
    let target = Resource::Environment(app, environment);
    require_environment(px, actor, app, environment).await?;
    let policy = ApprovalPolicy::new(wanted.person, wanted.agent)?;
    let store = &px.parts().store;
    let former = store.approval_policy(app, environment).await?;
    if policy == former {
        return Ok(policy);
    }
    if policy.is_looser_than(former) {
        if actor.kind == ActorKind::Token {
            return Err(Error::PolicyBinds);
        }
        require_recent_proof(px, actor, action, target)?;
    }
    let rules = |policy: ApprovalPolicy| {
        format!(
            "people: {}, tokens: {}",
            policy.person.as_str(),
            policy.agent.as_str()
        )
    };
    let summary = format!(
        "changed who needs an approval in {}, from {} to {}",
        called(app, environment),
        rules(former),
        rules(policy)
    );
    let audit = AuditEntry::new(px.now(), actor, action, format!("app:{app}"), summary);
    store
        .set_approval_policy(app, environment, former, policy, &audit)
        .await?;
    crate::changes::tell(px, &audit);
    Ok(policy)
}

/// What the policy has to say to somebody who wants to bring a release into service.
///
/// # Errors
/// [`Error::DeniedByPolicy`].
pub(crate) async fn rule_for(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<ApprovalRule, Error> {
    let policy = px.parts().store.approval_policy(app, environment).await?;
    let rule = policy.rule_for(actor.kind);
    if rule == ApprovalRule::Deny {
        return Err(Error::DeniedByPolicy {
            app: app.to_string(),
            environment: environment.to_string(),
            kind: kind_of(actor),
        });
    }
    Ok(rule)
}

/// Refuses at once what the policy denies. Acts that bring no other release into service are not
/// asked.
pub(crate) async fn refuse_denied(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
    source: &Source,
) -> Result<(), Error> {
    if source.makes_release() {
        rule_for(px, actor, app, environment).await?;
    }
    Ok(())
}

/// Who would have to agree; nobody, if nobody is asked.
pub(crate) async fn needed(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Vec<String>, Error> {
    Ok(match rule_for(px, actor, app, environment).await? {
        ApprovalRule::Approve => vec![who(px, app, environment).await?],
        ApprovalRule::Allow | ApprovalRule::Deny => Vec::new(),
    })
}

/// Who can agree, in words.
pub(crate) async fn who(
    px: &Platform,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<String, Error> {
    let policy = px.parts().store.approval_policy(app, environment).await?;
    let but = if policy.person == ApprovalRule::Allow {
        "as a person"
    } else {
        "other than who asks or made the token that asks"
    };
    let of = called(app, environment);
    Ok(format!("a maintainer of {of} or an administrator, {but}"))
}

pub(crate) fn digest(plan: &ApprovalPlan) -> String {
    // It has string keys and nothing that cannot be written.
    sha256_hex(&serde_json::to_string(plan).unwrap_or_default())
}

/// An actor, and whoever stands behind them: of a token, those it was made with, and the account at
/// its root.
pub(crate) async fn family_of(px: &Platform, actor: &Actor) -> Result<Vec<Subject>, Error> {
    let mut family = Vec::new();
    let mut next = match actor.kind {
        ActorKind::System => None,
        ActorKind::User => {
            family.push(Subject::Account(actor.id.clone()));
            None
        }
        ActorKind::Token => Some(actor.id.clone()),
    };
    let operator = || Subject::Token(OPERATOR.to_owned());
    let mut count = 0;
    while let Some(id) = next.take() {
        count += 1;
        if count > MAX_CHAIN {
            break;
        }
        let found = px.parts().store.token(&id).await?;
        family.push(Subject::Token(id));
        let Some(token) = found else {
            family.push(operator());
            break;
        };
        let owner = token.owner.map(Subject::Account);
        match token.maker {
            Some(Subject::Token(maker)) => next = Some(maker),
            Some(account) => family.push(account),
            None if owner.is_none() => family.push(operator()),
            None => {}
        }
        family.extend(owner);
    }
    Ok(family)
}

/// Ends those whose time is over.
pub(crate) async fn expire_due(px: &Platform) -> Result<(), Error> {
    let now = px.now();
    let waiting = px.parts().store.waiting_approvals().await?;
    for mut approval in waiting.into_iter().filter(|one| one.expires_at <= now) {
        if approval.decide(Answer::Expire, now).is_err() {
            continue;
        }
        let summary = format!(
            "ends the approval {} of deployment {}: nobody answered in time",
            approval.id, approval.deployment
        );
        let of = format!("app:{}", approval.app);
        let action = Action::DecideApproval;
        let audit = AuditEntry::new(now, &Actor::system(), action, of, &summary);
        if px.parts().store.decide_approval(&approval, &audit).await? {
            told(px, &approval, format!("FlukeDeploy {summary}"));
        }
    }
    Ok(())
}

/// Says in the app's log how it was decided, and sets the deployment going.
fn told(px: &Platform, approval: &Approval, mut text: String) {
    let app = approval.app.as_str();
    px.parts().journal.redaction().of(app).in_place(&mut text);
    tracing::info!(app.name = app, deployment.id = %approval.deployment, "{text}");
    let metadata = LogMetadata {
        deployment_id: Some(approval.deployment.to_string()),
        environment: Some(approval.environment.to_string()),
        version: approval.plan.version.clone(),
        release: approval.plan.release.map(|number| number.0),
        phase: Some(PhaseName::PreDeploy),
        ..LogMetadata::new(EventType::PreDeploy, app)
    };
    let level = match approval.state {
        ApprovalState::Approved => Level::Info,
        _ => Level::Warn,
    };
    px.parts().journal.note(level, text, metadata);
    let runner = &px.parts().runner;
    runner.announce(&approval.deployment);
    runner.wake(px, &approval.app, &approval.environment);
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn not_decided(id: &ApprovalId, why: NotDecided) -> Error {
    match why {
        NotDecided::OwnRequest => Error::OwnApproval,
        NotDecided::NotEntitled => Error::Forbidden {
            action: Action::DecideApproval,
            needed: Needed::Tier(Tier::Admin),
        },
        NotDecided::Already(_) | NotDecided::TooLate | NotDecided::TooEarly => {
            Error::ApprovalClosed {
                id: id.clone(),
                why: why.to_string(),
            }
        }
    }
}

fn target(approval: &Approval) -> Resource<'_> {
    Resource::Environment(&approval.app, &approval.environment)
}

fn shows(actor: &Actor, approval: &Approval) -> bool {
    may_know_of(actor, target(approval))
}

fn may_decide(px: &Platform, actor: &Actor, family: &[Subject], approval: &Approval) -> bool {
    may_answer(actor)
        && approval.is_open(px.now())
        && !approval.is_own(actor, family)
        && lacks(actor, Action::DecideApproval, target(approval)).is_none()
}

fn entry(px: &Platform, actor: &Actor, family: &[Subject], approval: &Approval) -> ApprovalEntry {
    ApprovalEntry {
        may_decide: may_decide(px, actor, family, approval),
        approval: approval.into(),
    }
}

/// An approval that the actor may do this to. One that it may not see does not exist for it.
async fn require(
    px: &Platform,
    actor: &Actor,
    action: Action,
    id: &ApprovalId,
) -> Result<Approval, Error> {
    let found = px.parts().store.approval(id).await?;
    let approval = found
        .filter(|approval| shows(actor, approval))
        .ok_or_else(|| Error::ApprovalNotFound { id: id.to_string() })?;
    authorise(px, actor, action, target(&approval))?;
    Ok(approval)
}
