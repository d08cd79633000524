use flukedeploy_domain::deployment::{DeploymentSummary, Status};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::list_apps;
use flukedeploy_platform::deployments::recent_deployments;
use flukedeploy_platform::system::system_view;
use flukedeploy_platform::views::{AppState, AppView, SystemView};
use leptos::prelude::*;

use super::apps::{app_table, no_apps};
use super::page;
use crate::components::{
    Mark, PageHead, Section, app_mark, deployment_mark, deployment_table, frame, state, ticking,
};
use crate::context::Desk;
use crate::{paths, words};

/// `/`: is everything all right, and does anything need me?
#[component]
pub(crate) fn OverviewPage() -> impl IntoView {
    page(Desk::take(), overview)
}

async fn overview(desk: Desk) -> Result<AnyView, Error> {
    let apps = list_apps(&desk.px, &desk.actor).await?;
    let system = system_view(&desk.px, &desk.actor).await?;
    let recent = recent_deployments(&desk.px, &desk.actor, 8).await?;
    let count = |wanted: AppState| apps.iter().filter(|app| app.state == wanted).count() as u64;
    let needy: Vec<&AppView> = apps.iter().filter(|app| needs_somebody(app)).collect();
    let verdict = verdict(&apps, needy.len(), &system);
    let attention = needs_you(&needy, &system);
    let (running, active) = recent
        .into_iter()
        .partition::<Vec<_>, _>(|one| one.status.is_final());
    let active: Vec<_> = active
        .iter()
        .map(|one| {
            view! {
                <li>
                    {state(deployment_mark(one.status))}
                    <p class="attention-why">
                        <strong><a href=paths::deployment(&one.deployment_id)>{one.app_name.to_string()}": "{words::what(one)}</a></strong>
                        <br/>{words::story(one)}" "{ticking(one.initiated_at, desk.now)}
                    </p>
                    <a class="button button-small" href=paths::deployment(&one.deployment_id)>"Follow"</a>
                </li>
            }
        })
        .collect();
    let nothing = apps.is_empty();
    let list = if nothing {
        no_apps(&desk).into_any()
    } else {
        let counts = view! {
            <div>
            <p class="verdict">{verdict.clone()}</p>
            <p class="counts">
                <span><strong>{count(AppState::Running)}</strong>" running"</span>
                <span><strong>{count(AppState::Deploying)}</strong>" deploying"</span>
                <span><strong>{count(AppState::Degraded) + count(AppState::Failed)}</strong>" not well"</span>
                <span><strong>{count(AppState::NeverDeployed)}</strong>" not deployed"</span>
            </p>
            </div>
        };
        let table = app_table(&apps, desk.now);
        view! {
            {counts}
            {attention}
            {(!active.is_empty()).then(|| view! {
                <section class="section" aria-labelledby="deploying">
                    <div class="section-head"><h2 id="deploying">"Deploying now"</h2></div>
                    <ul class="attention-list">{active}</ul>
                </section>
            })}
            <section class="section" aria-labelledby="apps">
                <div class="section-head"><h2 id="apps">"Apps"</h2><a class="link" href=paths::APPS>"All apps"</a></div>
                {table}
            </section>
            {(!running.is_empty()).then(|| view! {
                <section class="section" aria-labelledby="recent">
                    <div class="section-head"><h2 id="recent">"Recent deployments"</h2><a class="link" href=paths::DEPLOYMENTS>"All deployments"</a></div>
                    {deployment_table(running, desk.now, true)}
                </section>
            })}
        }
        .into_any()
    };
    let content = view! {
        <div data-follow="">
            {PageHead::new("Overview")
                .actions(view! { <a class="button button-primary" href=paths::NEW_APP>"New app"</a> })
                .live()
                .view()}
            <div id="overview" class="steps" data-live="replace">
                {nothing.then(|| view! { <p class="verdict">{verdict.clone()}</p> })}
                {list}
            </div>
        </div>
    };
    Ok(frame(&desk, Section::Overview, content))
}

/// It is not well, or what was last tried did not work.
fn needs_somebody(app: &AppView) -> bool {
    matches!(app.state, AppState::Failed | AppState::Degraded) || last_failure(app).is_some()
}

fn last_failure(app: &AppView) -> Option<&DeploymentSummary> {
    let latest = app.latest_deployment.as_ref()?;
    matches!(latest.status, Status::Failed | Status::RolledBack).then_some(latest)
}

/// What is not well, and the page that tells more.
fn why(app: &AppView) -> (Mark, String, String) {
    let Some(failed) = last_failure(app) else {
        let replicas = &app.replicas;
        let count = format!(
            "{} of {} replicas healthy.",
            replicas.ready, replicas.requested
        );
        return (app_mark(app.state), count, paths::app(&app.app_name));
    };
    let cause = failed.diagnosis.as_ref().map_or_else(
        || words::story(failed),
        |diagnosis| words::sentence(&diagnosis.message),
    );
    let why = format!("The last deployment failed. {cause}");
    (
        deployment_mark(failed.status),
        why,
        paths::deployment(&failed.deployment_id),
    )
}

/// The answer in one sentence.
fn verdict(apps: &[AppView], needy: usize, system: &SystemView) -> String {
    let deploying = apps
        .iter()
        .filter(|app| app.state == AppState::Deploying)
        .count() as u64;
    if needy > 0 {
        let subject = words::count(needy as u64, "app needs", "apps need");
        return format!("{subject} you.");
    }
    if !system.problems.is_empty() {
        return "The platform needs you.".to_owned();
    }
    match (apps.len(), deploying) {
        (0, _) => "Nothing runs here yet.".to_owned(),
        (_, 0) => "Everything is all right.".to_owned(),
        (_, count) => format!(
            "All right; {}.",
            words::count(count, "app is deploying", "apps are deploying")
        ),
    }
}

fn needs_you(needy: &[&AppView], system: &SystemView) -> impl IntoView + use<> {
    let problems = system.problems.iter().map(|problem| {
        view! {
            <li>
                {state(Mark::attention("System"))}
                <p class="attention-why">{words::sentence(problem)}</p>
                <a class="button button-small" href=paths::SYSTEM>"Look"</a>
            </li>
        }
        .into_any()
    });
    let apps = needy.iter().map(|app| {
        let (mark, why, to) = why(app);
        view! {
            <li>
                {state(mark)}
                <p class="attention-why">
                    <strong><a href=paths::app(&app.app_name)>{app.app_name.to_string()}</a></strong>
                    <br/>{why}
                </p>
                <a class="button button-small" href=to>"Look"</a>
            </li>
        }
        .into_any()
    });
    let items: Vec<_> = apps.chain(problems).collect();
    (!items.is_empty()).then(|| {
        view! {
            <section class="section" aria-labelledby="needs-you">
                <div class="section-head"><h2 id="needs-you">"Needs you"</h2></div>
                <ul class="attention-list">{items}</ul>
            </section>
        }
    })
}
