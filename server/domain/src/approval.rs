//! Approvals: a release that somebody else has to agree to before it may serve.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::access::{Actor, ActorKind, Subject};
use crate::app::RunMode;
use crate::deployment::{DeploymentId, SettingsChange, Strategy};
use crate::names::{AppName, EnvironmentName, Invalid, quoted};
use crate::release::ReleaseNo;
use crate::timestamp;

mod view;

pub use view::{ApprovalBrief, ApprovalView, kind_of};

/// How long an approval can be given.
pub const APPROVAL_LASTS: Duration = Duration::hours(24);

/// What an environment answers to those who want to bring a release into service there. From the
/// mildest to the strictest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRule {
    #[default]
    Allow,
    /// Somebody else has to agree first.
    Approve,
    Deny,
}

impl ApprovalRule {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Approve, Self::Deny];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for ApprovalRule {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|rule| rule.as_str() == text);
        found.ok_or_else(|| {
            let problem = format!("must be allow, approve or deny, not {}", quoted(text));
            Invalid::new("rule", problem)
        })
    }
}

/// The rules of one environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalPolicy {
    /// For people.
    #[serde(default)]
    pub person: ApprovalRule,
    /// For tokens, whoever holds them.
    #[serde(default)]
    pub agent: ApprovalRule,
}

impl ApprovalPolicy {
    /// # Errors
    /// Tokens would be allowed more than people: whoever can make a token could go around the rule
    /// for people.
    pub fn new(person: ApprovalRule, agent: ApprovalRule) -> Result<Self, Invalid> {
        if agent < person {
            let problem = format!(
                "must be as strict as the rule for people ({}): a person could make a token and \
                 go around it",
                person.as_str()
            );
            return Err(Invalid::new("agent", problem));
        }
        Ok(Self { person, agent })
    }

    /// The platform itself is never asked: it only goes back to what has served.
    pub fn rule_for(self, kind: ActorKind) -> ApprovalRule {
        match kind {
            ActorKind::User => self.person,
            ActorKind::Token => self.agent,
            ActorKind::System => ApprovalRule::Allow,
        }
    }

    /// Whether anybody could do more under this one than under `other`.
    pub fn is_looser_than(self, other: Self) -> bool {
        self.person < other.person || self.agent < other.agent
    }
}

/// `apr-<unix ms>-<8 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ApprovalId(String);

impl ApprovalId {
    /// `random` makes ids of the same millisecond differ.
    pub fn new(at: OffsetDateTime, random: u32) -> Self {
        Self(format!("apr-{}-{random:08x}", timestamp::to_unix_ms(at)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ApprovalId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.starts_with("apr-") && text.len() <= 64 && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let problem = format!("must begin with 'apr-', not {}", quoted(text));
        Err(Invalid::new("approval_id", problem))
    }
}

impl<'de> Deserialize<'de> for ApprovalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What is to be agreed to, with all it was worked out from: if any of it has changed when the
/// answer comes, it is another plan. Of variables it has names, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalPlan {
    /// What kind of act it is: deploy, promote, rollback, restart.
    pub act: String,
    pub image: String,
    /// What would really run: by digest or image id.
    pub pinned_image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub strategy: Strategy,
    pub replicas: u32,
    /// What serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNo>,
    pub mode: RunMode,
    pub settings_version: u64,
    pub changes: Vec<SettingsChange>,
    pub risks: Vec<String>,
    /// Commands that ran, or will run, once.
    pub jobs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    Waiting,
    Approved,
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// The deployment ended before anybody answered: it was cancelled, or a newer one took its
    /// place.
    Withdrawn,
}

impl ApprovalState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// How it was answered, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `None`: the platform, because time was over or the deployment ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One question whether a deployment may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub id: ApprovalId,
    pub deployment: DeploymentId,
    pub app: AppName,
    pub environment: EnvironmentName,
    pub asked_by: Actor,
    /// Who asks, and whoever stands behind them: of a token, those it was made with, down to the
    /// account at its root. None of them may answer, but for that person if
    /// [`maker_may_answer`](Self::maker_may_answer).
    pub family: Vec<Subject>,
    /// People need no approval here: whoever made the token that asks could do the same without
    /// asking, and so may answer for it.
    pub maker_may_answer: bool,
    /// Why, in the words of who asks; not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    pub plan: ApprovalPlan,
    /// SHA-256 of the plan.
    pub digest: String,
    #[serde(with = "timestamp")]
    pub asked_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub expires_at: OffsetDateTime,
    pub state: ApprovalState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What can happen to one that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Approve {
        by: Actor,
        /// `by` and whoever stands behind them.
        family: Vec<Subject>,
        reason: Option<String>,
    },
    Reject {
        by: Actor,
        family: Vec<Subject>,
        reason: Option<String>,
    },
    Expire,
    Withdraw,
}

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotDecided {
    #[error("it is {} already", .0.as_str())]
    Already(ApprovalState),
    #[error("its time was over")]
    TooLate,
    #[error("its time is not over yet")]
    TooEarly,
    #[error("whoever asked cannot answer, nor whoever stands behind them")]
    OwnRequest,
    #[error("only people, and tokens of the tier admin, can answer")]
    NotEntitled,
}

impl Approval {
    /// Whether it has time left.
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.state == ApprovalState::Waiting && now < self.expires_at
    }

    /// Whether somebody with this family is the one who asked, or stands behind them, or was made
    /// by them.
    pub fn is_own(&self, by: &Actor, family: &[Subject]) -> bool {
        if (by.kind, &by.id) == (self.asked_by.kind, &self.asked_by.id) {
            return true;
        }
        if by.kind == ActorKind::User && self.maker_may_answer {
            return false;
        }
        let asked: BTreeSet<_> = self.family.iter().map(key).collect();
        family.iter().any(|one| asked.contains(&key(one)))
    }

    /// The only way it moves, once.
    ///
    /// # Errors
    /// [`NotDecided`]; it is then unchanged.
    pub fn decide(&mut self, answer: Answer, now: OffsetDateTime) -> Result<(), NotDecided> {
        if self.state != ApprovalState::Waiting {
            return Err(NotDecided::Already(self.state));
        }
        let is_over = now >= self.expires_at;
        let (state, decision) = match answer {
            Answer::Withdraw => (ApprovalState::Withdrawn, (None, None)),
            Answer::Expire if is_over => (ApprovalState::Expired, (None, None)),
            Answer::Expire => return Err(NotDecided::TooEarly),
            Answer::Approve { by, family, reason } => {
                self.allow(&by, &family, is_over)?;
                (ApprovalState::Approved, (Some(by), reason))
            }
            Answer::Reject { by, family, reason } => {
                self.allow(&by, &family, is_over)?;
                (ApprovalState::Rejected, (Some(by), reason))
            }
        };
        let (by, reason) = decision;
        self.state = state;
        self.decision = Some(Decision {
            by,
            at: now,
            reason,
        });
        Ok(())
    }

    fn allow(&self, by: &Actor, family: &[Subject], is_over: bool) -> Result<(), NotDecided> {
        if is_over {
            return Err(NotDecided::TooLate);
        }
        if self.is_own(by, family) {
            return Err(NotDecided::OwnRequest);
        }
        if !may_answer(by) {
            return Err(NotDecided::NotEntitled);
        }
        Ok(())
    }
}

/// Whether somebody is of a kind that can answer at all: a token of a lower tier is an agent's.
pub fn may_answer(actor: &Actor) -> bool {
    match actor.kind {
        ActorKind::User => true,
        ActorKind::Token => actor.tier == crate::access::Tier::Admin,
        ActorKind::System => false,
    }
}

fn key(subject: &Subject) -> (&str, &str) {
    (subject.kind(), subject.id())
}

#[cfg(test)]
mod tests;
