//! One page a file. A page takes its [`Desk`](crate::context::Desk), asks the platform and draws.
#![expect(
    unreachable_pub,
    reason = "what #[component] makes beside the function is pub"
)]

pub(crate) mod app;
mod app_settings;
pub(crate) mod apps;
pub(crate) mod components;
pub(crate) mod connect;
pub(crate) mod delete_app;
pub(crate) mod deploy;
pub(crate) mod deployment;
pub(crate) mod deployments;
mod everyday;
pub(crate) mod logs;
pub(crate) mod new_app;
pub(crate) mod not_found;
pub(crate) mod overview;
pub(crate) mod revoke_token;
pub(crate) mod rollback;
pub(crate) mod set_up;
mod settings_parts;
pub(crate) mod sign_in;
pub(crate) mod system;
pub(crate) mod tokens;

use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::names::{AppName, quoted};
use flukedeploy_platform::Error;
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};

use crate::components::failure;
use crate::context::Desk;

/// A page that is drawn once its data is there.
fn page<F>(desk: Desk, draw: impl FnOnce(Desk) -> F) -> impl IntoView
where
    F: Future<Output = Result<AnyView, Error>> + Send + 'static,
{
    let drawing = draw(desk.clone());
    let whole = Suspend::new(async move {
        match drawing.await {
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

fn deployment_id() -> Result<DeploymentId, Error> {
    let id = parameter("id");
    id.parse().map_err(|_| Error::DeploymentNotFound {
        id: quoted(&id).trim_matches('\'').to_owned(),
    })
}
