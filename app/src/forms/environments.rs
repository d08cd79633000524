//! Environments: make one, give it a time, promote a release.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::MAX_REPLICAS;
use flukedeploy_domain::deployment::{Queue, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::apps::ChangeApp;
use flukedeploy_platform::deployments::{self, Promote};
use flukedeploy_platform::environments::{
    MAX_TTL_SECONDS, NewEnvironment, create_environment, set_ttl,
};
use flukedeploy_platform::{Error, Platform};
use http::{StatusCode, Uri};

use super::parse::Reader;
use super::{Posted, Typed, addressed, answer, environment_of};
use crate::context::Visitor;
use crate::{paths, render};

const SECONDS_PER_HOUR: u64 = 3_600;

pub(crate) async fn create(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => make(&px, actor, app, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn make(px: &Platform, actor: &Actor, app: AppName, typed: &Typed) -> Result<String, Error> {
    let mut reader = Reader::new(typed);
    let name: Option<EnvironmentName> = reader.required("name");
    let from: Option<EnvironmentName> = reader.optional("from");
    let ttl_seconds = ttl_of(&mut reader);
    let change = ChangeApp {
        replicas: reader.number("replicas", 1, MAX_REPLICAS),
        set_env_vars: reader.variables("env_vars"),
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
    create_environment(px, actor, new).await?;
    Ok(paths::within(&paths::app(&app), &name))
}

/// Nothing typed: it stays.
fn ttl_of(reader: &mut Reader<'_>) -> Option<u64> {
    let hours = reader.number("ttl_hours", 1, MAX_TTL_SECONDS / SECONDS_PER_HOUR)?;
    Some(hours * SECONDS_PER_HOUR)
}

pub(crate) async fn ttl(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => give_time(&px, actor, &app, &uri, &typed).await,
        Err(error) => Err(error),
    };
    // There is no page at the address of a button; failures show on the environment's.
    let address = uri.to_string().replacen("/ttl", "", 1);
    let page = address.parse().unwrap_or(uri);
    answer(&px, visitor, &page, typed, result).await
}

async fn give_time(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    uri: &Uri,
    typed: &Typed,
) -> Result<String, Error> {
    let environment = environment_of(uri)?;
    let mut reader = Reader::new(typed);
    let ttl_seconds = ttl_of(&mut reader);
    reader.finish()?;
    set_ttl(px, actor, app, &environment, ttl_seconds).await?;
    Ok(paths::within(&paths::app(app), &environment))
}

pub(crate) async fn promote(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let command = addressed::<AppName>(&visitor, &name)
        .and_then(|(actor, app)| Ok((actor.clone(), promotion(app, &typed)?)));
    let (actor, cmd) = match command {
        Ok(command) => command,
        Err(error) => return answer(&px, visitor, &uri, typed, Err(error)).await,
    };
    if typed.has("do", "plan") {
        return match deployments::plan_promote(&px, &actor, &cmd).await {
            Ok(plan) => {
                let address = uri.path_and_query().map_or("/", |address| address.as_str());
                let typed = typed.with_plan(plan);
                render::page(&px, visitor, address, typed, StatusCode::OK).await
            }
            Err(error) => answer(&px, visitor, &uri, typed, Err(error)).await,
        };
    }
    let result = deployments::promote(&px, &actor, cmd)
        .await
        .map(|accepted| paths::deployment(&accepted.deployment.deployment_id));
    answer(&px, visitor, &uri, typed, result).await
}

/// What the form asks for.
pub(crate) fn promotion(app: AppName, typed: &Typed) -> Result<Promote, Error> {
    let mut reader = Reader::new(typed);
    let from: Option<EnvironmentName> = reader.required("from");
    let to: Option<EnvironmentName> = reader.required("to");
    let release = reader.number("release", 1, u32::MAX);
    let strategy = reader.optional("strategy");
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
