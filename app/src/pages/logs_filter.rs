//! The form above the lines, and what narrows them as it stands.

use leptos::prelude::*;

use super::logs_grid::Grid;
use super::logs_lines::{LEVELS, short_replica};
use super::logs_wanted::{RECENT, Wanted};
use crate::components::{Choice, Field, select};
use crate::paths;

/// What can be chosen where there is something to choose from.
#[derive(Default)]
pub(super) struct Offers {
    pub(super) apps: Vec<String>,
    pub(super) environments: Vec<String>,
    pub(super) releases: Vec<u32>,
    /// Tasks, the newest lines' first.
    pub(super) replicas: Vec<String>,
}

pub(super) fn form(wanted: &Wanted, grid: &Grid, mut offers: Offers) -> impl IntoView + use<> {
    let typed = wanted.typed();
    let given = |name: &str| wanted.get(name).is_some();
    let hidden: Vec<_> = [
        ("range", !wanted.has_ends()),
        ("deployment", true),
        ("environment", offers.environments.len() < 2),
    ]
    .into_iter()
    .filter(|(_, is_kept)| *is_kept)
    .filter_map(|(name, _)| Some((name, wanted.get(name)?.to_owned())))
    .map(|(name, value)| view! { <input type="hidden" name=name value=value/> })
    .collect();
    let mut levels = vec![Choice::new("", "All levels")];
    levels.extend(LEVELS.map(|(word, level)| Choice::new(level.as_str(), word)));
    let more = [
        "environment",
        "release",
        "replica",
        "stream",
        "since",
        "until",
    ];
    let more = more.into_iter().filter(|name| given(name)).count();
    let app = (!wanted.is_of_app).then(|| {
        let names = with(&mut offers.apps, wanted.get("app"));
        select(&typed, "app", "App", None, choices("All apps", names), "")
    });
    let environment = (offers.environments.len() > 1).then(|| {
        let names = with(&mut offers.environments, wanted.get("environment"));
        let all = choices("All environments", names);
        select(&typed, "environment", "Environment", None, all, "")
    });
    if let Some(release) = wanted.release
        && !offers.releases.contains(&release)
    {
        offers.releases.push(release);
    }
    let release = (!offers.releases.is_empty() || given("release")).then(|| {
        let numbers = offers.releases.iter().map(ToString::to_string);
        let mut all = choices("All releases", numbers);
        if let (None, Some(odd)) = (wanted.release, wanted.get("release")) {
            all.push(Choice::new(odd.to_owned(), odd));
        }
        select(&typed, "release", "Release", None, all, "")
    });
    let tasks = with(&mut offers.replicas, wanted.replica.as_deref());
    let mut replicas = vec![Choice::new("", "All replicas")];
    replicas.extend(tasks.map(|task| {
        let short = short_replica(&task);
        Choice::new(task, short)
    }));
    let streams = [
        ("", "All streams"),
        ("stdout", "stdout"),
        ("stderr", "stderr"),
        ("access", "Access"),
    ];
    let streams = streams.map(|(value, word)| Choice::new(value, word)).into();
    view! {
        <form class="explorer-form" method="get" action=wanted.path().to_owned() role="search">
            {hidden}
            <div class="explorer-main">
                <div class="field-grow">{Field::new(&typed, "q", "Text").placeholder("word  \"any text\"  -without  /regex/").view()}</div>
                {app}
                {select(&typed, "level", "Level", None, levels, "")}
                <button class="button">"Filter"</button>
            </div>
            <div class="explorer-second">
            {times(wanted, grid)}
            <details class="disclosure" id="more-filters" open={more > 0}>
                <summary>{if more > 0 { format!("More filters ({more})") } else { "More filters".to_owned() }}</summary>
                <div class="explorer-more">
                    {environment}
                    {release}
                    {select(&typed, "replica", "Replica", None, replicas, "")}
                    {select(&typed, "stream", "Stream", None, streams, "")}
                    {Field::new(&typed, "since", "From (UTC)").moment().view()}
                    {Field::new(&typed, "until", "To (UTC)").moment().view()}
                </div>
            </details>
            </div>
        </form>
    }
}

fn choices(all: &'static str, values: impl Iterator<Item = String>) -> Vec<Choice> {
    let mut choices = vec![Choice::new("", all)];
    choices.extend(values.map(|value| Choice::new(value.clone(), value)));
    choices
}

/// The values on offer, and the one that is chosen even if it is not among them.
fn with(offers: &mut Vec<String>, chosen: Option<&str>) -> impl Iterator<Item = String> + use<> {
    if let Some(chosen) = chosen
        && !offers.iter().any(|offer| offer == chosen)
    {
        offers.push(chosen.to_owned());
    }
    std::mem::take(offers).into_iter()
}

/// Stretches of time that end now, and the one that is looked at if it does not.
fn times(wanted: &Wanted, grid: &Grid) -> impl IntoView + use<> {
    let links: Vec<_> = RECENT
        .into_iter()
        .map(|recent| {
            let is_current = !wanted.has_ends() && wanted.recent == recent;
            let to = wanted.address(&[("range", Some(recent.value)), ("since", None), ("until", None)]);
            view! { <li><a href=to aria-current=is_current.then_some("true")>{recent.word}</a></li> }
        })
        .collect();
    let ends = wanted.has_ends().then(|| {
        let words = format!(
            "{} to {}",
            grid.label(grid.start),
            grid.label(wanted.until.unwrap_or(grid.end()))
        );
        let span = grid.end() - grid.start;
        let wider = wanted.between(grid.start - span, grid.end() + span);
        view! {
            <li><span aria-current="true">{words}</span></li>
            <li><a href=wider>"Wider"</a></li>
        }
    });
    view! { <nav class="segments" aria-label="Time"><ul>{links}{ends}</ul></nav> }
}

/// What narrows the lines, each to be taken away again.
pub(super) fn chips(wanted: &Wanted) -> impl IntoView + use<> {
    let names = [
        ("replica", "Replica"),
        ("release", "Release"),
        ("stream", "Stream"),
        ("environment", "Environment"),
    ];
    let chips: Vec<_> = names
        .into_iter()
        .filter_map(|(name, word)| {
            let value = wanted.get(name)?;
            let shown = if name == "replica" { short_replica(value) } else { value.to_owned() };
            let to = wanted.address(&[(name, None)]);
            Some(view! {
                <li><a class="chip" href=to>{format!("{word} {shown}")}<span aria-hidden="true">" ✕"</span><span class="visually-hidden">": take this filter away"</span></a></li>
            })
        })
        .collect();
    let deployment = wanted.deployment.as_ref().map(|id| {
        view! {
            <li class="chip-text">"Only "<a class="link" href=paths::deployment(id)>"one deployment"</a>". "<a class="link" href=wanted.address(&[("deployment", None)])>"Show all entries"</a></li>
        }
    });
    (!chips.is_empty() || deployment.is_some()).then(|| {
        view! { <ul class="chips" aria-label="Filters">{deployment}{chips}</ul> }
    })
}
