//! Store and remove what is shown to registries and repositories.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_platform::Error;
use flukedeploy_platform::credentials::{PutCredential, delete_credential, put_credential};

use super::parse::Reader;
use super::{Sent, with_form_names};
use crate::paths;

pub(crate) async fn store(form: Sent) -> Response {
    let result = put(&form).await;
    form.answer(result).await
}

async fn put(form: &Sent) -> Result<String, Error> {
    let (actor, typed) = (form.actor()?, &form.typed);
    let mut reader = Reader::new(typed);
    let kind = reader.required::<CredentialKind>("kind");
    let known_hosts = reader.lines_of("known_hosts");
    reader.finish()?;
    let Some(kind) = kind else {
        return Err(Error::invalid("kind", "must be chosen"));
    };
    // The fields of the other kind may hold something all the same.
    let is_key = kind == CredentialKind::GitKey;
    let username = typed.text("username").filter(|_| !is_key);
    let secret = typed.get(if is_key { "secret_key" } else { "secret" });
    let cmd = PutCredential {
        kind,
        host: typed.text("credential_host").unwrap_or_default().to_owned(),
        username: username.unwrap_or_default().to_owned(),
        secret: secret.unwrap_or_default().to_owned(),
        known_hosts: is_key.then_some(known_hosts),
    };
    // The app's settings have a host, too, and a key has a field of its own.
    let of_form = |field: &str| match field {
        "host" => Some("credential_host"),
        "secret" if is_key => Some("secret_key"),
        _ => None,
    };
    put_credential(&form.px, actor, cmd)
        .await
        .map_err(|error| with_form_names(error, of_form))?;
    Ok(format!("{}?stored=1", paths::CREDENTIALS))
}

pub(crate) async fn remove(Path((kind, host)): Path<(String, String)>, form: Sent) -> Response {
    let result = take_away(&form, &kind, &host).await;
    form.answer(result).await
}

async fn take_away(form: &Sent, kind: &str, host: &str) -> Result<String, Error> {
    delete_credential(&form.px, form.actor()?, kind.parse()?, host).await?;
    Ok(paths::CREDENTIALS.to_owned())
}
