//! Tells the log of changes that were made and stored, in the words of their audit entries: who did
//! what, names and never values.

use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, SYSTEM};

use crate::platform::Platform;

/// What is about an app stands in its log, everything else in the platform's own.
pub(crate) fn tell(px: &Platform, audit: &AuditEntry) {
    let app = audit.resource.strip_prefix("app:").unwrap_or(SYSTEM);
    let text = format!("{} {}", audit.actor.name, audit.summary);
    tracing::info!(app.name = app, "{text}");
    let metadata = LogMetadata::new(EventType::ConfigChange, app);
    px.parts().journal.note(Level::Info, text, metadata);
}
