//! What a deployment found out and did before its release could start.

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::job::{JobKind, JobRecord};

/// Filled by the phases before `deploy` (and the last job by `post_deploy`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preparation {
    /// The commit that was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// `buildkit` or `classic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobRecord>,
}

impl Preparation {
    pub fn job(&self, kind: JobKind) -> Option<&JobRecord> {
        self.jobs.iter().find(|job| job.kind == kind)
    }

    /// Puts the record in the place of the one of the same kind.
    pub fn note_job(&mut self, record: JobRecord) {
        match self.jobs.iter_mut().find(|job| job.kind == record.kind) {
            Some(former) => *former = record,
            None => self.jobs.push(record),
        }
    }
}
