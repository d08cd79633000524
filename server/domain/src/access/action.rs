//! Everything that can be done, and what it takes.

use serde::{Deserialize, Serialize};

use super::{Role, Tier};

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
    ListApprovals,
    /// Approve or reject a deployment that waits for it. Of tokens, those of the tier admin alone.
    DecideApproval,
    /// Who needs whose approval in an environment. A token can only make it stricter.
    ChangeApprovalPolicy,
    ViewSystem,
    /// Put right what self-diagnosis found.
    Repair,
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
    /// Who may do what in an app.
    ListGrants,
    ChangeGrants,
    /// Put apps into projects.
    ChangeProjects,
    ViewProject,
    /// Change the variables that a project shares with its apps.
    ShareVariables,
    ListPeople,
    /// Invite, turn off, delete, and take a second factor away.
    ChangePeople,
    /// What people do about themselves: password, second factor, sessions.
    ChangeOwnAccount,
    /// Sign in, or try to.
    SignIn,
    ViewFlukebase,
    /// Turn it on and off, its address and token, and which app belongs to which project.
    ChangeFlukebase,
}

/// Where an actor must be allowed to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Whoever has the tier; the use case is about the actor's own things, or leaves out what it may
    /// not see.
    Anybody,
    /// With this role in the app or environment it is about.
    Role(Role),
    /// The whole instance.
    Instance,
}

impl Action {
    pub const ALL: [Self; 42] = [
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
        Self::ListApprovals,
        Self::DecideApproval,
        Self::ChangeApprovalPolicy,
        Self::ViewSystem,
        Self::Repair,
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
        Self::ListGrants,
        Self::ChangeGrants,
        Self::ChangeProjects,
        Self::ViewProject,
        Self::ShareVariables,
        Self::ListPeople,
        Self::ChangePeople,
        Self::ChangeOwnAccount,
        Self::SignIn,
        Self::ViewFlukebase,
        Self::ChangeFlukebase,
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
            Self::ListApprovals => "list_approvals",
            Self::DecideApproval => "decide_approval",
            Self::ChangeApprovalPolicy => "change_approval_policy",
            Self::ViewSystem => "view_system",
            Self::Repair => "repair",
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
            Self::ListGrants => "list_grants",
            Self::ChangeGrants => "change_grants",
            Self::ChangeProjects => "change_projects",
            Self::ViewProject => "view_project",
            Self::ShareVariables => "share_variables",
            Self::ListPeople => "list_people",
            Self::ChangePeople => "change_people",
            Self::ChangeOwnAccount => "change_own_account",
            Self::SignIn => "sign_in",
            Self::ViewFlukebase => "view_flukebase",
            Self::ChangeFlukebase => "change_flukebase",
        }
    }

    /// The lowest tier that may do this.
    pub fn needed_tier(self) -> Tier {
        match self {
            Self::ListApps
            | Self::ViewApp
            | Self::ViewProject
            | Self::Validate
            | Self::ViewDeployment
            | Self::ReadLogs
            | Self::ListApprovals
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
            | Self::DecideApproval
            | Self::Scale
            | Self::Restart
            | Self::StopStart
            | Self::ChangeEnvironments
            | Self::ShareVariables
            | Self::ListTokens
            | Self::CreateToken
            | Self::RevokeToken
            | Self::ListGrants => Tier::Advanced,
            Self::Repair
            | Self::ViewAudit
            | Self::ChangeApprovalPolicy
            | Self::ListCredentials
            | Self::ChangeCredentials
            | Self::ListWebhooks
            | Self::ChangeWebhooks
            | Self::ListLogForwarders
            | Self::ChangeLogForwarders
            | Self::ChangeGrants
            | Self::ChangeProjects
            | Self::ListPeople
            | Self::ChangePeople
            | Self::ViewFlukebase
            | Self::ChangeFlukebase => Tier::Admin,
        }
    }

    /// Where the actor must be allowed to act.
    pub fn scope(self) -> Scope {
        match self {
            Self::ListApps
            | Self::ListTokens
            | Self::CreateToken
            | Self::RevokeToken
            | Self::ChangeOwnAccount
            | Self::SignIn => Scope::Anybody,
            Self::ViewApp
            | Self::ViewProject
            | Self::Validate
            | Self::ViewDeployment
            | Self::ReadLogs
            | Self::ListApprovals => Scope::Role(Role::Viewer),
            Self::Deploy
            | Self::Rollback
            | Self::CancelDeployment
            | Self::SteerDeployment
            | Self::Scale
            | Self::Restart
            | Self::StopStart => Scope::Role(Role::Deployer),
            Self::ChangeSettings
            | Self::DecideApproval
            | Self::ChangeEnvironments
            | Self::ShareVariables
            | Self::DeleteApp
            | Self::ListGrants => Scope::Role(Role::Maintainer),
            Self::CreateApp
            | Self::ViewSystem
            | Self::Repair
            | Self::ViewAudit
            | Self::ChangeApprovalPolicy
            | Self::ListCredentials
            | Self::ChangeCredentials
            | Self::ListWebhooks
            | Self::ChangeWebhooks
            | Self::ListLogForwarders
            | Self::ChangeLogForwarders
            | Self::ChangeGrants
            | Self::ChangeProjects
            | Self::ListPeople
            | Self::ChangePeople
            | Self::ViewFlukebase
            | Self::ChangeFlukebase => Scope::Instance,
        }
    }
}
