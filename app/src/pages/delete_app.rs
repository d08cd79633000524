use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{get_app, get_environment};
use leptos::prelude::*;

use super::{app_name, environment, page};
use crate::components::{Crumb, Field, PageHead, Section, frame, problem};
use crate::context::Desk;
use crate::paths;

/// `/apps/{name}/delete`: there is no way back, so the name is typed.
#[component]
pub(crate) fn DeleteAppPage() -> impl IntoView {
    let (name, environment) = (app_name(), environment());
    page(Desk::take(), async move |desk| {
        let (name, environment) = (name?, environment?);
        if environment.is_production() {
            delete(desk, &name).await
        } else {
            delete_environment(desk, &name, &environment).await
        }
    })
}

/// `/apps/{name}/delete?environment=`.
async fn delete_environment(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
) -> Result<AnyView, Error> {
    let app = get_environment(&desk.px, &desk.actor, name, environment).await?;
    let typed = &desk.typed;
    let back = paths::within(&paths::app(name), environment);
    let content = view! {
        {PageHead::new(format!("Delete {environment} of {name}"))
            .crumbs(vec![Crumb::new("Apps", paths::APPS), Crumb::new(name.to_string(), paths::app(name))])
            .lead(format!("{} stops answering at once. There is no way back.", app.url))
            .view()}
        {problem(typed)}
        <form class="form" method="post" action=paths::within(&paths::delete(name), environment)>
            <ul class="soft">
                <li>"Its replicas stop and its address answers 404."</li>
                <li>"Its settings, variables, releases, deployments and volumes are deleted."</li>
                <li>"The other environments of "{name.to_string()}" stay as they are."</li>
            </ul>
            {Field::new(typed, "confirm", "Type the environment's name to confirm").placeholder(environment.to_string()).mono().autofocus().view()}
            <div class="form-end">
                <button class="button button-danger">"Delete "{environment.to_string()}</button>
                <a class="button" href=back>"Keep it"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}

async fn delete(desk: Desk, name: &AppName) -> Result<AnyView, Error> {
    let app = get_app(&desk.px, &desk.actor, name).await?;
    let typed = &desk.typed;
    let content = view! {
        {PageHead::new(format!("Delete {name}"))
            .crumbs(vec![Crumb::new("Apps", paths::APPS), Crumb::new(name.to_string(), paths::app(name))])
            .lead(format!("{} stops answering at once. There is no way back.", app.url))
            .view()}
        {problem(typed)}
        <form class="form" method="post" action=paths::delete(name)>
            <ul class="soft">
                <li>"Its replicas stop and its address answers 404."</li>
                <li>"Its settings, variables, releases and deployments are deleted."</li>
                <li>"Its logs stay until they expire; the audit trail stays."</li>
            </ul>
            {Field::new(typed, "confirm", "Type the app's name to confirm").placeholder(name.to_string()).mono().autofocus().view()}
            <div class="form-end">
                <button class="button button-danger">"Delete "{name.to_string()}</button>
                <a class="button" href=paths::app(name)>"Keep it"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
