use flukedeploy_platform::{Platform, people};
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
        {elsewhere(&typed)}
    };
    gate("Sign in", "to FlukeDeploy on this server.", content)
}

/// The way over the sign-in provider, where there is one. What was typed into an interrupted form
/// cannot go along.
fn elsewhere(typed: &Typed) -> impl IntoView + use<> {
    let px = expect_context::<Platform>();
    let name = people::provider_name(&px)?.to_owned();
    let next = next(typed);
    Some(view! {
        <form class="form" method="post" action=paths::PROVIDER>
            {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
            <button class="button button-wide">{format!("Sign in with {name}")}</button>
        </form>
    })
}

fn next(typed: &Typed) -> Option<String> {
    let next = typed.get("next").map(ToOwned::to_owned);
    let next = next.or_else(|| query("next"));
    next.as_deref()
        .and_then(paths::local)
        .map(ToOwned::to_owned)
}

/// Where to go afterwards, and a form that was interrupted: each step of a sign-in hands them on.
pub(super) fn way_on(typed: &Typed) -> impl IntoView + use<> {
    let next = next(typed);
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
