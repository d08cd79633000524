use flukedeploy_domain::access::{Action, may_somewhere};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::list_apps;
use flukedeploy_platform::projects::list_projects;
use flukedeploy_platform::views::ProjectView;
use leptos::prelude::*;

use super::page;
use crate::components::{Choice, Crumb, Field, PageHead, Section, empty, frame, new_one, select};
use crate::context::Desk;
use crate::{paths, words};

/// `/projects`: which apps belong together?
#[component]
pub(crate) fn ProjectsPage() -> impl IntoView {
    page(Desk::take(), projects)
}

async fn projects(desk: Desk) -> Result<AnyView, Error> {
    let projects = list_projects(&desk.px, &desk.actor).await?;
    let rows: Vec<_> = projects.iter().map(row).collect();
    let list = if rows.is_empty() {
        empty(
            "No projects yet",
            "Apps of a project share variables, and a role that is granted in it holds in all of them.",
            (),
        )
        .into_any()
    } else {
        view! {
            <div class="table-wrap">
                <table class="table">
                    <thead>
                        <tr><th scope="col">"Project"</th><th scope="col">"Apps"</th><th scope="col">"Shared variables"</th></tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    let apps = if may_somewhere(&desk.actor, Action::ChangeProjects) {
        let apps = list_apps(&desk.px, &desk.actor).await?;
        apps.iter()
            .map(|app| Choice::new(app.app_name.to_string(), app.app_name.to_string()))
            .collect()
    } else {
        Vec::new()
    };
    let form = (!apps.is_empty())
        .then(|| new_one(&desk.typed, "Put an app into a project", form(&desk, apps)));
    let content = view! {
        {PageHead::new("Projects")
            .crumbs(vec![Crumb::new("Apps", paths::APPS)])
            .lead("Groups of apps. A project comes with its first app, and goes with its last one, with all that it shares.")
            .view()}
        {list}
        {form}
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn row(project: &ProjectView) -> impl IntoView + use<> {
    let apps: Vec<String> = project.apps.iter().map(ToString::to_string).collect();
    let variables = words::count(project.env_vars.len() as u64, "variable", "variables");
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main"><a href=paths::project(&project.project)>{project.project.to_string()}</a></span></td>
            <td data-label="Apps">{apps.join(", ")}</td>
            <td data-label="Shared variables">{variables}</td>
        </tr>
    }
}

fn form(desk: &Desk, apps: Vec<Choice>) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let first = apps.first().map(|choice| choice.value.to_string());
    view! {
        <form class="form" method="post" action=paths::PROJECTS>
            {select(typed, "app", "App", None, apps, first.as_deref().unwrap_or_default())}
            {Field::new(typed, "project", "Project").optional()
                .hint("It is made if there is none of that name. Empty: the app is taken out of its project. Whoever deploys the app can make it show what the project shares.")
                .placeholder("office")
                .view()}
            <div class="form-end"><button class="button button-primary">"Put"</button></div>
        </form>
    }
}
