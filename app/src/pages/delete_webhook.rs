use flukedeploy_domain::webhook::WebhookId;
use flukedeploy_platform::Error;
use flukedeploy_platform::webhooks::get_webhook;
use leptos::prelude::*;

use super::page;
use super::webhook::webhook_id;
use crate::components::{Crumb, PageHead, Section, frame, removal};
use crate::context::Desk;
use crate::paths;

/// `/webhooks/{id}/delete`: its deliveries go with it.
#[component]
pub(crate) fn DeleteWebhookPage() -> impl IntoView {
    let id = webhook_id();
    page(Desk::take(), async move |desk| delete(desk, &id?).await)
}

async fn delete(desk: Desk, id: &WebhookId) -> Result<AnyView, Error> {
    let webhook = get_webhook(&desk.px, &desk.actor, id).await?;
    let host = webhook.url.authority().to_owned();
    let content = view! {
        {PageHead::new(format!("Remove the webhook to {host}"))
            .crumbs(vec![Crumb::new("Webhooks", paths::WEBHOOKS), Crumb::new(host, paths::webhook(id))])
            .lead("What waits is not sent any more, and the list of its deliveries goes. To stop it for a while, turn it off instead.")
            .view()}
        {removal(&desk.typed, paths::delete_webhook(id), (), "Remove the webhook".to_owned(), paths::webhook(id))}
    };
    Ok(frame(&desk, Section::Webhooks, content))
}
