//! One line among its neighbours: where a link to a line leads.

use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_platform::Error;
use flukedeploy_platform::logs::{ReadLogs, context};
use flukedeploy_platform::ports::{Context, StoredLine};
use leptos::prelude::*;

use super::logs_lines::{Drawing, around_then, lines, permalink, short_replica};
use super::logs_wanted::Wanted;
use crate::components::{Tint, notice};
use crate::context::Desk;
use crate::words;

/// Neighbours that are offered where there may be more.
const MORE: usize = 100;

pub(super) async fn around(
    desk: &Desk,
    wanted: &Wanted,
    id: &str,
    count: usize,
) -> Result<AnyView, Error> {
    let request = ReadLogs {
        filter: flukedeploy_domain::log_entry::LogFilter {
            app_name: wanted.app.as_ref().map(ToString::to_string),
            ..Default::default()
        },
        limit: 1,
        ..ReadLogs::default()
    };
    let Some(found) = context(&desk.px, &desk.actor, request, id, count).await? else {
        desk.answer.not_found();
        let why = "It may be older than what is kept, or of another app.".to_owned();
        return Ok(view! {
            {notice(Tint::Attention, "This line is not there".to_owned(), Some(why))}
            <p><a class="link" href=wanted.address(&[])>"Show the newest entries"</a></p>
        }
        .into_any());
    };
    let Context {
        before,
        line,
        after,
    } = found;
    let whence = match &line.entry.source.task_id {
        Some(task) => format!("of replica {}", short_replica(task)),
        None => "of the platform about this app".to_owned(),
    };
    let sides = format!(
        "{} before and {} after it, {whence}. Times are UTC.",
        words::count(before.len() as u64, "entry", "entries"),
        after.len()
    );
    let may_have_more = count < MORE && (before.len() == count || after.len() == count);
    let more = may_have_more.then(|| permalink(&line.entry, wanted, MORE));
    let then = around_then(&line.entry, wanted);
    let id = line.entry.id.clone();
    let entries: Vec<LogEntry> = before
        .into_iter()
        .chain([line])
        .chain(after)
        .map(|line: StoredLine| line.entry)
        .collect();
    let drawing = Drawing {
        wanted,
        here: Some(&id),
    };
    let drawn = lines(&entries, drawing);
    Ok(view! {
        <div class="explorer" data-explorer="">
            <div class="explorer-bar">
                <p class="explorer-count">{sides}</p>
                <p class="explorer-ways">
                    {more.map(|to| view! { <a class="link" href=to>"More neighbours"</a>" " })}
                    <a class="link" href=then>"Everything around then"</a>" "
                    <a class="link" href=wanted.address(&[])>"Newest entries"</a>
                </p>
            </div>
            <ol class="entries entries-around" id="log" tabindex="0" aria-label="One entry and its neighbours">{drawn}</ol>
        </div>
    }
    .into_any())
}
