use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_platform::Error;
use leptos::prelude::*;

use super::app_settings::{health_fields, strategy_choices};
use super::page;
use super::variables::secret_variables;
use crate::components::{Crumb, Field, PageHead, Section, frame, problem, select, text_area};
use crate::context::Desk;
use crate::paths;

/// `/apps/new`.
#[component]
pub(crate) fn NewAppPage() -> impl IntoView {
    page(Desk::take(), new_app)
}

async fn new_app(desk: Desk) -> Result<AnyView, Error> {
    desk.require(Action::CreateApp, Resource::System)?;
    let typed = &desk.typed;
    let root = desk.px.config().root_domain.to_string();
    let content = view! {
        {PageHead::new("New app")
            .crumbs(vec![Crumb::new("Apps", paths::APPS)])
            .lead("Name it, name an image, and it is deployed. Everything can be changed later.")
            .view()}
        {problem(typed)}
        <form class="form" method="post" action=paths::NEW_APP>
            {Field::new(typed, "app_name", "Name")
                .hint(format!("Lower-case letters, digits and hyphens. It answers at <name>.{root}."))
                .placeholder("shop-web")
                .autofocus()
                .view()}
            {Field::new(typed, "image", "Image")
                .optional()
                .mono()
                .hint("Deployed as soon as the app is made. Leave it empty to deploy later.")
                .placeholder("ghcr.io/team/shop-web:v1.0.0")
                .view()}
            {Field::new(typed, "container_port", "Container port")
                .number()
                .value(&80)
                .hint("The port the app listens on inside its container.")
                .view()}
            <fieldset class="group">
                <legend>"Health"</legend>
                {health_fields(typed, &flukedeploy_domain::health::HealthGate::default())}
            </fieldset>
            <fieldset class="group">
                <legend>"Size and rollout"</legend>
                <div class="row">
                    {Field::new(typed, "replicas", "Replicas").number().value(&1).view()}
                    {select(typed, "strategy", "Strategy", None, strategy_choices(), "rolling")}
                </div>
            </fieldset>
            <fieldset class="group">
                <legend>"Variables and domains"</legend>
                {text_area(typed, "env_vars", "Variables", "NAME=value, one a line. What follows the first = is taken as it stands.", "DATABASE_URL=postgres://…\nLOG_LEVEL=info", "")}
                {secret_variables(typed)}
                {text_area(typed, "domains", "Domains", "Host names of your own that point to this server, one a line.", "shop.example.com", "")}
            </fieldset>
            <div class="form-end">
                <button class="button button-primary">"Create app"</button>
                <a class="button" href=paths::APPS>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
