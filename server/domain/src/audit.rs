//! What was done, by whom and through which door.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::{Action, Actor, Door, Origin};
use crate::deployment::SettingsChange;

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
    pub const ALL: [Self; 2] = [Self::Done, Self::Denied];

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
    /// What it was and what it is now, a value each. Of variables and secrets only the names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SettingsChange>,
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
            changes: Vec::new(),
            outcome: Outcome::Done,
            origin: actor.origin.as_deref().cloned(),
        }
    }

    /// With what it was before and is now.
    #[must_use]
    pub fn with_changes(mut self, changes: Vec<SettingsChange>) -> Self {
        self.changes = changes;
        self
    }

    /// With one value that was and one that is now; `None` where there was or is none.
    #[must_use]
    pub fn with_change(
        mut self,
        name: &str,
        before: Option<String>,
        after: Option<String>,
    ) -> Self {
        if before != after {
            self.changes.push(SettingsChange {
                name: name.to_owned(),
                before,
                after,
            });
        }
        self
    }
}

/// Which entries of the trail; what is `None` leaves none out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Id or name of who acted.
    pub actor: Option<String>,
    pub action: Option<Action>,
    /// As in the entry; `app:shop-web` finds what was done in its environments, too.
    pub resource: Option<String>,
    pub door: Option<Door>,
    pub outcome: Option<Outcome>,
    /// The first moment.
    pub since: Option<OffsetDateTime>,
    /// The moment after the last one.
    pub until: Option<OffsetDateTime>,
    /// Somewhere in the sentence, the names, the resource or the declared intent; upper and lower
    /// case of ASCII are the same.
    pub text: Option<String>,
}
