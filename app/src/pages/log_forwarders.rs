use flukedeploy_domain::forwarder::{ForwardKind, ForwardState, ForwarderView};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_platform::Error;
use flukedeploy_platform::forwarders::list_forwarders;
use leptos::prelude::*;

use super::page;
use crate::components::{
    Choice, Crumb, Field, Mark, PageHead, Section, Tint, code, empty, frame, new_one, notice,
    select, state, table,
};
use crate::context::Desk;
use crate::forms::log_forwarders::AUTHORIZATION;
use crate::forms::webhooks::{NEW_SECRET, SECRET};
use crate::paths;

/// `/log-forwarders`: who gets log entries, and do they arrive?
#[component]
pub(crate) fn LogForwardersPage() -> impl IntoView {
    page(Desk::take(), forwarders)
}

async fn forwarders(desk: Desk) -> Result<AnyView, Error> {
    let forwarders = list_forwarders(&desk.px, &desk.actor).await?;
    let rows: Vec<_> = forwarders.iter().map(|one| row(one).into_any()).collect();
    let list = if rows.is_empty() {
        empty(
            "No log forwarders yet",
            "A syslog server, an OpenTelemetry collector or a program of yours gets log entries by one.",
            (),
        )
        .into_any()
    } else {
        table(&["To", "State", "About", "Waiting", "Sent"], rows).into_any()
    };
    let content = view! {
        {PageHead::new("Log forwarders")
            .crumbs(vec![Crumb::new("Webhooks", paths::WEBHOOKS)])
            .lead("Log entries go to these receivers, in order, and again until they arrive.")
            .view()}
        {made(&desk)}
        {list}
        {new_one(&desk.typed, "New log forwarder", new_form(&desk))}
    };
    Ok(frame(&desk, Section::Webhooks, content))
}

/// The one appearance of a new signing key.
fn made(desk: &Desk) -> impl IntoView + use<> {
    let secret = desk.typed.get(NEW_SECRET)?.to_owned();
    Some(view! {
        <div class="aside">
            {notice(
                Tint::Good,
                "The log forwarder is made.".to_owned(),
                Some("Copy the key of its signatures now: it will not be shown again.".to_owned()),
            )}
            {code("new-secret", secret)}
        </div>
    })
}

fn row(forwarder: &ForwarderView) -> impl IntoView + use<> {
    view! {
        <tr>
            <td data-label="" class="cell-title">
                <span class="cell-main">
                    <a href=paths::log_forwarder(&forwarder.id)>{forwarder.authority().to_owned()}</a>
                    <span class="cell-sub">{form_of(forwarder.kind)}</span>
                </span>
            </td>
            <td data-label="State">{state(mark(forwarder))}</td>
            <td data-label="About">{about(forwarder)}</td>
            <td data-label="Waiting">{forwarder.entries_behind}</td>
            <td data-label="Sent">{forwarder.entries_sent}</td>
        </tr>
    }
}

pub(super) fn form_of(kind: ForwardKind) -> &'static str {
    match kind {
        ForwardKind::Syslog => "Syslog",
        ForwardKind::Otlp => "OpenTelemetry",
        ForwardKind::Webhook => "Signed requests",
    }
}

pub(super) fn mark(forwarder: &ForwarderView) -> Mark {
    match forwarder.state {
        ForwardState::Forwarding => Mark::valid(true, "On"),
        ForwardState::Failing => Mark::answers(false, "On", "Failing"),
        ForwardState::Paused => Mark::valid(false, "Off"),
    }
}

/// What it wants, in words.
pub(super) fn about(forwarder: &ForwarderView) -> String {
    let filter = &forwarder.filter;
    let app = filter.app_name.as_ref();
    let mut text = app.map_or("All apps".to_owned(), |app| format!("Only {app}"));
    if let Some(environment) = &filter.environment {
        text = format!("{text}, {environment}");
    }
    match filter.min_level {
        None | Some(Level::Debug) => text,
        Some(Level::Error) => format!("{text}, errors"),
        Some(level) => format!("{text}, {} and worse", level.as_str()),
    }
}

fn new_form(desk: &Desk) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let kinds = ForwardKind::ALL
        .into_iter()
        .map(|kind| Choice::new(kind.as_str(), form_of(kind)))
        .collect();
    let levels = vec![
        Choice::new("debug", "All"),
        Choice::new("info", "Info and worse"),
        Choice::new("warn", "Warnings and errors"),
        Choice::new("error", "Errors"),
    ];
    view! {
        <form class="form" method="post" action=paths::LOG_FORWARDERS>
            {select(typed, "forward_kind", "Form", None, kinds, "syslog")}
            {Field::new(typed, "url", "Address").hint("tcp://, tls:// or udp:// for syslog; else https://. Addresses inside this network are refused unless the server's settings allow them.").placeholder("tls://logs.example.com:6514").mono().view()}
            <div class="row">
                {Field::new(typed, "app_name", "App").optional().hint("Only what is about this app.").placeholder("shop-web").mono().view()}
                {Field::new(typed, "environment", "Environment").optional().hint("Only what is about this one.").placeholder("production").mono().view()}
            </div>
            {select(typed, "min_level", "Levels", None, levels, "debug")}
            <div class="row">
                {Field::new(typed, AUTHORIZATION, "Authorization").optional().hint("Header of each request; not for syslog.").password("off").view()}
                {Field::new(typed, SECRET, "Secret").optional().hint("Signs signed requests. Else one is made.").password("off").view()}
            </div>
            <div class="form-end"><button class="button button-primary">"Create log forwarder"</button></div>
        </form>
    }
}
