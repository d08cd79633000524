//! One page a file. A page takes its [`Desk`](crate::context::Desk), asks the platform and draws.
#![expect(
    unreachable_pub,
    reason = "what #[component] makes beside the function is pub"
)]

pub(crate) mod account;
pub(crate) mod app;
pub(crate) mod app_permissions;
mod app_settings;
pub(crate) mod approvals;
pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod audit_entry;
pub(crate) mod components;
pub(crate) mod confirm;
pub(crate) mod connect;
pub(crate) mod credentials;
pub(crate) mod delete_app;
pub(crate) mod delete_webhook;
pub(crate) mod deploy;
mod deploy_source;
pub(crate) mod deployment;
pub(crate) mod deployments;
mod environments;
mod everyday;
pub(crate) mod invitation;
pub(crate) mod log_forwarder;
pub(crate) mod log_forwarders;
pub(crate) mod logs;
mod logs_around;
mod logs_filter;
mod logs_found;
mod logs_grid;
mod logs_histogram;
mod logs_lines;
mod logs_wanted;
pub(crate) mod new_app;
pub(crate) mod new_environment;
pub(crate) mod not_found;
pub(crate) mod overview;
pub(crate) mod people;
pub(crate) mod permissions;
pub(crate) mod person;
pub(crate) mod project;
pub(crate) mod projects;
pub(crate) mod promote;
pub(crate) mod remove_credential;
pub(crate) mod repair;
pub(crate) mod revoke_token;
pub(crate) mod rollback;
pub(crate) mod second_factor;
pub(crate) mod set_up;
mod settings_approvals;
mod settings_building;
mod settings_logs;
mod settings_parts;
pub(crate) mod sign_in;
pub(crate) mod sign_in_code;
pub(crate) mod system;
pub(crate) mod tokens;
pub(crate) mod upload;
mod variables;
pub(crate) mod webhook;
pub(crate) mod webhooks;

use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::names::{AppName, EnvironmentName, quoted};
use flukedeploy_platform::Error;
use flukedeploy_platform::approvals::waiting_count;
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};

use crate::components::{Crumb, failure};
use crate::context::Desk;
use crate::paths;

/// A page that is drawn once its data is there.
fn page<F>(mut desk: Desk, draw: impl FnOnce(Desk) -> F + Send + Sync + 'static) -> impl IntoView
where
    F: Future<Output = Result<AnyView, Error>> + Send + 'static,
{
    let whole = Suspend::new(async move {
        // Without the number the page is still true.
        let count = waiting_count(&desk.px, &desk.actor).await;
        desk.to_decide = count.unwrap_or_default();
        match draw(desk.clone()).await {
            Ok(view) => view,
            Err(error) => failure(&desk, &error),
        }
    });
    view! { <Suspense>{whole}</Suspense> }
}

fn parameter(name: &str) -> String {
    use_params_map()
        .with_untracked(|parameters| parameters.get(name))
        .unwrap_or_default()
}

fn query(name: &str) -> Option<String> {
    use_query_map()
        .with_untracked(|query| query.get(name))
        .filter(|value| !value.is_empty())
}

/// A name that cannot be one is the name of no app.
fn app_name() -> Result<AppName, Error> {
    let name = parameter("name");
    name.parse().map_err(|_| Error::AppNotFound {
        name: quoted(&name).trim_matches('\'').to_owned(),
        near: Vec::new(),
    })
}

/// `?environment=`; production unless another is named.
fn environment() -> Result<EnvironmentName, Error> {
    Ok(match query("environment") {
        Some(name) => name.parse()?,
        None => EnvironmentName::production(),
    })
}

/// Where a page of an app stands: below the environment that it is about.
fn app_crumbs(app: &AppName, environment: &EnvironmentName) -> Vec<Crumb> {
    let of = paths::within(&paths::app(app), environment);
    vec![
        Crumb::new("Apps", paths::APPS),
        Crumb::new(app.to_string(), of),
    ]
}

/// "Deploy shop", or "Deploy shop · staging" where it is not production.
fn called(act: &str, app: &AppName, environment: &EnvironmentName) -> String {
    if environment.is_production() {
        format!("{act} {app}")
    } else {
        format!("{act} {app} · {environment}")
    }
}

fn deployment_id() -> Result<DeploymentId, Error> {
    let id = parameter("id");
    id.parse().map_err(|_| Error::DeploymentNotFound {
        id: quoted(&id).trim_matches('\'').to_owned(),
    })
}
