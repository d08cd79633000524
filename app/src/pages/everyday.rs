//! What one does with an app that runs: more replicas, a restart, out of service and back.

use flukedeploy_domain::app::{RunMode, Standby};
use flukedeploy_domain::deployment::Strategy;
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;
use time::OffsetDateTime;

use crate::components::{Field, Tint, age, notice, problem};
use crate::forms::Typed;
use crate::forms::everyday::{EVERYDAY, SCALE_TO};
use crate::offers::Offers;
use crate::{paths, words};

/// What a person should know before anything else: a former release that stands by, a release that
/// is watched, a service that is not as it should be.
pub(super) fn announcements(
    app: &AppView,
    offers: Offers,
    now: OffsetDateTime,
) -> impl IntoView + use<> {
    // Of an app that is stopped nothing stands by and nothing can be watched.
    let runs = app.mode.has_replicas();
    view! {
        {drift(app, offers.restart)}
        {app.standby.filter(|_| runs).map(|standby| stands_by(app, standby, offers.roll_back, now))}
        {app.probation.as_ref().filter(|_| runs).map(|probation| view! {
            <p class="aside-line">
                "Release "{probation.release.to_string()}" is watched on real traffic until "{clock(probation.until, now)}
                ". If it does not keep what the app promises, FlukeDeploy goes back by itself."
            </p>
        })}
    }
}

fn stands_by(
    app: &AppView,
    standby: Standby,
    can_go_back: bool,
    now: OffsetDateTime,
) -> impl IntoView + use<> {
    let release = standby.release;
    view! {
        <div class="panel panel-body act">
            <p>
                <strong>"Release "{release.to_string()}" stands by until "{clock(standby.until, now)}"."</strong>
                <span class="hint">"It still runs without traffic, so going back to it takes no time."</span>
            </p>
            {can_go_back.then(|| view! {
                <form method="post" action=paths::within(&paths::rollback(&app.app_name), &app.environment)>
                    <input type="hidden" name="release" value=release.to_string()/>
                    <button class="button" id="to-standby">"Roll back to release "{release.to_string()}</button>
                </form>
            })}
        </div>
    }
}

fn drift(app: &AppView, can_restart: bool) -> Option<impl IntoView + use<>> {
    if app.drift.is_empty() {
        return None;
    }
    let text = format!(
        "What runs differs from its release in: {}. Somebody changed it past FlukeDeploy. A restart puts it right.",
        app.drift.join(", ")
    );
    Some(view! {
        <div class="drift">
            {notice(Tint::Attention, "The service was changed from outside".to_owned(), Some(text))}
            {can_restart.then(|| restart_button(app, "restart-drift", "Restart to put it right"))}
        </div>
    })
}

/// "13:40:02 UTC (in 9 min.)".
fn clock(at: OffsetDateTime, now: OffsetDateTime) -> impl IntoView {
    view! { {words::clock(at)}" UTC ("{age(at, now)}")" }
}

fn restart_button(app: &AppView, id: &'static str, word: &'static str) -> impl IntoView + use<> {
    view! {
        <form method="post" action=paths::within(&paths::restart(&app.app_name), &app.environment)>
            <input type="hidden" name=EVERYDAY value="restart"/>
            <button class="button" id=id>{word}</button>
        </form>
    }
}

/// The section; nothing where nothing was deployed yet.
pub(super) fn everyday(
    typed: &Typed,
    app: &AppView,
    offers: Offers,
) -> Option<impl IntoView + use<>> {
    app.active_release?;
    // Whoever may do one of these may do all.
    if !(offers.scale && offers.restart && offers.stop_start) {
        return None;
    }
    let mine = typed.get(EVERYDAY).is_some();
    let none = Typed::default();
    let typed = if mine { typed } else { &none };
    let number = Field::new(typed, SCALE_TO, "Number of replicas")
        .number()
        .value(&app.replicas.requested)
        .hint("At once, and for the releases to come.");
    // The page is long: a fault brings one to its field.
    let number = if typed.fault(SCALE_TO).is_some() {
        number.autofocus()
    } else {
        number
    };
    let scale = view! {
        <form class="act" method="post" action=paths::within(&paths::scale(&app.app_name), &app.environment)>
            <input type="hidden" name=EVERYDAY value="scale"/>
            {number.view()}
            <button class="button" id="scale">"Scale"</button>
        </form>
    };
    // Only what is typed into stays outside of what is drawn anew.
    Some(view! {
        <section class="section" aria-labelledby="everyday-title">
            <div class="section-head"><h2 id="everyday-title">"Everyday"</h2></div>
            {mine.then(|| problem(typed))}
            <div class="panel acts">
                {app.mode.has_replicas().then_some(scale)}
                <div id="everyday-run" data-live="replace">{run(app)}</div>
            </div>
            <div class="acts acts-apart" id="everyday-out" data-live="replace">{out_of_service(app)}</div>
        </section>
    })
}

/// Restart while it runs, else what brings it back.
fn run(app: &AppView) -> impl IntoView + use<> {
    let name = app.app_name.to_string();
    match app.mode {
        RunMode::Running => {
            let way = if stops_first(app) {
                "It stops first; requests wait until it can answer again."
            } else {
                "The replicas that serve stay until the new ones are healthy."
            };
            let text =
                format!("Starts the same image anew, with the settings as they are now. {way}");
            act("Restart", text, restart_button(app, "restart", "Restart")).into_any()
        }
        RunMode::Maintenance => act(
            "In maintenance",
            "Replicas run, and requests are held.",
            mode_button(
                app,
                RunMode::Running,
                "End maintenance",
                "button button-primary",
            ),
        )
        .into_any(),
        RunMode::Stopped | RunMode::Asleep => {
            let title = if app.mode == RunMode::Stopped {
                "Stopped"
            } else {
                "Asleep"
            };
            let text = format!("No replica of {name} runs.");
            act(
                title,
                text,
                mode_button(app, RunMode::Running, "Start", "button button-primary"),
            )
            .into_any()
        }
    }
}

/// Two releases of it cannot run at once, or are not meant to.
fn stops_first(app: &AppView) -> bool {
    app.strategy == Strategy::Recreate
        || app.volumes.iter().any(|volume| !volume.shared)
        || !app.published_ports.is_empty()
}

/// What takes it away from its users, in words that say so.
fn out_of_service(app: &AppView) -> impl IntoView + use<> {
    let name = app.app_name.to_string();
    let class = "button button-danger";
    let stop = (app.mode != RunMode::Stopped).then(|| {
        act(
            "Stop",
            format!("No replica of {name} runs, and every request is answered with 503, until somebody starts it."),
            mode_button(app, RunMode::Stopped, "Stop", class),
        )
    });
    let sleep = (app.mode != RunMode::Asleep && app.expose_http).then(|| {
        act(
            "Put to sleep",
            "No replica runs. The first request starts it and waits until it can be answered.",
            mode_button(app, RunMode::Asleep, "Put to sleep", class),
        )
    });
    let hold = (app.mode == RunMode::Running).then(|| {
        let held = app.rollout.hold_seconds;
        act(
            "Maintenance",
            format!(
                "Replicas keep running. Each request is held for {held} s, then answered with 503."
            ),
            mode_button(app, RunMode::Maintenance, "Begin maintenance", class),
        )
    });
    view! { {hold}{sleep}{stop} }
}

fn act(title: &'static str, text: impl Into<String>, button: impl IntoView) -> impl IntoView {
    view! {
        <div class="act">
            <p><strong>{title}</strong><span class="hint">{text.into()}</span></p>
            {button}
        </div>
    }
}

fn mode_button(
    app: &AppView,
    mode: RunMode,
    word: &'static str,
    class: &'static str,
) -> impl IntoView + use<> {
    view! {
        <form method="post" action=paths::within(&paths::mode(&app.app_name), &app.environment)>
            <input type="hidden" name=EVERYDAY value="mode"/>
            <button class=class id=format!("mode-{}", mode.as_str()) name="mode" value=mode.as_str()>{word}</button>
        </form>
    }
}
