//! What is shown to registries and repositories. Secrets go in and never come out again.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::credential::{Credential, CredentialKind, CredentialView};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;

/// A credential to store; it takes the place of one of the same kind and host.
#[derive(Clone)]
pub struct PutCredential {
    pub kind: CredentialKind,
    pub host: String,
    pub username: String,
    /// Password, token or private key.
    pub secret: String,
    pub known_hosts: Option<String>,
}

/// Without their secrets.
pub async fn list_credentials(px: &Platform, actor: &Actor) -> Result<Vec<CredentialView>, Error> {
    authorise(px, actor, Action::ListCredentials, Resource::System)?;
    let stored = px.parts().store.credentials().await?;
    Ok(stored.iter().map(CredentialView::from).collect())
}

pub async fn put_credential(
    px: &Platform,
    actor: &Actor,
    cmd: PutCredential,
) -> Result<CredentialView, Error> {
    authorise(px, actor, Action::ChangeCredentials, Resource::System)?;
    let credential = Credential {
        kind: cmd.kind,
        host: cmd.host.trim().to_ascii_lowercase(),
        username: cmd.username,
        // A key without its last line end is refused by ssh.
        secret: match cmd.kind {
            CredentialKind::GitKey => format!("{}\n", cmd.secret.replace("\r\n", "\n").trim()),
            CredentialKind::Registry | CredentialKind::GitToken => cmd.secret,
        },
        known_hosts: cmd.known_hosts.filter(|text| !text.trim().is_empty()),
        created_at: px.now(),
    };
    credential.validate().map_err(Error::Invalid)?;
    let former = px.parts().store.credentials().await?;
    let former = former
        .into_iter()
        .find(|one| (one.kind, &one.host) == (credential.kind, &credential.host));
    let is_other = former
        .as_ref()
        .is_none_or(|former| former.secret != credential.secret);
    let set = |is: bool| is.then(|| "(set)".to_owned());
    let audit = entry(px, actor, "stored", credential.kind, &credential.host)
        .with_change(
            "username",
            former.as_ref().map(|former| former.username.clone()),
            Some(credential.username.clone()),
        )
        .with_change(
            "secret",
            set(former.is_some()),
            is_other.then(|| "(set anew)".to_owned()).or(set(true)),
        );
    px.parts().store.put_credential(&credential, &audit).await?;
    crate::changes::tell(px, &audit);
    hand_to_engine(px).await;
    Ok((&credential).into())
}

pub async fn delete_credential(
    px: &Platform,
    actor: &Actor,
    kind: CredentialKind,
    host: &str,
) -> Result<(), Error> {
    authorise(px, actor, Action::ChangeCredentials, Resource::System)?;
    let audit = entry(px, actor, "removed", kind, host);
    if !px
        .parts()
        .store
        .delete_credential(kind, host, &audit)
        .await?
    {
        return Err(Error::NotFound {
            what: format!(
                "{} credential for {}",
                kind.as_str(),
                flukedeploy_domain::names::quoted(host)
            ),
        });
    }
    crate::changes::tell(px, &audit);
    hand_to_engine(px).await;
    Ok(())
}

/// The engine shows them to registries; it has to know them before it is asked for an image.
pub(crate) async fn hand_to_engine(px: &Platform) {
    match px.parts().store.credentials().await {
        Ok(all) => {
            px.parts().journal.redaction().learn_credentials(&all);
            let registries = all
                .into_iter()
                .filter(|credential| credential.kind == CredentialKind::Registry)
                .collect();
            px.parts().engine.use_registries(registries);
        }
        Err(error) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "stored credentials could not be read"
        ),
    }
}

fn entry(px: &Platform, actor: &Actor, did: &str, kind: CredentialKind, host: &str) -> AuditEntry {
    AuditEntry::new(
        px.now(),
        actor,
        Action::ChangeCredentials,
        format!("credential:{}:{host}", kind.as_str()),
        format!("{did} the {} credential for {host}", kind.as_str()),
    )
}
