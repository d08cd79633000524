use leptos::prelude::*;

use super::sign_in::way_on;
use crate::components::{Field, gate, problem};
use crate::forms::{CODE, Typed};
use crate::paths;

/// `/sign-in/code`: the second step, for accounts that have one.
#[component]
pub(crate) fn SignInCodePage() -> impl IntoView {
    let typed = use_context::<Typed>().unwrap_or_default();
    let content = view! {
        {problem(&typed)}
        <form class="form" method="post" action=paths::SIGN_IN_CODE>
            {way_on(&typed)}
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
    gate("Enter your code", "The first step is done.", content)
}
