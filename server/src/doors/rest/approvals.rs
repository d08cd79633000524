//! `/approvals`, and who needs one in an environment.

use axum::Json;
use axum::extract::State;
use flukedeploy_domain::approval::{ApprovalPolicy, ApprovalRule};
use flukedeploy_platform::approvals::{self, ApprovalEntry};
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;

use super::path::{ApprovalPath, EnvironmentPath};
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;
use crate::doors::query::Params;

#[derive(Serialize)]
pub(super) struct ApprovalList {
    total: usize,
    /// How many the caller can answer.
    to_decide: usize,
    approvals: Vec<ApprovalEntry>,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Json<ApprovalList>, Problem> {
    let limit = query.number("limit").unwrap_or(20);
    query.finish()?;
    let approvals = approvals::list(&px, &actor, limit).await?;
    Ok(Json(ApprovalList {
        total: approvals.len(),
        to_decide: approvals.iter().filter(|one| one.may_decide).count(),
        approvals,
    }))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    ApprovalPath(id): ApprovalPath,
) -> Result<Json<ApprovalEntry>, Problem> {
    Ok(Json(approvals::get(&px, &actor, &id).await?))
}

/// One handler for each answer.
macro_rules! answer_handler {
    ($name:ident, $approve:expr) => {
        pub(super) async fn $name(
            State(px): State<Platform>,
            Caller(actor): Caller,
            ApprovalPath(id): ApprovalPath,
            JsonBody(mut body): JsonBody,
        ) -> Result<Json<ApprovalEntry>, Problem> {
            let reason = body.text("reason");
            body.finish()?;
            let decided = approvals::decide(&px, &actor, &id, $approve, reason).await?;
            Ok(Json(decided))
        }
    };
}

answer_handler!(approve, true);
answer_handler!(reject, false);

pub(super) async fn policy(
    State(px): State<Platform>,
    Caller(actor): Caller,
    EnvironmentPath(app, environment): EnvironmentPath,
) -> Result<Json<ApprovalPolicy>, Problem> {
    let found = approvals::policy(&px, &actor, &app, &environment).await?;
    Ok(Json(found))
}

pub(super) async fn set_policy(
    State(px): State<Platform>,
    Caller(actor): Caller,
    EnvironmentPath(app, environment): EnvironmentPath,
    JsonBody(body): JsonBody,
) -> Result<Json<ApprovalPolicy>, Problem> {
    let wanted = wanted(body)?;
    let set = approvals::set_policy(&px, &actor, &app, &environment, wanted).await?;
    Ok(Json(set))
}

/// Both rules: one left out would be a guess.
fn wanted(mut fields: Fields) -> Result<ApprovalPolicy, Error> {
    const RULES: &str = "allow, approve or deny";
    let person = fields.chosen::<ApprovalRule>("person", RULES);
    let agent = fields.chosen::<ApprovalRule>("agent", RULES);
    for (name, is_given) in [("person", person.is_some()), ("agent", agent.is_some())] {
        if !is_given && !fields.has_faults() {
            fields.fault(name, "must be given");
        }
    }
    fields.finish()?;
    Ok(ApprovalPolicy {
        person: person.unwrap_or_default(),
        agent: agent.unwrap_or_default(),
    })
}
