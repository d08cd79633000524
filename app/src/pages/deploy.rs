use flukedeploy_domain::names::AppName;
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_app;
use leptos::prelude::*;

use super::app_settings::strategy_choices;
use super::{app_name, page};
use crate::components::{
    Choice, Crumb, Field, PageHead, Section, frame, plan, problem, select, text_area,
};
use crate::context::Desk;
use crate::{paths, words};

/// `/apps/{name}/deploy`.
#[component]
pub(crate) fn DeployPage() -> impl IntoView {
    let name = app_name();
    page(Desk::take(), async move |desk| deploy(desk, &name?).await)
}

async fn deploy(desk: Desk, name: &AppName) -> Result<AnyView, Error> {
    let app = get_app(&desk.px, &desk.actor, name).await?;
    let typed = &desk.typed;
    let mut strategies = vec![Choice::new(
        "",
        format!(
            "As the app has it ({})",
            words::strategy(app.strategy).to_lowercase()
        ),
    )];
    strategies.extend(strategy_choices());
    let image = app.image.clone().unwrap_or_default();
    let lead = match (&app.image, app.active_release) {
        (Some(_), Some(release)) if !app.mode.has_replicas() => {
            format!(
                "Release {release} is {}: nothing serves now.",
                words::mode(app.mode)
            )
        }
        (Some(image), Some(release)) => {
            format!("Release {release} of {image} serves until the new one is healthy.")
        }
        _ => "Nothing serves yet.".to_owned(),
    };
    let queues = vec![
        Choice::new("wait", "Wait for it to end"),
        Choice::new("supersede", "Replace it: the one that runs is cancelled"),
    ];
    let asked = typed.plan();
    let image_field = Field::new(typed, "image", "Image")
        .mono()
        .value(&image)
        .hint("Pinned to what it is right now, so that what was checked is what runs.")
        .placeholder("ghcr.io/team/shop-web:v1.0.0");
    // A plan is to be read first: the focus would scroll past it.
    let image_field = if asked.is_none() {
        image_field.autofocus()
    } else {
        image_field
    };
    let returns = typed.is_empty() || typed.has("auto_rollback", "true");
    let content = view! {
        {PageHead::new(format!("Deploy {name}"))
            .crumbs(vec![Crumb::new("Apps", paths::APPS), Crumb::new(name.to_string(), paths::app(name))])
            .lead(lead)
            .view()}
        {problem(typed)}
        {asked.map(|asked| plan(asked, "deploy-form"))}
        <form class="form" id="deploy-form" method="post" action=paths::deploy(name)>
            {image_field.view()}
            <div class="row">
                {Field::new(typed, "version", "Version").optional().hint("Else the image's tag.").placeholder("v1.2.0").view()}
                {Field::new(typed, "replicas", "Replicas")
                    .optional()
                    .number()
                    .hint("Else as the app has it.")
                    .placeholder(app.configured_replicas.to_string())
                    .view()}
            </div>
            {select(typed, "strategy", "Strategy", None, strategies, "")}
            {select(typed, "queue", "If one is running", None, queues, "wait")}
            {text_area(typed, "env_vars", "Variables to add or replace", "NAME=value, one a line. Kept in the app once the release serves.", "LOG_LEVEL=info", "")}
            {Field::new(typed, "reason", "Reason").optional().hint("For the audit trail.").placeholder("Fixes the checkout").view()}
            <div class="choice">
                <input type="checkbox" id="auto_rollback" name="auto_rollback" value="true" checked=returns/>
                <label for="auto_rollback">"If it fails, bring the former release back"</label>
            </div>
            <div class="form-end">
                <button class="button button-primary">"Deploy"</button>
                <button class="button" name="do" value="plan">"Show the plan first"</button>
                <a class="button" href=paths::app(name)>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
