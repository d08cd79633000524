use flukedeploy_platform::Error;
use flukedeploy_platform::people::{self, AccountView, IdentityView, MIN_PASSWORD, SessionView};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{Field, Mark, PageHead, Section, age, frame, problem, state, table};
use crate::context::Desk;
use crate::forms::Typed;
use crate::paths;

/// `/account`: one's own name, password, second factor, and where one is signed in.
#[component]
pub(crate) fn AccountPage() -> impl IntoView {
    page(Desk::take(), account)
}

async fn account(desk: Desk) -> Result<AnyView, Error> {
    let account = people::account(&desk.px, &desk.actor).await?;
    let sessions = people::sessions(&desk.px, &desk.actor).await?;
    let identity = people::identity(&desk.px, &desk.actor).await?;
    let provider = people::provider_name(&desk.px);
    let content = view! {
        {PageHead::new("Your account").lead(format!("You sign in as {}.", account.name)).view()}
        {problem(&desk.typed)}
        {name_form(&desk.typed, &account)}
        {password_form(&desk.typed, account.has_password)}
        {provider.map(|provider| connection(provider, identity.as_ref(), account.has_password))}
        {second_factor(&account)}
        {session_list(&sessions, desk.now)}
    };
    Ok(frame(&desk, Section::None, content))
}

fn name_form(typed: &Typed, account: &AccountView) -> impl IntoView + use<> {
    let shown = account.display_name.clone().unwrap_or_default();
    view! {
        <section class="section" aria-labelledby="name-head">
            <div class="section-head"><h2 id="name-head">"Name"</h2></div>
            <form class="form" method="post" action=paths::ACCOUNT>
                {Field::new(typed, "display_name", "Name to show")
                    .optional()
                    .value(&shown)
                    .hint("As others see you; you go on signing in with your account's name.")
                    .autocomplete("name")
                    .view()}
                <div class="form-end"><button class="button">"Save the name"</button></div>
            </form>
        </section>
    }
}

fn password_form(typed: &Typed, has_one: bool) -> impl IntoView + use<> {
    let present = has_one.then(|| {
        Field::new(typed, "present_password", "Present password")
            .password("current-password")
            .view()
    });
    let word = if has_one {
        "Change the password"
    } else {
        "Set a password"
    };
    view! {
        <section class="section" aria-labelledby="password-head">
            <div class="section-head"><h2 id="password-head">"Password"</h2></div>
            <form class="form" method="post" action=paths::PASSWORD>
                {present}
                {Field::new(typed, "password", "New password")
                    .password("new-password")
                    .hint(format!("At least {MIN_PASSWORD} characters; a few words are good."))
                    .view()}
                {Field::new(typed, "password_again", "New password again").password("new-password").view()}
                <div class="form-end">
                    <button class="button">{word}</button>
                    <span class="soft">"Ends all your other sessions."</span>
                </div>
            </form>
        </section>
    }
}

/// The account at the sign-in provider that lets this one in.
fn connection(
    provider: &str,
    identity: Option<&IdentityView>,
    has_password: bool,
) -> impl IntoView + use<> {
    let title = format!("Sign in with {provider}");
    let (mark, text, act) = match identity {
        None => (
            Mark::valid(false, "Not connected"),
            format!("Connect your account at {provider}, and it lets you in here."),
            view! {
                <form class="form-end" method="post" action=paths::CONNECT_PROVIDER>
                    <button class="button">{format!("Connect with {provider}")}</button>
                </form>
            }
            .into_any(),
        ),
        Some(identity) => {
            let who = identity.shown.as_ref().unwrap_or(&identity.subject);
            let act = if has_password {
                view! {
                    <form class="form-end" method="post" action=paths::DISCONNECT_PROVIDER>
                        <button class="button">"Disconnect"</button>
                        <span class="soft">"Ends all your other sessions."</span>
                    </form>
                }
                .into_any()
            } else {
                view! { <p class="soft">"It is your only way in. Set a password to be able to disconnect it."</p> }
                    .into_any()
            };
            (
                Mark::valid(true, "Connected"),
                format!("{who} at {provider} lets you in here."),
                act,
            )
        }
    };
    view! {
        <section class="section" aria-labelledby="provider-head">
            <div class="section-head"><h2 id="provider-head">{title}</h2>{state(mark)}</div>
            <p class="soft">{text}</p>
            {act}
        </section>
    }
}

fn second_factor(account: &AccountView) -> impl IntoView + use<> {
    let (mark, text, word) = if account.has_second_factor {
        let left = account.recovery_codes_left;
        (
            Mark::valid(true, "On"),
            format!(
                "Signing in takes a code of your authenticator. {left} recovery codes are left."
            ),
            "Change it",
        )
    } else {
        (
            Mark::valid(false, "Off"),
            "A password is all that signing in takes.".to_owned(),
            "Set it up",
        )
    };
    view! {
        <section class="section" aria-labelledby="factor-head">
            <div class="section-head"><h2 id="factor-head">"Second factor"</h2>{state(mark)}</div>
            <p class="soft">{text}</p>
            <div class="form-end"><a class="button" href=paths::SECOND_FACTOR>{word}</a></div>
        </section>
    }
}

fn session_list(sessions: &[SessionView], now: OffsetDateTime) -> impl IntoView + use<> {
    let rows: Vec<_> = sessions
        .iter()
        .map(|session| row(session, now).into_any())
        .collect();
    let others = (sessions.len() > 1).then(|| {
        view! {
            <form class="form-end" method="post" action=paths::OTHER_SESSIONS>
                <button class="button">"End all others"</button>
            </form>
        }
    });
    view! {
        <section class="section" aria-labelledby="sessions-head">
            <div class="section-head"><h2 id="sessions-head">"Where you are signed in"</h2></div>
            {table(&["Browser", "From", "Since", "Last used"], rows)}
            {others}
        </section>
    }
}

fn row(session: &SessionView, now: OffsetDateTime) -> impl IntoView + use<> {
    let words = format!("End {} from {}", session.browser, session.address);
    let end = if session.is_current {
        view! { <span class="soft">"This one"</span> }.into_any()
    } else {
        view! {
            <form method="post" action=paths::end_session(&session.id)>
                <button class="button button-small" aria-label=words>"End"</button>
            </form>
        }
        .into_any()
    };
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{session.browser.clone()}</span></td>
            <td data-label="From"><span class="mono">{session.address.clone()}</span></td>
            <td data-label="Since">{age(session.began_at, now)}</td>
            <td data-label="Last used">{age(session.seen_at, now)}</td>
            <td data-label="" class="actions">{end}</td>
        </tr>
    }
}
