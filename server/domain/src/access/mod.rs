//! Who acts, what they want to do, and the rule that decides.

mod action;
mod grants;
mod rights;
mod table;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use self::action::{Action, Scope};
pub use self::grants::{GrantRecord, Limits, Subject, Target};
pub use self::rights::{Grant, Rights, Role};
pub use self::table::as_markdown as table_of_actions;
use crate::names::{AppName, EnvironmentName, ProjectName};

/// How much an actor may do at most; where it may do it is said by its [`Rights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Reads.
    Extended,
    /// Reads and changes apps.
    Advanced,
    /// Everything, tokens and the system included.
    Admin,
}

impl Tier {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extended => "extended",
            Self::Advanced => "advanced",
            Self::Admin => "admin",
        }
    }
}

/// The way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    Dashboard,
    Rest,
    Stream,
    Mcp,
    Cli,
    /// The platform itself: the reconciler, an automatic return.
    System,
}

impl Door {
    pub const ALL: [Self; 6] = [
        Self::Dashboard,
        Self::Rest,
        Self::Stream,
        Self::Mcp,
        Self::Cli,
        Self::System,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Rest => "rest",
            Self::Stream => "stream",
            Self::Mcp => "mcp",
            Self::Cli => "cli",
            Self::System => "system",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    User,
    Token,
    System,
}

/// Who acts. Made only where a credential was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub kind: ActorKind,
    /// Account or token id; never a secret.
    pub id: String,
    /// Shown to people: account or token name.
    pub name: String,
    /// The agent's role, e.g. `OPERATOR`.
    pub persona: Option<String>,
    pub tier: Tier,
    pub door: Door,
    /// The session a person acts in; `None` for tokens and the platform itself.
    #[serde(skip)]
    pub session: Option<ActorSession>,
    /// Where it may act, as of when its credential was checked. Never stored with what it did: an
    /// actor that is read back may do nothing.
    #[serde(skip)]
    pub rights: Arc<Rights>,
    /// A token and those it was made with, it first, each with its limits.
    #[serde(skip)]
    pub chain: Arc<[(String, Limits)]>,
    /// The request it acts through, if it is one.
    #[serde(skip)]
    pub origin: Option<Arc<Origin>>,
}

/// What a person's session adds to who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorSession {
    /// Not the cookie's value: a name for it that may be shown.
    pub id: String,
    /// When the person last proved who they are, with a password or a code.
    pub proved_at: OffsetDateTime,
}

/// How long a proof is good for what is dangerous.
pub const PROOF_LASTS: Duration = Duration::minutes(10);

/// Whether somebody may do what is dangerous without proving anew who they are. Only people are
/// asked: a token cannot type.
pub fn has_recent_proof(actor: &Actor, now: OffsetDateTime) -> bool {
    actor.kind != ActorKind::User
        || actor.session.as_ref().is_some_and(|session| {
            now - session.proved_at < PROOF_LASTS && session.proved_at <= now
        })
}

/// Where a request came from, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The client's address, without its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why, as the agent declared it; not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
}

impl Actor {
    pub fn system() -> Self {
        Self {
            kind: ActorKind::System,
            id: "system".to_owned(),
            name: "FlukeDeploy".to_owned(),
            persona: None,
            tier: Tier::Admin,
            door: Door::System,
            session: None,
            rights: Arc::new(Rights::Everything),
            chain: Arc::default(),
            origin: None,
        }
    }

    /// May do everything there is.
    pub fn is_administrator(&self) -> bool {
        self.tier == Tier::Admin && self.rights.is_everything()
    }
}

/// What the action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The instance as a whole.
    System,
    /// Whatever of the instance the actor may see; the use case leaves the rest out.
    Shown,
    /// An app as a whole. To look at it, any part of it is enough.
    App(&'a AppName),
    /// Any environment of an app: which one is not decided yet.
    SomeOf(&'a AppName),
    Environment(&'a AppName, &'a EnvironmentName),
    /// A project and the apps in it. To look at it, a part of one of them is enough; for everything
    /// else the role must be held in each of them as a whole, since it concerns them all.
    Project(&'a ProjectName, &'a [AppName]),
}

/// What an actor would need to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Tier(Tier),
    Role(Role),
    /// No grant of single apps is enough.
    WholeInstance,
}

/// The one rule: what the actor lacks, if anything.
pub fn lacks(actor: &Actor, action: Action, resource: Resource<'_>) -> Option<Needed> {
    let tier = action.needed_tier();
    if actor.tier < tier {
        return Some(Needed::Tier(tier));
    }
    match (action.scope(), resource) {
        (Scope::Anybody, _) | (Scope::Role(_), Resource::Shown) => None,
        (Scope::Instance, _) | (Scope::Role(_), Resource::System) => {
            (!actor.rights.is_everything()).then_some(Needed::WholeInstance)
        }
        (Scope::Role(role), Resource::App(app)) => {
            let has_it = match role {
                Role::Viewer => actor.rights.shows_app(app.as_str()),
                _ => actor.rights.covers_app(app, role),
            };
            (!has_it).then_some(Needed::Role(role))
        }
        (Scope::Role(role), Resource::SomeOf(app)) => {
            (!actor.rights.holds_in(app, role)).then_some(Needed::Role(role))
        }
        (Scope::Role(role), Resource::Environment(app, environment)) => {
            (!actor.rights.covers(app, environment, role)).then_some(Needed::Role(role))
        }
        (Scope::Role(role), Resource::Project(_, apps)) => {
            let rights = &actor.rights;
            let has_it = match role {
                _ if rights.is_everything() => true,
                Role::Viewer => apps.iter().any(|app| rights.shows_app(app.as_str())),
                // Who is a maintainer of nothing is none of a project without apps either.
                _ => !apps.is_empty() && apps.iter().all(|app| rights.covers_app(app, role)),
            };
            (!has_it).then_some(Needed::Role(role))
        }
    }
}

/// Whether there may be anything that the actor may do this to: whether a tool is worth listing.
pub fn may_somewhere(actor: &Actor, action: Action) -> bool {
    actor.tier >= action.needed_tier()
        && match action.scope() {
            Scope::Anybody => true,
            Scope::Role(role) => actor.rights.holds(role),
            Scope::Instance => actor.rights.is_everything(),
        }
}

/// Whether the actor may know that this exists. What it may not know of is answered as if it did
/// not exist.
pub fn may_know_of(actor: &Actor, resource: Resource<'_>) -> bool {
    match resource {
        Resource::System | Resource::Shown => true,
        Resource::App(app) | Resource::SomeOf(app) => actor.rights.shows_app(app.as_str()),
        Resource::Environment(app, environment) => {
            actor.rights.shows(app.as_str(), Some(environment.as_str()))
        }
        Resource::Project(_, apps) => {
            let rights = &actor.rights;
            rights.is_everything() || apps.iter().any(|app| rights.shows_app(app.as_str()))
        }
    }
}

#[cfg(test)]
mod tests;
