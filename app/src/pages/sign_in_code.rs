use leptos::prelude::*;

use super::query;
use crate::components::{Field, gate, problem};
use crate::forms::{CODE, Typed};
use crate::paths;

/// `/sign-in/code`: the second step, for accounts that have one.
#[component]
pub(crate) fn SignInCodePage() -> impl IntoView {
    let typed = use_context::<Typed>().unwrap_or_default();
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
    let content = view! {
        {problem(&typed)}
        <form class="form" method="post" action=paths::SIGN_IN_CODE>
            {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
            {carried}
            {Field::new(&typed, CODE, "Code")
                .autocomplete("one-time-code")
                .hint("Six digits of your authenticator, or one of your recovery codes.")
                .mono()
                .autofocus()
                .view()}
            <button class="button button-primary button-wide">"Go on"</button>
        </form>
        <p class="soft"><a class="link" href=paths::SIGN_IN>"Begin again"</a></p>
    };
    gate("Enter your code", "Your password was right.", content)
}
