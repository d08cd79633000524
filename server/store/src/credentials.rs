//! What is shown to registries and repositories.

use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;

use crate::columns::{from_word, to_word};
use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

struct Row {
    kind: String,
    host: String,
    username: String,
    secret: String,
    known_hosts: Option<String>,
    created_at: i64,
}

/// Where the secret of `<kind>/<host>` stands.
fn place(id: &str) -> Place<'_> {
    Place {
        table: "credentials",
        column: "secret",
        row: id,
    }
}

impl Row {
    fn read(self, seal: &Sealer) -> Result<Credential, StoreError> {
        let id = format!("{}/{}", self.kind, self.host);
        let secret = seal.open(place(&id), &self.secret);
        let kind = from_word(&self.kind);
        Ok(Credential {
            kind: kind.map_err(|cause| corrupt("credentials", &id, cause))?,
            secret: secret
                .map_err(|cause| corrupt("credentials", &id, cause))?
                .to_string(),
            host: self.host,
            username: self.username,
            known_hosts: self.known_hosts,
            created_at: from_unix_ms(self.created_at),
        })
    }
}

pub(crate) async fn all(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Credential>, StoreError> {
    sqlx::query_as!(
        Row,
        "SELECT kind, host, username, secret, known_hosts, created_at
         FROM credentials ORDER BY kind, host"
    )
    .fetch_all(db)
    .await
    .doing("reading the credentials")?
    .into_iter()
    .map(|row| row.read(seal))
    .collect()
}

pub(crate) async fn put(
    db: &mut SqliteConnection,
    seal: &Sealer,
    credential: &Credential,
) -> Result<(), StoreError> {
    let kind = to_word(&credential.kind)?;
    let id = format!("{kind}/{}", credential.host);
    let secret = seal.seal(place(&id), &credential.secret)?;
    let created_at = to_unix_ms(credential.created_at);
    sqlx::query!(
        "INSERT INTO credentials (kind, host, username, secret, known_hosts, created_at)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (kind, host) DO UPDATE SET username = excluded.username,
           secret = excluded.secret, known_hosts = excluded.known_hosts,
           created_at = excluded.created_at",
        kind,
        credential.host,
        credential.username,
        secret,
        credential.known_hosts,
        created_at
    )
    .execute(db)
    .await
    .doing("storing a credential")?;
    Ok(())
}

/// False if there was none.
pub(crate) async fn delete(
    db: &mut SqliteConnection,
    kind: CredentialKind,
    host: &str,
) -> Result<bool, StoreError> {
    let kind = to_word(&kind)?;
    let gone = sqlx::query!(
        "DELETE FROM credentials WHERE kind = ? AND host = ?",
        kind,
        host
    )
    .execute(db)
    .await
    .doing("removing a credential")?;
    Ok(gone.rows_affected() > 0)
}
