//! An app, its environments and the settings a release is made from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::build::BuildSettings;
use crate::check::CheckSettings;
use crate::health::HealthGate;
use crate::job::Jobs;
use crate::names::{AppName, EnvironmentName, Hostname, Invalid, quoted};
use crate::release::ReleaseNo;

mod logs;
mod marks;
mod merge;
mod project;
mod rollout;
mod variables;
mod workload;

pub use logs::{AccessLog, LogSettings, MAX_RETAIN_DAYS, MAX_RETAIN_MB, MAX_SLOW_MS};
pub use marks::Marks;
pub use merge::MERGED_PARTS;
pub use project::Project;
pub use rollout::{
    CanarySettings, MAX_CANARY_STEPS, MAX_HOLD_SECONDS, MAX_WARM_SECONDS, Objective, Quantity,
    RolloutSettings, TesterMark, TesterRule, WhenQuiet,
};
pub use variables::{
    Delivered, MAX_SECRET_FILE_BYTES, MAX_SECRET_FILES, MAX_SECRET_FILES_BYTES, SECRETS_FOLDER,
    SecretFile, Variables,
};
pub use workload::{PlacementRule, Protocol, PublishedPort, Resources, Volume};

/// Most replicas one release may ask for.
pub const MAX_REPLICAS: u32 = 500;
/// Most variables of one environment.
pub const MAX_VARIABLES: usize = 500;
/// Longest value of one variable, in bytes.
pub const MAX_VARIABLE_BYTES: usize = 64 * 1024;
/// All names and values together, in bytes: what a process can be started with has a limit.
pub const MAX_VARIABLES_BYTES: usize = 256 * 1024;
/// Most custom host names of one environment.
pub const MAX_DOMAINS: usize = 100;

/// A named application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub name: AppName,
    #[serde(with = "crate::timestamp")]
    pub created_at: OffsetDateTime,
}

/// One deployable instance of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub app: AppName,
    pub name: EnvironmentName,
    pub settings: Settings,
    /// Rises with every change of the settings.
    pub settings_version: u64,
    /// The release that gets the traffic; the truth the ingress is told.
    pub active_release: Option<ReleaseNo>,
    /// Whether it is meant to serve.
    #[serde(default)]
    pub mode: RunMode,
    /// The former release, which still runs without traffic.
    #[serde(default)]
    pub standby: Option<Standby>,
    /// A release that serves since a moment ago and is still watched.
    #[serde(default)]
    pub probation: Option<Probation>,
    /// A preview: then it goes, with everything that belongs to it.
    #[serde(default, with = "crate::timestamp::option")]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "crate::timestamp")]
    pub created_at: OffsetDateTime,
}

/// Whether an environment is meant to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunMode {
    #[default]
    Running,
    /// No replica runs; requests are answered with 503.
    Stopped,
    /// No replica runs; the first request starts the app and is held until it can be answered.
    Asleep,
    /// Replicas run, and requests are held, then answered with 503.
    Maintenance,
}

impl RunMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Asleep => "asleep",
            Self::Maintenance => "maintenance",
        }
    }

    /// Whether replicas are meant to run.
    pub fn has_replicas(self) -> bool {
        matches!(self, Self::Running | Self::Maintenance)
    }
}

/// A release that is kept running without traffic, so that going back to it takes no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    pub release: ReleaseNo,
    #[serde(with = "crate::timestamp")]
    pub until: OffsetDateTime,
}

/// A release that is watched on real traffic after its deployment has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    pub release: ReleaseNo,
    pub deployment: crate::deployment::DeploymentId,
    #[serde(with = "crate::timestamp")]
    pub until: OffsetDateTime,
    /// Failed requests in a thousand of the release before, as far as was measured.
    pub former_errors_permille: Option<u32>,
}

/// What a user sets; frozen into each release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Port the app listens on inside its container.
    pub container_port: u16,
    pub replicas: u32,
    #[serde(default)]
    pub health: HealthGate,
    #[serde(default)]
    pub env_vars: EnvVars,
    /// Names of variables that are marked secret; see [`Marks`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret_env_vars: BTreeSet<String>,
    /// Variables that are delivered as files; all of them are secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_files: BTreeMap<String, SecretFile>,
    /// What the app's project shared with it when a release was made of these settings. Empty in the
    /// settings of an environment, which get what is shared at that moment.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub shared: Variables,
    /// Names of variables that were borrowed from a `FlukeBase` project for one release; the
    /// environment never keeps them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flukebase_env_vars: BTreeSet<String>,
    /// Custom host names beside `<app>.<root domain>`.
    #[serde(default)]
    pub domains: Vec<Hostname>,
    /// How an app is moved to a new release unless a deployment says otherwise.
    #[serde(default)]
    pub strategy: crate::deployment::Strategy,
    /// It answers HTTP requests, which the ingress brings. False for what speaks another protocol.
    #[serde(default = "yes")]
    pub expose_http: bool,
    #[serde(default)]
    pub rollout: RolloutSettings,
    #[serde(default)]
    pub objective: Objective,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub placement: Vec<PlacementRule>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(default)]
    pub published_ports: Vec<PublishedPort>,
    #[serde(default)]
    pub build: BuildSettings,
    #[serde(default)]
    pub jobs: Jobs,
    #[serde(default)]
    pub checks: CheckSettings,
    #[serde(default)]
    pub logs: LogSettings,
}

fn yes() -> bool {
    true
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            container_port: 80,
            replicas: 1,
            health: HealthGate::default(),
            env_vars: EnvVars::default(),
            secret_env_vars: BTreeSet::new(),
            secret_files: BTreeMap::new(),
            shared: Variables::default(),
            flukebase_env_vars: BTreeSet::new(),
            domains: Vec::new(),
            strategy: crate::deployment::Strategy::default(),
            expose_http: true,
            rollout: RolloutSettings::default(),
            objective: Objective::default(),
            resources: Resources::default(),
            placement: Vec::new(),
            volumes: Vec::new(),
            published_ports: Vec::new(),
            build: BuildSettings::default(),
            jobs: Jobs::default(),
            checks: CheckSettings::default(),
            logs: LogSettings::default(),
        }
    }
}

impl Settings {
    /// Two releases must not run at once: they would write to the same data or want the same port.
    pub fn must_run_alone(&self) -> bool {
        self.volumes.iter().any(|volume| !volume.shared) || !self.published_ports.is_empty()
    }

    /// What a deployment gets if it does not ask for another strategy.
    pub fn usual_strategy(&self) -> crate::deployment::Strategy {
        if self.must_run_alone() {
            crate::deployment::Strategy::Recreate
        } else {
            self.strategy
        }
    }

    /// Everything that is wrong, not only the first.
    ///
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        if self.container_port == 0 {
            faults.push(Invalid::new("container_port", "must be 1 to 65535, not 0"));
        }
        faults.extend(check_replicas(self.replicas).err());
        faults.extend(self.health.validate().err());
        faults.extend(self.validate_delivered().err().into_iter().flatten());
        if self.domains.len() > MAX_DOMAINS {
            faults.push(Invalid::new(
                "domains",
                format!("must be at most {MAX_DOMAINS}, not {}", self.domains.len()),
            ));
        }
        faults.extend(self.rollout.validate().err().into_iter().flatten());
        faults.extend(self.objective.validate().err().into_iter().flatten());
        faults.extend(self.build.validate().err().into_iter().flatten());
        faults.extend(self.jobs.validate().err().into_iter().flatten());
        faults.extend(self.checks.validate().err().into_iter().flatten());
        faults.extend(self.logs.validate().err().into_iter().flatten());
        faults.extend(self.resources.validate().err().into_iter().flatten());
        faults.extend(workload::check_volumes(&self.volumes).err());
        faults.extend(workload::check_ports(&self.published_ports).err());
        if self.placement.len() > workload::MAX_PLACEMENT_RULES {
            faults.push(Invalid::new(
                "placement",
                format!("must be at most {} rules", workload::MAX_PLACEMENT_RULES),
            ));
        }
        if self.replicas > 1 && self.volumes.iter().any(|volume| !volume.shared) {
            faults.push(Invalid::new(
                "replicas",
                "must be 1 where a volume is not shared: say so on the volume if several replicas may write to it",
            ));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// # Errors
/// `replicas` is 0 or more than [`MAX_REPLICAS`].
pub fn check_replicas(replicas: u32) -> Result<(), Invalid> {
    if (1..=MAX_REPLICAS).contains(&replicas) {
        Ok(())
    } else {
        Err(Invalid::new(
            "replicas",
            format!("must be 1 to {MAX_REPLICAS}, not {replicas}"),
        ))
    }
}

/// Environment variables. `Debug` shows names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvVars(pub BTreeMap<String, String>);

impl EnvVars {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// # Errors
    /// One [`Invalid`] a variable; values are never quoted.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        if self.0.len() > MAX_VARIABLES {
            faults.push(Invalid::new(
                "env_vars",
                format!(
                    "must hold at most {MAX_VARIABLES} variables, not {}",
                    self.0.len()
                ),
            ));
        }
        let total: usize = self
            .0
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        if total > MAX_VARIABLES_BYTES {
            faults.push(Invalid::new(
                "env_vars",
                format!("must have at most {MAX_VARIABLES_BYTES} bytes in all, not {total}"),
            ));
        }
        for (name, value) in &self.0 {
            let field = format!("env_vars.{}", quoted(name));
            if !variables::is_name(name) {
                faults.push(Invalid::new(
                    field,
                    "must have a name of letters, digits and _ . - that starts with a letter or '_'",
                ));
            } else if value.contains('\0') {
                faults.push(Invalid::new(field, "must not hold a NUL character"));
            } else if value.len() > MAX_VARIABLE_BYTES {
                faults.push(Invalid::new(
                    field,
                    format!("must have at most {MAX_VARIABLE_BYTES} bytes"),
                ));
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

impl std::fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
