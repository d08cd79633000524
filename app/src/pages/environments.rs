//! The environments of an app, on its page: which there are, and how long this one stays.

use flukedeploy_platform::views::AppView;
use leptos::prelude::*;
use time::OffsetDateTime;

use crate::components::{Field, age, app_mark, problem, state};
use crate::forms::Typed;
use crate::offers::Offers;
use crate::paths;

/// Leads from one environment to the next.
pub(super) fn switcher(app: &AppView, offers: Offers) -> impl IntoView + use<> {
    let links: Vec<_> = app
        .environments
        .iter()
        .map(|known| {
            let to = paths::within(&paths::app(&app.app_name), &known.name);
            let current = (known.name == app.environment).then_some("page");
            view! {
                <li><a href=to aria-current=current>
                    <span>{known.name.to_string()}</span>{state(app_mark(known.state))}
                </a></li>
            }
        })
        .collect();
    let can_promote = offers.promote && app.environments.len() > 1;
    let promote = if app.environment.is_production() {
        paths::promote(&app.app_name)
    } else {
        format!("{}?from={}", paths::promote(&app.app_name), app.environment)
    };
    view! {
        <nav class="environments" aria-label="Environments">
            <ul>{links}</ul>
            <p>
                {offers.new_environment.then(|| view! { <a class="link" href=paths::new_environment(&app.app_name)>"New environment"</a> })}
                {can_promote.then(|| view! { <a class="link" href=promote>"Promote…"</a> })}
            </p>
        </nav>
    }
}

/// How long an environment beside production stays, and a form to change that.
pub(super) fn time_left(
    typed: &Typed,
    app: &AppView,
    now: OffsetDateTime,
) -> Option<impl IntoView + use<>> {
    if app.environment.is_production() {
        return None;
    }
    let none = Typed::default();
    let typed = if typed.get("ttl_hours").is_some() {
        typed
    } else {
        &none
    };
    let told = match app.expires_at {
        Some(until) => view! {
            "This preview goes "{age(until, now)}", with everything that belongs to it."
        }
        .into_any(),
        None => "It stays until somebody deletes it.".into_any(),
    };
    let hours = Field::new(typed, "ttl_hours", "Remove it after, in hours from now")
        .optional()
        .number()
        .hint("Empty: it stays.");
    // The page is long: a fault brings one to its field.
    let hours = if typed.problem().is_some() {
        hours.autofocus()
    } else {
        hours
    };
    let action = paths::within(&paths::ttl(&app.app_name), &app.environment);
    Some(view! {
        <section class="section" aria-labelledby="time-left">
            <div class="section-head"><h2 id="time-left">"Time"</h2><span class="section-note">{told}</span></div>
            {problem(typed)}
            <div class="panel acts">
                <form class="act" method="post" action=action>
                    {hours.view()}
                    <button class="button" id="ttl">"Set"</button>
                </form>
            </div>
        </section>
    })
}
