//! `/audit`: who did what, and what was refused.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::access::{Action, Door};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter, Outcome};
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_platform::ports::AuditRow;
use flukedeploy_platform::{Platform, audit};
use futures_util::StreamExt;
use serde::Serialize;

use crate::doors::auth::Caller;
use crate::doors::problem::Problem;
use crate::doors::query::Params;

#[derive(Serialize)]
pub(super) struct AuditList {
    total: usize,
    entries: Vec<AuditAnswer>,
    /// Pass it as `before` for the entries that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct AuditAnswer {
    sequence: i64,
    #[serde(flatten)]
    entry: AuditEntry,
    hash: String,
}

impl From<AuditRow> for AuditAnswer {
    fn from(row: AuditRow) -> Self {
        Self {
            sequence: row.sequence,
            entry: row.entry,
            hash: row.hash,
        }
    }
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Json<AuditList>, Problem> {
    let limit = query.number("limit").unwrap_or(100);
    let before = query.number("before");
    let filter = filter(query)?;
    let rows = audit::audit_trail(&px, &actor, &filter, before, limit).await?;
    let is_full = rows.len() == usize::try_from(limit.clamp(1, audit::MAX_LIMIT)).unwrap_or(0);
    let entries: Vec<AuditAnswer> = rows.into_iter().map(Into::into).collect();
    let next_before = entries
        .last()
        .map(|entry| entry.sequence)
        .filter(|sequence| is_full && *sequence > 1);
    Ok(Json(AuditList {
        total: entries.len(),
        entries,
        next_before,
    }))
}

/// Everything that fits, oldest first, an entry a line: as the text that is hashed, so that whoever
/// keeps it can check the chain.
pub(super) async fn export(
    State(px): State<Platform>,
    Caller(actor): Caller,
    query: Params,
) -> Result<Response, Problem> {
    let pieces = audit::export(&px, &actor, filter(query)?)?;
    let body = pieces.map(|piece| {
        let text = match piece {
            Ok(rows) => rows.iter().map(line).collect(),
            // The status is sent already: what is missing is said where it is missing.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an export of the audit trail broke off"
                );
                "{\"error\":\"the export broke off here\"}\n".to_owned()
            }
        };
        Ok::<_, Infallible>(text)
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"audit.ndjson\""),
    );
    Ok(response)
}

fn line(row: &AuditRow) -> String {
    format!(
        "{{\"sequence\":{},\"entry\":{},\"hash\":\"{}\"}}\n",
        row.sequence, row.stored, row.hash
    )
}

fn filter(mut query: Params) -> Result<AuditFilter, Problem> {
    let app = query.text("app_name");
    let filter = AuditFilter {
        actor: query.text("actor"),
        action: one_of(&mut query, "action", &Action::ALL, Action::as_str),
        resource: query
            .text("resource")
            .or_else(|| app.map(|app| format!("app:{app}"))),
        door: one_of(&mut query, "door", &Door::ALL, Door::as_str),
        outcome: one_of(&mut query, "outcome", &Outcome::ALL, Outcome::as_str),
        since: query.time("since"),
        until: query.time("until"),
        text: query.text("q"),
    };
    query.finish()?;
    Ok(filter)
}

fn one_of<T: Copy>(
    query: &mut Params,
    name: &str,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Option<T> {
    let text = query.text(name)?;
    let found = all.iter().copied().find(|one| word(*one) == text);
    if found.is_none() {
        let words: Vec<_> = all.iter().map(|one| word(*one)).collect();
        let problem = format!("must be one of {}, not {}", words.join(", "), quoted(&text));
        query.fault(Invalid::new(name, problem));
    }
    found
}
