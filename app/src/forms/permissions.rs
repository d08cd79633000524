//! Grant roles, and withdraw them.

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::access::{Role, Subject, Target};
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid};
use flukedeploy_platform::Error;
use flukedeploy_platform::grants::{self, NewGrant};

use super::{Sent, Typed};
use crate::paths;

pub(crate) async fn grant(form: Sent) -> Response {
    let result = make(&form).await;
    form.answer(result).await
}

async fn make(form: &Sent) -> Result<String, Error> {
    let (actor, typed) = (form.actor()?, &form.typed);
    let subject = subject(typed)?;
    let target = match (typed.text("app"), typed.text("project")) {
        (Some(app), None) => Target::App(app.parse().map_err(|fault| named("app", fault))?),
        (None, Some(project)) => {
            Target::Project(project.parse().map_err(|fault| named("project", fault))?)
        }
        _ => {
            return Err(Error::invalid(
                "app",
                "or a project must be named, and not both",
            ));
        }
    };
    let new = NewGrant {
        subject,
        target,
        role: role(typed)?,
        environments: environments(typed)?,
    };
    grants::grant(&form.px, actor, new).await?;
    Ok(paths::PERMISSIONS.to_owned())
}

fn subject(typed: &Typed) -> Result<Subject, Error> {
    match typed.text("subject").and_then(|text| text.split_once(':')) {
        Some(("account", id)) => Ok(Subject::Account(id.to_owned())),
        Some(("token", id)) => Ok(Subject::Token(id.to_owned())),
        _ => Err(Error::invalid("subject", "must be chosen")),
    }
}

/// In the app whose page it is.
pub(crate) async fn grant_in(Path(name): Path<String>, form: Sent) -> Response {
    let result = async {
        let (actor, app) = form.addressed::<AppName>(&name)?;
        let new = NewGrant {
            subject: subject(&form.typed)?,
            target: Target::App(app.clone()),
            role: role(&form.typed)?,
            environments: environments(&form.typed)?,
        };
        grants::grant(&form.px, actor, new).await?;
        Ok(paths::app_permissions(&app))
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn withdraw_in(Path((name, id)): Path<(String, String)>, form: Sent) -> Response {
    let result = async {
        let (actor, app) = form.addressed::<AppName>(&name)?;
        grants::withdraw(&form.px, actor, &id).await?;
        Ok(paths::app_permissions(&app))
    };
    let result = result.await;
    form.answer(result).await
}

fn named(field: &str, fault: Invalid) -> Error {
    Error::invalid(field, fault.problem)
}

pub(crate) fn role(typed: &Typed) -> Result<Role, Error> {
    let chosen = typed.text("role").unwrap_or_default();
    Role::ALL
        .into_iter()
        .find(|role| role.as_str() == chosen)
        .ok_or_else(|| Error::invalid("role", "must be viewer, deployer or maintainer"))
}

/// Names with commas or spaces between; `None`: all.
pub(crate) fn environments(typed: &Typed) -> Result<Option<BTreeSet<EnvironmentName>>, Error> {
    let Some(text) = typed.text("environments") else {
        return Ok(None);
    };
    let names = text.split([',', ' ']).filter(|name| !name.is_empty());
    let parsed: Result<BTreeSet<_>, Invalid> = names.map(str::parse).collect();
    parsed
        .map(Some)
        .map_err(|fault| named("environments", fault))
}

pub(crate) async fn withdraw(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        grants::withdraw(&form.px, form.actor()?, &id).await?;
        Ok(paths::PERMISSIONS.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}
