//! The parts of the settings that are folded away until somebody wants them.

use flukedeploy_domain::app::{Quantity, TesterMark, WhenQuiet};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::settings_building::building_parts;
use super::settings_logs::logs;
use crate::components::{Choice, Field, select, text_area};
use crate::forms::Typed;
use crate::forms::parts::PARTS;
use crate::words;

/// All of them, with the mark that says that the form has them.
pub(super) fn parts(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    view! {
        <input type="hidden" name=PARTS value="all"/>
        {moving(typed, app)}
        {canary(typed, app)}
        {objective(typed, app)}
        {resources(typed, app)}
        {place(typed, app)}
        {data_and_ports(typed, app)}
        {building_parts(typed, app)}
        {logs(typed, app)}
    }
}

/// One part: its name, what it is now, and its fields; open where one of them has a fault, or held a
/// secret that has to be typed again.
pub(super) fn folded(
    typed: &Typed,
    title: &'static str,
    now: String,
    fields: &[&str],
    body: AnyView,
) -> impl IntoView + use<> {
    let open = fields
        .iter()
        .any(|field| typed.fault(field).is_some() || typed.was_withheld(field));
    let id = format!("part-{}", title.to_lowercase().replace(' ', "-"));
    view! {
        <details class="group part disclosure" id=id open=open>
            <summary>{title}<span class="part-now">{now}</span></summary>
            <div class="part-body">{body}</div>
        </details>
    }
}

pub(super) fn number(
    typed: &Typed,
    name: &'static str,
    label: &'static str,
    value: &dyn ToString,
    hint: &'static str,
) -> impl IntoView + use<> {
    Field::new(typed, name, label)
        .number()
        .value(&value.to_string())
        .hint(hint)
        .view()
}

/// A number that may be absent.
pub(super) fn maybe(
    typed: &Typed,
    name: &'static str,
    label: &'static str,
    value: Option<String>,
    hint: String,
) -> impl IntoView + use<> {
    let value = value.unwrap_or_default();
    Field::new(typed, name, label)
        .number()
        .optional()
        .value(&value)
        .hint(hint)
        .view()
}

pub(super) fn shown(number: Option<u32>) -> Option<String> {
    number.map(|number| number.to_string())
}

fn quantity(quantity: Quantity) -> String {
    match quantity {
        Quantity::Count(count) => count.to_string(),
        Quantity::Percent(percent) => format!("{percent}%"),
    }
}

fn moving(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let rollout = &app.rollout;
    let fields = [
        "max_surge",
        "max_unavailable",
        "warm_seconds",
        "drain_seconds",
        "hold_seconds",
    ];
    let usual = rollout.warm_seconds_for(app.strategy);
    let now = format!("stands by {usual} s, drains {} s", rollout.drain_seconds);
    let body = view! {
        <div class="row">
            {number(typed, "max_surge", "Replicas on top", &quantity(rollout.max_surge), "While rolling: 2, or 25%.")}
            {number(typed, "max_unavailable", "Replicas that may be missing", &quantity(rollout.max_unavailable), "While rolling: 0, or 25%.")}
        </div>
        <div class="row">
            {maybe(typed, "warm_seconds", "Stand-by in seconds", shown(rollout.warm_seconds), format!("The former release runs on. Else {usual}."))}
        </div>
        <div class="row">
            {number(typed, "drain_seconds", "Drain in seconds", &rollout.drain_seconds, "For open requests.")}
            {number(typed, "hold_seconds", "Hold in seconds", &rollout.hold_seconds, "For requests nobody can answer yet.")}
        </div>
    };
    folded(typed, "Moving traffic", now, &fields, body.into_any())
}

fn canary(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let canary = &app.rollout.canary;
    let fields = [
        "canary_steps",
        "canary_step_seconds",
        "canary_min_requests",
        "canary_extra_errors",
        "canary_latency",
        "canary_when_quiet",
        "tester_kind",
        "tester_name",
        "tester_value",
    ];
    let steps = canary
        .steps
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let now = format!("{steps} %, {} s each", canary.step_seconds);
    let quiet = match canary.when_quiet {
        WhenQuiet::Wait => "wait",
        WhenQuiet::Pause => "pause",
        WhenQuiet::Promote => "promote",
    };
    let quiet_choices = vec![
        Choice::new("wait", "Wait for more requests"),
        Choice::new("pause", "Pause until somebody decides"),
        Choice::new("promote", "Go on: silence is consent"),
    ];
    let (kind, name, value) = match &canary.testers {
        None => ("", String::new(), String::new()),
        Some(rule) => (
            match rule.kind {
                TesterMark::Header => "header",
                TesterMark::Cookie => "cookie",
            },
            rule.name.clone(),
            rule.value.clone().unwrap_or_default(),
        ),
    };
    let kinds = vec![
        Choice::new("", "Nobody"),
        Choice::new("header", "Requests with a header"),
        Choice::new("cookie", "Requests with a cookie"),
    ];
    let body = view! {
        {Field::new(typed, "canary_steps", "Steps in percent")
            .value(&steps)
            .hint("Rising shares of the new requests.")
            .placeholder("5, 25, 50, 100")
            .view()}
        <div class="row">
            {number(typed, "canary_step_seconds", "Seconds per step", &canary.step_seconds, "Each step is watched so long.")}
            {number(typed, "canary_min_requests", "Requests to judge by", &canary.min_requests, "Fewer are too few.")}
        </div>
        <div class="row">
            {number(typed, "canary_extra_errors", "More errors in 1000 requests", &canary.max_extra_errors_permille, "Than the former release has.")}
            {number(typed, "canary_latency", "Latency in percent", &canary.max_latency_percent, "Of the former release's.")}
        </div>
        {select(typed, "canary_when_quiet", "When too few requests come", None, quiet_choices, quiet)}
        {select(typed, "tester_kind", "Who always meets the new release", None, kinds, kind)}
        <div class="row">
            {Field::new(typed, "tester_name", "Its name").optional().mono().value(&name).hint("Of the header or cookie.").placeholder("x-tester").view()}
            {Field::new(typed, "tester_value", "Its value").optional().mono().value(&value).hint("Else any value will do.").view()}
        </div>
    };
    folded(typed, "Canary", now, &fields, body.into_any())
}

fn objective(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let objective = &app.objective;
    let fields = [
        "objective_errors",
        "objective_p95",
        "probation_seconds",
        "objective_min_requests",
    ];
    let now = match objective.probation_seconds {
        0 => "not watched".to_owned(),
        seconds => format!("watched for {seconds} s"),
    };
    let body = view! {
        <p class="hint">"A new release is watched for a while. If it does not keep this, FlukeDeploy goes back by itself."</p>
        <div class="row">
            {number(typed, "objective_errors", "Errors in 1000 requests", &objective.max_errors_permille, "At most so many.")}
            {maybe(typed, "objective_p95", "95 of 100 within, in milliseconds", shown(objective.max_p95_ms), "Else no time is promised.".to_owned())}
        </div>
        <div class="row">
            {number(typed, "probation_seconds", "Watched for, in seconds", &objective.probation_seconds, "0: not at all.")}
            {number(typed, "objective_min_requests", "Requests to go by", &objective.min_requests, "Fewer prove nothing.")}
        </div>
    };
    folded(typed, "Promise", now, &fields, body.into_any())
}

/// Thousandths of a processor as people write them: 1500 is "1.5".
pub(super) fn cpus(milli: Option<u32>) -> Option<String> {
    let milli = milli?;
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn resources(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let resources = &app.resources;
    let fields = [
        "cpu_limit",
        "memory_limit",
        "cpu_reservation",
        "memory_reservation",
    ];
    let cpu = cpus(resources.cpu_limit_milli).map(|cpus| format!("{cpus} CPU"));
    let memory = resources.memory_limit_mb.map(|mb| format!("{mb} MiB"));
    let limits: Vec<String> = cpu.into_iter().chain(memory).collect();
    let now = if limits.is_empty() {
        "no limits".to_owned()
    } else {
        format!("at most {}", limits.join(", "))
    };
    let body = view! {
        <p class="hint">"Of each replica."</p>
        <div class="row">
            {maybe(typed, "cpu_limit", "CPU limit", cpus(resources.cpu_limit_milli), "Processors, such as 0.5.".to_owned())}
            {maybe(typed, "memory_limit", "Memory limit in MiB", shown(resources.memory_limit_mb), "Above it, it is ended.".to_owned())}
        </div>
        <div class="row">
            {maybe(typed, "cpu_reservation", "CPU kept free", cpus(resources.cpu_reservation_milli), "Its node must have so much.".to_owned())}
            {maybe(typed, "memory_reservation", "Memory kept free in MiB", shown(resources.memory_reservation_mb), "Its node must have so much.".to_owned())}
        </div>
    };
    folded(typed, "Resources", now, &fields, body.into_any())
}

fn place(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let rules: Vec<String> = app.placement.iter().map(ToString::to_string).collect();
    let now = match rules.len() {
        0 => "any node".to_owned(),
        some => words::count(some as u64, "rule", "rules"),
    };
    let body = text_area(
        typed,
        "placement",
        "Placement rules",
        "One a line; a node has to fit all of them.",
        "node.labels.disk == ssd",
        &rules.join("\n"),
    );
    folded(typed, "Placement", now, &["placement"], body.into_any())
}

fn data_and_ports(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let volumes: Vec<String> = app
        .volumes
        .iter()
        .map(|volume| {
            let shared = if volume.shared { " shared" } else { "" };
            format!("{} {}{shared}", volume.name, volume.path)
        })
        .collect();
    let ports: Vec<String> = app
        .published_ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.as_str();
            format!("{}:{}/{protocol}", port.published, port.target)
        })
        .collect();
    let now = match (volumes.len(), ports.len()) {
        (0, 0) => "none".to_owned(),
        (volumes, ports) => format!(
            "{}, {}",
            words::count(volumes as u64, "volume", "volumes"),
            words::count(ports as u64, "port", "ports")
        ),
    };
    let exposed = if typed.is_empty() {
        app.expose_http
    } else {
        typed.has("expose_http", "true")
    };
    let body = view! {
        {text_area(
            typed,
            "volumes",
            "Volumes",
            "Name and path, one a line; add the word shared if two releases may use it at once. Else the app is deployed with Recreate, one replica at a time.",
            "data /var/lib/data",
            &volumes.join("\n"),
        )}
        {text_area(
            typed,
            "published_ports",
            "Published ports",
            "Port of the node and of the container, one pair a line, for what speaks no HTTP.",
            "5432:5432/tcp",
            &ports.join("\n"),
        )}
        <div class="choice">
            <input type="checkbox" id="expose_http" name="expose_http" value="true" checked=exposed/>
            <label for="expose_http">"Serves HTTP at its address"</label>
        </div>
    };
    let fields = ["volumes", "published_ports"];
    folded(typed, "Volumes and ports", now, &fields, body.into_any())
}
