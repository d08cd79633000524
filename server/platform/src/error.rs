//! What a use case can answer instead of a result. Each door turns it into its own form in one
//! place; [`Error::public_detail`] is the only text that may leave the process.

use flukedeploy_domain::access::{Action, Needed};
use flukedeploy_domain::approval::ApprovalId;
use flukedeploy_domain::deployment::{DeploymentId, IllegalStep};
use flukedeploy_domain::names::Invalid;
use flukedeploy_domain::repair::RepairAction;
use thiserror::Error;

use crate::ports::{EngineError, StoreError, TrafficError};

#[derive(Debug, Error)]
pub enum Error {
    /// Values that are not allowed, all of them.
    #[error("{}", join(.0))]
    Invalid(Vec<Invalid>),
    #[error("there is no app '{name}'")]
    AppNotFound { name: String, near: Vec<String> },
    #[error("app '{app}' has no environment '{name}'")]
    EnvironmentNotFound {
        app: String,
        name: String,
        known: Vec<String>,
    },
    #[error("there is no project '{name}'")]
    ProjectNotFound { name: String },
    #[error("there is no deployment '{id}'")]
    DeploymentNotFound { id: String },
    #[error("app '{app}' has no release {release} that it could go back to")]
    ReleaseNotFound {
        app: String,
        release: String,
        kept: Vec<String>,
    },
    #[error("there is no {what}")]
    NotFound { what: String },
    #[error("no valid credentials were sent")]
    Unauthenticated { why: &'static str },
    #[error("the action {} needs {}", .action.as_str(), words_of(*.needed))]
    Forbidden { action: Action, needed: Needed },
    #[error("too many attempts; try again in {retry_after_seconds} s")]
    TooManyAttempts { retry_after_seconds: u64 },
    #[error("the token has begun the {limit} deployments that it may begin within {hours} h")]
    BudgetSpent {
        limit: u32,
        hours: u64,
        retry_after_seconds: u64,
    },
    /// The environment's policy lets nobody of that kind bring a release into service.
    #[error(
        "the environment '{environment}' of app '{app}' lets no {kind} deploy, promote, restart or roll back"
    )]
    DeniedByPolicy {
        app: String,
        environment: String,
        /// `person` or `agent`.
        kind: &'static str,
    },
    #[error("who asked for an approval cannot answer it, nor who stands behind them")]
    OwnApproval,
    #[error("a token can only make the rules for approvals stricter")]
    PolicyBinds,
    #[error("there is no approval '{id}'")]
    ApprovalNotFound { id: String },
    #[error("approval '{id}' cannot be answered: {why}")]
    ApprovalClosed { id: ApprovalId, why: String },
    #[error("{what} exists already")]
    Exists { what: String },
    #[error("the settings were changed in between; they are at version {current}")]
    Stale { current: u64 },
    #[error("this idempotency key was used for another request")]
    IdempotencyKeyReused,
    #[error("deployment '{id}' has ended; it cannot be cancelled or steered any more")]
    AlreadyEnded { id: DeploymentId },
    /// Its risk is high, and nobody said that it is wanted all the same.
    #[error("the repair {action} has a high risk and was not confirmed")]
    ConfirmationNeeded { action: RepairAction },
    /// The app is in no state for this.
    #[error("{0}")]
    NotNow(String),
    #[error("FlukeDeploy is shutting down")]
    ShuttingDown,
    #[error("the set-up link was used or replaced")]
    SetUpLinkInvalid,
    #[error("the invitation was used or revoked, or its time is over")]
    InvitationInvalid,
    /// A person who is signed in, and should say so again before this.
    #[error("this needs a proof of who you are within the last ten minutes")]
    ProofNeeded,
    /// The sign-in provider answers not at all, or what it should not.
    #[error("{name} cannot be asked who you are: {why}")]
    ProviderUnavailable { name: String, why: String },
    #[error("nobody would be left who may do everything: this is the last administrator")]
    LastAdministrator,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the ingress cannot be reached")]
    Traffic(#[from] TrafficError),
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("a step was taken out of order")]
    Step(#[from] IllegalStep),
    #[error("an internal task failed while {doing}")]
    Internal {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is needed, for a sentence that goes on from "needs".
pub(crate) fn words_of(needed: Needed) -> String {
    match needed {
        Needed::Tier(tier) => format!("the tier {}", tier.as_str()),
        Needed::Role(role) => format!("the role {} there", role.as_str()),
        Needed::WholeInstance => "rights in the whole instance".to_owned(),
    }
}

fn join(faults: &[Invalid]) -> String {
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What sort of failure it is; doors map it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Invalid,
    NotFound,
    Unauthenticated,
    Forbidden,
    TooMany,
    Conflict,
    Unavailable,
    Internal,
}

impl Error {
    pub fn invalid(field: &str, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid::new(field, problem)])
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::AppNotFound { .. }
            | Self::EnvironmentNotFound { .. }
            | Self::ProjectNotFound { .. }
            | Self::DeploymentNotFound { .. }
            | Self::ReleaseNotFound { .. }
            | Self::ApprovalNotFound { .. }
            | Self::NotFound { .. } => Kind::NotFound,
            Self::Unauthenticated { .. } => Kind::Unauthenticated,
            Self::Forbidden { .. }
            | Self::DeniedByPolicy { .. }
            | Self::OwnApproval
            | Self::PolicyBinds
            | Self::SetUpLinkInvalid
            | Self::InvitationInvalid
            | Self::ProofNeeded => Kind::Forbidden,
            Self::TooManyAttempts { .. } | Self::BudgetSpent { .. } => Kind::TooMany,
            Self::Exists { .. }
            | Self::Stale { .. }
            | Self::IdempotencyKeyReused
            | Self::AlreadyEnded { .. }
            | Self::ApprovalClosed { .. }
            | Self::LastAdministrator
            | Self::ConfirmationNeeded { .. }
            | Self::NotNow(_) => Kind::Conflict,
            Self::Engine(EngineError::NotFound { .. } | EngineError::Refused { .. })
            | Self::Store(_)
            | Self::Step(_)
            | Self::Internal { .. } => Kind::Internal,
            Self::ShuttingDown
            | Self::ProviderUnavailable { .. }
            | Self::Engine(
                EngineError::Unreachable { .. }
                | EngineError::TimedOut { .. }
                | EngineError::NoQuorum { .. },
            )
            | Self::Traffic(_) => Kind::Unavailable,
        }
    }

    /// Stable; never renamed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::AppNotFound { .. } => "app_not_found",
            Self::EnvironmentNotFound { .. } => "environment_not_found",
            Self::ProjectNotFound { .. } => "project_not_found",
            Self::DeploymentNotFound { .. } => "deployment_not_found",
            Self::ReleaseNotFound { .. } => "release_not_found",
            Self::NotFound { .. } => "not_found",
            Self::Unauthenticated { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::BudgetSpent { .. } => "deploy_budget_spent",
            Self::DeniedByPolicy { .. } => "denied_by_policy",
            Self::OwnApproval => "own_approval",
            Self::PolicyBinds => "policy_binds",
            Self::ApprovalNotFound { .. } => "approval_not_found",
            Self::ApprovalClosed { .. } => "approval_closed",
            Self::Exists { .. } => "already_exists",
            Self::Stale { .. } => "settings_changed",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::AlreadyEnded { .. } => "already_ended",
            Self::ConfirmationNeeded { .. } => "confirmation_needed",
            Self::NotNow(_) => "not_now",
            Self::ShuttingDown => "shutting_down",
            Self::SetUpLinkInvalid => "set_up_link_invalid",
            Self::InvitationInvalid => "invitation_invalid",
            Self::ProofNeeded => "proof_needed",
            Self::ProviderUnavailable { .. } => "sign_in_provider_unavailable",
            Self::LastAdministrator => "last_administrator",
            Self::Engine(EngineError::NoQuorum { .. }) => "swarm_unavailable",
            Self::Engine(EngineError::Unreachable { .. } | EngineError::TimedOut { .. }) => {
                "engine_unavailable"
            }
            Self::Engine(EngineError::NotFound { .. } | EngineError::Refused { .. }) => {
                "engine_refused"
            }
            Self::Traffic(_) => "ingress_unavailable",
            Self::Store(_) | Self::Step(_) | Self::Internal { .. } => "internal",
        }
    }

    /// One sentence for the caller.
    pub fn public_detail(&self) -> String {
        match self {
            Self::AppNotFound { near, .. } if !near.is_empty() => {
                format!("{self}; did you mean {}?", near.join(", "))
            }
            Self::EnvironmentNotFound { known, .. } if !known.is_empty() => {
                format!("{self}; it has {}", known.join(", "))
            }
            Self::ReleaseNotFound { kept, .. } if !kept.is_empty() => {
                format!("{self}; it could go back to {}", kept.join(", "))
            }
            Self::Unauthenticated { why } => (*why).to_owned(),
            Self::Store(_) | Self::Step(_) | Self::Internal { .. } => {
                "something failed inside FlukeDeploy; its log has the details".to_owned()
            }
            other => other.to_string(),
        }
    }

    /// What to try; empty where there is nothing honest to say.
    pub fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::Invalid(_) => "correct the named fields and send the request again".to_owned(),
            Self::AppNotFound { .. } => {
                "list the apps, or create this one first (or deploy with create: true)".to_owned()
            }
            Self::EnvironmentNotFound { app, name, .. } => format!(
                "name one that exists, or create '{name}' first: on the app's page, or with \
                 POST /api/v1/apps/{app}/environments"
            ),
            Self::ProjectNotFound { .. } => {
                "list the projects; one is made with the first app that is put into it".to_owned()
            }
            Self::DeploymentNotFound { .. } => "list the app's deployments".to_owned(),
            Self::ReleaseNotFound { .. } => "name one of the releases the app has kept".to_owned(),
            Self::Unauthenticated { .. } => {
                "send the header 'Authorization: Bearer <token>' with a token that is valid now"
                    .to_owned()
            }
            Self::Forbidden { needed, .. } => match needed {
                Needed::Tier(tier) => format!(
                    "ask an administrator for a token of the tier {}",
                    tier.as_str()
                ),
                Needed::Role(role) => format!(
                    "ask an administrator to grant you the role {} there",
                    role.as_str()
                ),
                Needed::WholeInstance => {
                    "ask an administrator, who may do this, or for rights in the whole instance"
                        .to_owned()
                }
            },
            Self::TooManyAttempts {
                retry_after_seconds,
            } => {
                format!("wait {retry_after_seconds} s")
            }
            Self::BudgetSpent { .. } => {
                "wait until an earlier one is out of that time, or ask who made the token"
                    .to_owned()
            }
            Self::Stale { .. } => "read the settings again and repeat the change".to_owned(),
            Self::IdempotencyKeyReused => "use a new key for a new request".to_owned(),
            Self::SetUpLinkInvalid => {
                "sign in, or restart FlukeDeploy for a new link if there is no account yet"
                    .to_owned()
            }
            Self::InvitationInvalid => "ask who invited you for a new link".to_owned(),
            Self::ProofNeeded => {
                "open /account/confirm in the dashboard, type your password there, and try again"
                    .to_owned()
            }
            Self::DeniedByPolicy { .. } => {
                "ask somebody who may do it, or an administrator to change the environment's policy"
                    .to_owned()
            }
            Self::OwnApproval => {
                "ask another maintainer of the app, or another administrator, to decide".to_owned()
            }
            Self::ApprovalNotFound { .. } => "list the approvals".to_owned(),
            Self::PolicyBinds => {
                "sign in to the dashboard as an administrator to loosen them".to_owned()
            }
            Self::ApprovalClosed { .. } => "look at the deployment it belongs to".to_owned(),
            Self::ProviderUnavailable { .. } => {
                "try again in a moment, or sign in with a password".to_owned()
            }
            Self::LastAdministrator => "make somebody else an administrator first".to_owned(),
            Self::ConfirmationNeeded { .. } => {
                "look what it would do with dry_run, then send it again with confirm".to_owned()
            }
            Self::Engine(error) if error.is_transient() => {
                "check the Docker engine ('flukedeploy doctor') and try again".to_owned()
            }
            Self::Traffic(_) => "check the ingress ('flukedeploy doctor') and try again".to_owned(),
            Self::ShuttingDown => "try again in a few seconds".to_owned(),
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::AlreadyEnded { .. }
            | Self::NotNow(_)
            | Self::Engine(_)
            | Self::Store(_)
            | Self::Step(_)
            | Self::Internal { .. } => return None,
        })
    }

    /// Whether the same request may work later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), Kind::Unavailable | Kind::TooMany)
    }

    /// Names that the caller may have meant.
    pub fn near(&self) -> &[String] {
        match self {
            Self::AppNotFound { near, .. } => near,
            _ => &[],
        }
    }

    /// The fields at fault, for forms and structured answers.
    pub fn faults(&self) -> &[Invalid] {
        match self {
            Self::Invalid(faults) => faults,
            _ => &[],
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists { what } => Self::Exists { what },
            StoreError::Missing { what } => Self::NotFound { what },
            StoreError::Stale { current } => Self::Stale { current },
            StoreError::KeyReused => Self::IdempotencyKeyReused,
            StoreError::LastAdministrator => Self::LastAdministrator,
            StoreError::CancelRequested => Self::Internal {
                doing: "storing a deployment",
                source: Box::new(StoreError::CancelRequested),
            },
            other @ (StoreError::Corrupt { .. } | StoreError::Failed { .. }) => Self::Store(other),
        }
    }
}

impl From<Invalid> for Error {
    fn from(fault: Invalid) -> Self {
        Self::Invalid(vec![fault])
    }
}
