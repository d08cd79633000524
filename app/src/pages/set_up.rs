use flukedeploy_platform::identity::set_up_link_is_valid;
use flukedeploy_platform::people::MIN_PASSWORD;
use flukedeploy_platform::{Error, Platform};
use leptos::prelude::*;

use super::parameter;
use crate::components::{Field, gate, problem};
use crate::context::Answer;
use crate::forms::Typed;
use crate::{paths, render, words};

/// `/setup`: where the link is.
#[component]
pub(crate) fn SetUpHelpPage() -> impl IntoView {
    let content = view! {
        <div class="prose">
            <p>
                "FlukeDeploy printed a one-time link when it started: look in the terminal where "
                <code>"./flukedeploy up"</code>" ran, or in its log. It makes the first account."
            </p>
        </div>
        <p class="soft">
            "If the link is gone, restart FlukeDeploy for a new one. If there is an account already, "
            <a class="link" href=paths::SIGN_IN>"sign in"</a>"."
        </p>
    };
    gate(
        "Set up FlukeDeploy",
        "There has to be an account before anybody can sign in.",
        content,
    )
}

/// `/setup/{token}`: the first account, once.
#[component]
pub(crate) fn SetUpPage() -> impl IntoView {
    let px = expect_context::<Platform>();
    let answer = Answer::take();
    let typed = use_context::<Typed>().unwrap_or_default();
    let token = parameter("token");
    let whole = Suspend::new(async move {
        match set_up_link_is_valid(&px, &token).await {
            Ok(true) => form(&token, &typed).into_any(),
            Ok(false) => used(&answer).into_any(),
            Err(error) => {
                render::note_failure(&error);
                answer.failed(&error);
                gate(
                    "Set up FlukeDeploy",
                    words::sentence(&error.public_detail()),
                    (),
                )
                .into_any()
            }
        }
    });
    view! { <Suspense>{whole}</Suspense> }
}

fn form(token: &str, typed: &Typed) -> impl IntoView + use<> {
    let action = format!("{}/{}", paths::SET_UP, paths::encoded(token));
    let content = view! {
        {problem(typed)}
        <form class="form" method="post" action=action>
            {Field::new(typed, "name", "Name").value(&"admin").autocomplete("username").view()}
            {Field::new(typed, "password", "Password")
                .password("new-password")
                .hint(format!("At least {MIN_PASSWORD} characters."))
                .autofocus()
                .view()}
            {Field::new(typed, "password_again", "Password again").password("new-password").view()}
            <button class="button button-primary button-wide">"Create the account"</button>
        </form>
    };
    gate(
        "Set up FlukeDeploy",
        "Create the first account. It may do everything here.",
        content,
    )
}

fn used(answer: &Answer) -> impl IntoView + use<> {
    answer.failed(&Error::SetUpLinkInvalid);
    let content = view! {
        <p class="soft">
            "If you have an account, sign in. If there is none yet, restart FlukeDeploy: it prints a new link."
        </p>
        <a class="button button-primary button-wide" href=paths::SIGN_IN>"Sign in"</a>
    };
    gate(
        "This link does not work",
        "It was used already, or a newer one took its place.",
        content,
    )
}
