//! Answer a question; say who has to ask.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::approval::{ApprovalId, ApprovalPolicy, ApprovalRule};
use flukedeploy_platform::{Error, approvals};

use super::parse::Reader;
use super::{Sent, with_form_names};
use crate::paths;

/// Fields of the rules, which only their own form has.
pub(crate) const FOR_PEOPLE: &str = "approval_person";
pub(crate) const FOR_TOKENS: &str = "approval_agent";

pub(crate) async fn decide(Path(id): Path<String>, form: Sent) -> Response {
    let result = answer(&form, &id).await;
    form.answer(result).await
}

async fn answer(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = form.addressed::<ApprovalId>(id)?;
    let approve = match form.typed.text("answer") {
        Some("approve") => true,
        Some("reject") => false,
        _ => return Err(Error::invalid("answer", "must be approve or reject")),
    };
    let reason = form.typed.text("reason").map(ToOwned::to_owned);
    let decided = approvals::decide(&form.px, actor, &id, approve, reason).await?;
    Ok(paths::deployment(&decided.approval.deployment_id))
}

pub(crate) async fn set_policy(Path(name): Path<String>, form: Sent) -> Response {
    let result = change(&form, &name).await;
    form.answer(result).await
}

async fn change(form: &Sent, app: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(app)?;
    let environment = form.environment()?;
    let mut reader = Reader::new(&form.typed);
    let person: Option<ApprovalRule> = reader.required(FOR_PEOPLE);
    let agent: Option<ApprovalRule> = reader.required(FOR_TOKENS);
    reader.finish()?;
    let policy = ApprovalPolicy {
        person: person.unwrap_or_default(),
        agent: agent.unwrap_or_default(),
    };
    approvals::set_policy(&form.px, actor, &app, &environment, policy)
        .await
        .map_err(|error| with_form_names(error, |name| (name == "agent").then_some(FOR_TOKENS)))?;
    let page = format!("{}#approvals", paths::app(&app));
    Ok(paths::within(&page, &environment))
}
