//! What the doors show: one shape for page, REST and MCP. Values of variables never appear.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{Limits, Role, Subject, Target};
use flukedeploy_domain::app::{
    Environment, LogSettings, Objective, PlacementRule, Probation, PublishedPort, Resources,
    RolloutSettings, RunMode, Settings, Standby, Volume,
};
use flukedeploy_domain::build::BuildSettings;
use flukedeploy_domain::check::CheckSettings;
pub use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::deployment::{DeploymentSummary, ReplicaCounts, State, Strategy};
use flukedeploy_domain::health::HealthGate;
use flukedeploy_domain::job::Jobs;
use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname, ProjectName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::timestamp;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ports::AppOverview;
pub(crate) use crate::variable_views::project_view;
use crate::variable_views::variable_warnings;
pub use crate::variable_views::{FileView, ProjectView, SharedVariableView, VariableView};

/// How an app is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// All wanted replicas serve.
    Running,
    Deploying,
    /// It serves, with fewer replicas than wanted.
    Degraded,
    /// A release should serve and no replica does.
    Failed,
    NeverDeployed,
    /// No replica runs, and none is meant to.
    Stopped,
    /// The first request starts it.
    Asleep,
    /// Requests are held.
    Maintenance,
}

impl AppState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Deploying => "deploying",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::NeverDeployed => "never_deployed",
            Self::Stopped => "stopped",
            Self::Asleep => "asleep",
            Self::Maintenance => "maintenance",
        }
    }
}

/// An app with one of its environments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppView {
    pub app_name: AppName,
    pub environment: EnvironmentName,
    pub state: AppState,
    /// Where the ingress serves it.
    pub url: String,
    pub container_port: u16,
    pub replicas: ReplicaCounts,
    /// What the settings say; `replicas` is about the release that serves.
    pub configured_replicas: u32,
    pub strategy: Strategy,
    pub health: HealthGate,
    pub expose_http: bool,
    pub rollout: RolloutSettings,
    pub objective: Objective,
    pub resources: Resources,
    pub placement: Vec<PlacementRule>,
    pub volumes: Vec<Volume>,
    pub published_ports: Vec<PublishedPort>,
    pub build: BuildView,
    pub jobs: Jobs,
    pub checks: CheckSettings,
    pub logs: LogSettings,
    pub mode: RunMode,
    /// The former release, if it still runs without traffic: going back to it takes no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
    /// The release that serves is watched on real traffic until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probation: Option<Probation>,
    /// What of the running service is not as it should be, and was not put right by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    pub domains: Vec<Hostname>,
    /// Names only.
    pub env_var_names: Vec<String>,
    /// The same, with what is marked secret.
    #[serde(default)]
    pub env_vars: Vec<VariableView>,
    /// The project it is in; told of a single app, as is what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// What the project shares with its apps, from their next release on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_env_vars: Vec<SharedVariableView>,
    /// What to know about the variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_var_warnings: Vec<String>,
    pub settings_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_release: Option<ReleaseNo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_deployment: Option<DeploymentSummary>,
    /// A preview: when it goes by itself, with everything that belongs to it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub expires_at: Option<OffsetDateTime>,
    /// All of the app, production first.
    #[serde(default)]
    pub environments: Vec<EnvironmentBrief>,
}

/// One environment of an app in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentBrief {
    pub name: EnvironmentName,
    pub state: AppState,
    pub url: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub expires_at: Option<OffsetDateTime>,
}

/// How images of an app are built; of arguments and secrets, names only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    pub arg_names: Vec<String>,
    pub secret_names: Vec<String>,
    pub variables_as_args: bool,
    pub cpu_limit_milli: u32,
    pub memory_limit_mb: u32,
    pub timeout_seconds: u32,
}

impl From<&BuildSettings> for BuildView {
    fn from(settings: &BuildSettings) -> Self {
        Self {
            arg_names: settings.args.names().map(ToOwned::to_owned).collect(),
            secret_names: settings.secrets.names().map(ToOwned::to_owned).collect(),
            variables_as_args: settings.variables_as_args,
            cpu_limit_milli: settings.cpu_limit_milli,
            memory_limit_mb: settings.memory_limit_mb,
            timeout_seconds: settings.timeout_seconds,
        }
    }
}

/// A release, with names of variables only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseView {
    pub release: ReleaseNo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub image: String,
    pub pinned_image: String,
    pub replicas: u32,
    pub container_port: u16,
    pub env_var_names: Vec<String>,
    /// The same, with what is marked secret.
    #[serde(default)]
    pub env_vars: Vec<VariableView>,
    /// It gets the traffic now.
    pub active: bool,
    /// It passed its health gate once, so one can go back to it.
    pub was_healthy: bool,
    /// It was healthy and served, and nothing was found against it: a return by itself may go here.
    pub stable: bool,
    /// What was found against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

impl ReleaseView {
    pub fn new(release: &Release, active: Option<ReleaseNo>) -> Self {
        Self {
            release: release.number,
            version: release.version.clone(),
            image: release.image.requested.to_string(),
            pinned_image: release.image.pinned.clone(),
            replicas: release.settings.replicas,
            container_port: release.settings.container_port,
            env_var_names: (release.settings.delivered())
                .map(|one| one.name.clone())
                .collect(),
            env_vars: VariableView::all(&release.settings),
            active: active == Some(release.number),
            was_healthy: release.was_healthy,
            stable: release.is_stable(),
            withdrawn: release.withdrawn.clone(),
            created_at: release.created_at,
        }
    }
}

/// A deployment with its entries by phase: the contract's `/deployments/:id/logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentLogs {
    pub deployment: DeploymentSummary,
    pub phases: PhaseLogs,
    pub total_logs: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseLogs {
    pub pre_build: Vec<LogEntry>,
    pub build: Vec<LogEntry>,
    pub pre_deploy: Vec<LogEntry>,
    pub deploy: Vec<LogEntry>,
    pub post_deploy: Vec<LogEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStats {
    pub active_count: u64,
    pub completed_count: u64,
    pub total_tracked: u64,
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationReport {
    pub status: ValidationStatus,
    pub app_name: AppName,
    pub environment: EnvironmentName,
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationStatus {
    Passed,
    Warning,
    Failed,
}

/// A role that somebody has in an app or a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    pub id: String,
    pub subject: Subject,
    /// `None`: whoever it was is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<String>,
    pub target: Target,
    pub role: Role,
    /// Only in these; absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<EnvironmentName>>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    pub created_by: String,
}

/// Why somebody may do something in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Administrator,
    /// By a grant of this id in the app itself.
    Granted(String),
    Project(ProjectName),
    /// A token, within what it was made with; its own grant in the app, if it has one.
    Token {
        grant: Option<String>,
    },
}

/// What somebody may do in an app, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingView {
    pub name: String,
    pub role: Role,
    /// Only in these; `None`: in all.
    pub environments: Option<BTreeSet<EnvironmentName>>,
    pub why: Why,
}

impl StandingView {
    pub(crate) fn everywhere(name: &str, why: Why) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Maintainer,
            environments: None,
            why,
        }
    }

    pub(crate) fn granted(name: &str, grant: &GrantView) -> Self {
        let why = match &grant.target {
            Target::App(_) => Why::Granted(grant.id.clone()),
            Target::Project(project) => Why::Project(project.clone()),
        };
        Self::everywhere(name, why)
    }

    /// The grant that can be taken back here.
    pub fn grant(&self) -> Option<&str> {
        match &self.why {
            Why::Granted(id) | Why::Token { grant: Some(id) } => Some(id),
            _ => None,
        }
    }
}

/// Where a token may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenGrant {
    pub target: Target,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

fn is_without_limits(limits: &Limits) -> bool {
    *limits == Limits::default()
}

/// A token as it is listed; the secret is shown only once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    pub tier: flukedeploy_domain::access::Tier,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    pub created_by: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub expires_at: Option<OffsetDateTime>,
    /// Where it may act, unless it or its maker is kept to less; absent: in the whole instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<TokenGrant>>,
    #[serde(default, skip_serializing_if = "is_without_limits")]
    pub limits: Limits,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub revoked_at: Option<OffsetDateTime>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub last_used_at: Option<OffsetDateTime>,
}

/// How the platform itself is; answered from memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemView {
    pub version: String,
    pub instance: String,
    pub engine_answers: bool,
    /// Docker's version, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_api_version: Option<String>,
    pub nodes: u32,
    /// Ingresses that are connected now.
    pub ingresses: u32,
    pub apps: u64,
    pub deployments_active: u64,
    #[serde(with = "timestamp")]
    pub started_at: OffsetDateTime,
    /// What is not well, in words.
    pub problems: Vec<String>,
}

pub(crate) fn app_view(
    overview: &AppOverview,
    environment: &Environment,
    latest: Option<&flukedeploy_domain::deployment::Deployment>,
    release: Option<&Release>,
    ready: u32,
    url: String,
    drift: Vec<String>,
) -> AppView {
    let settings: &Settings = &environment.settings;
    let wanted = release.map_or(settings.replicas, |release| release.settings.replicas);
    let state = state_of(environment, latest, release, ready);
    AppView {
        app_name: overview.app.name.clone(),
        environment: environment.name.clone(),
        state,
        url,
        container_port: settings.container_port,
        configured_replicas: settings.replicas,
        replicas: ReplicaCounts {
            requested: wanted,
            ready,
        },
        strategy: settings.usual_strategy(),
        health: settings.health.clone(),
        expose_http: settings.expose_http,
        rollout: settings.rollout.clone(),
        objective: settings.objective.clone(),
        resources: settings.resources.clone(),
        placement: settings.placement.clone(),
        volumes: settings.volumes.clone(),
        published_ports: settings.published_ports.clone(),
        build: (&settings.build).into(),
        jobs: settings.jobs.clone(),
        checks: settings.checks.clone(),
        logs: settings.logs.clone(),
        mode: environment.mode,
        standby: environment.standby,
        probation: environment.probation.clone(),
        drift,
        domains: settings.domains.clone(),
        env_var_names: settings.env_vars.names().map(ToOwned::to_owned).collect(),
        env_vars: VariableView::all(settings),
        project: None,
        shared_env_vars: Vec::new(),
        env_var_warnings: variable_warnings(settings),
        settings_version: environment.settings_version,
        active_release: environment.active_release,
        version: release.and_then(|release| release.version.clone()),
        image: release.map(|release| release.image.requested.to_string()),
        created_at: overview.app.created_at,
        latest_deployment: latest.map(Into::into),
        expires_at: environment.expires_at,
        environments: Vec::new(),
    }
}

/// `ready`: how many replicas of the release that serves are well.
pub(crate) fn state_of(
    environment: &Environment,
    latest: Option<&flukedeploy_domain::deployment::Deployment>,
    release: Option<&Release>,
    ready: u32,
) -> AppState {
    let wanted = release.map_or(environment.settings.replicas, |r| r.settings.replicas);
    let deploying = latest.is_some_and(|deployment| !deployment.state.is_final());
    let never = environment.active_release.is_none();
    match (deploying, never) {
        (true, _) => AppState::Deploying,
        (false, true) => match latest.map(|deployment| &deployment.state) {
            Some(State::Failed { .. } | State::RolledBack { .. }) => AppState::Failed,
            _ => AppState::NeverDeployed,
        },
        (false, false) if environment.mode == RunMode::Stopped => AppState::Stopped,
        (false, false) if environment.mode == RunMode::Asleep => AppState::Asleep,
        (false, false) if ready == 0 => AppState::Failed,
        (false, false) if environment.mode == RunMode::Maintenance => AppState::Maintenance,
        (false, false) if ready < wanted => AppState::Degraded,
        (false, false) => AppState::Running,
    }
}
