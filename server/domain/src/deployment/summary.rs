//! The deployment as every door shows it: the contract's summary, plus optional fields.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::preparation::Preparation;
use super::receipt::Receipt;
use super::record::{Deployment, DeploymentId, HealthStatus, InitiatedBy, Source, Strategy};
use super::rollout::Share;
use super::state::{PhaseName, PhaseRecord, PhaseStatus, State, Status};
use crate::approval::ApprovalBrief;
use crate::diagnosis::Diagnosis;
use crate::names::{AppName, EnvironmentName};
use crate::release::ReleaseNo;
use crate::timestamp;

/// How many replicas were asked for and how many passed their health gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaCounts {
    pub requested: u32,
    pub ready: u32,
}

/// One phase. `duration_ms` is absent while unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSummary {
    pub status: PhaseStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All five phases; the keys are always present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    pub pre_build: PhaseSummary,
    pub build: PhaseSummary,
    pub pre_deploy: PhaseSummary,
    pub deploy: PhaseSummary,
    pub post_deploy: PhaseSummary,
}

impl Phases {
    pub fn get(&self, phase: PhaseName) -> &PhaseSummary {
        match phase {
            PhaseName::PreBuild => &self.pre_build,
            PhaseName::Build => &self.build,
            PhaseName::PreDeploy => &self.pre_deploy,
            PhaseName::Deploy => &self.deploy,
            PhaseName::PostDeploy => &self.post_deploy,
        }
    }
}

/// The contract's deployment summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSummary {
    pub deployment_id: DeploymentId,
    pub app_name: AppName,
    pub environment: EnvironmentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub status: Status,
    pub initiated_by: InitiatedBy,
    /// Account or token name.
    pub initiated_as: String,
    #[serde(with = "timestamp")]
    pub initiated_at: OffsetDateTime,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub completed_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_duration_ms: Option<u64>,
    pub strategy: Strategy,
    /// As the caller wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What really runs: by digest or image id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseNo>,
    /// The release this one goes back to, for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<ReleaseNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub replicas: ReplicaCounts,
    pub health_status: HealthStatus,
    pub phases: Phases,
    /// Which release serves after a deployment that was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_to: Option<ReleaseNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// What was found against the release that served, where the platform went back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Diagnosis>,
    /// What is built, in words, where the image is made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub preparation: Preparation,
    /// What kind of act this is: deploy, promote, rollback, restart, scale, stop, sleep, start, maintenance.
    pub act: String,
    /// Whether somebody has to agree, or had to; filled in where one deployment is looked at, and in
    /// lists while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalBrief>,
    /// Where the traffic is being moved, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSummary>,
    /// What was done, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

fn is_nothing(preparation: &Preparation) -> bool {
    *preparation == Preparation::default()
}

/// A rollout that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSummary {
    /// From 1.
    pub step: u32,
    pub steps: u32,
    /// Percent of new requests that the new release gets now, as the ingress confirmed it.
    pub percent: u32,
    /// What it gets at this step, once enough of its replicas are healthy.
    pub step_percent: u32,
    /// Nothing gets new requests: they wait at the ingress while the release is replaced.
    pub holding: bool,
    /// It stays where it is until somebody resumes, promotes or aborts.
    pub paused: bool,
}

fn rollout_of(deployment: &Deployment) -> Option<RolloutSummary> {
    let in_deploy = matches!(
        deployment.state,
        State::Running {
            phase: PhaseName::Deploy
        }
    );
    if !in_deploy || !deployment.source.makes_release() {
        return None;
    }
    let plan = deployment.plan();
    let progress = deployment.progress;
    let last = plan.steps.len().saturating_sub(1);
    let index = usize::try_from(progress.step).unwrap_or(last).min(last);
    Some(RolloutSummary {
        step: u32::try_from(index).unwrap_or(0) + 1,
        steps: u32::try_from(plan.steps.len()).unwrap_or(0),
        percent: if progress.activated {
            100
        } else {
            progress.given.map_or(0, Share::percent)
        },
        step_percent: plan.steps[index].share.percent(),
        holding: plan.stop_first && progress.touched && !progress.activated,
        paused: deployment.wishes.paused,
    })
}

impl From<&Deployment> for DeploymentSummary {
    fn from(deployment: &Deployment) -> Self {
        let phase = |name: PhaseName| {
            let record: &PhaseRecord = deployment.phase(name);
            PhaseSummary {
                status: record.status,
                duration_ms: record.duration_ms(),
                started_at: record.started_at,
                error: record.error.clone(),
            }
        };
        let requested_image = match (&deployment.source, &deployment.image) {
            (Source::Image { image, .. }, _) => Some(image.to_string()),
            (Source::Build { build, .. }, None) => Some(build.describe()),
            (_, image) => image.as_ref().map(|image| image.requested.to_string()),
        };
        Self {
            deployment_id: deployment.id.clone(),
            app_name: deployment.app.clone(),
            environment: deployment.environment.clone(),
            version: deployment.version.clone(),
            status: deployment.state.status(),
            initiated_by: deployment.initiated_by,
            initiated_as: deployment.initiated_as.name.clone(),
            initiated_at: deployment.initiated_at,
            completed_at: deployment.completed_at,
            total_duration_ms: deployment.completed_at.map(|end| {
                u64::try_from((end - deployment.initiated_at).whole_milliseconds()).unwrap_or(0)
            }),
            strategy: deployment.strategy,
            image: requested_image,
            pinned_image: deployment.image.as_ref().map(|image| image.pinned.clone()),
            release: deployment.release,
            from_release: deployment.from_release,
            rollback_of: match &deployment.source {
                Source::Release { number, .. } => Some(*number),
                _ => None,
            },
            reason: deployment.reason.clone(),
            replicas: ReplicaCounts {
                requested: deployment.replicas,
                ready: deployment.replicas_ready,
            },
            health_status: deployment.health_status,
            phases: Phases {
                pre_build: phase(PhaseName::PreBuild),
                build: phase(PhaseName::Build),
                pre_deploy: phase(PhaseName::PreDeploy),
                deploy: phase(PhaseName::Deploy),
                post_deploy: phase(PhaseName::PostDeploy),
            },
            returned_to: match &deployment.state {
                State::RolledBack { to, .. } => Some(*to),
                _ => None,
            },
            diagnosis: deployment.state.diagnosis().cloned(),
            because: match &deployment.source {
                Source::Release { because, .. } => because.as_deref().cloned(),
                _ => None,
            },
            source: match &deployment.source {
                Source::Build { build, .. } => Some(build.describe()),
                Source::Promote { from, number } => Some(format!("release {number} of {from}")),
                _ => None,
            },
            preparation: deployment.preparation.clone(),
            act: deployment.act().to_owned(),
            approval: None,
            rollout: rollout_of(deployment),
            receipt: deployment.receipt.clone(),
        }
    }
}
