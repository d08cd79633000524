use flukedeploy_domain::webhook::{Delivery, DeliveryStatus, WebhookId, WebhookView};
use flukedeploy_platform::Error;
use flukedeploy_platform::webhooks::{get_webhook, list_deliveries};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::webhooks::{events, webhook_mark};
use super::{page, parameter};
use crate::components::{
    Crumb, PageHead, Section, age, delivery_mark, empty, frame, problem, state, table,
};
use crate::context::Desk;
use crate::{paths, words};

/// Deliveries on the page; older ones are at REST.
const SHOWN: u32 = 100;

/// `/webhooks/{id}`: what was told, and did it arrive?
#[component]
pub(crate) fn WebhookPage() -> impl IntoView {
    let id = webhook_id();
    page(Desk::take(), async move |desk| webhook(desk, &id?).await)
}

/// An id that cannot be one is the id of no webhook.
pub(super) fn webhook_id() -> Result<WebhookId, Error> {
    parameter("id").parse().map_err(|_| Error::NotFound {
        what: "webhook of that id".to_owned(),
    })
}

async fn webhook(desk: Desk, id: &WebhookId) -> Result<AnyView, Error> {
    let webhook = get_webhook(&desk.px, &desk.actor, id).await?;
    let deliveries = list_deliveries(&desk.px, &desk.actor, id, SHOWN).await?;
    let waits = deliveries
        .iter()
        .any(|delivery| delivery.status == DeliveryStatus::Pending);
    let about = webhook
        .app_name
        .as_ref()
        .map_or("All apps".to_owned(), ToString::to_string);
    let content = view! {
        <div data-follow="" data-address=paths::webhook(id)>
            {PageHead::new(webhook.url.authority().to_owned())
                .crumbs(vec![Crumb::new("Webhooks", paths::WEBHOOKS)])
                .actions(actions(&webhook))
                .view()}
            {problem(&desk.typed)}
            <dl class="facts">
                <div><dt>"State"</dt><dd>{state(webhook_mark(&webhook))}</dd></div>
                <div><dt>"About"</dt><dd>{about}</dd></div>
                <div class="wide"><dt>"Events"</dt><dd>{events(&webhook)}</dd></div>
                <div class="wide"><dt>"Address"</dt><dd><code>{webhook.url.as_str().to_owned()}</code></dd></div>
                <div><dt>"Made"</dt><dd>{age(webhook.created_at, desk.now)}</dd></div>
            </dl>
            <section class="section" aria-labelledby="deliveries-title">
                <div class="section-head">
                    <h2 id="deliveries-title">"Deliveries"</h2>
                    {waits.then(|| view! { <a class="link" href=paths::webhook(id)>"Look again"</a> })}
                </div>
                <div id="deliveries" data-live="replace">{list(&webhook, &deliveries, desk.now)}</div>
            </section>
        </div>
    };
    Ok(frame(&desk, Section::Webhooks, content))
}

fn actions(webhook: &WebhookView) -> impl IntoView + use<> {
    let test = webhook.active.then(|| {
        view! {
            <form method="post" action=paths::test_webhook(&webhook.id)>
                <button class="button button-primary">"Send a test"</button>
            </form>
        }
    });
    let (word, wanted) = if webhook.active {
        ("Turn off", "false")
    } else {
        ("Turn on", "true")
    };
    view! {
        <div class="buttons">
            {test}
            <form method="post" action=paths::switch_webhook(&webhook.id)>
                <button class="button" name="active" value=wanted>{word}</button>
            </form>
            <a class="button button-danger" href=paths::delete_webhook(&webhook.id)>"Remove"</a>
        </div>
    }
}

fn list(webhook: &WebhookView, deliveries: &[Delivery], now: OffsetDateTime) -> AnyView {
    if deliveries.is_empty() {
        return empty(
            "Nothing was told yet",
            "The next event that this webhook listens to shows here, and whether it arrived.",
            (),
        )
        .into_any();
    }
    let rows: Vec<_> = deliveries
        .iter()
        .map(|delivery| row(webhook, delivery, now).into_any())
        .collect();
    let heads = [
        "Event",
        "State",
        "Answer",
        "Attempts",
        "Happened",
        "Next attempt",
    ];
    table(&heads, rows).into_any()
}

fn row(webhook: &WebhookView, delivery: &Delivery, now: OffsetDateTime) -> impl IntoView + use<> {
    let answer = match (&delivery.last_error, delivery.last_status) {
        (Some(error), _) => words::sentence(error),
        (None, Some(status)) => status.to_string(),
        (None, None) => "None yet".to_owned(),
    };
    let next = match delivery.next_attempt_at {
        Some(at) if at <= now => "Now, or when those before are through".into_any(),
        Some(at) => age(at, now).into_any(),
        None => "None".into_any(),
    };
    let arrived = delivery
        .delivered_at
        .map(|at| view! { <span class="cell-sub">{age(at, now)}</span> });
    let word = match delivery.status {
        DeliveryStatus::Pending => "Try now",
        DeliveryStatus::Delivered | DeliveryStatus::Failed | DeliveryStatus::Dropped => {
            "Send again"
        }
    };
    let again = webhook.active.then(|| {
        let label = format!("{word}: {} {}", delivery.event.as_str(), delivery.id);
        view! {
            <form method="post" action=paths::resend_delivery(&delivery.id)>
                <button class="button button-small" aria-label=label>{word}</button>
            </form>
        }
    });
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{delivery.event.as_str()}<span class="cell-sub">{delivery.id.to_string()}</span></span></td>
            <td data-label="State">{state(delivery_mark(delivery.status))}{arrived}</td>
            <td data-label="Answer">{answer}</td>
            <td data-label="Attempts">{delivery.attempts}</td>
            <td data-label="Happened">{age(delivery.created_at, now)}</td>
            <td data-label="Next attempt">{next}</td>
            <td data-label="" class="actions">{again}</td>
        </tr>
    }
}
