use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::authorise::may;
use flukedeploy_platform::views::{StandingView, Why};
use flukedeploy_platform::{Error, grants};
use leptos::prelude::*;

use super::permissions::{places, roles, whom, word};
use super::{app_crumbs, app_name, page};
use crate::components::{Choice, Field, PageHead, Section, frame, new_one, problem, select, table};
use crate::context::Desk;
use crate::paths;

/// `/apps/{name}/permissions`: who may do what here, and why?
#[component]
pub(crate) fn AppPermissionsPage() -> impl IntoView {
    let name = app_name();
    page(Desk::take(), async move |desk| {
        permissions(desk, &name?).await
    })
}

async fn permissions(desk: Desk, name: &AppName) -> Result<AnyView, Error> {
    let standing = grants::who_may(&desk.px, &desk.actor, name).await?;
    let can_change = may(&desk.actor, Action::ChangeGrants, Resource::System);
    let rows: Vec<_> = standing
        .iter()
        .map(|one| row(name, one, can_change).into_any())
        .collect();
    let form = if can_change {
        let whom = whom(&desk).await?;
        let form = if whom.is_empty() {
            view! { <p>"Everybody here may do everything: invite somebody who is no administrator, or make a token for single apps, first."</p> }.into_any()
        } else {
            form(&desk, name, whom).into_any()
        };
        new_one(&desk.typed, "Grant a role", form).into_any()
    } else {
        view! {
            {problem(&desk.typed)}
            <p class="soft">"Administrators change who may do what."</p>
        }
        .into_any()
    };
    let environment = EnvironmentName::production();
    let content = view! {
        {PageHead::new(format!("Permissions in {name}"))
            .crumbs(app_crumbs(name, &environment))
            .lead("Who may do what here, and why. What is granted can be taken back at once.")
            .view()}
        {table(&["Who", "Role", "Environments", "Why"], rows)}
        {form}
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn row(app: &AppName, one: &StandingView, can_change: bool) -> impl IntoView + use<> {
    let (kind, why) = match &one.why {
        Why::Administrator => ("account", "Administrator: may do everything".to_owned()),
        Why::Granted(_) => ("account", "Granted in this app".to_owned()),
        Why::Project(project) => ("account", format!("Granted in the project {project}")),
        Why::Token { .. } => ("token", "As far as whoever made it".to_owned()),
    };
    let withdraw = one.grant().filter(|_| can_change).map(|grant| {
        let words = format!("Withdraw the role {} of {}", one.role.as_str(), one.name);
        view! {
            <form method="post" action=paths::withdraw_in(app, grant)>
                <button class="button button-small button-danger" aria-label=words>"Withdraw"</button>
            </form>
        }
    });
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{one.name.clone()}<span class="cell-sub">{kind}</span></span></td>
            <td data-label="Role">{word(one.role)}</td>
            <td data-label="Environments">{places(one.environments.as_ref())}</td>
            <td data-label="Why">{why}</td>
            <td data-label="" class="actions">{withdraw}</td>
        </tr>
    }
}

fn form(desk: &Desk, name: &AppName, whom: Vec<Choice>) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let first = whom.first().map(|choice| choice.value.to_string());
    view! {
        <form class="form" method="post" action=paths::app_permissions(name)>
            {select(typed, "subject", "Who", Some("Takes the place of the role that they have in this app."), whom, first.as_deref().unwrap_or_default())}
            {select(typed, "role", "Role", None, roles(), "viewer")}
            {Field::new(typed, "environments", "Only in environments").optional().hint("Names with a comma between; all if it is empty.").placeholder("staging, preview").view()}
            <div class="form-end"><button class="button button-primary">"Grant"</button></div>
        </form>
    }
}
