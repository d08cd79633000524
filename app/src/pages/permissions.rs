use std::collections::BTreeSet;

use flukedeploy_domain::access::{Role, Target};
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_platform::views::GrantView;
use flukedeploy_platform::{Error, grants, people, tokens};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{
    Choice, Crumb, Field, PageHead, Section, age, empty, frame, new_one, select, table,
};
use crate::context::Desk;
use crate::paths;

/// `/permissions`: who may do what in which app?
#[component]
pub(crate) fn PermissionsPage() -> impl IntoView {
    page(Desk::take(), permissions)
}

async fn permissions(desk: Desk) -> Result<AnyView, Error> {
    let granted = grants::list_grants(&desk.px, &desk.actor, None).await?;
    let whom = whom(&desk).await?;
    let rows: Vec<_> = granted
        .iter()
        .map(|grant| row(grant, desk.now).into_any())
        .collect();
    let list = if rows.is_empty() {
        empty(
            "Nothing is granted yet",
            "People who are no administrators see nothing before a role in an app or a project is granted to them.",
            (),
        )
        .into_any()
    } else {
        table(&["Who", "Role", "Where", "Environments", "Since"], rows).into_any()
    };
    let form = if whom.is_empty() {
        view! { <p>"Everybody here may do everything: invite somebody who is no administrator, or make a token for single apps, first."</p> }.into_any()
    } else {
        form(&desk, whom).into_any()
    };
    let content = view! {
        {PageHead::new("Permissions")
            .crumbs(vec![Crumb::new("People", paths::PEOPLE)])
            .lead("Administrators may do everything. Everybody else has what is granted here, and it can be taken back at once.")
            .view()}
        {list}
        {new_one(&desk.typed, "Grant a role", form)}
    };
    Ok(frame(&desk, Section::People, content))
}

/// Those to whom a grant means anything.
pub(super) async fn whom(desk: &Desk) -> Result<Vec<Choice>, Error> {
    let people = people::list_people(&desk.px, &desk.actor).await?;
    let tokens = tokens::list_tokens(&desk.px, &desk.actor).await?;
    let whoever = people
        .iter()
        .filter(|person| !person.is_administrator)
        .map(|person| Choice::new(format!("account:{}", person.id), person.name.clone()));
    let narrowed = tokens
        .iter()
        .filter(|token| token.grants.is_some() && token.revoked_at.is_none())
        .map(|token| {
            let word = format!("Token {}", token.name);
            Choice::new(format!("token:{}", token.id), word)
        });
    Ok(whoever.chain(narrowed).collect())
}

/// What a role lets somebody do, in a few words.
pub(super) fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "Viewer",
        Role::Deployer => "Deployer",
        Role::Maintainer => "Maintainer",
    }
}

pub(super) fn places(environments: Option<&BTreeSet<EnvironmentName>>) -> String {
    match environments {
        None => "All".to_owned(),
        Some(some) => {
            let names: Vec<&str> = some.iter().map(EnvironmentName::as_str).collect();
            names.join(", ")
        }
    }
}

fn row(grant: &GrantView, now: OffsetDateTime) -> impl IntoView + use<> {
    let who = grant
        .subject_name
        .clone()
        .unwrap_or_else(|| "gone".to_owned());
    let words = format!(
        "Withdraw the role {} of {who} in {}",
        grant.role.as_str(),
        grant.target
    );
    let place = match &grant.target {
        Target::App(app) => view! { <a href=paths::app(app)>{app.to_string()}</a> }.into_any(),
        Target::Project(project) => format!("Project {project}").into_any(),
    };
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{who}<span class="cell-sub">{grant.subject.kind()}</span></span></td>
            <td data-label="Role">{word(grant.role)}</td>
            <td data-label="Where">{place}</td>
            <td data-label="Environments">{places(grant.environments.as_ref())}</td>
            <td data-label="Since">{age(grant.created_at, now)}</td>
            <td data-label="" class="actions">
                <form method="post" action=paths::withdraw(&grant.id)>
                    <button class="button button-small button-danger" aria-label=words>"Withdraw"</button>
                </form>
            </td>
        </tr>
    }
}

/// The roles to choose from.
pub(crate) fn roles() -> Vec<Choice> {
    vec![
        Choice::new("viewer", "Viewer: sees states, deployments and logs"),
        Choice::new(
            "deployer",
            "Deployer: also deploys, rolls back, scales, stops and starts",
        ),
        Choice::new(
            "maintainer",
            "Maintainer: also changes settings, variables and environments, and deletes",
        ),
    ]
}

fn form(desk: &Desk, whom: Vec<Choice>) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let first = whom.first().map(|choice| choice.value.to_string());
    view! {
        <form class="form" method="post" action=paths::PERMISSIONS>
            {select(typed, "subject", "Who", None, whom, first.as_deref().unwrap_or_default())}
            {select(typed, "role", "Role", None, roles(), "viewer")}
            <div class="row">
                {Field::new(typed, "app", "App").optional().hint("Its name; or name a project.").placeholder("shop-web").view()}
                {Field::new(typed, "project", "Project").optional().hint("All apps in it, as long as they are.").placeholder("office").view()}
            </div>
            {Field::new(typed, "environments", "Only in environments").optional().hint("Names with a comma between; all if it is empty.").placeholder("staging, preview").view()}
            <div class="form-end"><button class="button button-primary">"Grant"</button></div>
        </form>
    }
}
