//! The folded part of the settings about what the log tells of requests, and how long it is kept.

use flukedeploy_domain::app::AccessLog;
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::settings_parts::{folded, maybe, number, shown};
use crate::components::{Choice, select};
use crate::forms::Typed;

pub(super) fn logs(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let AccessLog {
        enabled,
        sample_permille,
        slow_ms,
    } = app.logs.access;
    let now = match (enabled, sample_permille) {
        (false, _) => "no requests".to_owned(),
        (true, 0) => "failed and slow requests".to_owned(),
        (true, 1_000) => "all requests".to_owned(),
        (true, some) => format!("failed and slow requests, {some} in 1000 others"),
    };
    let choices = vec![
        Choice::new("on", "Failed and slow requests"),
        Choice::new("off", "No requests"),
    ];
    let chosen = if enabled { "on" } else { "off" };
    let body = view! {
        {select(typed, "access_log", "Requests in the log", None, choices, chosen)}
        <div class="row">
            {number(typed, "access_sample", "Others in 1000", &sample_permille, "Chosen by chance; 1000 are all.")}
            {number(typed, "access_slow_ms", "Slow from, in milliseconds", &slow_ms, "Until the answer begins; 0: none is slow.")}
        </div>
        <div class="row">
            {maybe(typed, "log_retain_days", "Keep for, in days", shown(app.logs.retain_days), "Else as long as usual on this server.".to_owned())}
            {maybe(typed, "log_retain_mb", "Keep at most, in MiB", shown(app.logs.retain_mb), "The oldest go first. Production's setting counts.".to_owned())}
        </div>
    };
    let fields = [
        "access_log",
        "access_sample",
        "access_slow_ms",
        "log_retain_days",
        "log_retain_mb",
    ];
    folded(typed, "Log", now, &fields, body.into_any())
}
