//! Who acts, what they want to do, and the rule that decides.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::names::AppName;

/// How much a token may do. An account of a person has its own row here: administrators.
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
        }
    }
}

/// Everything that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    ListApps,
    ViewApp,
    CreateApp,
    ChangeSettings,
    DeleteApp,
    Deploy,
    Rollback,
    CancelDeployment,
    /// Promote, pause or resume a deployment that is under way.
    SteerDeployment,
    Scale,
    Restart,
    /// Stop, put to sleep, start, and maintenance.
    StopStart,
    Validate,
    ViewDeployment,
    ReadLogs,
    ViewSystem,
    ViewAudit,
    ListTokens,
    CreateToken,
    RevokeToken,
    ListCredentials,
    ChangeCredentials,
    /// Make and remove environments other than production, and promote from one to another.
    ChangeEnvironments,
    ListWebhooks,
    ChangeWebhooks,
    ListLogForwarders,
    ChangeLogForwarders,
    ListPeople,
    /// Invite, turn off, delete, and take a second factor away.
    ChangePeople,
    /// What people do about themselves: password, second factor, sessions.
    ChangeOwnAccount,
    /// Sign in, or try to.
    SignIn,
}

impl Action {
    pub const ALL: [Self; 31] = [
        Self::ListApps,
        Self::ViewApp,
        Self::CreateApp,
        Self::ChangeSettings,
        Self::DeleteApp,
        Self::Deploy,
        Self::Rollback,
        Self::CancelDeployment,
        Self::SteerDeployment,
        Self::Scale,
        Self::Restart,
        Self::StopStart,
        Self::Validate,
        Self::ViewDeployment,
        Self::ReadLogs,
        Self::ViewSystem,
        Self::ViewAudit,
        Self::ListTokens,
        Self::CreateToken,
        Self::RevokeToken,
        Self::ListCredentials,
        Self::ChangeCredentials,
        Self::ChangeEnvironments,
        Self::ListWebhooks,
        Self::ChangeWebhooks,
        Self::ListLogForwarders,
        Self::ChangeLogForwarders,
        Self::ListPeople,
        Self::ChangePeople,
        Self::ChangeOwnAccount,
        Self::SignIn,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListApps => "list_apps",
            Self::ViewApp => "view_app",
            Self::CreateApp => "create_app",
            Self::ChangeSettings => "change_settings",
            Self::DeleteApp => "delete_app",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::CancelDeployment => "cancel_deployment",
            Self::SteerDeployment => "steer_deployment",
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::StopStart => "stop_start",
            Self::Validate => "validate",
            Self::ViewDeployment => "view_deployment",
            Self::ReadLogs => "read_logs",
            Self::ViewSystem => "view_system",
            Self::ViewAudit => "view_audit",
            Self::ListTokens => "list_tokens",
            Self::CreateToken => "create_token",
            Self::RevokeToken => "revoke_token",
            Self::ListCredentials => "list_credentials",
            Self::ChangeCredentials => "change_credentials",
            Self::ChangeEnvironments => "change_environments",
            Self::ListWebhooks => "list_webhooks",
            Self::ChangeWebhooks => "change_webhooks",
            Self::ListLogForwarders => "list_log_forwarders",
            Self::ChangeLogForwarders => "change_log_forwarders",
            Self::ListPeople => "list_people",
            Self::ChangePeople => "change_people",
            Self::ChangeOwnAccount => "change_own_account",
            Self::SignIn => "sign_in",
        }
    }

    /// The lowest tier that may do this.
    pub fn needed_tier(self) -> Tier {
        match self {
            Self::ListApps
            | Self::ViewApp
            | Self::Validate
            | Self::ViewDeployment
            | Self::ReadLogs
            | Self::ViewSystem
            | Self::ChangeOwnAccount
            | Self::SignIn => Tier::Extended,
            Self::CreateApp
            | Self::ChangeSettings
            | Self::DeleteApp
            | Self::Deploy
            | Self::Rollback
            | Self::CancelDeployment
            | Self::SteerDeployment
            | Self::Scale
            | Self::Restart
            | Self::StopStart
            | Self::ChangeEnvironments => Tier::Advanced,
            Self::ViewAudit
            | Self::ListTokens
            | Self::CreateToken
            | Self::RevokeToken
            | Self::ListCredentials
            | Self::ChangeCredentials
            | Self::ListWebhooks
            | Self::ChangeWebhooks
            | Self::ListLogForwarders
            | Self::ChangeLogForwarders
            | Self::ListPeople
            | Self::ChangePeople => Tier::Admin,
        }
    }
}

/// What the action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The instance as a whole.
    System,
    App(&'a AppName),
}

/// The one rule. Grants per app and environment will narrow it; they belong here and nowhere else.
pub fn is_allowed(actor: &Actor, action: Action, _resource: Resource<'_>) -> bool {
    actor.tier >= action.needed_tier()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(tier: Tier) -> Actor {
        Actor {
            tier,
            ..Actor::system()
        }
    }

    #[test]
    fn a_reading_token_cannot_change_anything() {
        let app = "shop".parse().unwrap();
        for action in Action::ALL {
            let reads = matches!(
                action,
                Action::ListApps
                    | Action::ViewApp
                    | Action::Validate
                    | Action::ViewDeployment
                    | Action::ReadLogs
                    | Action::ViewSystem
                    | Action::ChangeOwnAccount
                    | Action::SignIn
            );
            assert_eq!(
                is_allowed(&actor(Tier::Extended), action, Resource::App(&app)),
                reads,
                "{action:?}"
            );
            assert!(is_allowed(&actor(Tier::Admin), action, Resource::App(&app)));
        }
        assert!(!is_allowed(
            &actor(Tier::Advanced),
            Action::CreateToken,
            Resource::System
        ));
    }

    #[test]
    fn only_people_have_to_prove_anew_who_they_are() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
        let proved = |before: Duration| Actor {
            kind: ActorKind::User,
            session: Some(ActorSession {
                id: "s".to_owned(),
                proved_at: now - before,
            }),
            ..Actor::system()
        };
        assert!(has_recent_proof(&proved(Duration::minutes(9)), now));
        assert!(!has_recent_proof(&proved(Duration::minutes(10)), now));
        assert!(
            !has_recent_proof(&proved(Duration::minutes(-1)), now),
            "not yet"
        );
        let without = Actor {
            kind: ActorKind::User,
            ..Actor::system()
        };
        assert!(!has_recent_proof(&without, now));
        let token = Actor {
            kind: ActorKind::Token,
            ..Actor::system()
        };
        assert!(has_recent_proof(&token, now) && has_recent_proof(&Actor::system(), now));
    }
}
