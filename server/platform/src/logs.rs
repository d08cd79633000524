//! Reading log entries: stored and live.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::AppName;
use time::OffsetDateTime;

use crate::authorise::authorise;
use crate::error::Error;
use crate::journal::Subscription;
use crate::platform::Platform;
use crate::ports::{LogPage, LogQuery};

/// Most entries of one answer.
pub const MAX_PAGE: u32 = 5_000;

/// Which stored entries a caller wants.
#[derive(Debug, Clone, Default)]
pub struct ReadLogs {
    pub filter: LogFilter,
    /// Case-insensitive text in the message.
    pub text: Option<String>,
    pub since: Option<OffsetDateTime>,
    pub limit: u32,
    pub offset: u32,
    pub oldest_first: bool,
}

pub async fn read_logs(px: &Platform, actor: &Actor, request: ReadLogs) -> Result<LogPage, Error> {
    authorise_filter(actor, &request.filter)?;
    if request.limit == 0 || request.limit > MAX_PAGE {
        return Err(Error::invalid(
            "limit",
            format!("must be 1 to {MAX_PAGE}, not {}", request.limit),
        ));
    }
    if request.text.as_ref().is_some_and(|text| text.len() > 500) {
        return Err(Error::invalid("q", "must have at most 500 characters"));
    }
    px.parts().journal.flush().await;
    let query = LogQuery {
        filter: request.filter,
        text: request.text.filter(|text| !text.is_empty()),
        since: request.since,
        limit: request.limit,
        offset: request.offset,
        oldest_first: request.oldest_first,
    };
    Ok(px.parts().log_store.query(&query).await?)
}

/// Live entries from now on. The caller filters, so that a subscription outlives a change of
/// filter.
pub fn subscribe(px: &Platform, actor: &Actor) -> Result<Subscription, Error> {
    authorise(actor, Action::ReadLogs, Resource::System)?;
    Ok(px.parts().journal.subscribe())
}

/// Checks a filter before it is used on a subscription.
pub fn authorise_filter(actor: &Actor, filter: &LogFilter) -> Result<(), Error> {
    match filter.app_name.as_deref().map(str::parse::<AppName>) {
        Some(Ok(app)) => authorise(actor, Action::ReadLogs, Resource::App(&app)),
        // An impossible name matches nothing; the contract answers 200 with none.
        Some(Err(_)) | None => authorise(actor, Action::ReadLogs, Resource::System),
    }
}
