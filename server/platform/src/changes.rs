//! Tells the log of changes that were made and stored, in the words of their audit entries: who did
//! what, names and never values.

use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, SYSTEM};

use crate::platform::Platform;

/// About who may do what: in the platform's own log, whatever it is about. Who sees an app need not
/// see who else does.
pub(crate) fn tell_apart(px: &Platform, audit: &AuditEntry) {
    let text = format!("{} {}", audit.actor.name, audit.summary);
    tracing::info!("{text}");
    let metadata = LogMetadata::new(EventType::ConfigChange, SYSTEM);
    px.parts().journal.note(Level::Info, text, metadata);
}

/// What is about an app stands in its log, everything else in the platform's own.
pub(crate) fn tell(px: &Platform, audit: &AuditEntry) {
    let app = audit.resource.strip_prefix("app:").unwrap_or(SYSTEM);
    let text = format!("{} {}", audit.actor.name, audit.summary);
    tracing::info!(app.name = app, "{text}");
    let metadata = LogMetadata::new(EventType::ConfigChange, app);
    px.parts().journal.note(Level::Info, text, metadata);
}
