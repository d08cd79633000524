use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_app;
use leptos::prelude::*;

use super::variables::secret_variables;
use super::{app_crumbs, app_name, page};
use crate::components::{Choice, Field, PageHead, Section, frame, problem, select, text_area};
use crate::context::Desk;
use crate::paths;

/// `/apps/{name}/environments/new`: a place to try a release in, for good or for a while.
#[component]
pub(crate) fn NewEnvironmentPage() -> impl IntoView {
    let name = app_name();
    page(Desk::take(), async move |desk| form(desk, &name?).await)
}

async fn form(desk: Desk, name: &AppName) -> Result<AnyView, Error> {
    let app = get_app(&desk.px, &desk.actor, name).await?;
    desk.require(Action::ChangeEnvironments, Resource::SomeOf(name))?;
    let typed = &desk.typed;
    let root = desk.px.config().root_domain.to_string();
    let choices = app
        .environments
        .iter()
        .map(|known| Choice::new(known.name.to_string(), known.name.to_string()))
        .collect();
    let content = view! {
        {PageHead::new("New environment")
            .crumbs(app_crumbs(name, &EnvironmentName::production()))
            .lead("With variables, domains, volumes and releases of its own. Nothing runs in it before something is deployed or promoted to it.")
            .view()}
        {problem(typed)}
        <form class="form" method="post" action=paths::new_environment(name)>
            {Field::new(typed, "name", "Name")
                .hint(format!("It answers at {name}-<name>.{root}."))
                .placeholder("staging")
                .autofocus()
                .view()}
            {select(typed, "from", "Begins with the settings of", Some("Variables are copied, with their values. Domains and ports of the node are not: only one can have them. Volumes begin empty."), choices, "production")}
            {Field::new(typed, "ttl_hours", "A preview: remove it after, in hours")
                .optional()
                .number()
                .hint("With its address, volumes, variables and releases. Empty: it stays until it is deleted.")
                .placeholder("24")
                .view()}
            {Field::new(typed, "replicas", "Replicas")
                .optional()
                .number()
                .hint("Else as many as there.")
                .placeholder("1")
                .view()}
            {text_area(typed, "env_vars", "Variables to add or replace", "NAME=value, one a line.", "LOG_LEVEL=debug", "")}
            {secret_variables(typed)}
            <div class="form-end">
                <button class="button button-primary">"Create environment"</button>
                <a class="button" href=paths::app(name)>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
