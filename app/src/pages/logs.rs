use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::timestamp::to_wire;
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_environment;
use flukedeploy_platform::ports::Histogram;
use flukedeploy_platform::views::AppView;
use futures_util::future;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::app::app_tabs;
use super::logs_around::around;
use super::logs_filter::{Offers, chips, form};
use super::logs_found::{Found, deployments, offers, oldest, replicas, search};
use super::logs_grid::Grid;
use super::logs_histogram::{grouped, histogram, sum, total, within};
use super::logs_lines::{Drawing, lines};
use super::logs_wanted::{Place, Wanted};
use super::{app_crumbs, app_name, environment, page};
use crate::assets;
use crate::components::{PageHead, Section, frame};
use crate::context::Desk;

/// `/apps/{name}/logs`: what happened around then? Everything asked for is in the address; see
/// [`Wanted`].
#[component]
pub(crate) fn LogsPage() -> impl IntoView {
    let name = app_name();
    let wanted = name.as_ref().ok().map(|name| Wanted::take(Some(name)));
    let environment = environment();
    page(Desk::take(), async move |desk| {
        let (name, environment) = (name?, environment?);
        // An app that does not exist has no logs page, though it may have had logs.
        let app = get_environment(&desk.px, &desk.actor, &name, &environment).await?;
        let wanted = wanted.unwrap_or_else(|| Wanted::take(Some(&name)));
        logs_of_app(desk, &name, &environment, &app, &wanted).await
    })
}

/// `/logs`: the same over all apps.
#[component]
pub(crate) fn AllLogsPage() -> impl IntoView {
    let wanted = Wanted::take(None);
    page(Desk::take(), async move |desk| {
        let content = match &wanted.around {
            Some((id, count)) => around(&desk, &wanted, id, *count).await?,
            None => explorer(&desk, &wanted, None).await?,
        };
        let content = view! {
            {PageHead::new("Logs").live_if(is_live_page(&wanted)).view()}
            {content}
            {script()}
        };
        Ok(frame(&desk, Section::Logs, content))
    })
}

async fn logs_of_app(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
    app: &AppView,
    wanted: &Wanted,
) -> Result<AnyView, Error> {
    let offers = desk.offers(name, &app.environment);
    let content = match &wanted.around {
        Some((id, count)) => around(&desk, wanted, id, *count).await?,
        None => explorer(&desk, wanted, Some(app)).await?,
    };
    let content = view! {
        {PageHead::new("Logs")
            .crumbs(app_crumbs(name, environment))
            .live_if(is_live_page(wanted))
            .view()}
        {app_tabs(name, environment, offers, "Logs")}
        {content}
        {script()}
    };
    Ok(frame(&desk, Section::Apps, content))
}

fn script() -> impl IntoView {
    view! { <script type="module" src=assets::url("logs.js")></script> }
}

fn is_live_page(wanted: &Wanted) -> bool {
    wanted.is_open() && wanted.around.is_none() && !matches!(wanted.place, Place::Before(_))
}

async fn explorer(desk: &Desk, wanted: &Wanted, app: Option<&AppView>) -> Result<AnyView, Error> {
    let oldest = oldest(desk, wanted).await?;
    let grid = Grid::of(wanted, oldest, desk.now);
    let since = match (wanted.has_ends(), wanted.recent.seconds) {
        (true, _) => wanted.since,
        (false, Some(_)) => Some(grid.start),
        (false, None) => None,
    };
    let ((found, counts), (deployments, offers)) = future::try_join(
        search(desk, wanted, &grid, since),
        future::try_join(deployments(desk, wanted), offers(desk, app)),
    )
    .await?;
    let offers = Offers {
        replicas: replicas(&found.entries),
        ..offers
    };
    let marks = within(&grid, deployments, desk.now);
    let is_live = is_live_page(wanted) && found.is_at_end;
    let nothing = found.entries.is_empty().then(|| nothing(wanted, oldest));
    let drawing = Drawing { wanted, here: None };
    let drawn = lines(&found.entries, drawing);
    let newest = found.entries.last().map_or(desk.now, |last| last.timestamp);
    let follows: Vec<_> = wanted
        .api()
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::paths::encoded(value)))
        .collect();
    let follows = is_live.then(|| follows.join("&"));
    let label = match &wanted.app {
        Some(app) => format!("Log of {app}"),
        None => "Log of all apps".to_owned(),
    };
    Ok(view! {
        <div class="explorer" data-explorer="">
            {form(wanted, &grid, offers)}
            {chips(wanted)}
            <div id="histogram" data-live="replace">
                {counts.as_ref().map(|counts| histogram(wanted, &grid, counts, &marks))}
            </div>
            <div class="explorer-bar">
                <p class="explorer-count" id="count" data-live="replace">{count(wanted, counts.as_ref(), &found)}</p>
                {bar(wanted, since, is_live)}
            </div>
            <div class="entries-frame">
                <ol
                    class="entries"
                    id="log"
                    data-log=(!matches!(wanted.place, Place::After(_))).then_some("")
                    data-lines=wanted.path().to_owned()
                    data-follow-log=follows
                    data-newest=to_wire(newest)
                    data-with-app=(!wanted.is_of_app).then_some("")
                    tabindex="0"
                    aria-label=label
                >
                    {found.older.as_ref().map(|to| view! { <li class="entries-more"><a class="link" href=to.clone()>"Older entries"</a></li> })}
                    {nothing}
                    {drawn}
                    {found.newer.as_ref().map(|to| view! { <li class="entries-more" id="newer"><a class="link" href=to.clone()>{if found.is_at_end { "Look for newer entries" } else { "Newer entries" }}</a></li> })}
                </ol>
                <button type="button" class="button button-small entries-new" id="to-new" hidden></button>
            </div>
            {template(wanted)}
        </div>
    }
    .into_any())
}

/// How much there is, and what of it is here.
fn count(wanted: &Wanted, counts: Option<&Histogram>, found: &Found) -> String {
    let Some(counts) = counts else {
        return "Nothing was searched.".to_owned();
    };
    let all = total(&sum(counts));
    let more = if counts.is_complete { "" } else { "more than " };
    let entries = if all == 1 { "entry" } else { "entries" };
    let when = match (wanted.has_ends(), wanted.recent.said) {
        (false, said) if !said.is_empty() => format!(" {said}"),
        _ => String::new(),
    };
    let mut text = format!("{more}{} {entries}{when}", grouped(all));
    let is_part = all > found.entries.len() as u64;
    if is_part && !found.entries.is_empty() {
        let which = if wanted.place == Place::Newest {
            "the newest "
        } else {
            ""
        };
        text = format!("{text}; {which}{} are here", found.entries.len());
    }
    text.push_str(". Times are UTC.");
    if found.is_incomplete || !counts.is_complete {
        text.push_str(" The search took too long to see everything: choose less time.");
    }
    crate::words::capital(&text)
}

/// Nothing fits: where there may be something.
fn nothing(wanted: &Wanted, oldest: Option<OffsetDateTime>) -> impl IntoView + use<> {
    let everything = [("range", Some("all")), ("since", None), ("until", None)];
    let everywhere = wanted.address(&everything);
    let is_whole = !wanted.has_ends() && wanted.recent.seconds.is_none();
    let text = if wanted.is_faulty() {
        "Nothing was searched. Put right what is marked above."
    } else if matches!(wanted.place, Place::After(_)) {
        "Nothing newer yet."
    } else if wanted.is_narrowed() {
        "No entry fits. Widen the filter."
    } else if is_whole || oldest.is_some() {
        "No entries yet. What the app prints appears here."
    } else {
        "No entries in this time."
    };
    let wider = (!is_whole && !wanted.is_faulty())
        .then(|| view! { " "<a class="link" href=everywhere>"Look at all times"</a> });
    view! { <li class="log-empty">{text}{wider}</li> }
}

/// What is done with the lines. What needs a script is hidden until there is one.
fn bar(wanted: &Wanted, since: Option<OffsetDateTime>, is_live: bool) -> impl IntoView + use<> {
    let name = wanted
        .app
        .as_ref()
        .map_or_else(|| "all-apps".to_owned(), ToString::to_string);
    let export = |format: &str, ending: &str| {
        let to = wanted.export(since, format);
        (to, format!("{name}-logs.{ending}"))
    };
    let files = (!wanted.is_faulty()).then(|| {
        let ((text, text_name), (json, json_name)) = (export("text", "txt"), export("ndjson", "ndjson"));
        view! {
            <details class="menu" data-menu="" id="download">
                <summary class="button button-small">"Download"</summary>
                <div class="menu-box">
                    <a class="menu-item" href=text download=text_name>"As text"</a>
                    <a class="menu-item" href=json download=json_name>"As JSON, one entry a line"</a>
                </div>
            </details>
        }
    });
    view! {
        <div class="explorer-acts">
            <label class="wrap"><input type="checkbox" id="wrap" checked=true/>"Wrap"</label>
            {is_live.then(|| view! { <button type="button" class="button button-small" id="pause" aria-pressed="false" aria-keyshortcuts="p" hidden>"Pause"</button> })}
            {files}
        </div>
    }
}

/// The line that scripts fill for entries that come later.
fn template(wanted: &Wanted) -> impl IntoView + use<> {
    let app = !wanted.is_of_app;
    view! {
        <template id="log-line">
            <li class="entry">
                <details>
                    <summary>
                        <span class="level"></span>
                        <time></time>
                        {app.then(|| view! { <span class="entry-app"></span> })}
                        <span class="entry-replica"></span>
                        <span class="entry-text" dir="auto"></span>
                    </summary>
                </details>
            </li>
        </template>
    }
}
