//! Reading the audit trail: by page, newest first, and as a whole, oldest first.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditFilter;
use futures_util::Stream;
use futures_util::stream::try_unfold;

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{AuditOrder, AuditRow};

/// Entries of one page at most.
pub const MAX_LIMIT: u32 = 500;
/// Longest text to look for, in bytes.
pub const MAX_TEXT: usize = 200;

/// The newest entries that fit, newest first; `before` is a sequence number.
///
/// # Errors
/// [`Error::Invalid`] for a text that is too long.
pub async fn audit_trail(
    px: &Platform,
    actor: &Actor,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditRow>, Error> {
    authorise(px, actor, Action::ViewAudit, Resource::System)?;
    check(filter)?;
    let order = AuditOrder::NewestBefore(before);
    let limit = limit.clamp(1, MAX_LIMIT);
    Ok(px.parts().store.audit_entries(filter, order, limit).await?)
}

/// Everything that fits, oldest first, in pieces. What is written meanwhile may be in it.
///
/// # Errors
/// As [`audit_trail`]; and in place of a piece, if the trail cannot be read on.
pub fn export(
    px: &Platform,
    actor: &Actor,
    filter: AuditFilter,
) -> Result<impl Stream<Item = Result<Vec<AuditRow>, Error>> + Send + use<>, Error> {
    authorise(px, actor, Action::ViewAudit, Resource::System)?;
    check(&filter)?;
    let px = px.clone();
    Ok(try_unfold(0_i64, move |after| {
        let (px, filter) = (px.clone(), filter.clone());
        async move {
            let order = AuditOrder::OldestAfter(after);
            let store = &px.parts().store;
            let rows = store.audit_entries(&filter, order, MAX_LIMIT).await?;
            let last = rows.last().map(|row| row.sequence);
            Ok(last.map(|last| (rows, last)))
        }
    }))
}

fn check(filter: &AuditFilter) -> Result<(), Error> {
    match &filter.text {
        Some(text) if text.len() > MAX_TEXT => Err(Error::invalid(
            "q",
            format!("must have at most {MAX_TEXT} bytes, not {}", text.len()),
        )),
        _ => Ok(()),
    }
}
