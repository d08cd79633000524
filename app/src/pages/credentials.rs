use flukedeploy_domain::credential::{CredentialKind, CredentialView};
use flukedeploy_platform::Error;
use flukedeploy_platform::credentials::list_credentials;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{page, query};
use crate::components::{
    Field, PageHead, Section, Tint, Way, age, empty, frame, needed_area, new_one, notice, one_of,
    table,
};
use crate::context::Desk;
use crate::forms::Typed;
use crate::paths;

/// `/credentials`: what may FlukeDeploy open, and since when?
#[component]
pub(crate) fn CredentialsPage() -> impl IntoView {
    let stored = query("stored").is_some();
    page(Desk::take(), async move |desk| {
        credentials(desk, stored).await
    })
}

pub(super) fn kind_word(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Registry => "Image registry",
        CredentialKind::GitToken => "Git over https",
        CredentialKind::GitKey => "Git over ssh",
    }
}

async fn credentials(desk: Desk, stored: bool) -> Result<AnyView, Error> {
    let credentials = list_credentials(&desk.px, &desk.actor).await?;
    let rows: Vec<_> = credentials
        .iter()
        .map(|one| row(one, desk.now).into_any())
        .collect();
    let list = if rows.is_empty() {
        empty(
            "No credentials yet",
            "Public images and repositories need none. Private ones are opened with what is stored here.",
            (),
        )
        .into_any()
    } else {
        table(&["Host", "Opens", "User", "Since"], rows).into_any()
    };
    let content = view! {
        {PageHead::new("Credentials")
            .lead("Shown to registries and repositories, and to nobody else: a secret goes in here and never comes out again.")
            .view()}
        {(stored && desk.typed.is_empty()).then(|| notice(
            Tint::Good,
            "The credential is stored.".to_owned(),
            Some("The next deployment that asks its host uses it.".to_owned()),
        ))}
        {list}
        {new_one(&desk.typed, "New credential", form(&desk.typed))}
    };
    Ok(frame(&desk, Section::Credentials, content))
}

fn row(one: &CredentialView, now: OffsetDateTime) -> impl IntoView + use<> {
    let remove = format!("Remove {} ({})", one.host, kind_word(one.kind));
    let user = match one.kind {
        CredentialKind::GitKey => "Key".to_owned(),
        _ if one.username.is_empty() => "–".to_owned(),
        _ => one.username.clone(),
    };
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{one.host.clone()}</span></td>
            <td data-label="Opens">{kind_word(one.kind)}</td>
            <td data-label="User">{user}</td>
            <td data-label="Since">{age(one.created_at, now)}</td>
            <td data-label="" class="actions">
                <a class="button button-small button-danger" href=paths::remove_credential(one.kind, &one.host) aria-label=remove>"Remove"</a>
            </td>
        </tr>
    }
}

fn form(typed: &Typed) -> impl IntoView + use<> {
    let chosen = typed.get("kind").unwrap_or("registry").to_owned();
    // Two kinds share their fields, so these stand below; the stylesheet shows those of the choice.
    let ways = vec![
        Way {
            value: "registry",
            word: "An image registry",
            hint: "User and password, or a token as the password.",
            fields: ().into_any(),
        },
        Way {
            value: "git_token",
            word: "Git repositories over https",
            hint: "User and token.",
            fields: ().into_any(),
        },
        Way {
            value: "git_key",
            word: "Git repositories over ssh",
            hint: "A private key, and the host's public keys.",
            fields: ().into_any(),
        },
    ];
    view! {
        <form class="form credential-form" method="post" action=paths::CREDENTIALS>
            {one_of(typed, "kind", "What it opens", &chosen, ways)}
            {Field::new(typed, "credential_host", "Host")
                .mono()
                .hint("With its port where a registry has one. What is stored for the same host and kind is replaced.")
                .placeholder("registry.example.com:5000")
                .view()}
            <div class="row with-password">
                {Field::new(typed, "username", "User").view()}
                {Field::new(typed, "secret", "Password or token").password("new-password").view()}
            </div>
            <div class="with-key">
                {needed_area(typed, "secret_key", "Private key", "In OpenSSH or PEM form, without a passphrase. Make one for this server alone.", "-----BEGIN OPENSSH PRIVATE KEY-----")}
                {needed_area(typed, "known_hosts", "Known hosts", "The host's public keys, as ssh-keyscan prints them: no other host is talked to.", "git.example.com ssh-ed25519 AAAA…")}
            </div>
            <div class="form-end"><button class="button button-primary">"Store credential"</button></div>
        </form>
    }
}
