//! Scale, restart, stop and start: buttons of an app's page.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{MAX_REPLICAS, RunMode};
use flukedeploy_domain::deployment::Queue;
use flukedeploy_domain::names::AppName;
use flukedeploy_platform::Error;
use flukedeploy_platform::deployments::{self, Everyday, What};

use super::parse::Reader;
use super::{Sent, with_form_names};
use crate::paths;

/// Hidden field of these forms, so that the app's page knows whose faults it shows.
pub(crate) const EVERYDAY: &str = "everyday";
/// The number of replicas; the settings form on the same page has a `replicas` of its own.
pub(crate) const SCALE_TO: &str = "scale_to";

pub(crate) async fn scale(Path(name): Path<String>, form: Sent) -> Response {
    let result = scale_to(&form, &name).await;
    form.answer(result).await
}

async fn scale_to(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(name)?;
    let mut reader = Reader::new(&form.typed);
    let replicas = reader.number(SCALE_TO, 1, MAX_REPLICAS);
    reader.finish()?;
    let Some(replicas) = replicas else {
        return Err(Error::invalid(SCALE_TO, "must be given"));
    };
    act(form, actor, app, What::Scale(replicas))
        .await
        .map_err(|error| with_form_names(error, |field| (field == "replicas").then_some(SCALE_TO)))
}

pub(crate) async fn restart(Path(name): Path<String>, form: Sent) -> Response {
    let result = start_anew(&form, &name).await;
    form.answer(result).await
}

async fn start_anew(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(name)?;
    act(form, actor, app, What::Restart).await
}

pub(crate) async fn mode(Path(name): Path<String>, form: Sent) -> Response {
    let result = set_mode(&form, &name).await;
    form.answer(result).await
}

async fn set_mode(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(name)?;
    let all = [
        RunMode::Running,
        RunMode::Stopped,
        RunMode::Asleep,
        RunMode::Maintenance,
    ];
    let wanted = form.typed.text("mode").unwrap_or_default();
    let Some(mode) = all.into_iter().find(|mode| mode.as_str() == wanted) else {
        return Err(Error::invalid(
            "mode",
            "must be running, stopped, asleep or maintenance",
        ));
    };
    act(form, actor, app, What::Mode(mode)).await
}

/// A button says what, and nothing else. Leads to what it started.
async fn act(form: &Sent, actor: &Actor, app: AppName, what: What) -> Result<String, Error> {
    let cmd = Everyday {
        app,
        environment: form.environment()?,
        what,
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    let accepted = deployments::act(&form.px, actor, cmd).await?;
    Ok(paths::deployment(&accepted.deployment.deployment_id))
}
