//! Log entries, one line each. Messages are foreign text: shown, never interpreted.

use flukedeploy_domain::deployment::{PhaseName, PhaseStatus};
use flukedeploy_domain::log_entry::{Level, LogEntry, SourceType};
use flukedeploy_domain::timestamp::to_wire;
use leptos::prelude::*;

use super::{phase_mark, state, visible};
use crate::{paths, words};

/// Most lines of one phase on a page; all of them are in the API.
const MOST_OF_A_PHASE: usize = 80;

/// One line; its time leads to it among its neighbours.
fn log_line(entry: &LogEntry) -> impl IntoView + use<> {
    let container = entry.source.kind == SourceType::Container;
    let level = match entry.level {
        Level::Debug => "log-debug",
        Level::Info => "log-info",
        Level::Warn => "log-warn",
        Level::Error => "log-error",
    };
    let class = if container {
        format!("log-line {level}")
    } else {
        format!("log-line log-event {level}")
    };
    let who = if container {
        entry.level.as_str()
    } else {
        "event"
    };
    view! {
        <li class=class data-entry=entry.id.clone()>
            <a class="log-time" href=paths::log_line(&entry.flukedeploy_metadata.app_name, &entry.id)>
                <time datetime=to_wire(entry.timestamp) title=words::exact(entry.timestamp)>{words::clock(entry.timestamp)}</time>
            </a>
            <span class="log-who">{who}</span>
            <span class="log-text" dir="auto">{visible(&entry.message).into_owned()}</span>
        </li>
    }
}

/// A phase's entries, folded away unless that is where to look.
pub(crate) fn log_group(
    phase: PhaseName,
    status: PhaseStatus,
    entries: &[LogEntry],
    open: bool,
) -> impl IntoView + use<> {
    let left_out = entries.len().saturating_sub(MOST_OF_A_PHASE);
    let lines: Vec<_> = entries[left_out..].iter().map(log_line).collect();
    let count = words::count(entries.len() as u64, "entry", "entries");
    let body = if entries.is_empty() {
        view! { <p class="log-empty">"No entries."</p> }.into_any()
    } else {
        view! {
            <ol class="log" id=format!("lines-{}", phase.as_str()) data-log="" tabindex="0" aria-label=format!("Log of {}", words::phase(phase))>
                {(left_out > 0).then(|| view! { <li class="log-empty">{words::count(left_out as u64, "earlier entry is", "earlier entries are")}" left out here; the app's logs and the API have all."</li> })}
                {lines}
            </ol>
        }
        .into_any()
    };
    view! {
        <details class="log-group" id=format!("log-{}", phase.as_str()) open=open>
            <summary>
                <strong>{words::phase(phase)}</strong>
                {state(phase_mark(status))}
                <span class="log-group-count">{count}</span>
            </summary>
            {body}
        </details>
    }
}
