//! Scale, restart, stop and start: buttons of an app's page.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{MAX_REPLICAS, RunMode};
use flukedeploy_domain::deployment::Queue;
use flukedeploy_domain::names::{AppName, Invalid};
use flukedeploy_platform::deployments::{self, Accepted, Everyday, What};
use flukedeploy_platform::{Error, Platform};
use http::Uri;

use super::parse::Reader;
use super::{Posted, Typed, addressed, answer, environment_of};
use crate::context::Visitor;
use crate::paths;

/// Hidden field of these forms, so that the app's page knows whose faults it shows.
pub(crate) const EVERYDAY: &str = "everyday";
/// The number of replicas; the settings form on the same page has a `replicas` of its own.
pub(crate) const SCALE_TO: &str = "scale_to";

pub(crate) async fn scale(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => scale_to(&px, actor, app, &uri, &typed).await,
        Err(error) => Err(error),
    };
    lead_on(&px, visitor, &name, &uri, typed, result).await
}

async fn scale_to(
    px: &Platform,
    actor: &Actor,
    app: AppName,
    uri: &Uri,
    typed: &Typed,
) -> Result<Accepted, Error> {
    let mut reader = Reader::new(typed);
    let replicas = reader.number(SCALE_TO, 1, MAX_REPLICAS);
    reader.finish()?;
    let Some(replicas) = replicas else {
        return Err(Error::invalid(SCALE_TO, "must be given"));
    };
    act(px, actor, app, uri, What::Scale(replicas))
        .await
        .map_err(of_scale)
}

/// What the settings call replicas is the number in this form.
fn of_scale(error: Error) -> Error {
    match error {
        Error::Invalid(faults) => Error::Invalid(
            faults
                .into_iter()
                .map(|fault| match fault.field.as_str() {
                    "replicas" => Invalid::new(SCALE_TO, fault.problem),
                    _ => fault,
                })
                .collect(),
        ),
        other => other,
    }
}

pub(crate) async fn restart(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => act(&px, actor, app, &uri, What::Restart).await,
        Err(error) => Err(error),
    };
    lead_on(&px, visitor, &name, &uri, typed, result).await
}

pub(crate) async fn mode(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => set_mode(&px, actor, app, &uri, &typed).await,
        Err(error) => Err(error),
    };
    lead_on(&px, visitor, &name, &uri, typed, result).await
}

async fn set_mode(
    px: &Platform,
    actor: &Actor,
    app: AppName,
    uri: &Uri,
    typed: &Typed,
) -> Result<Accepted, Error> {
    let all = [
        RunMode::Running,
        RunMode::Stopped,
        RunMode::Asleep,
        RunMode::Maintenance,
    ];
    let wanted = typed.text("mode").unwrap_or_default();
    let Some(mode) = all.into_iter().find(|mode| mode.as_str() == wanted) else {
        return Err(Error::invalid(
            "mode",
            "must be running, stopped, asleep or maintenance",
        ));
    };
    act(px, actor, app, uri, What::Mode(mode)).await
}

/// A button says what, and nothing else.
async fn act(
    px: &Platform,
    actor: &Actor,
    app: AppName,
    uri: &Uri,
    what: What,
) -> Result<Accepted, Error> {
    let cmd = Everyday {
        app,
        environment: environment_of(uri)?,
        what,
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    deployments::act(px, actor, cmd).await
}

/// On to what was started. There is no page at the address of a button; failures show on the
/// app's.
async fn lead_on(
    px: &Platform,
    visitor: Visitor,
    name: &str,
    uri: &Uri,
    typed: Typed,
    result: Result<Accepted, Error>,
) -> Response {
    let result = result.map(|accepted| paths::deployment(&accepted.deployment.deployment_id));
    let page = format!("/apps/{}", paths::encoded(name));
    let page = environment_of(uri)
        .map_or(page.clone(), |of| paths::within(&page, &of))
        .parse()
        .unwrap_or_else(|_| Uri::from_static(paths::APPS));
    answer(px, visitor, &page, typed, result).await
}
