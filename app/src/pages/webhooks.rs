use flukedeploy_domain::webhook::{WebhookEvent, WebhookView};
use flukedeploy_platform::Error;
use flukedeploy_platform::webhooks::list_webhooks;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{
    Field, Mark, PageHead, Section, Tint, age, code, empty, frame, new_one, notice, state, table,
};
use crate::context::Desk;
use crate::forms::webhooks::{NEW_ID, NEW_SECRET, SECRET};
use crate::{paths, words};

/// `/webhooks`: who outside is told what happens here?
#[component]
pub(crate) fn WebhooksPage() -> impl IntoView {
    page(Desk::take(), webhooks)
}

async fn webhooks(desk: Desk) -> Result<AnyView, Error> {
    let webhooks = list_webhooks(&desk.px, &desk.actor).await?;
    let rows: Vec<_> = webhooks
        .iter()
        .map(|webhook| row(webhook, desk.now).into_any())
        .collect();
    let list = if rows.is_empty() {
        empty(
            "No webhooks yet",
            "Chats, trackers and pipelines hear of deployments by one.",
            (),
        )
        .into_any()
    } else {
        table(&["To", "State", "About", "Made"], rows).into_any()
    };
    let content = view! {
        {PageHead::new("Webhooks").lead("What happens here is posted to these addresses, signed, in order, and again until it arrives.").view()}
        <p><a class="link" href=paths::LOG_FORWARDERS>"Log forwarders"</a>" bring log entries to others."</p>
        {made(&desk)}
        {list}
        {new_one(&desk.typed, "New webhook", new_webhook_form(&desk))}
    };
    Ok(frame(&desk, Section::Webhooks, content))
}

/// The one appearance of a new webhook's secret.
fn made(desk: &Desk) -> impl IntoView + use<> {
    let secret = desk.typed.get(NEW_SECRET)?.to_owned();
    let id = desk.typed.get(NEW_ID).unwrap_or_default().parse().ok()?;
    Some(view! {
        <div class="aside">
            {notice(
                Tint::Good,
                "The webhook is made.".to_owned(),
                Some("Copy its secret now: it will not be shown again.".to_owned()),
            )}
            {code("new-secret", secret)}
            <form method="post" action=paths::test_webhook(&id)>
                <button class="button">"Send a test"</button>
            </form>
        </div>
    })
}

fn row(webhook: &WebhookView, now: OffsetDateTime) -> impl IntoView + use<> {
    let about = match &webhook.app_name {
        Some(app) => format!("Only {app}"),
        None => "All apps".to_owned(),
    };
    view! {
        <tr>
            <td data-label="" class="cell-title">
                <span class="cell-main">
                    <a href=paths::webhook(&webhook.id)>{webhook.url.authority().to_owned()}</a>
                    <span class="cell-sub">{webhook.id.to_string()}</span>
                </span>
            </td>
            <td data-label="State">{state(webhook_mark(webhook))}</td>
            <td data-label="About"><span>{about}<span class="cell-sub">{events(webhook)}</span></span></td>
            <td data-label="Made">{age(webhook.created_at, now)}</td>
            <td data-label="" class="actions">
                <a class="button button-small" href=paths::webhook(&webhook.id)>"Deliveries"<span class="visually-hidden">" to "{webhook.url.authority().to_owned()}</span></a>
            </td>
        </tr>
    }
}

pub(super) fn webhook_mark(webhook: &WebhookView) -> Mark {
    Mark::valid(webhook.active, if webhook.active { "On" } else { "Off" })
}

/// What it listens to, in words.
pub(super) fn events(webhook: &WebhookView) -> String {
    match webhook.events.names().as_slice() {
        ["*"] => "All events".to_owned(),
        names => names.join(", "),
    }
}

fn new_webhook_form(desk: &Desk) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let fault = typed.fault("events");
    let choices: Vec<_> = WebhookEvent::choosable()
        .map(|event| {
            let name = event.as_str();
            let id = format!("event-{}", name.replace('.', "-"));
            let checked = typed.has("events", name);
            view! {
                <div class="choice">
                    <input type="checkbox" id=id.clone() name="events" value=name checked=checked/>
                    <label for=id>{words::capital(&name.replace(['.', '_'], " "))}</label>
                </div>
            }
        })
        .collect();
    view! {
        <form class="form" method="post" action=paths::WEBHOOKS>
            {Field::new(typed, "url", "Address").hint("Redirects are not followed, and addresses inside this network are refused unless the server's settings allow them.").placeholder("https://hooks.example.com/flukedeploy").mono().view()}
            <fieldset class="field">
                <legend>"Events"</legend>
                <p class="hint">"None chosen means all, also those to come."</p>
                <div class="choices choices-short">{choices}</div>
                {fault.map(|fault| view! { <p class="fault"><span>{fault}</span></p> })}
            </fieldset>
            <div class="row">
                {Field::new(typed, "app_name", "App").optional().hint("Only what is about this app.").placeholder("shop-web").mono().view()}
                {Field::new(typed, SECRET, "Secret").optional().hint("Signs what is sent. Else one is made.").password("off").view()}
            </div>
            <div class="form-end"><button class="button button-primary">"Create webhook"</button></div>
        </form>
    }
}
