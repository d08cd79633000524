use flukedeploy_platform::Error;
use flukedeploy_platform::people;
use leptos::prelude::*;

use super::{page, query};
use crate::components::{Crumb, Field, PageHead, Section, frame, problem};
use crate::context::Desk;
use crate::forms::CODE;
use crate::paths;

/// `/account/confirm`: is it still you? `?next=` is where to go afterwards.
#[component]
pub(crate) fn ConfirmPage() -> impl IntoView {
    let next = query("next");
    page(Desk::take(), async move |desk| confirm(desk, next).await)
}

async fn confirm(desk: Desk, next: Option<String>) -> Result<AnyView, Error> {
    let account = people::account(&desk.px, &desk.actor).await?;
    let typed = &desk.typed;
    let next = typed.get("next").map(ToOwned::to_owned).or(next);
    let next = next
        .as_deref()
        .and_then(paths::local)
        .map(ToOwned::to_owned);
    let carried: Vec<_> = typed
        .hidden()
        .into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value/> })
        .collect();
    let code = account.has_second_factor.then(|| {
        Field::new(typed, CODE, "Or a code")
            .optional()
            .hint("Of your authenticator, or a recovery code, instead of the password.")
            .autocomplete("one-time-code")
            .mono()
            .view()
    });
    let provider = people::provider_name(&desk.px);
    let provider = match people::identity(&desk.px, &desk.actor).await? {
        Some(_) => provider,
        None => None,
    };
    let elsewhere = provider.map(|provider| {
        let next = next.clone();
        view! {
            <form class="form" method="post" action=paths::CONFIRM_PROVIDER>
                {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
                <div class="form-end">
                    <button class="button">{format!("Confirm with {provider}")}</button>
                    <span class="soft">"What was typed before does not go along."</span>
                </div>
            </form>
        }
    });
    let password = account.has_password.then(|| {
        Field::new(typed, "password", "Password")
            .password("current-password")
            .autofocus()
            .view()
    });
    let here = (account.has_password || account.has_second_factor).then(|| {
        view! {
            <form class="form" method="post" action=paths::CONFIRM>
                {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
                {carried}
                {password}
                {code}
                <div class="form-end"><button class="button button-primary">"Confirm"</button></div>
            </form>
        }
    });
    let content = view! {
        {PageHead::new("Confirm that it is you")
            .crumbs(vec![Crumb::new("Your account", paths::ACCOUNT)])
            .lead("What you want to do is far-reaching. A proof is good for ten minutes.")
            .view()}
        {problem(typed)}
        {here}
        {elsewhere}
    };
    Ok(frame(&desk, Section::None, content))
}
