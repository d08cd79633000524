//! Entries over time: bars by level, deployments as marks, and the same as a table.

use flukedeploy_domain::deployment::DeploymentSummary;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_platform::ports::{Bucket, Histogram};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::logs_grid::Grid;
use super::logs_wanted::Wanted;
use crate::components::deployment_mark;
use crate::components::state;
use crate::{paths, words};

/// In thousandths of a bar; the picture has its own height.
const BAR: i64 = 1_000;
const HEIGHT: u64 = 1_000;
/// A bar that can be seen, however small its share.
const LEAST: u64 = 36;
/// Deployments named below the chart.
const NAMED: usize = 4;

/// Counts of all bars together.
pub(super) fn sum(histogram: &Histogram) -> Bucket {
    let add = |sum: Bucket, bar: &Bucket| Bucket {
        debug: sum.debug + bar.debug,
        info: sum.info + bar.info,
        warn: sum.warn + bar.warn,
        error: sum.error + bar.error,
    };
    histogram.buckets.iter().fold(Bucket::default(), add)
}

pub(super) fn total(bar: &Bucket) -> u64 {
    bar.debug + bar.info + bar.warn + bar.error
}

/// 12,431
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn histogram(
    wanted: &Wanted,
    grid: &Grid,
    found: &Histogram,
    deployments: &[DeploymentSummary],
) -> impl IntoView + use<> {
    let most = found.buckets.iter().map(total).max().unwrap_or(0);
    let all = sum(found);
    let unit = grid.unit();
    let about = format!(
        "Entries per {unit}, {} to {} UTC",
        grid.label(grid.start),
        grid.label(grid.end())
    );
    let bars: Vec<_> = found
        .buckets
        .iter()
        .enumerate()
        .map(|(place, bar)| column(wanted, grid, place, bar, most))
        .collect();
    let marks: Vec<_> = deployments.iter().map(|one| band(grid, one)).collect();
    let width = BAR * i64::try_from(grid.count).unwrap_or(1);
    let ticks: Vec<_> = [0, 1, 2, 3, 4]
        .into_iter()
        .map(|quarter| {
            let time = grid.label(grid.at(grid.count * quarter / 4));
            view! { <span>{time}</span> }
        })
        .collect();
    let peak = (most > 0).then(|| format!("most: {} per {unit}", grouped(most)));
    view! {
        <figure class="histogram">
            <figcaption>
                <span class="visually-hidden">{about}</span>
                {levels(wanted, &all)}
                <span class="histogram-peak">{peak}</span>
            </figcaption>
            <svg class="histogram-bars" viewBox=format!("0 0 {width} {HEIGHT}") preserveAspectRatio="none" aria-hidden="true" focusable="false">
                {marks}
                {bars}
            </svg>
            <div class="histogram-axis" aria-hidden="true">{ticks}</div>
            <div class="histogram-foot">
                {named(deployments)}
                {table(wanted, grid, found)}
            </div>
        </figure>
    }
}

/// How many of each level; errors and warnings are links to them alone.
fn levels(wanted: &Wanted, all: &Bucket) -> impl IntoView + use<> {
    let counts = [
        (Level::Error, all.error, "errors"),
        (Level::Warn, all.warn, "warnings"),
        (Level::Info, all.info, "info"),
        (Level::Debug, all.debug, "debug"),
    ];
    let items: Vec<_> = counts
        .into_iter()
        .filter(|(level, count, _)| *count > 0 || *level == Level::Error)
        .map(|(level, count, word)| {
            let word = if count == 1 {
                word.trim_end_matches('s')
            } else {
                word
            };
            let text = format!("{} {word}", grouped(count));
            let class = format!("level level-{}", level.as_str());
            let is_link = count > 0 && level >= Level::Warn && wanted.level != Some(level);
            let to = wanted.address(&[("level", Some(level.as_str()))]);
            if is_link {
                view! { <li><a class=class href=to>{text}</a></li> }.into_any()
            } else {
                view! { <li><span class=class>{text}</span></li> }.into_any()
            }
        })
        .collect();
    view! { <ul class="histogram-levels">{items}</ul> }
}

/// One bar, errors at its foot, where their heights can be compared. All of its height is a link.
fn column(
    wanted: &Wanted,
    grid: &Grid,
    place: usize,
    bar: &Bucket,
    most: u64,
) -> impl IntoView + use<> {
    let all = total(bar);
    if all == 0 {
        return ().into_any();
    }
    let x = BAR * i64::try_from(place).unwrap_or(0);
    let mut top = HEIGHT;
    let parts: Vec<_> = [
        ("bar-error", bar.error),
        ("bar-warn", bar.warn),
        ("bar-info", bar.info),
        ("bar-debug", bar.debug),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(class, count)| {
        let height = (count * (HEIGHT - LEAST) / most.max(1)).max(LEAST).min(top);
        top -= height;
        view! { <rect class=class x=x + BAR / 10 y=top width=BAR * 8 / 10 height=height></rect> }
    })
    .collect();
    let (from, to) = (grid.at(place), grid.at(place + 1));
    let says = format!(
        "{} to {} UTC: {}{}",
        grid.label(from),
        grid.label(to),
        words::count(all, "entry", "entries"),
        if bar.error > 0 {
            format!(", {}", words::count(bar.error, "error", "errors"))
        } else {
            String::new()
        }
    );
    let hit = view! { <rect class="bar-hit" x=x y=0 width=BAR height=HEIGHT></rect> };
    view! {
        <a class="bar" href=wanted.between(from, to) tabindex="-1"><title>{says}</title>{hit}{parts}</a>
    }
    .into_any()
}

/// From a deployment's start to its end.
fn band(grid: &Grid, one: &DeploymentSummary) -> impl IntoView + use<> {
    let x = grid.place(one.initiated_at).max(0);
    let end = one.completed_at.unwrap_or_else(|| grid.end());
    let width = (grid.place(end).min(grid.place(grid.end())) - x).max(BAR / 8);
    let says = format!(
        "{}: {}",
        words::deployment_title(one),
        deployment_mark(one.status).word
    );
    view! {
        <a href=paths::deployment(&one.deployment_id) tabindex="-1">
            <title>{says}</title>
            <rect class="bar-deployment" x=x y=0 width=width height=HEIGHT></rect>
        </a>
    }
}

fn named(deployments: &[DeploymentSummary]) -> impl IntoView + use<> {
    if deployments.is_empty() {
        return ().into_any();
    }
    let more = deployments.len().saturating_sub(NAMED);
    let items: Vec<_> = deployments
        .iter()
        .take(NAMED)
        .map(|one| {
            let at = words::clock(one.initiated_at);
            view! {
                <li>
                    <a href=paths::deployment(&one.deployment_id)>
                        <time datetime=flukedeploy_domain::timestamp::to_wire(one.initiated_at) title=words::exact(one.initiated_at)>{at}</time>
                        {state(deployment_mark(one.status))}
                        <span>{words::deployment_title(one)}</span>
                    </a>
                </li>
            }
        })
        .collect();
    view! {
        <ul class="histogram-deployments" aria-label="Deployments in this time">
            {items}
            {(more > 0).then(|| view! { <li><a class="link" href=paths::DEPLOYMENTS>{format!("and {more} more")}</a></li> })}
        </ul>
    }
    .into_any()
}

/// For those who cannot see bars, and for a keyboard.
fn table(wanted: &Wanted, grid: &Grid, found: &Histogram) -> impl IntoView + use<> {
    let rows: Vec<_> = found
        .buckets
        .iter()
        .enumerate()
        .filter(|(_, bar)| total(bar) > 0)
        .map(|(place, bar)| {
            let (from, to) = (grid.at(place), grid.at(place + 1));
            let words = format!("{} to {}", grid.label(from), grid.label(to));
            let counts: Vec<_> = [bar.error, bar.warn, bar.info, bar.debug]
                .into_iter()
                .map(|count| view! { <td>{grouped(count)}</td> })
                .collect();
            view! { <tr><th scope="row"><a class="link" href=wanted.between(from, to)>{words}</a></th>{counts}</tr> }
        })
        .collect();
    if rows.is_empty() {
        return ().into_any();
    }
    view! {
        <details class="disclosure histogram-table" id="histogram-table">
            <summary>"Counts as a table"</summary>
            <div class="histogram-scroll" tabindex="0" role="region" aria-label="Counts as a table">
                <table>
                    <thead><tr><th scope="col">"Time (UTC)"</th><th scope="col">"Errors"</th><th scope="col">"Warnings"</th><th scope="col">"Info"</th><th scope="col">"Debug"</th></tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </details>
    }
    .into_any()
}

/// Those that were under way within the chart, newest first.
pub(super) fn within(
    grid: &Grid,
    deployments: Vec<DeploymentSummary>,
    now: OffsetDateTime,
) -> Vec<DeploymentSummary> {
    let mut within = deployments;
    within.retain(|one| {
        one.initiated_at < grid.end() && one.completed_at.unwrap_or(now) >= grid.start
    });
    within.sort_by_key(|one| std::cmp::Reverse(one.initiated_at));
    within
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
