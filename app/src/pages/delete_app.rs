use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_environment;
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::{app_crumbs, app_name, environment, page};
use crate::components::{Field, PageHead, Section, frame, removal};
use crate::context::Desk;
use crate::paths;

/// `/apps/{name}/delete`, the whole app, or with `?environment=` one environment beside production:
/// there is no way back, so the name is typed.
#[component]
pub(crate) fn DeleteAppPage() -> impl IntoView {
    let (name, environment) = (app_name(), environment());
    page(Desk::take(), async move |desk| {
        delete(desk, &name?, &environment?).await
    })
}

async fn delete(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
) -> Result<AnyView, Error> {
    if environment.is_production() {
        desk.need(Action::DeleteApp, Resource::App(name))?;
    } else {
        desk.need(
            Action::ChangeEnvironments,
            Resource::Environment(name, environment),
        )?;
    }
    let app = get_environment(&desk.px, &desk.actor, name, environment).await?;
    let whole = environment.is_production();
    let (title, label, goes, typed_name) = if whole {
        (
            format!("Delete {name}"),
            "Type the app's name to confirm",
            what_goes_with_app(&app),
            name.to_string(),
        )
    } else {
        (
            format!("Delete {environment} of {name}"),
            "Type the environment's name to confirm",
            what_goes_with_environment(name),
            environment.to_string(),
        )
    };
    let goes: Vec<_> = goes
        .into_iter()
        .map(|fact| view! { <li>{fact}</li> })
        .collect();
    let more = view! {
        <ul class="soft">
            <li>"Its replicas stop and its address answers 404."</li>
            {goes}
        </ul>
        {Field::new(&desk.typed, "confirm", label).placeholder(typed_name.clone()).mono().autofocus().view()}
    };
    let action = paths::within(&paths::delete(name), environment);
    let back = paths::within(&paths::app(name), environment);
    let content = view! {
        {PageHead::new(title)
            .crumbs(app_crumbs(name, environment))
            .lead(format!("{} stops answering at once. There is no way back.", app.url))
            .view()}
        {removal(&desk.typed, action, more, format!("Delete {typed_name}"), back)}
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn what_goes_with_environment(app: &AppName) -> Vec<String> {
    vec![
        "Its settings, variables, releases, deployments and volumes are deleted.".to_owned(),
        format!("The other environments of {app} stay as they are."),
    ]
}

fn what_goes_with_app(app: &AppView) -> Vec<String> {
    let others: Vec<_> = app
        .environments
        .iter()
        .filter(|other| !other.name.is_production())
        .map(|other| other.name.to_string())
        .collect();
    let mut goes =
        vec!["Its settings, variables, releases and deployments are deleted.".to_owned()];
    if !others.is_empty() {
        goes.push(format!(
            "Its other environments go with it: {}.",
            others.join(", ")
        ));
    }
    goes.push("Volumes stay on their nodes, with what is in them.".to_owned());
    goes.push("Its logs stay until they expire; the audit trail stays.".to_owned());
    goes
}
