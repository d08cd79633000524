//! What a log page is made of, asked of the platform. Every part has a time after which it is shown
//! as far as it came.

use std::time::Duration;

use flukedeploy_domain::deployment::DeploymentSummary;
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{list_apps, list_releases};
use flukedeploy_platform::deployments::{history, recent_deployments};
use flukedeploy_platform::logs::{LogEntries, ReadLogs, cursor_text, histogram, read_logs};
use flukedeploy_platform::ports::{Histogram, Order};
use flukedeploy_platform::views::AppView;
use futures_util::future;
use time::OffsetDateTime;

use super::logs_filter::Offers;
use super::logs_grid::Grid;
use super::logs_wanted::{Place, Wanted};
use crate::context::Desk;

/// How long counting may take. The bars that are missing by then are said to be missing.
const COUNTING: Duration = Duration::from_millis(1_500);
/// Deployments that are looked at for marks.
const MARKS: u32 = 60;

/// What a page is made of.
pub(super) struct Found {
    /// Oldest first.
    pub(super) entries: Vec<LogEntry>,
    /// Where there are older ones, and newer ones than these.
    pub(super) older: Option<String>,
    pub(super) newer: Option<String>,
    pub(super) is_at_end: bool,
    pub(super) is_incomplete: bool,
}

/// The time of the first line, where the chart begins with it.
pub(super) async fn oldest(desk: &Desk, wanted: &Wanted) -> Result<Option<OffsetDateTime>, Error> {
    let is_needed = if wanted.has_ends() {
        wanted.since.is_none()
    } else {
        wanted.recent.seconds.is_none()
    };
    if !is_needed {
        return Ok(None);
    }
    let request = ReadLogs {
        filter: LogFilter {
            app_name: wanted.app.as_ref().map(ToString::to_string),
            deployment_id: wanted.deployment.as_ref().map(ToString::to_string),
            ..LogFilter::default()
        },
        order: Order::OldestFirst,
        limit: 1,
        budget: Some(COUNTING),
        ..ReadLogs::default()
    };
    let found = read_logs(&desk.px, &desk.actor, request).await?;
    Ok(found.entries.first().map(|first| first.timestamp))
}

/// The lines and, at the same time, the counts. Where the address cannot be read: neither.
pub(super) async fn search(
    desk: &Desk,
    wanted: &Wanted,
    grid: &Grid,
    since: Option<OffsetDateTime>,
) -> Result<(Found, Option<Histogram>), Error> {
    if wanted.is_faulty() {
        let none = Found {
            entries: Vec::new(),
            older: None,
            newer: None,
            is_at_end: false,
            is_incomplete: false,
        };
        return Ok((none, None));
    }
    let counting = ReadLogs {
        since: Some(grid.start),
        until: Some(grid.end()),
        limit: 1,
        budget: Some(COUNTING),
        ..wanted.request(since)
    };
    let (page, counts) = future::try_join(
        read_logs(&desk.px, &desk.actor, wanted.request(since)),
        histogram(&desk.px, &desk.actor, counting, grid.count),
    )
    .await?;
    Ok((placed(wanted, page), Some(counts)))
}

/// Turns a page the right way round and finds the ways on.
fn placed(wanted: &Wanted, page: LogEntries) -> Found {
    let is_forward = matches!(wanted.place, Place::After(_));
    let is_at_end = match wanted.place {
        Place::Newest => true,
        Place::Before(_) => false,
        Place::After(_) => page.next.is_none(),
    };
    let to = |name: &'static str, cursor| wanted.address(&[(name, Some(&cursor_text(cursor)))]);
    let (oldest, newest) = match (page.ends, is_forward) {
        (Some((first, last)), true) => (Some(first), Some(last)),
        (Some((first, last)), false) => (Some(last), Some(first)),
        (None, _) => (None, None),
    };
    // A search that was cut short goes on where it stopped.
    let older = if is_forward {
        oldest.map(|cursor| to("before", cursor))
    } else {
        page.next.map(|cursor| to("before", cursor))
    };
    let is_closed = wanted.until.is_some() && is_at_end;
    let newer = match (is_forward, newest, page.next) {
        _ if is_closed => None,
        (true, _, Some(next)) => Some(to("after", next)),
        (_, Some(newest), _) => Some(to("after", newest)),
        (_, None, _) => Some(wanted.address(&[])),
    };
    let mut entries = page.entries;
    if !is_forward {
        entries.reverse();
    }
    Found {
        entries,
        older,
        newer,
        is_at_end,
        is_incomplete: page.is_incomplete,
    }
}

pub(super) async fn deployments(
    desk: &Desk,
    wanted: &Wanted,
) -> Result<Vec<DeploymentSummary>, Error> {
    match &wanted.app {
        Some(app) => {
            let environment = wanted.environment.as_ref();
            history(&desk.px, &desk.actor, app, environment, MARKS, true).await
        }
        None => recent_deployments(&desk.px, &desk.actor, MARKS).await,
    }
}

pub(super) async fn offers(desk: &Desk, app: Option<&AppView>) -> Result<Offers, Error> {
    let Some(app) = app else {
        let apps = list_apps(&desk.px, &desk.actor).await?;
        let mut apps: Vec<_> = apps.iter().map(|app| app.app_name.to_string()).collect();
        apps.dedup();
        return Ok(Offers {
            apps,
            ..Offers::default()
        });
    };
    let (name, environment) = (&app.app_name, &app.environment);
    let releases = list_releases(&desk.px, &desk.actor, name, environment, 20).await?;
    Ok(Offers {
        environments: app
            .environments
            .iter()
            .map(|one| one.name.to_string())
            .collect(),
        releases: releases.iter().map(|release| release.release.0).collect(),
        ..Offers::default()
    })
}

/// Those that the lines come from, the newest lines' first.
pub(super) fn replicas(entries: &[LogEntry]) -> Vec<String> {
    let mut tasks: Vec<String> = Vec::new();
    for task in entries
        .iter()
        .rev()
        .filter_map(|entry| entry.source.task_id.as_ref())
    {
        if !tasks.contains(task) {
            tasks.push(task.clone());
        }
    }
    tasks
}
