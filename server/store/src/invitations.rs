//! Invitations, by the hash of their link's secret.

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{Invitation, StoreError};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::error::Doing;

struct Row {
    id: String,
    name: Option<String>,
    display_name: Option<String>,
    is_administrator: bool,
    created_at: i64,
    created_by: String,
    inviter: Option<String>,
    expires_at: i64,
    revoked_at: Option<i64>,
    accepted_at: Option<i64>,
    accepted_as: Option<String>,
}

impl From<Row> for Invitation {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            display_name: row.display_name,
            is_administrator: row.is_administrator,
            created_at: from_unix_ms(row.created_at),
            created_by: row.created_by,
            inviter: row.inviter,
            expires_at: from_unix_ms(row.expires_at),
            revoked_at: row.revoked_at.map(from_unix_ms),
            accepted_at: row.accepted_at.map(from_unix_ms),
            accepted_as: row.accepted_as,
        }
    }
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, name, display_name, is_administrator AS "is_administrator: bool",
                 created_at, created_by, inviter, expires_at, revoked_at, accepted_at, accepted_as
               FROM invitations "# + $rest
            $(, $arg)*
        )
    };
}

pub(crate) async fn newest(db: &mut SqliteConnection) -> Result<Vec<Invitation>, StoreError> {
    let rows = select!("ORDER BY sequence DESC LIMIT 200")
        .fetch_all(db)
        .await
        .doing("reading the invitations")?;
    Ok(rows.into_iter().map(Invitation::from).collect())
}

pub(crate) async fn by_secret(
    db: &mut SqliteConnection,
    secret_hash: &str,
) -> Result<Option<Invitation>, StoreError> {
    let row = select!("WHERE secret_hash = ?", secret_hash)
        .fetch_optional(db)
        .await
        .doing("reading an invitation")?;
    Ok(row.map(Invitation::from))
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    invitation: &Invitation,
    secret_hash: &str,
) -> Result<(), StoreError> {
    let created_at = to_unix_ms(invitation.created_at);
    let expires_at = to_unix_ms(invitation.expires_at);
    sqlx::query!(
        "INSERT INTO invitations
           (id, secret_hash, name, display_name, is_administrator, created_at, created_by, inviter,
            expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        invitation.id,
        secret_hash,
        invitation.name,
        invitation.display_name,
        invitation.is_administrator,
        created_at,
        invitation.created_by,
        invitation.inviter,
        expires_at
    )
    .execute(db)
    .await
    .doing("storing an invitation")?;
    Ok(())
}

/// False if there is none that can be used still.
pub(crate) async fn revoke(
    db: &mut SqliteConnection,
    id: &str,
    at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let at = to_unix_ms(at);
    let revoked = sqlx::query!(
        "UPDATE invitations SET revoked_at = ?1
         WHERE id = ?2 AND revoked_at IS NULL AND accepted_at IS NULL AND expires_at > ?1",
        at,
        id
    )
    .execute(db)
    .await
    .doing("revoking an invitation")?;
    Ok(revoked.rows_affected() == 1)
}

pub(crate) async fn revoke_all_of(
    db: &mut SqliteConnection,
    inviter: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let at = to_unix_ms(at);
    sqlx::query!(
        "UPDATE invitations SET revoked_at = ?
         WHERE inviter = ? AND revoked_at IS NULL AND accepted_at IS NULL",
        at,
        inviter
    )
    .execute(db)
    .await
    .doing("revoking the invitations of a person")?;
    Ok(())
}

/// False if it cannot be used any more.
pub(crate) async fn accept(
    db: &mut SqliteConnection,
    id: &str,
    at: OffsetDateTime,
    name: &str,
) -> Result<bool, StoreError> {
    let at = to_unix_ms(at);
    let accepted = sqlx::query!(
        "UPDATE invitations SET accepted_at = ?1, accepted_as = ?2
         WHERE id = ?3 AND revoked_at IS NULL AND accepted_at IS NULL AND expires_at > ?1",
        at,
        name,
        id
    )
    .execute(db)
    .await
    .doing("accepting an invitation")?;
    Ok(accepted.rows_affected() == 1)
}
