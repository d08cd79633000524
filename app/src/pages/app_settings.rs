//! The settings of an app: a section of its page, and the fields that creating one shares.

use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::settings_parts::{folded, parts};
use super::variables::{
    kept_variables, marked, secret_file, secret_variables, shared_variables, warnings,
};
use crate::components::{Choice, Field, Tint, notice, problem, select, text_area};
use crate::forms::Typed;
use crate::forms::approvals::FOR_PEOPLE;
use crate::forms::everyday::EVERYDAY;
use crate::{paths, words};

pub(super) fn strategy_choices() -> Vec<Choice> {
    vec![
        Choice::new("rolling", "Rolling: a few replicas at a time"),
        Choice::new(
            "blue_green",
            "Blue-green: all at once, when all are healthy",
        ),
        Choice::new(
            "canary",
            "Canary: a small share first, then more if it does well",
        ),
        Choice::new("recreate", "Recreate: stop the old, then start the new"),
    ]
}

pub(super) fn health_fields(typed: &Typed, gate: &HealthGate) -> impl IntoView + use<> {
    let (probe, path) = match &gate.probe {
        HealthProbe::Http { path, .. } => ("http", path.clone()),
        HealthProbe::Tcp => ("tcp", String::new()),
        HealthProbe::Docker => ("docker", String::new()),
        HealthProbe::Command { .. } => ("command", String::new()),
    };
    let command = match &gate.probe {
        HealthProbe::Command { command } => command.join("\n"),
        _ => String::new(),
    };
    let choices = vec![
        Choice::new("tcp", "TCP: the port accepts a connection"),
        Choice::new("http", "HTTP: a path answers 200 to 399"),
        Choice::new("docker", "Docker: the image's own HEALTHCHECK"),
        Choice::new("command", "Command: one inside the container ends with 0"),
    ];
    view! {
        {select(typed, "health_probe", "A replica is healthy when", Some("Only healthy replicas get traffic."), choices, probe)}
        <div class="row">
            {Field::new(typed, "health_path", "Health path")
                .optional()
                .mono()
                .value(&path)
                .hint("For HTTP.")
                .placeholder("/healthz")
                .view()}
            {Field::new(typed, "deadline_seconds", "Deadline in seconds")
                .number()
                .value(&gate.deadline_seconds)
                .hint("Then it fails.")
                .view()}
        </div>
        {folded(typed, "More about health", more_now(gate), &MORE_HEALTH, more_health(typed, gate, &command).into_any())}
    }
}

const MORE_HEALTH: [&str; 5] = [
    "health_command",
    "min_healthy_seconds",
    "start_grace_seconds",
    "progress_deadline_seconds",
    "max_restarts",
];

fn more_now(gate: &HealthGate) -> String {
    let restarts = words::count(u64::from(gate.max_restarts), "restart", "restarts");
    format!(
        "gives up after {} s or {restarts}",
        gate.progress_deadline()
    )
}

fn more_health(typed: &Typed, gate: &HealthGate, command: &str) -> impl IntoView + use<> {
    let progress = gate
        .progress_deadline_seconds
        .map(|seconds| seconds.to_string())
        .unwrap_or_default();
    view! {
        {text_area(typed, "health_command", "Health command", "A program, then one argument a line. No shell is involved.", "pg_isready\n--quiet", command)}
        <div class="row">
            {Field::new(typed, "min_healthy_seconds", "Healthy for, in seconds")
                .number()
                .value(&gate.min_healthy_seconds)
                .hint("Before it counts.")
                .view()}
            {Field::new(typed, "start_grace_seconds", "Grace after the start, in seconds")
                .number()
                .value(&gate.start_grace_seconds)
                .hint("Bad answers mean nothing yet.")
                .view()}
        </div>
        <div class="row">
            {Field::new(typed, "progress_deadline_seconds", "Give up after, in seconds")
                .number()
                .optional()
                .value(&progress)
                .hint("Without one more healthy replica. Else the deadline and a minute.")
                .view()}
            {Field::new(typed, "max_restarts", "Restarts at most")
                .number()
                .value(&gate.max_restarts)
                .hint("While it is judged.")
                .view()}
        </div>
    }
}

pub(super) fn settings_form(
    typed: &Typed,
    app: &AppView,
    saved: bool,
    can_change: bool,
) -> impl IntoView + use<> {
    // The forms of the everyday section come back to this page, too.
    let none = Typed::default();
    let others = [EVERYDAY, FOR_PEOPLE, "ttl_hours"];
    let typed = if others.iter().any(|name| typed.get(name).is_some()) {
        &none
    } else {
        typed
    };
    let domains = app
        .domains
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    // What was typed keeps the version it was typed against, so that a clash is noticed.
    let version = typed
        .get("settings_version")
        .map_or(app.settings_version.to_string(), ToOwned::to_owned);
    // After a clash, sending again means: on top of what is there now.
    let version = if typed.problem().is_some() {
        app.settings_version.to_string()
    } else {
        version
    };
    view! {
        {saved.then(|| notice(
            Tint::Good,
            "The settings are saved.".to_owned(),
            Some("Domains are in effect now, everything else with the next deployment or restart.".to_owned()),
        ))}
        {problem(typed)}
        <form class="form" method="post" action=paths::within(&format!("{}#settings", paths::app(&app.app_name)), &app.environment)>
            <input type="hidden" name="settings_version" value=version/>
            <fieldset class="form" disabled=!can_change>
            <div class="row">
                {Field::new(typed, "container_port", "Container port").number().value(&app.container_port).view()}
                {Field::new(typed, "replicas", "Replicas").number().value(&app.configured_replicas).view()}
            </div>
            {select(typed, "strategy", "Strategy", None, strategy_choices(), app.strategy.as_str())}
            <fieldset class="group">
                <legend>"Health"</legend>
                {health_fields(typed, &app.health)}
            </fieldset>
            {parts(typed, app)}
            <fieldset class="group">
                <legend>"Variables"</legend>
                <div class="field">
                    <p class="hint">"Values are kept but never shown again."</p>
                    {kept_variables(typed, &app.env_vars)}
                </div>
                {warnings(&app.env_var_warnings)}
                {text_area(&typed.without_lines_of("env_vars", &marked(&app.env_vars)), "env_vars", "Add or replace", "NAME=value, one a line. What follows the first = is taken as it stands. A secret stays one.", "LOG_LEVEL=info", "")}
                {secret_variables(typed)}
                {secret_file(typed)}
                {shared_variables(app.project.as_ref(), &app.shared_env_vars)}
            </fieldset>
            <fieldset class="group">
                <legend>"Domains"</legend>
                {text_area(typed, "domains", "Host names of your own", "One a line; each has to point to this server.", "shop.example.com", &domains)}
            </fieldset>
            </fieldset>
            {can_change.then(|| view! { <div class="form-end"><button class="button button-primary">"Save settings"</button></div> })}
        </form>
    }
}
