//! Whom a sign-in provider vouches for.

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{Identity, StoreError};
use sqlx::SqliteConnection;

use crate::error::Doing;

pub(crate) async fn of(
    db: &mut SqliteConnection,
    account: &str,
    issuer: &str,
) -> Result<Option<Identity>, StoreError> {
    let row = sqlx::query!(
        "SELECT issuer, subject, account, shown, bound_at FROM identities
         WHERE account = ? AND issuer = ?",
        account,
        issuer
    )
    .fetch_optional(db)
    .await
    .doing("reading an identity")?;
    Ok(row.map(|row| Identity {
        issuer: row.issuer,
        subject: row.subject,
        account: row.account,
        shown: row.shown,
        bound_at: from_unix_ms(row.bound_at),
    }))
}

/// False if the account or the identity is bound already.
pub(crate) async fn bind(
    db: &mut SqliteConnection,
    identity: &Identity,
) -> Result<bool, StoreError> {
    let bound_at = to_unix_ms(identity.bound_at);
    let bound = sqlx::query!(
        "INSERT INTO identities (issuer, subject, account, shown, bound_at)
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        identity.issuer,
        identity.subject,
        identity.account,
        identity.shown,
        bound_at
    )
    .execute(db)
    .await
    .doing("binding an identity")?;
    Ok(bound.rows_affected() == 1)
}

pub(crate) async fn unbind(
    db: &mut SqliteConnection,
    account: &str,
    issuer: &str,
) -> Result<bool, StoreError> {
    let gone = sqlx::query!(
        "DELETE FROM identities WHERE account = ? AND issuer = ?",
        account,
        issuer
    )
    .execute(db)
    .await
    .doing("unbinding an identity")?;
    Ok(gone.rows_affected() == 1)
}
