//! One-off commands around a deployment: hooks, migrations, tests.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::PhaseName;
use crate::image::ImageRef;
use crate::names::Invalid;
use crate::timestamp;

/// Longest time limit of a job, in seconds.
pub const MAX_JOB_SECONDS: u32 = 4 * 3600;

/// What a job is for; each kind has its place in the five phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Before anything is built.
    PreBuild,
    /// The app's own tests, in the new image.
    Test,
    /// Migrations: in the new image, while the old release serves.
    Release,
    /// After the new release serves.
    PostDeploy,
}

impl JobKind {
    pub const ALL: [Self; 4] = [Self::PreBuild, Self::Test, Self::Release, Self::PostDeploy];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreBuild => "pre_build",
            Self::Test => "test",
            Self::Release => "release",
            Self::PostDeploy => "post_deploy",
        }
    }

    /// The phase it runs in.
    pub fn phase(self) -> PhaseName {
        match self {
            Self::PreBuild => PhaseName::PreBuild,
            Self::Test | Self::Release => PhaseName::PreDeploy,
            Self::PostDeploy => PhaseName::PostDeploy,
        }
    }
}

/// A command to run once, in a container of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSettings {
    /// Program and arguments, as they are: no shell is put before them.
    pub command: Vec<String>,
    /// Another image than the release's. A job before the build has the release that serves, unless
    /// this is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    #[serde(default = "ten_minutes")]
    pub timeout_seconds: u32,
}

fn ten_minutes() -> u32 {
    600
}

/// The jobs of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jobs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_build: Option<JobSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<JobSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<JobSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<JobSettings>,
}

impl Jobs {
    pub fn get(&self, kind: JobKind) -> Option<&JobSettings> {
        match kind {
            JobKind::PreBuild => self.pre_build.as_ref(),
            JobKind::Test => self.test.as_ref(),
            JobKind::Release => self.release.as_ref(),
            JobKind::PostDeploy => self.post_deploy.as_ref(),
        }
    }

    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        for kind in JobKind::ALL {
            let Some(job) = self.get(kind) else { continue };
            let field = |name: &str| format!("jobs.{}.{name}", kind.as_str());
            let bytes: usize = job.command.iter().map(String::len).sum();
            if job.command.first().is_none_or(String::is_empty) {
                faults.push(Invalid::new(field("command"), "must name a program"));
            } else if job.command.len() > 100 || bytes > 16 * 1024 {
                faults.push(Invalid::new(
                    field("command"),
                    "must have at most 100 parts and 16384 bytes",
                ));
            } else if job.command.iter().any(|part| part.contains('\0')) {
                faults.push(Invalid::new(
                    field("command"),
                    "must not hold a NUL character",
                ));
            }
            if !(1..=MAX_JOB_SECONDS).contains(&job.timeout_seconds) {
                faults.push(Invalid::new(
                    field("timeout_seconds"),
                    format!(
                        "must be 1 to {MAX_JOB_SECONDS}, not {}",
                        job.timeout_seconds
                    ),
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

/// How a job ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Running,
    Success,
    /// It ended with another exit code than 0, or could not start.
    Failed,
    TimedOut,
    /// The deployment was cancelled meanwhile.
    Cancelled,
    /// There was nothing to run it in.
    NotRun,
}

impl JobStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::NotRun => "not_run",
        }
    }
}

/// A job of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub kind: JobKind,
    pub command: Vec<String>,
    pub status: JobStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(with = "timestamp")]
    pub started_at: OffsetDateTime,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub completed_at: Option<OffsetDateTime>,
    /// The Swarm service that ran it: its lines in the log carry this name.
    pub service: String,
    /// Why it did not run or did not end well, where the exit code does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
