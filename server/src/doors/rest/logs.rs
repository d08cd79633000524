//! `/logs`: stored entries.

use axum::Json;
use axum::extract::State;
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_platform::Platform;
use flukedeploy_platform::logs::{ReadLogs, read_logs};
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::doors::auth::Caller;
use crate::doors::problem::Problem;
use crate::doors::query::Params;

/// How far back entries are looked for unless the caller says otherwise.
const DEFAULT_SINCE_MINUTES: u32 = 60;
const DEFAULT_LIMIT: u32 = 1_000;

#[derive(Serialize)]
pub(super) struct LogList {
    total: u64,
    offset: u32,
    limit: u32,
    logs: Vec<LogEntry>,
}

pub(super) async fn read(
    State(px): State<Platform>,
    Caller(actor): Caller,
    query: Params,
) -> Result<Json<LogList>, Problem> {
    let request = request(query, px.now())?;
    let (offset, limit) = (request.offset, request.limit);
    let page = read_logs(&px, &actor, request).await?;
    Ok(Json(LogList {
        total: page.total,
        offset,
        limit,
        logs: page.entries,
    }))
}

fn request(mut query: Params, now: OffsetDateTime) -> Result<ReadLogs, Problem> {
    let filter = LogFilter {
        app_name: query.text("app_name"),
        deployment_id: query.text("deployment_id"),
        level: query.parsed("level"),
        event_type: query.parsed("event_type"),
        min_level: query.parsed("min_level"),
        ..LogFilter::default()
    };
    let since_minutes = query.number::<u32>("since_minutes").or_else(|| {
        // All entries of a deployment belong to its story, however long ago it was.
        filter
            .deployment_id
            .is_none()
            .then_some(DEFAULT_SINCE_MINUTES)
    });
    let oldest_first = match query.text("order").as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            let problem = format!("must be asc or desc, not {}", quoted(other));
            query.fault(Invalid::new("order", problem));
            false
        }
    };
    let request = ReadLogs {
        filter,
        text: query.text("q"),
        since: since_minutes.map(|minutes| {
            now.checked_sub(Duration::minutes(minutes.into()))
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        }),
        limit: query.number("limit").unwrap_or(DEFAULT_LIMIT),
        offset: query.number("offset").unwrap_or(0),
        oldest_first,
    };
    query.finish()?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::log_entry::{EventType, Level};

    fn parse(query: &str) -> Result<ReadLogs, Problem> {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        request(
            Params::of(&format!("/logs?{query}").parse().unwrap()).unwrap(),
            now,
        )
    }

    #[test]
    fn an_hour_is_the_window_unless_a_deployment_is_named() {
        let plain = parse("").unwrap();
        assert_eq!((plain.limit, plain.offset), (1_000, 0));
        let hour = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) - Duration::hours(1);
        assert_eq!(plain.since, Some(hour));
        assert_eq!(parse("deployment_id=dep-1-00000000").unwrap().since, None);
        assert!(
            parse("deployment_id=dep-1-00000000&since_minutes=5")
                .unwrap()
                .since
                .is_some()
        );
        assert!(parse("since_minutes=4294967295").unwrap().since.is_some());
    }

    #[test]
    fn filters_are_read_and_nonsense_refused() {
        let read =
            parse("app_name=shop&level=warn&event_type=build_error&q=oops&order=asc").unwrap();
        assert_eq!(read.filter.level, Some(Level::Warn));
        assert_eq!(read.filter.event_type, Some(EventType::BuildError));
        assert_eq!(read.text.as_deref(), Some("oops"));
        assert!(read.oldest_first);
        for bad in [
            "limit=ten",
            "offset=-1",
            "since_minutes=1.5",
            "level=loud",
            "order=up",
        ] {
            assert_eq!(parse(bad).unwrap_err().code(), "bad_request", "{bad}");
        }
    }
}
