use flukedeploy_domain::access::{Action, may_somewhere};
use flukedeploy_domain::deployment::{DeploymentSummary, Status};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::list_apps;
use flukedeploy_platform::deployments::recent_deployments;
use flukedeploy_platform::system::system_view;
use flukedeploy_platform::views::{AppState, AppView, SystemView};
use leptos::prelude::*;

use super::apps::{app_table, new_app, no_apps};
use super::page;
use crate::components::{
    Mark, PageHead, Section, app_mark, deployment_table, frame, mark_of, state, ticking,
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
    // Who has single apps sees nothing of the instance's own troubles.
    let system = if may_somewhere(&desk.actor, Action::ViewSystem) {
        Some(system_view(&desk.px, &desk.actor).await?)
    } else {
        None
    };
    let system = system.as_ref();
    let recent = recent_deployments(&desk.px, &desk.actor, 8).await?;
    let mut needy: Vec<&AppView> = apps.iter().filter(|app| needs_somebody(app)).collect();
    needy.sort_by_key(|app| !is_unwell(app));
    let verdict = verdict(&apps, &needy, system);
    let attention = needs_you(&needy, system);
    let (running, active) = recent
        .into_iter()
        .partition::<Vec<_>, _>(|one| one.status.is_final());
    let active: Vec<_> = active
        .iter()
        .map(|one| {
            view! {
                <li>
                    {state(mark_of(one))}
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
        no_apps(&desk)
    } else {
        let summary = view! {
            <div>
            <p class="verdict">{verdict.clone()}</p>
            <p class="counts">
                {counts(&apps)}
            </p>
            </div>
        };
        let table = app_table(&apps, desk.now);
        view! {
            {summary}
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
                .actions(new_app(&desk))
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

/// How many apps are how; what there is none of is left out, but for what one looks for first.
fn counts(apps: &[AppView]) -> impl IntoView + use<> {
    let count = |states: &[AppState]| {
        apps.iter()
            .filter(|app| states.contains(&app.state))
            .count() as u64
    };
    let out = [AppState::Stopped, AppState::Asleep, AppState::Maintenance];
    let all: [(u64, &str, bool); 5] = [
        (count(&[AppState::Running]), "running", true),
        (count(&[AppState::Deploying]), "deploying", true),
        (
            count(&[AppState::Degraded, AppState::Failed]),
            "not well",
            true,
        ),
        (count(&out), "out of service", false),
        (count(&[AppState::NeverDeployed]), "not deployed", false),
    ];
    all.into_iter()
        .filter(|(count, _, always)| *always || *count > 0)
        .map(|(count, word, _)| view! { <span><strong>{count}</strong>" "{word}</span> })
        .collect::<Vec<_>>()
}

/// It is not well, or something happened to it that somebody should look at.
fn needs_somebody(app: &AppView) -> bool {
    is_unwell(app)
        || last_failure(app).is_some()
        || went_back(app).is_some()
        || !app.drift.is_empty()
}

fn is_unwell(app: &AppView) -> bool {
    matches!(app.state, AppState::Failed | AppState::Degraded)
}

/// The newest deployment, if it failed by itself: what somebody stopped needs nobody else.
fn last_failure(app: &AppView) -> Option<&DeploymentSummary> {
    let latest = app.latest_deployment.as_ref()?;
    let stopped = latest
        .diagnosis
        .as_ref()
        .is_some_and(|found| matches!(found.code, Cause::Cancelled | Cause::Superseded));
    let failed = matches!(latest.status, Status::Failed | Status::RolledBack);
    (failed && !stopped).then_some(latest)
}

/// The newest deployment, if it is a return that nobody asked for.
fn went_back(app: &AppView) -> Option<(&DeploymentSummary, &Diagnosis)> {
    let latest = app.latest_deployment.as_ref()?;
    Some((latest, latest.because.as_ref()?))
}

/// What should be looked at, and the page that tells more. The mark is about the app itself, so
/// that it does not contradict how many are not well; what failed is told in words.
fn why(app: &AppView) -> (Mark, String, String) {
    let mark = app_mark(app.state);
    let serves = match (is_unwell(app), app.active_release) {
        (false, Some(release)) if app.state == AppState::Running => {
            format!("Release {release} serves. ")
        }
        _ => String::new(),
    };
    if let Some(failed) = last_failure(app) {
        let cause = failed.diagnosis.as_ref().map_or_else(
            || words::story(failed),
            |diagnosis| words::sentence(&diagnosis.message),
        );
        let why = format!("{serves}The last deployment failed. {cause}");
        return (mark, why, paths::deployment(&failed.deployment_id));
    }
    if let Some((back, found)) = went_back(app) {
        let to = back.rollback_of.map_or_else(
            || "the former release".to_owned(),
            |to| format!("release {to}"),
        );
        let why = format!(
            "FlukeDeploy went back to {to} by itself. {}",
            words::sentence(&found.message)
        );
        return (mark, why, paths::deployment(&back.deployment_id));
    }
    let why = if is_unwell(app) {
        let counts = &app.replicas;
        format!("{} of {} replicas healthy.", counts.ready, counts.requested)
    } else {
        format!(
            "{serves}Its service was changed from outside: {}.",
            app.drift.join(", ")
        )
    };
    (mark, why, paths::app(&app.app_name))
}

/// The answer in one sentence: first what does not serve as it should, then what went wrong
/// without anybody noticing.
fn verdict(apps: &[AppView], needy: &[&AppView], system: Option<&SystemView>) -> String {
    let number = |count: usize| count as u64;
    let unwell = needy.iter().filter(|app| is_unwell(app)).count();
    let others = needy.len() - unwell;
    let deploying = apps
        .iter()
        .filter(|app| app.state == AppState::Deploying)
        .count();
    match (unwell, others) {
        (0, 0) => {}
        (0, _) => {
            let subject = words::count(number(others), "app wants", "apps want");
            return format!("Everything serves; {subject} a look.");
        }
        (_, _) => {
            let subject = words::count(number(unwell), "app is", "apps are");
            return format!("{subject} not well.");
        }
    }
    if system.is_some_and(|system| !system.problems.is_empty()) {
        return "The platform needs you.".to_owned();
    }
    match (apps.len(), deploying) {
        (0, _) => "Nothing runs here yet.".to_owned(),
        (_, 0) => "Everything is all right.".to_owned(),
        (_, count) => format!(
            "All right; {}.",
            words::count(number(count), "app is deploying", "apps are deploying")
        ),
    }
}

fn needs_you(needy: &[&AppView], system: Option<&SystemView>) -> impl IntoView + use<> {
    let problems = system
        .into_iter()
        .flat_map(|system| &system.problems)
        .map(|problem| {
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
