//! `/system` and `/audit`.

use axum::Json;
use axum::extract::State;
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_platform::ports::AuditRow;
use flukedeploy_platform::views::SystemView;
use flukedeploy_platform::{Platform, identity, system};
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

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<SystemView>, Problem> {
    Ok(Json(system::system_view(&px, &actor).await?))
}

pub(super) async fn audit(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Json<AuditList>, Problem> {
    let limit = query.number("limit").unwrap_or(100);
    let before = query.number("before");
    query.finish()?;
    let rows = identity::audit_trail(&px, &actor, limit, before).await?;
    let entries: Vec<AuditAnswer> = rows.into_iter().map(Into::into).collect();
    let next_before = entries
        .last()
        .map(|entry| entry.sequence)
        .filter(|sequence| *sequence > 1);
    Ok(Json(AuditList {
        total: entries.len(),
        entries,
        next_before,
    }))
}
