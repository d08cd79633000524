//! `/logs`: stored entries.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::Platform;
use flukedeploy_platform::logs::{self, MAX_HITS, ReadLogs};
use flukedeploy_platform::ports::{Bucket, Context, Order, StoredLine};
use flukedeploy_platform::summary::summarise;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::doors::auth::Caller;
use crate::doors::problem::Problem;
use crate::doors::query::Params;

/// How far back entries are looked for unless the caller says otherwise.
const DEFAULT_SINCE_MINUTES: u32 = 60;
const DEFAULT_LIMIT: u32 = 1_000;
const DEFAULT_BUCKETS: usize = 60;
const NDJSON: &str = "application/x-ndjson";

/// How the entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One JSON object, the contract's.
    Json,
    /// One entry a line; `jsonl` and `jsonld` are other names for it, since every entry is JSON-LD.
    Ndjson,
    /// `time level app message`.
    Text,
}

#[derive(Serialize)]
struct LogList {
    total: u64,
    offset: u32,
    limit: u32,
    logs: Vec<LogEntry>,
    /// For the next page; absent when there is nothing more at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// The search took too long: there may be more than these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

pub(super) async fn read(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Response, Problem> {
    let format = format(&mut query, Format::Json);
    let summary = query.flag("summary", false);
    let neighbours = query.number::<usize>("context");
    let id = query.text("id");
    if id.is_some() && neighbours.is_none() {
        query.fault(Invalid::new("id", "goes with 'context'"));
    }
    if format != Format::Json && (summary || neighbours.is_some()) {
        let problem = "must be json for a summary or for lines with their context";
        query.fault(Invalid::new("format", problem));
    }
    if neighbours.is_some() && id.is_none() && !query.has("limit") {
        query.set("limit", MAX_HITS.to_string());
    }
    let request = request(query, px.now())?;
    if summary {
        return Ok(Json(summarise(&px, &actor, request).await?).into_response());
    }
    if let (Some(count), Some(id)) = (neighbours, id) {
        let Some(found) = logs::context(&px, &actor, request, &id, count).await? else {
            return Err(Problem::no_such_entry(&id));
        };
        return Ok(Json(among_neighbours(found)).into_response());
    }
    let (offset, limit) = (request.offset, request.limit);
    if let Some(count) = neighbours {
        let (page, hits) = logs::hits(&px, &actor, request, count).await?;
        let hits: Vec<Value> = hits.into_iter().map(among_neighbours).collect();
        let mut answer = json!({
            "total": page.total, "offset": offset, "limit": limit, "hits": hits,
        });
        if let Some(cursor) = page.next {
            answer["cursor"] = json!(logs::cursor_text(cursor));
        }
        return Ok(Json(answer).into_response());
    }
    let page = logs::read_logs(&px, &actor, request).await?;
    let cursor = page.next.map(logs::cursor_text);
    Ok(match format {
        Format::Json => Json(LogList {
            total: page.total,
            offset,
            limit,
            logs: page.entries,
            cursor,
            incomplete: page.is_incomplete,
        })
        .into_response(),
        Format::Ndjson | Format::Text => {
            let mut response = written(&page.entries, format).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, media_type(format));
            if let Some(value) = cursor.and_then(|cursor| cursor.parse().ok()) {
                headers.insert("x-next-cursor", value);
            }
            response
        }
    })
}

fn among_neighbours(found: Context) -> Value {
    let entries = |lines: Vec<StoredLine>| -> Vec<LogEntry> {
        lines.into_iter().map(|line| line.entry).collect()
    };
    json!({
        "before": entries(found.before), "entry": found.line.entry, "after": entries(found.after),
    })
}

/// `GET /logs/histogram`: entries over time and by level.
pub(super) async fn histogram(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Response, Problem> {
    let buckets = query.number("buckets").unwrap_or(DEFAULT_BUCKETS);
    let request = request(query, px.now())?;
    let found = logs::histogram(&px, &actor, request, buckets).await?;
    let width = i64::try_from(found.width_ns).unwrap_or(i64::MAX);
    let mut at = found.start;
    let mut stretches = Vec::with_capacity(found.buckets.len());
    for Bucket {
        debug,
        info,
        warn,
        error,
    } in found.buckets
    {
        stretches.push(json!({
            "start": timestamp::to_wire(at),
            "debug": debug, "info": info, "warn": warn, "error": error,
        }));
        at = at.checked_add(Duration::nanoseconds(width)).unwrap_or(at);
    }
    let answer = json!({
        "width_ms": found.width_ns / 1_000_000, "buckets": stretches,
        "incomplete": !found.is_complete || found.damaged > 0,
    });
    Ok(Json(answer).into_response())
}

/// `GET /logs/export`: everything that matches, oldest first, as it is read.
pub(super) async fn export(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Response, Problem> {
    let format = match format(&mut query, Format::Ndjson) {
        Format::Json => Format::Ndjson,
        other => other,
    };
    // Everything, unless the caller says from when.
    let is_open = !query.has("since") && !query.has("since_minutes");
    let mut request = request(query, px.now())?;
    if is_open {
        request.since = None;
    }
    let pieces = logs::export(&px, &actor, request).await?;
    let body = pieces.map(move |piece| {
        let text = match piece {
            Ok(entries) => written(&entries, format),
            // The status is sent already: what is missing is said where it is missing.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an export broke off"
                );
                "{\"error\":\"the export broke off here\"}\n".to_owned()
            }
        };
        Ok::<_, Infallible>(text)
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type(format));
    Ok(response)
}

fn media_type(format: Format) -> axum::http::HeaderValue {
    axum::http::HeaderValue::from_static(match format {
        Format::Json => "application/json",
        Format::Ndjson => NDJSON,
        Format::Text => "text/plain; charset=utf-8",
    })
}

/// One entry a line.
fn written(entries: &[LogEntry], format: Format) -> String {
    let mut text = String::new();
    for entry in entries {
        if format == Format::Text {
            text.push_str(&flukedeploy_domain::log_entry::plain_line(entry));
        } else {
            text.push_str(&serde_json::to_string(entry).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

fn format(query: &mut Params, default: Format) -> Format {
    match query.text("format").as_deref() {
        None => default,
        Some("json") => Format::Json,
        Some("ndjson" | "jsonl" | "jsonld") => Format::Ndjson,
        Some("text") => Format::Text,
        Some(other) => {
            let problem = format!(
                "must be json, jsonld, ndjson, jsonl or text, not {}",
                quoted(other)
            );
            query.fault(Invalid::new("format", problem));
            default
        }
    }
}

fn request(mut query: Params, now: OffsetDateTime) -> Result<ReadLogs, Problem> {
    let filter = LogFilter {
        app_name: query.text("app_name"),
        deployment_id: query.text("deployment_id"),
        level: query.parsed("level"),
        event_type: query.parsed("event_type"),
        min_level: query.parsed("min_level"),
        environment: query.text("environment"),
        release: query.number("release"),
        task_id: query.text("task_id"),
        node_id: query.text("node_id"),
        stream: query.text("stream"),
        source_type: query.parsed("source_type"),
    };
    let since_minutes = query.number::<u32>("since_minutes");
    let since = query.time("since");
    let until = query.time("until");
    let minutes = since_minutes.or_else(|| {
        // All entries of a deployment belong to its story, however long ago it was.
        let is_open = since.is_none() && filter.deployment_id.is_none();
        is_open.then_some(DEFAULT_SINCE_MINUTES)
    });
    let since = since.or_else(|| {
        minutes.map(|minutes| {
            now.checked_sub(Duration::minutes(minutes.into()))
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        })
    });
    let order = match query.text("order").as_deref() {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(other) => {
            let problem = format!("must be asc or desc, not {}", quoted(other));
            query.fault(Invalid::new("order", problem));
            Order::NewestFirst
        }
    };
    let text = query
        .text("q")
        .and_then(|text| match TextQuery::parse(&text) {
            Ok(text) => Some(text),
            Err(fault) => {
                query.fault(Invalid::new("q", fault.problem));
                None
            }
        });
    let after = query
        .text("cursor")
        .and_then(|text| match logs::parse_cursor(&text) {
            Ok(cursor) => Some(cursor),
            Err(fault) => {
                query.fault(fault);
                None
            }
        });
    let request = ReadLogs {
        filter,
        text,
        since,
        until,
        limit: query.number("limit").unwrap_or(DEFAULT_LIMIT),
        offset: query.number("offset").unwrap_or(0),
        order,
        after,
        total: true,
        budget: None,
    };
    let others: Vec<String> = query.others().map(ToOwned::to_owned).collect();
    for name in others {
        query.fault(Invalid::new(quoted(&name), "is not known here"));
    }
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
    fn an_hour_is_the_window_unless_a_deployment_or_a_time_is_named() {
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
        let between = parse("since=1970-01-02T00:00:00Z&until=1970-01-03T00:00:00Z").unwrap();
        let day = |days| Some(OffsetDateTime::UNIX_EPOCH + Duration::days(days));
        assert_eq!((between.since, between.until), (day(1), day(2)));
    }

    #[test]
    fn filters_are_read_and_nonsense_refused() {
        let read = parse(
            "app_name=shop&level=warn&event_type=build_error&q=oops&order=asc&source_type=container",
        )
        .unwrap();
        assert_eq!(read.filter.level, Some(Level::Warn));
        assert_eq!(read.filter.event_type, Some(EventType::BuildError));
        assert!(read.text.is_some_and(|text| text.matches("an Oops here")));
        assert_eq!(read.order, Order::OldestFirst);
        for bad in [
            "limit=ten",
            "offset=-1",
            "since_minutes=1.5",
            "level=loud",
            "order=up",
            "since=yesterday",
            "cursor=x",
            "q=%22never%20closed",
            "source_type=moon",
            "app=shop",
        ] {
            assert_eq!(parse(bad).unwrap_err().code(), "bad_request", "{bad}");
        }
    }
}
