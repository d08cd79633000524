use flukedeploy_platform::Error;
use flukedeploy_platform::credentials::list_credentials;
use leptos::prelude::*;

use super::credentials::kind_word;
use super::{page, parameter};
use crate::components::{Crumb, PageHead, Section, frame, removal};
use crate::context::Desk;
use crate::paths;

/// `/credentials/{kind}/{host}/remove`: what is removed has to be typed anew.
#[component]
pub(crate) fn RemoveCredentialPage() -> impl IntoView {
    let (kind, host) = (parameter("kind"), parameter("host"));
    page(Desk::take(), async move |desk| {
        remove(desk, &kind, &host).await
    })
}

async fn remove(desk: Desk, kind: &str, host: &str) -> Result<AnyView, Error> {
    let credentials = list_credentials(&desk.px, &desk.actor).await?;
    let found = credentials
        .into_iter()
        .find(|one| one.kind.as_str() == kind && one.host == host);
    let Some(one) = found else {
        return Err(Error::NotFound {
            what: "credential of that kind and host".to_owned(),
        });
    };
    let action = paths::remove_credential(one.kind, &one.host);
    let content = view! {
        {PageHead::new(format!("Remove {}", one.host))
            .crumbs(vec![Crumb::new("Credentials", paths::CREDENTIALS)])
            .lead(format!(
                "{}. What runs goes on running; the next deployment that asks {} is without it. There is no way back: its secret would have to be typed again.",
                kind_word(one.kind), one.host,
            ))
            .view()}
        {removal(&desk.typed, action, (), format!("Remove {}", one.host), paths::CREDENTIALS.to_owned())}
    };
    Ok(frame(&desk, Section::Credentials, content))
}
