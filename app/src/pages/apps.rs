use flukedeploy_domain::access::{Action, may_somewhere};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::list_apps;
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{PageHead, Section, age, app_mark, code, empty, frame, state};
use crate::context::Desk;
use crate::{paths, words};

/// `/apps`: every app, by name.
#[component]
pub(crate) fn AppsPage() -> impl IntoView {
    page(Desk::take(), apps)
}

async fn apps(desk: Desk) -> Result<AnyView, Error> {
    let apps = list_apps(&desk.px, &desk.actor).await?;
    let lead = words::count(apps.len() as u64, "app", "apps");
    let list = if apps.is_empty() {
        no_apps(&desk)
    } else {
        app_table(&apps, desk.now).into_any()
    };
    let content = view! {
        <div data-follow="">
            {PageHead::new("Apps")
                .lead(lead)
                .actions(view! { <a class="button" href=paths::PROJECTS>"Projects"</a>{new_app(&desk)} })
                .live()
                .view()}
            <div id="apps" data-live="replace">{list}</div>
        </div>
    };
    Ok(frame(&desk, Section::Apps, content))
}

pub(super) fn app_table(apps: &[AppView], now: OffsetDateTime) -> impl IntoView + use<> {
    let rows: Vec<_> = apps.iter().map(|app| row(app, now)).collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"App"</th>
                        <th scope="col">"State"</th>
                        <th scope="col">"Runs"</th>
                        <th scope="col" class="number">"Replicas"</th>
                        <th scope="col">"Last deployment"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn row(app: &AppView, now: OffsetDateTime) -> impl IntoView + use<> {
    let runs = app.active_release.map(|release| {
        let label = app.version.clone().unwrap_or_else(|| format!("release {release}"));
        let image = app.image.clone().unwrap_or_default();
        view! {
            <span>{label}<span class="cell-sub" title=image.clone()>{words::shortened(&image, 36)}</span></span>
        }
    });
    let latest = app.latest_deployment.as_ref().map(|latest| {
        view! {
            <a class="link" href=paths::deployment(&latest.deployment_id)>{age(latest.initiated_at, now)}</a>
        }
    });
    let replicas = app
        .active_release
        .map(|_| format!("{} of {}", app.replicas.ready, app.replicas.requested));
    view! {
        <tr>
            <td data-label="" class="cell-title">
                <span class="cell-main">
                    <a href=paths::app(&app.app_name)>{app.app_name.to_string()}</a>
                    <a class="cell-sub" href=app.url.clone() rel="noreferrer">{bare(&app.url)}</a>
                </span>
            </td>
            <td data-label="State">{state(app_mark(app.state))}</td>
            <td data-label="Runs">{runs}</td>
            <td data-label="Replicas" class="number nowrap">{replicas}</td>
            <td data-label="Last deployment">{latest}</td>
        </tr>
    }
}

/// An address without what goes without saying.
pub(super) fn bare(url: &str) -> String {
    url.trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/')
        .to_owned()
}

/// The way to a new app, for those who may make one.
pub(super) fn new_app(desk: &Desk) -> Option<impl IntoView + use<>> {
    may_somewhere(&desk.actor, Action::CreateApp)
        .then(|| view! { <a class="button button-primary" href=paths::NEW_APP>"New app"</a> })
}

pub(super) fn no_apps(desk: &Desk) -> AnyView {
    if !may_somewhere(&desk.actor, Action::CreateApp) {
        return empty(
            "No apps yet",
            "You see apps in which you have a role, and there is none. Ask an administrator for one.",
            (),
        )
        .into_any();
    }
    let command = format!(
        "curl -X POST {}/api/v1/deployments \\\n  -H \"Authorization: Bearer $FLUKEDEPLOY_API_TOKEN\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"app_name\":\"hello\",\"image\":\"nginx:stable\",\"create\":true}}'",
        desk.px.config().public_url
    );
    let more = view! {
        <a class="button button-primary" href=paths::NEW_APP>"Create the first app"</a>
        <p>"Or from a terminal, with a "<a class="link" href=paths::TOKENS>"token"</a>":"</p>
        {code("first-command", command)}
    };
    empty(
        "No apps yet",
        "An app is a container image with an address: FlukeDeploy runs it, checks its health, sends it traffic, and goes back when a new version fails.",
        more,
    )
    .into_any()
}
