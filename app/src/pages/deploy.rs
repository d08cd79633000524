use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::build::UploadId;
use flukedeploy_domain::deployment::ValidationLevel;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_environment;
use leptos::prelude::*;

use super::app_settings::strategy_choices;
use super::deploy_source::source_fields;
use super::variables::{marked, secret_variables};
use super::{app_crumbs, app_name, called, environment, page, query};
use crate::components::{
    Choice, Field, PageHead, Section, Tint, frame, notice, plan, problem, select, text_area,
    tick_box,
};
use crate::context::Desk;
use crate::{paths, words};

/// `/apps/{name}/deploy`; `?upload=` names an archive that was sent.
#[component]
pub(crate) fn DeployPage() -> impl IntoView {
    let name = app_name();
    let sent = query("upload").and_then(|id| id.parse::<UploadId>().ok());
    let environment = environment();
    page(Desk::take(), async move |desk| {
        deploy(desk, &name?, &environment?, sent).await
    })
}

async fn deploy(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
    sent: Option<UploadId>,
) -> Result<AnyView, Error> {
    desk.need(Action::Deploy, Resource::Environment(name, environment))?;
    let app = get_environment(&desk.px, &desk.actor, name, environment).await?;
    let typed = &desk.typed;
    let mut strategies = vec![Choice::new(
        "",
        format!(
            "As the app has it ({})",
            words::strategy(app.strategy).to_lowercase()
        ),
    )];
    strategies.extend(strategy_choices());
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
    // A plan is to be read first: the focus would scroll past it.
    let focus = asked.is_none();
    let levels = vec![
        Choice::new("basic", words::validation(ValidationLevel::Basic)),
        Choice::new("strict", words::validation(ValidationLevel::Strict)),
        Choice::new("none", words::validation(ValidationLevel::None)),
    ];
    let returns = typed.is_empty() || typed.has("auto_rollback", "true");
    let content = view! {
        {PageHead::new(called("Deploy", name, environment))
            .crumbs(app_crumbs(name, environment))
            .lead(lead)
            .view()}
        {(sent.is_some() && typed.is_empty()).then(|| notice(
            Tint::Good,
            "The archive is here.".to_owned(),
            Some("Nothing is deployed yet: look over the form and deploy it.".to_owned()),
        ))}
        {problem(typed)}
        {asked.map(|asked| plan(asked, "Deploy", "deploy-form"))}
        <form class="form" id="deploy-form" method="post" action=paths::within(&paths::deploy(name), environment)>
            {source_fields(typed, &app, sent.as_ref(), focus)}
            <div class="row">
                {Field::new(typed, "version", "Version").optional().hint("Else the image's tag, or the commit.").placeholder("v1.2.0").view()}
                {Field::new(typed, "replicas", "Replicas")
                    .optional()
                    .number()
                    .hint("Else as the app has it.")
                    .placeholder(app.configured_replicas.to_string())
                    .view()}
            </div>
            {select(typed, "strategy", "Strategy", None, strategies, "")}
            {select(typed, "validation_level", "Checks", Some("Of the image and the settings, before anything is changed."), levels, "basic")}
            {select(typed, "queue", "If one is running", None, queues, "wait")}
            {text_area(&typed.without_lines_of("env_vars", &marked(&app.env_vars)), "env_vars", "Variables to add or replace", "NAME=value, one a line. Kept in the app once the release serves.", "LOG_LEVEL=info", "")}
            {secret_variables(typed)}
            {Field::new(typed, "reason", "Reason").optional().hint("For the audit trail.").placeholder("Fixes the checkout").view()}
            {tick_box("auto_rollback", "If it fails, bring the former release back", None, returns)}
            <div class="form-end">
                <button class="button button-primary">"Deploy"</button>
                <button class="button" name="do" value="plan">"Show the plan first"</button>
                <a class="button" href=paths::within(&paths::app(name), environment)>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
