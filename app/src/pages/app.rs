use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::approvals;
use flukedeploy_platform::apps::{get_environment, list_releases};
use flukedeploy_platform::deployments::history;
use flukedeploy_platform::views::{AppState, AppView, ReleaseView};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::app_settings::settings_form;
use super::apps::bare;
use super::environments::{switcher, time_left};
use super::everyday::{announcements, everyday};
use super::settings_approvals::approval_rules;
use super::{app_name, environment, page, query};
use crate::components::{
    Crumb, Icon, PageHead, Section, Tab, age, app_mark, copy_button, deployment_table, empty,
    frame, icon, state, tabs,
};
use crate::context::Desk;
use crate::offers::Offers;
use crate::{paths, words};

/// `/apps/{name}`: is it serving, what runs, what changed last?
#[component]
pub(crate) fn AppPage() -> impl IntoView {
    let (name, saved) = (app_name(), query("saved").is_some());
    let environment = environment();
    page(Desk::take(), async move |desk| {
        app(desk, &name?, &environment?, saved).await
    })
}

pub(super) fn app_tabs(
    name: &AppName,
    environment: &EnvironmentName,
    offers: Offers,
    current: &'static str,
) -> impl IntoView + use<> {
    let tab = |word: &'static str, to: String| Tab {
        word,
        to: paths::within(&to, environment),
        current: word == current,
    };
    tabs(
        name.to_string(),
        [
            (true, "Overview", paths::app(name)),
            (true, "Logs", paths::logs(name)),
            (offers.deploy, "Deploy", paths::deploy(name)),
            (offers.roll_back, "Roll back", paths::rollback(name)),
        ]
        .into_iter()
        .filter(|(offered, ..)| *offered)
        .map(|(_, word, to)| tab(word, to))
        .collect(),
    )
}

async fn app(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
    saved: bool,
) -> Result<AnyView, Error> {
    let app = get_environment(&desk.px, &desk.actor, name, environment).await?;
    let policy = approvals::policy(&desk.px, &desk.actor, name, &app.environment).await?;
    let releases = list_releases(&desk.px, &desk.actor, name, &app.environment, 20).await?;
    let deployments = history(
        &desk.px,
        &desk.actor,
        name,
        Some(&app.environment),
        10,
        true,
    )
    .await?;
    let offers = desk.offers(name, &app.environment);
    let can_go_back = offers.roll_back
        && releases
            .iter()
            .any(|release| release.was_healthy && !release.active);
    let to_deploy = paths::within(&paths::deploy(name), environment);
    let to_rollback = paths::within(&paths::rollback(name), environment);
    let actions = view! {
        {can_go_back.then(|| view! { <a class="button" href=to_rollback>"Roll back"</a> })}
        {offers.deploy.then(|| view! { <a class="button button-primary" href=to_deploy.clone()>"Deploy"</a> })}
    };
    let recent = if deployments.is_empty() {
        let more = offers
            .deploy
            .then(|| view! { <a class="button" href=to_deploy.clone()>"Deploy"</a> });
        empty(
            "Nothing was deployed yet",
            "Name an image, or what one is built of, and this app answers at its address.",
            more,
        )
        .into_any()
    } else {
        deployment_table(deployments, desk.now, false).into_any()
    };
    let title = if environment.is_production() {
        name.to_string()
    } else {
        format!("{name} · {environment}")
    };
    let delete = if environment.is_production() {
        (
            format!(
                "Deletes {name}, all its environments, everything that runs for it, its releases and deployments."
            ),
            format!("Delete {name}…"),
        )
    } else {
        (
            format!(
                "Deletes the environment {environment}: everything that runs in it, its address, variables, volumes, releases and deployments."
            ),
            format!("Delete {environment}…"),
        )
    };
    let content = view! {
        <div data-follow="" data-app=name.to_string() data-address=paths::within(&paths::app(name), environment)>
            {PageHead::new(title)
                .crumbs(vec![Crumb::new("Apps", paths::APPS)])
                .lead(view! {
                    <a class="address" href=app.url.clone() rel="noreferrer">{bare(&app.url)}{icon(Icon::Open)}</a>
                })
                .actions(actions)
                .live()
                .view()}
            {switcher(&app, offers)}
            {app_tabs(name, environment, offers, "Overview")}
            <div id="app" class="steps" data-live="replace">
                <div class="announcements">{announcements(&app, offers, desk.now)}</div>
                {facts(&app, desk.now)}
                <section class="section" aria-labelledby="deployments">
                    <div class="section-head"><h2 id="deployments">"Deployments"</h2></div>
                    {recent}
                </section>
                {(!releases.is_empty()).then(|| release_table(name, environment, &releases, offers.roll_back, desk.now))}
            </div>
            {everyday(&desk.typed, &app, offers)}
            {offers.time.then(|| time_left(&desk.typed, &app, desk.now))}
            {approval_rules(&desk.typed, &desk.actor, &app, policy)}
            <section class="section" aria-labelledby="settings">
                <div class="section-head"><h2 id="settings">"Settings"</h2><span class="section-note">"Domains take effect at once, everything else with the next deployment or restart."</span></div>
                {settings_form(&desk.typed, &app, saved, offers.settings)}
            </section>
            {offers.permissions.then(|| view! {
                <section class="section" aria-labelledby="permissions">
                    <div class="section-head"><h2 id="permissions">"Permissions"</h2></div>
                    <div class="form-end"><a class="button" href=paths::app_permissions(name)>"Who may do what here"</a></div>
                </section>
            })}
            {offers.delete.then(|| view! {
                <section class="section" aria-labelledby="danger">
                    <div class="section-head"><h2 id="danger">"Delete"</h2></div>
                    <div class="danger">
                        <p>{delete.0}</p>
                        <a class="button button-danger" href=paths::within(&paths::delete(name), environment)>{delete.1}</a>
                    </div>
                </section>
            })}
        </div>
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn facts(app: &AppView, now: OffsetDateTime) -> impl IntoView + use<> {
    let replicas = match app.state {
        AppState::NeverDeployed => "–".to_owned(),
        AppState::Stopped | AppState::Asleep => "None runs".to_owned(),
        _ => format!(
            "{} of {} healthy",
            app.replicas.ready, app.replicas.requested
        ),
    };
    let runs = match (app.active_release, &app.version) {
        (Some(release), Some(version)) => format!("{version} (release {release})"),
        (Some(release), None) => format!("Release {release}"),
        (None, _) => "Nothing yet".to_owned(),
    };
    let latest = match &app.latest_deployment {
        Some(latest) => view! {
            <a class="link" href=paths::deployment(&latest.deployment_id)>{age(latest.initiated_at, now)}</a>
        }
        .into_any(),
        None => "None yet".into_any(),
    };
    let image = app.image.clone();
    view! {
        <dl class="facts">
            <div><dt>"State"</dt><dd>{state(app_mark(app.state))}{mode_note(app)}</dd></div>
            <div><dt>"Replicas"</dt><dd>{replicas}</dd></div>
            <div><dt>"Runs"</dt><dd>{runs}</dd></div>
            <div><dt>"Last deployment"</dt><dd>{latest}</dd></div>
            {image.map(|image| view! {
                <div class="wide"><dt>"Image"</dt><dd><code title=image.clone()>{words::shortened(&image, 56)}</code>" "{copy_button("Copy", Some(image), None)}</dd></div>
            })}
            <div><dt>"Health check"</dt><dd>{words::probe(&app.health.probe)}</dd></div>
            <div><dt>"Container port"</dt><dd>{app.container_port}</dd></div>
        </dl>
    }
}

/// What the state does not say: a deployment is under way in an app that is not meant to run.
fn mode_note(app: &AppView) -> Option<impl IntoView + use<>> {
    let shown = matches!(
        app.state,
        AppState::Stopped | AppState::Asleep | AppState::Maintenance
    );
    (app.mode != RunMode::Running && !shown)
        .then(|| view! { <span class="cell-sub">"was "{words::mode(app.mode)}</span> })
}

fn release_table(
    name: &AppName,
    environment: &EnvironmentName,
    releases: &[ReleaseView],
    can_go_back: bool,
    now: OffsetDateTime,
) -> impl IntoView + use<> {
    let rows: Vec<_> = releases
        .iter()
        .map(|release| {
            let action = if release.active {
                view! { <span class="tag tag-good">"Serves"</span> }.into_any()
            } else if release.was_healthy && !can_go_back {
                ().into_any()
            } else if release.was_healthy {
                let words = format!("Roll back to release {}", release.release);
                view! {
                    <a class="button button-small" href=paths::within(&paths::rollback_to(name, release.release), environment) aria-label=words>"Roll back"</a>
                }
                .into_any()
            } else {
                view! { <span class="faint">"Was never healthy"</span> }.into_any()
            };
            view! {
                <tr>
                    <td data-label="Release"><strong>{release.release.to_string()}</strong></td>
                    <td data-label="Version">
                        {release.version.clone().unwrap_or_else(|| "–".to_owned())}
                        {release.withdrawn.clone().map(|why| view! {
                            <span class="cell-sub">"Withdrawn: "{why}</span>
                        })}
                    </td>
                    <td data-label="Image"><code title=release.pinned_image.clone()>{words::shortened(&release.image, 44)}</code></td>
                    <td data-label="Replicas" class="number">{release.replicas}</td>
                    <td data-label="Variables" class="number">{release.env_var_names.len()}</td>
                    <td data-label="Made">{age(release.created_at, now)}</td>
                    <td data-label="" class="actions">{action}</td>
                </tr>
            }
        })
        .collect();
    view! {
        <section class="section" aria-labelledby="releases">
            <div class="section-head"><h2 id="releases">"Releases"</h2></div>
            <div class="table-wrap">
                <table class="table">
                    <thead>
                        <tr>
                            <th scope="col">"Release"</th>
                            <th scope="col">"Version"</th>
                            <th scope="col">"Image"</th>
                            <th scope="col" class="number">"Replicas"</th>
                            <th scope="col" class="number">"Variables"</th>
                            <th scope="col">"Made"</th>
                            <th scope="col"><span class="visually-hidden">"Action"</span></th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
}
