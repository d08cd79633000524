use flukedeploy_domain::names::ProjectName;
use flukedeploy_platform::Error;
use flukedeploy_platform::projects::get_project;
use flukedeploy_platform::views::ProjectView;
use leptos::prelude::*;

use super::variables::{kept_variables, marked, name_of, secret_file, secret_variables, warnings};
use super::{page, parameter, query};
use crate::components::{Crumb, PageHead, Section, Tint, frame, notice, problem, text_area};
use crate::context::Desk;
use crate::forms::Typed;
use crate::paths;

/// `/projects/{name}`: what do its apps have in common?
#[component]
pub(crate) fn ProjectPage() -> impl IntoView {
    let (name, saved) = (parameter("name"), query("saved").is_some());
    page(Desk::take(), async move |desk| {
        project(desk, name.parse()?, saved).await
    })
}

async fn project(desk: Desk, name: ProjectName, saved: bool) -> Result<AnyView, Error> {
    let project = get_project(&desk.px, &desk.actor, &name).await?;
    let apps: Vec<_> = (project.apps.iter())
        .map(|app| view! { <li><a class="link" href=paths::app(app)>{app.to_string()}</a></li> })
        .collect();
    let variables = if project.may_change {
        form(&desk.typed, &project).into_any()
    } else {
        shown(&project).into_any()
    };
    let content = view! {
        {PageHead::new(project.project.to_string())
            .crumbs(vec![Crumb::new("Apps", paths::APPS), Crumb::new("Projects", paths::PROJECTS)])
            .lead("A role that is granted in this project holds in all of its apps.")
            .view()}
        {(saved && desk.typed.is_empty()).then(|| notice(
            Tint::Good,
            "The variables are saved.".to_owned(),
            Some("Each app gets them with its next deployment or restart; what runs keeps what it has.".to_owned()),
        ))}
        <section class="section" aria-labelledby="apps">
            <div class="section-head"><h2 id="apps">"Apps"</h2></div>
            <ul class="variables">{apps}</ul>
        </section>
        <section class="section" aria-labelledby="variables">
            <div class="section-head"><h2 id="variables">"Shared variables"</h2></div>
            {problem(&desk.typed)}
            {variables}
        </section>
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn shown(project: &ProjectView) -> impl IntoView + use<> {
    let rows: Vec<_> = (project.env_vars.iter())
        .map(|variable| view! { <li><span>{name_of(variable)}</span></li> })
        .collect();
    let list = if rows.is_empty() {
        view! { <p class="hint">"None yet."</p> }.into_any()
    } else {
        view! { <ul class="variables">{rows}</ul> }.into_any()
    };
    view! {
        <p class="hint">"They concern every app of the project, so only a maintainer of all of them, or an administrator, changes them."</p>
        {list}
    }
}

fn form(typed: &Typed, project: &ProjectView) -> impl IntoView + use<> {
    // After a clash, sending again means: on top of what is there now.
    let version = match typed.get("version") {
        Some(version) if typed.problem().is_none() => version.to_owned(),
        _ => project.version.to_string(),
    };
    let plain = typed.without_lines_of("env_vars", &marked(&project.env_vars));
    view! {
        <form class="form" method="post" action=paths::project(&project.project)>
            <input type="hidden" name="version" value=version/>
            <div class="field">
                <p class="hint">"Every app of the project gets them with its next release, unless it has one of that name itself. Values are kept but never shown again."</p>
                {kept_variables(typed, &project.env_vars)}
            </div>
            {warnings(&project.env_var_warnings)}
            {text_area(&plain, "env_vars", "Add or replace", "NAME=value, one a line. What follows the first = is taken as it stands. A secret stays one.", "LOG_LEVEL=info", "")}
            {secret_variables(typed)}
            {secret_file(typed)}
            <div class="form-end"><button class="button button-primary">"Save variables"</button></div>
        </form>
    }
}
