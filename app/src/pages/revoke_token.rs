use flukedeploy_platform::Error;
use flukedeploy_platform::tokens::list_tokens;
use leptos::prelude::*;

use super::{page, parameter};
use crate::components::{Crumb, PageHead, Section, frame, removal};
use crate::context::Desk;
use crate::paths;

/// `/tokens/{id}/revoke`: a revoked token cannot be brought back.
#[component]
pub(crate) fn RevokeTokenPage() -> impl IntoView {
    let id = parameter("id");
    page(Desk::take(), async move |desk| revoke(desk, &id).await)
}

async fn revoke(desk: Desk, id: &str) -> Result<AnyView, Error> {
    let tokens = list_tokens(&desk.px, &desk.actor).await?;
    let Some(token) = tokens.into_iter().find(|token| token.id == id) else {
        return Err(Error::NotFound {
            what: "token of that id".to_owned(),
        });
    };
    let content = view! {
        {PageHead::new(format!("Revoke {}", token.name))
            .crumbs(vec![Crumb::new("Tokens", paths::TOKENS)])
            .lead("Whoever uses it is refused from the next request on. There is no way back; a new token can be made.")
            .view()}
        {removal(&desk.typed, paths::revoke(&token.id), (), format!("Revoke {}", token.name), paths::TOKENS.to_owned())}
    };
    Ok(frame(&desk, Section::Tokens, content))
}
