use flukedeploy_platform::Error;
use flukedeploy_platform::deployments::recent_deployments;
use leptos::prelude::*;

use super::page;
use crate::components::{PageHead, Section, deployment_table, empty, frame};
use crate::context::Desk;
use crate::paths;

/// `/deployments`: the newest of all apps.
#[component]
pub(crate) fn DeploymentsPage() -> impl IntoView {
    page(Desk::take(), deployments)
}

async fn deployments(desk: Desk) -> Result<AnyView, Error> {
    let recent = recent_deployments(&desk.px, &desk.actor, 60).await?;
    let list = if recent.is_empty() {
        let more = view! { <a class="button button-primary" href=paths::APPS>"Go to the apps"</a> };
        empty(
            "No deployments yet",
            "A deployment moves an app to a new release in five phases, and tells why when it cannot.",
            more,
        )
        .into_any()
    } else {
        deployment_table(recent, desk.now, true).into_any()
    };
    let content = view! {
        <div data-follow="">
            {PageHead::new("Deployments").lead("Newest first, over all apps.").live().view()}
            <div id="deployments" data-live="replace">{list}</div>
        </div>
    };
    Ok(frame(&desk, Section::Deployments, content))
}
