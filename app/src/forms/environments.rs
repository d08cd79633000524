//! Environments: make one, give it a time, promote a release.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::app::MAX_REPLICAS;
use flukedeploy_domain::deployment::{Queue, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName, quoted};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::ChangeApp;
use flukedeploy_platform::deployments::{self, Promote};
use flukedeploy_platform::environments::{
    MAX_TTL_SECONDS, NewEnvironment, create_environment, set_ttl,
};

use super::parse::Reader;
use super::{Outcome, Sent, Typed};
use crate::paths;

const SECONDS_PER_HOUR: u64 = 3_600;
/// Hidden field: the environment whose releases the form lists.
pub(crate) const LISTED: &str = "releases_of";

pub(crate) async fn create(Path(name): Path<String>, form: Sent) -> Response {
    let result = make(&form, &name).await;
    form.answer(result).await
}

async fn make(form: &Sent, app: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed::<AppName>(app)?;
    let mut reader = Reader::new(&form.typed);
    let name: Option<EnvironmentName> = reader.required("name");
    let from: Option<EnvironmentName> = reader.optional("from");
    let ttl_seconds = ttl_of(&mut reader);
    let (set_env_vars, marks) = reader.all_variables();
    let change = ChangeApp {
        replicas: reader.number("replicas", 1, MAX_REPLICAS),
        set_env_vars,
        marks,
        ..ChangeApp::default()
    };
    reader.finish()?;
    let Some(name) = name else {
        return Err(Error::invalid("name", "must be given"));
    };
    let new = NewEnvironment {
        app: app.clone(),
        name: name.clone(),
        from: from.unwrap_or_else(EnvironmentName::production),
        ttl_seconds,
        change,
    };
    create_environment(&form.px, actor, new).await?;
    Ok(paths::within(&paths::app(&app), &name))
}

/// Nothing typed: it stays.
fn ttl_of(reader: &mut Reader<'_>) -> Option<u64> {
    let hours = reader.number("ttl_hours", 1, MAX_TTL_SECONDS / SECONDS_PER_HOUR)?;
    Some(hours * SECONDS_PER_HOUR)
}

pub(crate) async fn ttl(Path(name): Path<String>, form: Sent) -> Response {
    let result = give_time(&form, &name).await;
    form.answer(result).await
}

async fn give_time(form: &Sent, app: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(app)?;
    let environment = form.environment()?;
    let mut reader = Reader::new(&form.typed);
    let ttl_seconds = ttl_of(&mut reader);
    reader.finish()?;
    set_ttl(&form.px, actor, &app, &environment, ttl_seconds).await?;
    Ok(paths::within(&paths::app(&app), &environment))
}

pub(crate) async fn promote(Path(name): Path<String>, form: Sent) -> Response {
    let result = promote_or_plan(&form, &name).await;
    form.answer_or_plan(result).await
}

async fn promote_or_plan(form: &Sent, app: &str) -> Result<Outcome, Error> {
    let (actor, app) = form.addressed(app)?;
    let cmd = promotion(app, &form.typed)?;
    if form.typed.has("do", "plan") {
        let plan = deployments::plan_promote(&form.px, actor, &cmd).await?;
        return Ok(Outcome::Plan(Box::new(plan)));
    }
    let accepted = deployments::promote(&form.px, actor, cmd).await?;
    Ok(Outcome::Started(Box::new(accepted)))
}

/// What the form asks for.
pub(crate) fn promotion(app: AppName, typed: &Typed) -> Result<Promote, Error> {
    let mut reader = Reader::new(typed);
    let from: Option<EnvironmentName> = reader.required("from");
    let to: Option<EnvironmentName> = reader.required("to");
    let release = reader.number("release", 1, u32::MAX);
    let strategy = reader.optional("strategy");
    // Without scripts the list does not follow when another environment is chosen.
    if let (Some(from), Some(listed)) = (&from, reader.text(LISTED))
        && listed != from.as_str()
    {
        let problem = format!("was listed for {}: choose one of {from}", quoted(listed));
        reader.fault("release", problem);
    }
    reader.finish()?;
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Error::invalid("from", "must be given"));
    };
    Ok(Promote {
        app,
        from,
        to,
        release: release.map(ReleaseNo),
        strategy,
        validation_level: ValidationLevel::default(),
        auto_rollback: true,
        queue: Queue::Wait,
        reason: typed.text("reason").map(ToOwned::to_owned),
        idempotency_key: None,
    })
}
