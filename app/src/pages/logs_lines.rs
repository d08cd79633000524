//! Lines of the log explorer: short to read down, everything inside.

use flukedeploy_domain::log_entry::{Level, LogEntry, SourceType};
use flukedeploy_domain::timestamp::to_wire;
use leptos::prelude::*;
use serde_json::Value;
use time::{Date, Duration};

use super::logs_wanted::Wanted;
use crate::components::{cut, visible};
use crate::{paths, words};

/// Longest message in a line that is closed, in characters.
const SHORT: usize = 600;
/// Longest text inside a line of many; the line's own page has all of it.
const LONG: usize = 3_000;
/// Longest value of a field beside others.
const FIELD: usize = 400;
/// Times of repeats that are named.
const TIMES: usize = 20;
/// Characters of a task's id that tell replicas apart.
const REPLICA: usize = 7;

/// How lines are drawn.
#[derive(Clone, Copy)]
pub(super) struct Drawing<'a> {
    pub(super) wanted: &'a Wanted,
    /// The line that is linked to: open, and whole.
    pub(super) here: Option<&'a str>,
}

/// All lines, oldest first: a heading for each day, repeats as one.
pub(super) fn lines(entries: &[LogEntry], drawing: Drawing<'_>) -> Vec<AnyView> {
    let mut views = Vec::with_capacity(entries.len());
    let mut day = None;
    let mut rest = entries;
    while let [first, ..] = rest {
        let same = rest
            .iter()
            .take_while(|entry| repeats(first, entry))
            .count();
        let (repeated, others) = rest.split_at(same.max(1));
        rest = others;
        let date = first.timestamp.to_offset(time::UtcOffset::UTC).date();
        if day.replace(date) != Some(date) {
            views.push(heading(date));
        }
        let is_here = |entry: &LogEntry| drawing.here == Some(entry.id.as_str());
        if repeated.iter().any(is_here) {
            views.extend(repeated.iter().map(|entry| line(entry, &[], drawing)));
        } else {
            views.push(line(first, &repeated[1..], drawing));
        }
    }
    views
}

fn repeats(first: &LogEntry, next: &LogEntry) -> bool {
    let (a, b) = (&first.flukedeploy_metadata, &next.flukedeploy_metadata);
    first.message == next.message
        && first.level == next.level
        && first.source == next.source
        && first.timestamp.date() == next.timestamp.date()
        && (&a.app_name, &a.fields, &a.stack_trace) == (&b.app_name, &b.fields, &b.stack_trace)
}

fn heading(date: Date) -> AnyView {
    view! { <li class="entry-day"><time datetime=date.to_string()>{words::day(date)}</time></li> }
        .into_any()
}

/// What tells one replica from another at a glance.
pub(super) fn short_replica(task: &str) -> String {
    visible(cut(task, REPLICA).0).into_owned()
}

fn line(entry: &LogEntry, repeats: &[LogEntry], drawing: Drawing<'_>) -> AnyView {
    let is_here = drawing.here == Some(entry.id.as_str());
    let kind = match entry.source.kind {
        SourceType::Container => "",
        SourceType::Deployment | SourceType::System => " entry-event",
    };
    let here = if is_here { " entry-here" } else { "" };
    let class = format!("entry entry-{}{kind}{here}", entry.level.as_str());
    let also: Vec<&str> = repeats.iter().map(|entry| entry.id.as_str()).collect();
    let also = (!also.is_empty()).then(|| also.join(" "));
    let task = entry.source.task_id.as_deref();
    let (short, is_cut) = cut(&entry.message, SHORT);
    let short = format!("{}{}", visible(short), if is_cut { "…" } else { "" });
    let trace = entry.flukedeploy_metadata.stack_trace.as_deref();
    let note = trace.map(|trace| words::count(trace.lines().count() as u64, "line", "lines"));
    let app = (!drawing.wanted.is_of_app)
        .then(|| visible(&entry.flukedeploy_metadata.app_name).into_owned());
    let replica = match (task, entry.source.stream.as_deref()) {
        (Some(task), _) => short_replica(task),
        (None, Some(stream)) => visible(stream).into_owned(),
        (None, None) => "platform".to_owned(),
    };
    view! {
        <li class=class id=is_here.then(|| format!("e-{}", entry.id)) data-entry=entry.id.clone() data-also=also>
            <details open=is_here>
                <summary>
                    <span class=format!("level level-{}", entry.level.as_str())>{entry.level.as_str()}</span>
                    <time datetime=to_wire(entry.timestamp)>{words::clock_ms(entry.timestamp)}</time>
                    {app.map(|app| view! { <span class="entry-app">{app}</span> })}
                    <span class="entry-replica">{replica}</span>
                    <span class="entry-text" dir="auto">{short}</span>
                    {(!repeats.is_empty()).then(|| view! { <span class="entry-count">{format!("×{}", repeats.len() + 1)}</span> })}
                    {note.map(|lines| view! { <span class="entry-trace">{format!("stack trace, {lines}")}</span> })}
                </summary>
                {body(entry, repeats, drawing, is_here, is_cut)}
            </details>
        </li>
    }
    .into_any()
}

fn body(
    entry: &LogEntry,
    repeats: &[LogEntry],
    drawing: Drawing<'_>,
    is_whole: bool,
    is_cut: bool,
) -> impl IntoView + use<> {
    let limit = if is_whole { usize::MAX } else { LONG };
    let id = &entry.id;
    let metadata = &entry.flukedeploy_metadata;
    let whole =
        (is_cut || entry.message.contains('\n')).then(|| block("Message", &entry.message, limit));
    let trace = metadata
        .stack_trace
        .as_deref()
        .map(|trace| block("Stack trace", trace, limit));
    let fields: Vec<_> = metadata
        .fields
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let (value, is_cut) = cut(&value, if is_whole { usize::MAX } else { FIELD });
            let value = format!("{}{}", visible(value), if is_cut { "…" } else { "" });
            view! { <tr><th scope="row">{visible(name).into_owned()}</th><td dir="auto">{value}</td></tr> }
        })
        .collect();
    let fields = (!fields.is_empty()).then(|| {
        view! { <table class="entry-fields"><caption class="visually-hidden">"Fields"</caption><tbody>{fields}</tbody></table> }
    });
    // Scripts put the buttons that copy beside these.
    let json = format!("/api/v1/logs?id={}&context=0", paths::encoded(id));
    let to = format!("?id={0}#e-{0}", paths::encoded(id));
    view! {
        <div class="entry-body">
            <p>
                <a href=to>"Link to this line"</a>
                <a href=on_this_page(drawing.wanted, around_then(entry, drawing.wanted))>"Everything around then"</a>
                <a href=json>"JSON"</a>
            </p>
            {whole}
            {trace}
            {fields}
            <dl>{facts(entry, drawing.wanted, is_whole)}</dl>
            {(!repeats.is_empty()).then(|| times(repeats))}
        </div>
    }
}

fn block(title: &'static str, text: &str, limit: usize) -> impl IntoView + use<> {
    let (shown, is_cut) = cut(text, limit);
    let shown = visible(shown).into_owned();
    let more = is_cut
        .then(|| format!("The first {limit} characters. The link to this line shows all of it."));
    view! {
        <div class="entry-block">
            <h3>{title}</h3>
            <pre tabindex="0" dir="auto">{shown}</pre>
            {more.map(|more| view! { <p class="hint">{more}</p> })}
        </div>
    }
}

/// An address of this very page without what is the same for every line.
fn on_this_page(wanted: &Wanted, address: String) -> String {
    match address.strip_prefix(wanted.path()) {
        Some(query) if query.starts_with('?') => query.replace("%3A", ":").replace(".000Z", "Z"),
        _ => address,
    }
}

/// What an entry says beside its message; each that can be asked for is a link to its like. What the
/// line shows already is only said again where it is the only one that is open.
fn facts(entry: &LogEntry, wanted: &Wanted, is_whole: bool) -> Vec<AnyView> {
    let metadata = &entry.flukedeploy_metadata;
    let source = &entry.source;
    let mut facts = Vec::with_capacity(14);
    let mut plain = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            facts.push(fact(name, visible(&value).into_owned(), None));
        }
    };
    let time = is_whole.then(|| words::exact_ms(entry.timestamp));
    plain("Time", time);
    plain("Event", event(entry));
    plain(
        "Phase",
        metadata.phase.map(|phase| words::phase(phase).to_owned()),
    );
    plain("Version", metadata.version.clone());
    plain("Took", metadata.duration_ms.map(words::duration));
    plain(
        "Health",
        metadata
            .health_status
            .map(|status| status.as_str().to_owned()),
    );
    plain("Error code", metadata.error_code.clone());
    plain("Node", source.node_id.clone());
    let mut linked = |name: &'static str, value: Option<String>, to: &dyn Fn(&str) -> String| {
        if let Some(value) = value {
            let to = to(&value);
            let to = on_this_page(wanted, to);
            facts.push(fact(name, visible(&value).into_owned(), Some(to)));
        }
    };
    if !wanted.is_of_app {
        let app = Some(metadata.app_name.clone());
        linked("App", app, &|app| wanted.address(&[("app", Some(app))]));
    }
    let level = is_whole.then(|| entry.level.as_str().to_owned());
    linked("Level", level, &|level| {
        wanted.address(&[("level", Some(level))])
    });
    linked("Replica", source.task_id.clone(), &|task| {
        wanted.address(&[("replica", Some(task))])
    });
    linked("Stream", source.stream.clone(), &|stream| {
        wanted.address(&[("stream", Some(stream))])
    });
    let release = metadata.release.map(|number| number.to_string());
    linked("Release", release, &|number| {
        wanted.address(&[("release", Some(number))])
    });
    let environment = metadata.environment.clone();
    linked("Environment", environment, &|name| {
        wanted.address(&[("environment", Some(name))])
    });
    let to_deployment = |id: &str| format!("{}/{}", paths::DEPLOYMENTS, paths::encoded(id));
    linked("Deployment", metadata.deployment_id.clone(), &to_deployment);
    if is_whole {
        facts.push(fact("Id", entry.id.clone(), None));
    }
    facts
}

/// Of what the platform says itself; a container's lines come between two events.
fn event(entry: &LogEntry) -> Option<String> {
    let is_own = entry.source.kind != SourceType::Container;
    is_own.then(|| {
        entry
            .flukedeploy_metadata
            .event_type
            .as_str()
            .replace('_', " ")
    })
}

fn fact(name: &'static str, value: String, to: Option<String>) -> AnyView {
    let value = match to {
        Some(to) => view! { <a href=to>{value}</a> }.into_any(),
        None => value.into_any(),
    };
    view! { <div><dt>{name}</dt><dd>{value}</dd></div> }.into_any()
}

fn times(repeats: &[LogEntry]) -> impl IntoView + use<> {
    let more = repeats.len().saturating_sub(TIMES);
    let times: Vec<_> = repeats
        .iter()
        .take(TIMES)
        .map(|entry| view! { <li><time datetime=to_wire(entry.timestamp) title=words::exact_ms(entry.timestamp)>{words::clock_ms(entry.timestamp)}</time></li> })
        .collect();
    view! {
        <div class="entry-times">
            <h3>"Again at"</h3>
            <ul>{times}{(more > 0).then(|| view! { <li>{format!("and {more} more")}</li> })}</ul>
        </div>
    }
}

/// The line among its neighbours.
pub(super) fn permalink(entry: &LogEntry, wanted: &Wanted, neighbours: usize) -> String {
    let (path, id) = (wanted.path(), paths::encoded(&entry.id));
    format!("{path}?id={id}&context={neighbours}#e-{id}")
}

/// All lines of the app from half a minute before to half a minute behind this one.
pub(super) fn around_then(entry: &LogEntry, wanted: &Wanted) -> String {
    let (half, at) = (Duration::seconds(30), entry.timestamp);
    let at = at.replace_millisecond(0).unwrap_or(at);
    wanted.unfiltered().between(at - half, at + half)
}

/// Levels as the form offers them.
pub(super) const LEVELS: [(&str, Level); 3] = [
    ("Info and worse", Level::Info),
    ("Warnings and worse", Level::Warn),
    ("Errors", Level::Error),
];
