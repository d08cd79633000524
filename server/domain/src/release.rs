//! A release: image digest + settings + variables, frozen and numbered per environment.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::app::Settings;
use crate::deployment::DeploymentId;
use crate::image::PinnedImage;
use crate::job::JobKind;
use crate::names::{AppName, EnvironmentName, InstanceName};

/// 1, 2, 3… per environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNo(pub u32);

impl fmt::Display for ReleaseNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Never changed after it was made, but for [`Release::was_healthy`], [`Release::withdrawn`] and the
/// number of replicas, which scaling changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub number: ReleaseNo,
    pub image: PinnedImage,
    pub settings: Settings,
    /// What the caller calls this version; else the image's tag.
    pub version: Option<String>,
    /// It passed its health gate once, so it may be gone back to.
    pub was_healthy: bool,
    /// Why it is not to be gone back to by itself, although it was healthy once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    #[serde(with = "crate::timestamp")]
    pub created_at: OffsetDateTime,
}

impl Release {
    /// It was healthy and served, and nothing was found against it since: a return may go here.
    pub fn is_stable(&self) -> bool {
        self.was_healthy && self.withdrawn.is_none()
    }

    /// The Swarm service of this release, which is also its DNS name; at most 63 characters, as
    /// DNS labels allow, so long names are shortened around a checksum.
    pub fn service_name(&self, instance: &InstanceName) -> String {
        service_name(instance, &self.app, &self.environment, self.number)
    }

    /// "v2.4.0", or "release 3" where no version is known.
    pub fn label(&self) -> String {
        self.version
            .clone()
            .unwrap_or_else(|| format!("release {}", self.number))
    }
}

/// The Docker volume of an environment's volume; at most 63 characters like the service's name.
pub fn volume_name(
    instance: &InstanceName,
    app: &AppName,
    environment: &EnvironmentName,
    volume: &str,
) -> String {
    shortened(
        format!("fd-{instance}-{app}-{environment}"),
        &format!("-{volume}"),
    )
}

/// `fd-<instance>-<app>-<env>-r<N>`; see [`Release::service_name`].
pub fn service_name(
    instance: &InstanceName,
    app: &AppName,
    environment: &EnvironmentName,
    number: ReleaseNo,
) -> String {
    shortened(
        format!("fd-{instance}-{app}-{environment}"),
        &format!("-r{number}"),
    )
}

/// The Swarm service of a job of a deployment.
pub fn job_name(
    instance: &InstanceName,
    app: &AppName,
    environment: &EnvironmentName,
    kind: JobKind,
    deployment: &DeploymentId,
) -> String {
    // The random end of the id; what comes before it is a time.
    let short: String = deployment.as_str().chars().rev().take(8).collect();
    let short: String = short.chars().rev().collect();
    shortened(
        format!("fd-{instance}-{app}-{environment}"),
        &format!("-job-{}-{short}", kind.as_str().replace('_', "-")),
    )
}

/// The Swarm secret of a variable that is delivered as a file. A Swarm secret cannot be changed, so
/// another value has another one: `digest` stands for the value, and tells nothing of it.
pub fn secret_name(
    instance: &InstanceName,
    app: &AppName,
    environment: &EnvironmentName,
    digest: &str,
) -> String {
    shortened(
        format!("fd-{instance}-{app}-{environment}"),
        &format!("-s-{digest}"),
    )
}

fn shortened(full: String, tail: &str) -> String {
    if full.len() + tail.len() <= 63 {
        return full + tail;
    }
    // FNV-1a: no security rests on it, only that two long names stay apart.
    let sum = full.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let keep = 63 - tail.len() - 13;
    format!(
        "{}-{:012x}{tail}",
        full[..keep].trim_end_matches('-'),
        sum & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_fit_a_dns_label_and_stay_apart() {
        let instance: InstanceName = "main".parse().unwrap();
        let name = |app: &str| {
            service_name(
                &instance,
                &app.parse().unwrap(),
                &EnvironmentName::production(),
                ReleaseNo(12),
            )
        };
        assert_eq!(name("shop"), "fd-main-shop-production-r12");
        let (a, b) = (name(&("a".repeat(48) + "1")), name(&("a".repeat(48) + "2")));
        assert!(a.len() <= 63 && b.len() <= 63 && a != b, "{a} {b}");
        assert!(a.ends_with("-r12"));
    }
}
