//! The folded part of the settings about what the log tells of requests.

use flukedeploy_domain::app::AccessLog;
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::settings_parts::{folded, number};
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
    };
    let fields = ["access_log", "access_sample", "access_slow_ms"];
    folded(typed, "Log", now, &fields, body.into_any())
}
