//! The record of one deployment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use super::preparation::Preparation;
use super::receipt::Receipt;
use super::rollout::{Plan, Progress};
use super::state::{Effect, Event, IllegalStep, PhaseName, PhaseRecord, PhaseStatus, State};
use crate::access::{Actor, ActorKind, Door};
use crate::app::{EnvVars, Marks, RunMode, Settings};
use crate::build::BuildSource;
use crate::diagnosis::Diagnosis;
use crate::image::{ImageRef, PinnedImage};
use crate::names::{AppName, EnvironmentName, Invalid, quoted};
use crate::release::ReleaseNo;
use crate::timestamp;

/// `dep-<unix ms>-<8 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DeploymentId(String);

impl DeploymentId {
    /// `random` makes ids of the same millisecond differ.
    pub fn new(at: OffsetDateTime, random: u32) -> Self {
        Self(format!("dep-{}-{random:08x}", timestamp::to_unix_ms(at)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DeploymentId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 65 || !text.bytes().all(safe) {
            return Err(Invalid::new(
                "deployment_id",
                format!(
                    "must look like 'dep-1770200000000-9f3c1a7e', not {}",
                    quoted(text)
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for DeploymentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How traffic is moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In batches; traffic follows each healthy batch.
    #[default]
    Rolling,
    /// All new replicas healthy, then one switch.
    BlueGreen,
    /// A small share first, judged against the former release at each step.
    Canary,
    /// Stop the old release, then start the new one: for apps that must not run twice.
    Recreate,
}

impl Strategy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue_green",
            Self::Canary => "canary",
            Self::Recreate => "recreate",
        }
    }
}

impl FromStr for Strategy {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "rolling" => Ok(Self::Rolling),
            "blue_green" => Ok(Self::BlueGreen),
            "canary" => Ok(Self::Canary),
            "recreate" => Ok(Self::Recreate),
            other => Err(Invalid::new(
                "strategy",
                format!(
                    "must be rolling, blue_green, canary or recreate, not {}",
                    quoted(other)
                ),
            )),
        }
    }
}

/// How much is checked before a release may start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationLevel {
    None,
    /// Faults stop the deployment.
    #[default]
    Basic,
    /// Warnings stop it too.
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitiatedBy {
    Api,
    Webhook,
    Cli,
    Agent,
}

impl InitiatedBy {
    pub fn of(actor: &Actor) -> Self {
        match (actor.door, actor.kind) {
            (Door::Mcp, _) => Self::Agent,
            (Door::Cli, _) => Self::Cli,
            (_, ActorKind::Token) if actor.persona.is_some() => Self::Agent,
            _ => Self::Api,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Webhook => "webhook",
            Self::Cli => "cli",
            Self::Agent => "agent",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is to be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    Image {
        image: ImageRef,
        /// Settings that come with this deployment; the environment keeps them once it succeeds.
        #[serde(default)]
        changes: SettingsPatch,
    },
    /// Something to make an image of first.
    Build {
        build: BuildSource,
        #[serde(default)]
        changes: SettingsPatch,
    },
    /// The very image of another environment's release, with this environment's own settings.
    Promote {
        from: EnvironmentName,
        number: ReleaseNo,
    },
    /// Go back to (or run again) a kept release, exactly as it was.
    Release {
        number: ReleaseNo,
        /// What was found against the release that served, where the platform goes back by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Box<Diagnosis>>,
    },
    /// The image of a release once more, with the settings as they are now.
    Restart { of: ReleaseNo },
    /// More or fewer replicas of the release that serves.
    Scale { from: u32, to: u32 },
    /// Into another mode: stopped, asleep, in maintenance, or running again.
    Mode { to: RunMode },
}

/// Settings sent along with a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsPatch {
    /// Set beside those that are there.
    pub env_vars: EnvVars,
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
}

impl SettingsPatch {
    pub fn apply(&self, settings: &mut Settings) {
        settings.set_variables(&self.env_vars, &self.marks);
        if let Some(replicas) = self.replicas {
            settings.replicas = replicas;
        }
        if let Some(port) = self.container_port {
            settings.container_port = port;
        }
    }
}

impl Source {
    /// Whether it brings something that has not run in this environment before: then it is checked
    /// and its jobs run.
    pub fn is_new(&self) -> bool {
        matches!(
            self,
            Self::Image { .. } | Self::Build { .. } | Self::Promote { .. }
        )
    }

    /// Whether it leads to another release; else it changes what runs of the present one.
    pub fn makes_release(&self) -> bool {
        match self {
            Self::Image { .. }
            | Self::Build { .. }
            | Self::Promote { .. }
            | Self::Release { .. }
            | Self::Restart { .. } => true,
            Self::Scale { .. } | Self::Mode { .. } => false,
        }
    }
}

/// What a deployment does about one that is under way in its environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// It waits for its turn.
    #[default]
    Wait,
    /// Those before it end as superseded.
    Supersede,
}

/// What callers want of a deployment that is under way. Written by them alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    pub paused: bool,
    /// The step (see [`Progress::step`]) to be taken without judgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted_step: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<DeploymentId>,
}

/// One deployment: what was asked, where it is, what it found out on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub app: AppName,
    pub environment: EnvironmentName,
    pub source: Source,
    pub version: Option<String>,
    pub strategy: Strategy,
    pub replicas: u32,
    pub validation_level: ValidationLevel,
    pub auto_rollback: bool,
    pub reason: Option<String>,
    pub initiated_by: InitiatedBy,
    pub initiated_as: Actor,
    #[serde(with = "timestamp")]
    pub initiated_at: OffsetDateTime,
    #[serde(with = "timestamp::option")]
    pub completed_at: Option<OffsetDateTime>,
    pub state: State,
    /// In the order of [`PhaseName::ALL`].
    pub phases: [PhaseRecord; 5],
    /// Known after `build`.
    pub image: Option<PinnedImage>,
    /// Known after `pre_deploy`.
    pub release: Option<ReleaseNo>,
    /// What served when this deployment began.
    pub from_release: Option<ReleaseNo>,
    pub replicas_ready: u32,
    pub health_status: HealthStatus,
    /// Somebody asked to stop it; honoured at the next safe point.
    pub cancel_requested: bool,
    pub wishes: Wishes,
    /// What the phases before it found out and did.
    pub preparation: Preparation,
    /// How far the deploy phase has come.
    pub progress: Progress,
    /// Written with the final state.
    pub receipt: Option<Receipt>,
    /// Settings of the environment with this deployment's own changes; frozen into the release.
    pub settings: Settings,
}

impl Deployment {
    /// Takes one step and keeps the phase records in line with it.
    ///
    /// # Errors
    /// [`IllegalStep`]; the deployment is then unchanged.
    pub fn apply(&mut self, event: Event, now: OffsetDateTime) -> Result<Effect, IllegalStep> {
        let running = match &self.state {
            State::Running { phase } => Some(*phase),
            _ => None,
        };
        let failure = match &event {
            Event::PhaseFailed(diagnosis) => Some(diagnosis.message.clone()),
            _ => None,
        };
        let (state, effect) = self.state.clone().step(event)?;
        if let Some(phase) = running {
            let record = &mut self.phases[phase.index()];
            record.completed_at = Some(now);
            match failure {
                Some(error) => {
                    record.status = PhaseStatus::Failed;
                    record.error = Some(error);
                }
                None => record.status = PhaseStatus::Success,
            }
        }
        if let State::Running { phase } = &state {
            let record = &mut self.phases[phase.index()];
            record.status = PhaseStatus::Running;
            record.started_at = Some(now);
        }
        if state.is_final() {
            self.completed_at = Some(now);
        }
        self.state = state;
        Ok(effect)
    }

    pub fn phase(&self, phase: PhaseName) -> &PhaseRecord {
        &self.phases[phase.index()]
    }

    /// The way from what served to the new release.
    pub fn plan(&self) -> Plan {
        Plan::new(
            self.strategy,
            self.settings.replicas,
            self.progress.former,
            &self.settings.rollout,
        )
    }

    /// What kind of act this is, in one word.
    pub fn act(&self) -> &'static str {
        match &self.source {
            Source::Image { .. } | Source::Build { .. } => "deploy",
            Source::Promote { .. } => "promote",
            Source::Release { .. } => "rollback",
            Source::Restart { .. } => "restart",
            Source::Scale { .. } => "scale",
            Source::Mode { to } => match to {
                RunMode::Running => "start",
                RunMode::Stopped => "stop",
                RunMode::Asleep => "sleep",
                RunMode::Maintenance => "maintenance",
            },
        }
    }

    pub fn is_rollback(&self) -> bool {
        matches!(self.source, Source::Release { .. })
    }
}
