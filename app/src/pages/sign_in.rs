use leptos::prelude::*;

use super::query;
use crate::components::{Field, gate, problem};
use crate::forms::Typed;
use crate::paths;

/// `/sign-in`; `?next=` is where to go afterwards.
#[component]
pub(crate) fn SignInPage() -> impl IntoView {
    let typed = use_context::<Typed>().unwrap_or_default();
    let content = view! {
        {problem(&typed)}
        <form class="form" method="post" action=paths::SIGN_IN>
            {way_on(&typed)}
            {Field::new(&typed, "name", "Name").autocomplete("username").autofocus().view()}
            {Field::new(&typed, "password", "Password").password("current-password").view()}
            <button class="button button-primary button-wide">"Sign in"</button>
        </form>
    };
    gate("Sign in", "to FlukeDeploy on this server.", content)
}

/// Where to go afterwards, and a form that was interrupted: each step of a sign-in hands them on.
pub(super) fn way_on(typed: &Typed) -> impl IntoView + use<> {
    let next = typed
        .get("next")
        .map(ToOwned::to_owned)
        .or_else(|| query("next"));
    let next = next
        .as_deref()
        .and_then(paths::local)
        .map(ToOwned::to_owned);
    let carried: Vec<_> = typed
        .hidden()
        .into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value/> })
        .collect();
    view! {
        {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
        {carried}
    }
}
