use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::list_releases;
use leptos::prelude::*;

use super::{app_crumbs, app_name, called, environment, page, query};
use crate::components::{Field, PageHead, Section, age, empty, frame, problem};
use crate::context::Desk;
use crate::{paths, words};

/// `/apps/{name}/rollback`; `?release=` is the one to choose first.
#[component]
pub(crate) fn RollbackPage() -> impl IntoView {
    let (name, wanted) = (app_name(), query("release"));
    let environment = environment();
    page(Desk::take(), async move |desk| {
        rollback(desk, &name?, &environment?, wanted).await
    })
}

async fn rollback(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
    wanted: Option<String>,
) -> Result<AnyView, Error> {
    desk.need(Action::Rollback, Resource::Environment(name, environment))?;
    let releases = list_releases(&desk.px, &desk.actor, name, environment, 100).await?;
    let typed = &desk.typed;
    let serving = releases.iter().find(|release| release.active);
    let lead = match serving {
        Some(release) => format!("Release {} serves now.", release.release),
        None => "Nothing serves now.".to_owned(),
    };
    let active = serving.map(|release| release.release);
    let possible: Vec<_> = releases
        .iter()
        .filter(|r| r.was_healthy && !r.active)
        .collect();
    // The newest before the one that serves is what "back" means.
    let former = possible
        .iter()
        .find(|r| active.is_none_or(|active| r.release < active))
        .or(possible.first());
    let chosen = typed
        .text("release")
        .map(ToOwned::to_owned)
        .or(wanted)
        .or_else(|| former.map(|release| release.release.to_string()));
    let choices: Vec<_> = possible
        .iter()
        .map(|release| {
            let number = release.release.to_string();
            let id = format!("release-{number}");
            let checked = chosen.as_deref() == Some(&*number);
            let label = release.version.as_ref().map(|version| format!(" · {version}"));
            view! {
                <div class="choice choice-box">
                    <input type="radio" id=id.clone() name="release" value=number.clone() checked=checked/>
                    <label for=id><strong>"Release "{number}</strong>{label}</label>
                    <span class="hint">
                        <code title=release.pinned_image.clone()>{words::shortened(&release.image, 52)}</code>
                        " · "{words::count(u64::from(release.replicas), "replica", "replicas")}
                        " · made "{age(release.created_at, desk.now)}
                    </span>
                </div>
            }
        })
        .collect();
    let body = if choices.is_empty() {
        let more = view! { <a class="button" href=paths::within(&paths::app(name), environment)>"Back to "{name.to_string()}</a> };
        empty(
            "There is no release to go back to",
            "A release can be gone back to once it was healthy and another one took over.",
            more,
        )
        .into_any()
    } else {
        let fault = typed.fault("release");
        view! {
            {problem(typed)}
            <form class="form" method="post" action=paths::within(&paths::rollback(name), environment)>
                <fieldset class="field">
                    <legend>"Go back to"</legend>
                    <p class="hint">"With the image, settings and variables it had. Domains stay as they are."</p>
                    <div class="choices">{choices}</div>
                    {fault.map(|fault| view! { <p class="fault"><span>{fault}</span></p> })}
                </fieldset>
                {Field::new(typed, "reason", "Reason").optional().hint("For the audit trail.").view()}
                <div class="form-end">
                    <button class="button button-primary">"Roll back"</button>
                    <a class="button" href=paths::within(&paths::app(name), environment)>"Cancel"</a>
                </div>
            </form>
        }
        .into_any()
    };
    let content = view! {
        {PageHead::new(called("Roll back", name, environment))
            .crumbs(app_crumbs(name, environment))
            .lead(lead)
            .view()}
        {body}
    };
    Ok(frame(&desk, Section::Apps, content))
}
