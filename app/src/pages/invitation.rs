use flukedeploy_platform::people::{self, InvitationView, MIN_PASSWORD};
use flukedeploy_platform::{Error, Platform};
use leptos::prelude::*;

use super::parameter;
use crate::components::{Field, gate, problem};
use crate::context::Answer;
use crate::forms::Typed;
use crate::{paths, render, words};

/// `/invitations/{secret}`: an account for somebody who was invited, once.
#[component]
pub(crate) fn InvitationPage() -> impl IntoView {
    let px = expect_context::<Platform>();
    let answer = Answer::take();
    let typed = use_context::<Typed>().unwrap_or_default();
    let secret = parameter("secret");
    let whole = Suspend::new(async move {
        match people::invitation(&px, &secret).await {
            Ok(Some(invitation)) => {
                let provider = people::provider_name(&px);
                form(&secret, &typed, &invitation, provider).into_any()
            }
            Ok(None) => used(&answer).into_any(),
            Err(error) => {
                render::note_failure(&error);
                answer.failed(&error);
                gate(
                    "Join FlukeDeploy",
                    words::sentence(&error.public_detail()),
                    (),
                )
                .into_any()
            }
        }
    });
    view! { <Suspense>{whole}</Suspense> }
}

fn form(
    secret: &str,
    typed: &Typed,
    invitation: &InvitationView,
    provider: Option<&str>,
) -> impl IntoView + use<> {
    let name = match &invitation.name {
        Some(name) => view! {
            <div class="field">
                <span class="label">"Name"</span>
                <span class="mono">{name.clone()}</span>
                <input type="hidden" name="name" value=name.clone() autocomplete="username"/>
            </div>
        }
        .into_any(),
        None => Field::new(typed, "name", "Name")
            .hint("You sign in with it.")
            .autocomplete("username")
            .autofocus()
            .view()
            .into_any(),
    };
    let shown = invitation.display_name.clone().unwrap_or_default();
    let elsewhere = provider.map(|provider| {
        view! {
            <button class="button button-wide" formaction=paths::accept_elsewhere(secret)>
                {format!("Without a password: sign in with {provider}")}
            </button>
        }
    });
    let content = view! {
        {problem(typed)}
        <form class="form" method="post" action=paths::invitation(secret)>
            {name}
            {Field::new(typed, "display_name", "Name to show").optional().value(&shown).autocomplete("name").view()}
            {Field::new(typed, "password", "Password")
                .password("new-password")
                .hint(format!("At least {MIN_PASSWORD} characters; a few words are good."))
                .view()}
            {Field::new(typed, "password_again", "Password again").password("new-password").view()}
            <button class="button button-primary button-wide">"Create the account"</button>
            {elsewhere}
        </form>
    };
    let lead = format!(
        "{} invited you{}.",
        invitation.created_by,
        if invitation.is_administrator {
            " as an administrator"
        } else {
            ""
        }
    );
    gate("Join FlukeDeploy", lead, content)
}

fn used(answer: &Answer) -> impl IntoView + use<> {
    answer.failed(&Error::InvitationInvalid);
    let content = view! {
        <p class="soft">"If you have an account, sign in. If not, ask who invited you for a new link."</p>
        <a class="button button-primary button-wide" href=paths::SIGN_IN>"Sign in"</a>
    };
    gate(
        "This link does not work",
        "It was used already or taken back, or its time is over.",
        content,
    )
}
