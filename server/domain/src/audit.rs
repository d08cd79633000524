//! What was done, by whom and through which door.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::{Action, Actor, Origin};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    #[default]
    Done,
    /// The actor may not do this; nothing was changed.
    Denied,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// One change of state. Written in the same transaction as the change; the store chains the
/// entries by hash, so that an edited or missing row shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    #[serde(with = "crate::timestamp")]
    pub at: OffsetDateTime,
    pub actor: Actor,
    pub action: Action,
    /// `app:shop-web`, `token:…`, `system`.
    pub resource: String,
    /// One sentence. Names of variables, never values.
    pub summary: String,
    /// Entries of before it was noted were all done.
    #[serde(default, skip_serializing_if = "Outcome::is_done")]
    pub outcome: Outcome,
    /// The request, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl AuditEntry {
    pub fn new(
        at: OffsetDateTime,
        actor: &Actor,
        action: Action,
        resource: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            at,
            actor: actor.clone(),
            action,
            resource: resource.into(),
            summary: summary.into(),
            outcome: Outcome::Done,
            origin: actor.origin.as_deref().cloned(),
        }
    }
}
