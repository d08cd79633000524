//! What was done, by whom and through which door.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::{Action, Actor};

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
        }
    }
}
