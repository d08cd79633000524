//! The settings of an app: a section of its page, and the fields that creating one shares.

use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use crate::components::{Choice, Field, Tint, notice, problem, select, text_area};
use crate::forms::Typed;
use crate::paths;

pub(super) fn strategy_choices() -> Vec<Choice> {
    vec![
        Choice::new("rolling", "Rolling: a few replicas at a time"),
        Choice::new(
            "blue_green",
            "Blue-green: all at once, when all are healthy",
        ),
        Choice::new("recreate", "Recreate: stop the old, then start the new"),
    ]
}

pub(super) fn health_fields(typed: &Typed, gate: &HealthGate) -> impl IntoView + use<> {
    let (probe, path) = match &gate.probe {
        HealthProbe::Http { path, .. } => ("http", path.clone()),
        HealthProbe::Tcp => ("tcp", String::new()),
        HealthProbe::Docker => ("docker", String::new()),
    };
    let choices = vec![
        Choice::new("tcp", "TCP: the port accepts a connection"),
        Choice::new("http", "HTTP: a path answers 200 to 399"),
        Choice::new("docker", "Docker: the image's own HEALTHCHECK"),
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
    }
}

pub(super) fn settings_form(typed: &Typed, app: &AppView, saved: bool) -> impl IntoView + use<> {
    let domains = app
        .domains
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    let variables: Vec<_> = app
        .env_var_names
        .iter()
        .map(|name| {
            let checked = typed.has("remove_env_vars", name);
            view! {
                <li>
                    <code>{name.clone()}</code>
                    <label>
                        <input type="checkbox" name="remove_env_vars" value=name.clone() checked=checked/>
                        "Remove"<span class="visually-hidden">" "{name.clone()}</span>
                    </label>
                </li>
            }
        })
        .collect();
    let variables = if variables.is_empty() {
        view! { <p class="hint">"None yet."</p> }.into_any()
    } else {
        view! { <ul class="variables">{variables}</ul> }.into_any()
    };
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
            Some("Domains are in effect now, everything else with the next deployment.".to_owned()),
        ))}
        {problem(typed)}
        <form class="form" method="post" action=paths::app(&app.app_name)>
            <input type="hidden" name="settings_version" value=version/>
            <div class="row">
                {Field::new(typed, "container_port", "Container port").number().value(&app.container_port).view()}
                {Field::new(typed, "replicas", "Replicas").number().value(&app.configured_replicas).view()}
            </div>
            {select(typed, "strategy", "Strategy", None, strategy_choices(), app.strategy.as_str())}
            <fieldset class="group">
                <legend>"Health"</legend>
                {health_fields(typed, &app.health)}
            </fieldset>
            <fieldset class="group">
                <legend>"Variables"</legend>
                <div class="field">
                    <p class="hint">"Values are kept but never shown again."</p>
                    {variables}
                </div>
                {text_area(typed, "env_vars", "Add or replace", "NAME=value, one a line. What follows the first = is taken as it stands.", "LOG_LEVEL=info", "")}
            </fieldset>
            <fieldset class="group">
                <legend>"Domains"</legend>
                {text_area(typed, "domains", "Host names of your own", "One a line; each has to point to this server.", "shop.example.com", &domains)}
            </fieldset>
            <div class="form-end"><button class="button button-primary">"Save settings"</button></div>
        </form>
    }
}
