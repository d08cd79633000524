//! What several doors answer: the contract's shapes, made from the platform's views.

use flukedeploy_domain::approval::{ApprovalBrief, ApprovalState};
use flukedeploy_domain::deployment::{DeploymentId, DeploymentSummary, Status, Strategy};
use flukedeploy_domain::diagnosis::Diagnosis;
use flukedeploy_domain::names::AppName;
use flukedeploy_platform::config::PlatformConfig;
use flukedeploy_platform::deployments::Accepted;
use flukedeploy_platform::views::AppView;
use serde::Serialize;
use serde_json::Value;

/// How long a caller should wait before it asks for the state again.
const POLL_AFTER_SECONDS: u32 = 2;

/// The answer to a deployment that was started.
#[derive(Debug, Serialize)]
pub(crate) struct DeploymentAccepted {
    pub(crate) deployment_id: DeploymentId,
    pub(crate) status: Status,
    pub(crate) app_name: AppName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    pub(crate) strategy: Strategy,
    pub(crate) stream_url: String,
    pub(crate) status_url: String,
    /// The same request came before, with the same idempotency key: this is its deployment.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) replayed: bool,
    /// Absent once the deployment has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) poll_after_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diagnosis: Option<Diagnosis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<PendingApproval>,
}

/// Somebody else has to agree, or had to: where they do, and what the caller can do meanwhile.
#[derive(Debug, Serialize)]
pub(crate) struct PendingApproval {
    /// `pending_approval`, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(flatten)]
    brief: ApprovalBrief,
    /// For people; it opens to those who are signed in and may see the app.
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl PendingApproval {
    pub(crate) fn new(config: &PlatformConfig, summary: &DeploymentSummary) -> Option<Self> {
        let brief = summary.approval.clone()?;
        let waits = brief.state == ApprovalState::Waiting;
        let next = waits.then(|| {
            format!(
                "ask a maintainer to decide at the url, then call deploy_status with deployment_id {} and wait_seconds",
                summary.deployment_id
            )
        });
        Some(Self {
            code: waits.then_some("pending_approval"),
            url: approval_url(config, &brief),
            brief,
            next,
        })
    }
}

/// The dashboard's page of an approval.
pub(crate) fn approval_url(config: &PlatformConfig, brief: &ApprovalBrief) -> String {
    format!("{}/approvals#{}", config.public_url, brief.approval_id)
}

impl DeploymentAccepted {
    pub(crate) fn new(config: &PlatformConfig, summary: DeploymentSummary, replayed: bool) -> Self {
        Self {
            approval: PendingApproval::new(config, &summary),
            stream_url: stream_url(config, "deployment_id", summary.deployment_id.as_str()),
            status_url: status_url(config, &summary.deployment_id),
            poll_after_seconds: poll_after(summary.status),
            deployment_id: summary.deployment_id,
            status: summary.status,
            app_name: summary.app_name,
            image: summary.image,
            strategy: summary.strategy,
            replayed,
            diagnosis: summary.diagnosis,
        }
    }
}

/// The answer to a rollback that was started.
#[derive(Debug, Serialize)]
pub(crate) struct RollbackAccepted {
    pub(crate) deployment_id: DeploymentId,
    pub(crate) app_name: AppName,
    /// Absent if nothing served before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_version: Option<String>,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) stream_url: String,
    pub(crate) status_url: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) poll_after_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diagnosis: Option<Diagnosis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<PendingApproval>,
}

impl RollbackAccepted {
    /// `summary` may be newer than the one in `accepted`, if the caller waited.
    pub(crate) fn new(
        config: &PlatformConfig,
        accepted: Accepted,
        summary: DeploymentSummary,
    ) -> Self {
        Self {
            approval: PendingApproval::new(config, &summary),
            stream_url: stream_url(config, "deployment_id", summary.deployment_id.as_str()),
            status_url: status_url(config, &summary.deployment_id),
            poll_after_seconds: poll_after(summary.status),
            deployment_id: summary.deployment_id,
            app_name: summary.app_name,
            from_version: accepted.from_version,
            to_version: accepted.to_version,
            status: summary.status,
            reason: summary.reason,
            replayed: accepted.replayed,
            diagnosis: summary.diagnosis,
        }
    }
}

/// An app as REST and MCP show it: the view, with the health gate in the form it is sent in.
pub(crate) fn app_answer(app: &AppView) -> Value {
    let mut value = to_value(app);
    if let Some(Value::Object(health)) = value.get_mut("health")
        && let Some(Value::Object(probe)) = health.remove("probe")
    {
        health.extend(probe);
    }
    value
}

/// Serialises one of our own types.
pub(crate) fn to_value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have string keys and no fallible serialisers")
}

/// Where to listen to the entries of a deployment or an app.
pub(crate) fn stream_url(config: &PlatformConfig, filter: &str, value: &str) -> String {
    format!(
        "{}/?{filter}={value}",
        config.stream_url.trim_end_matches('/')
    )
}

fn status_url(config: &PlatformConfig, id: &DeploymentId) -> String {
    format!("{}/api/v1/deployments/{id}", config.public_url)
}

fn poll_after(status: Status) -> Option<u32> {
    (!status.is_final()).then_some(POLL_AFTER_SECONDS)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_false(value: &bool) -> bool {
    !value
}
