//! Why a deployment failed: the same object on the page, in REST and over MCP.

use serde::{Deserialize, Serialize};

use crate::deployment::PhaseName;

/// Stable cause codes. New ones may be added; none is ever renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    ImageNotFound,
    RegistryRefused,
    RegistryUnreachable,
    ArchitectureMismatch,
    ExitedWithCode,
    KilledForMemory,
    /// It ran, and ended again and again.
    CrashLoop,
    StartFailed,
    /// Another container uses the volume.
    VolumeInUse,
    /// The node's port belongs to somebody else.
    PortTaken,
    NeverListens,
    ListensOnAnotherPort,
    HealthCheckFailed,
    NoNodeFits,
    DeadlineExceeded,
    EngineUnavailable,
    IngressUnavailable,
    NotServedByIngress,
    /// The canary did worse than the release it was measured against.
    CanaryFailed,
    /// It served, and broke what the app promises.
    ObjectiveBroken,
    Cancelled,
    Superseded,
    ReleaseGone,
    ValidationFailed,
    /// The source could not be had: no such repository, branch or folder, or no right to it.
    SourceNotFound,
    /// The source was refused: unsafe, too large, or from where nothing may be fetched.
    SourceRefused,
    /// The build ended with an error.
    BuildFailed,
    /// The app's own tests did not pass.
    TestsFailed,
    /// The release command (migrations) did not end well.
    ReleaseCommandFailed,
    /// A hook before the build or after the deployment did not end well.
    HookFailed,
    /// Somebody who was asked said no.
    ApprovalRejected,
    /// Nobody answered in time.
    ApprovalExpired,
    /// The environment lets nobody of that kind deploy.
    DeniedByPolicy,
    /// What was approved is not what would be done now.
    PlanStale,
    Internal,
}

impl Cause {
    pub fn code(self) -> &'static str {
        match self {
            Self::ImageNotFound => "image_not_found",
            Self::RegistryRefused => "registry_refused",
            Self::RegistryUnreachable => "registry_unreachable",
            Self::ArchitectureMismatch => "architecture_mismatch",
            Self::ExitedWithCode => "exited_with_code",
            Self::KilledForMemory => "killed_for_memory",
            Self::CrashLoop => "crash_loop",
            Self::VolumeInUse => "volume_in_use",
            Self::PortTaken => "port_taken",
            Self::CanaryFailed => "canary_failed",
            Self::ObjectiveBroken => "objective_broken",
            Self::StartFailed => "start_failed",
            Self::NeverListens => "never_listens",
            Self::ListensOnAnotherPort => "listens_on_another_port",
            Self::HealthCheckFailed => "health_check_failed",
            Self::NoNodeFits => "no_node_fits",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::EngineUnavailable => "engine_unavailable",
            Self::IngressUnavailable => "ingress_unavailable",
            Self::NotServedByIngress => "not_served_by_ingress",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::ReleaseGone => "release_gone",
            Self::ValidationFailed => "validation_failed",
            Self::SourceNotFound => "source_not_found",
            Self::SourceRefused => "source_refused",
            Self::BuildFailed => "build_failed",
            Self::TestsFailed => "tests_failed",
            Self::ReleaseCommandFailed => "release_command_failed",
            Self::HookFailed => "hook_failed",
            Self::ApprovalRejected => "approval_rejected",
            Self::ApprovalExpired => "approval_expired",
            Self::DeniedByPolicy => "denied_by_policy",
            Self::PlanStale => "plan_stale",
            Self::Internal => "internal",
        }
    }
}

/// A cause with its proof and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    pub code: Cause,
    pub phase: PhaseName,
    /// One sentence of ours; never text that an app printed.
    pub message: String,
    #[serde(default)]
    pub evidence: Evidence,
    /// At most three things to try, the likeliest first.
    #[serde(default)]
    pub next: Vec<String>,
}

/// What was seen. Absent fields were not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// Docker's or the registry's own words, cut to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_message: Option<String>,
    /// What the last health probe saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_port: Option<u16>,
    /// Ports something was found listening on instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening_ports: Vec<u16>,
    /// What was measured at the ingress, in words: "12 of 240 requests failed in 20 s".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
    /// Who holds what the release wants: a container, or a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_ready: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_wanted: Option<u32>,
    /// The last lines the failing replica printed. Untrusted text: written by the app, at most 20
    /// lines of 500 characters, without control characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted_output: Vec<String>,
}

/// Makes a line of foreign text safe to show: no control, escape or direction-changing
/// characters, at most `limit` characters with the middle cut out.
pub fn tame(text: &str, limit: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(limit * 4));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // CSI sequences end with a letter (ECMA-48); other escapes have one more char.
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
                }
                chars.next();
            }
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}' => {}
            c => clean.push(c),
        }
    }
    let count = clean.chars().count();
    if count <= limit {
        return clean;
    }
    let head: String = clean.chars().take(limit / 2).collect();
    let tail: String = clean.chars().skip(count - limit / 2).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tame_text_cannot_move_the_cursor_or_turn_around() {
        assert_eq!(
            tame("\u{1b}[31mred\u{1b}[0m\r\u{202e}evil\0", 50),
            "redevil"
        );
        assert_eq!(tame(&"x".repeat(100), 10), "xxxxx … xxxxx");
    }
}
