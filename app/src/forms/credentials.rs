//! Store and remove what is shown to registries and repositories.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::credentials::{PutCredential, delete_credential, put_credential};
use flukedeploy_platform::{Error, Platform};
use http::Uri;

use super::parse::Reader;
use super::{Posted, Typed, actor, answer};
use crate::context::Visitor;
use crate::paths;

pub(crate) async fn store(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match actor(&visitor) {
        Ok(actor) => put(&px, actor, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn put(px: &Platform, actor: &Actor, typed: &Typed) -> Result<String, Error> {
    let mut reader = Reader::new(typed);
    let kind = reader.required::<CredentialKind>("kind");
    let known_hosts = reader.lines_of("known_hosts");
    reader.finish()?;
    let Some(kind) = kind else {
        return Err(Error::invalid("kind", "must be chosen"));
    };
    let is_key = kind == CredentialKind::GitKey;
    let cmd = PutCredential {
        kind,
        host: typed.text("credential_host").unwrap_or_default().to_owned(),
        // The fields of the other kind may hold something all the same.
        username: if is_key {
            String::new()
        } else {
            typed.text("username").unwrap_or_default().to_owned()
        },
        secret: typed
            .get(if is_key { "secret_key" } else { "secret" })
            .unwrap_or_default()
            .to_owned(),
        known_hosts: is_key.then_some(known_hosts),
    };
    put_credential(px, actor, cmd)
        .await
        .map_err(|error| in_this_form(error, is_key))?;
    Ok(format!("{}?stored=1", paths::CREDENTIALS))
}

/// The app's settings have a host, too, and a key has a field of its own.
fn in_this_form(error: Error, is_key: bool) -> Error {
    let renamed = |fault: Invalid| match fault.field.as_str() {
        "host" => Invalid::new("credential_host", fault.problem),
        "secret" if is_key => Invalid::new("secret_key", fault.problem),
        _ => fault,
    };
    match error {
        Error::Invalid(faults) => Error::Invalid(faults.into_iter().map(renamed).collect()),
        other => other,
    }
}

pub(crate) async fn remove(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path((kind, host)): Path<(String, String)>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match actor(&visitor) {
        Ok(actor) => take_away(&px, actor, &kind, &host).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn take_away(px: &Platform, actor: &Actor, kind: &str, host: &str) -> Result<String, Error> {
    delete_credential(px, actor, kind.parse()?, host).await?;
    Ok(paths::CREDENTIALS.to_owned())
}
