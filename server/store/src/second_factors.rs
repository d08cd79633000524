//! What makes one-time codes, sealed, and the hashes of recovery codes.

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{SecondFactor, StoreError};
use flukedeploy_platform::secret::Secret;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

/// Where the secret of an account stands.
fn place(account: &str) -> Place<'_> {
    Place {
        table: "second_factors",
        column: "secret",
        row: account,
    }
}

/// `SQLite` knows signed numbers only; a time step is far from that end.
fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    account: &str,
) -> Result<Option<SecondFactor>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT secret, confirmed_at,
             (SELECT count(*) FROM recovery_codes AS code WHERE code.account = factor.account)
               AS "left!: u32"
           FROM second_factors AS factor WHERE account = ?"#,
        account
    )
    .fetch_optional(db)
    .await
    .doing("reading a second factor")?;
    row.map(|row| {
        let secret = seal
            .open(place(account), &row.secret)
            .map_err(|cause| corrupt("second_factors", account, cause))?;
        Ok(SecondFactor {
            secret: Secret::new(secret.as_str()),
            confirmed_at: row.confirmed_at.map(from_unix_ms),
            recovery_codes_left: row.left,
        })
    })
    .transpose()
}

/// False if there is a confirmed one: that stays.
pub(crate) async fn offer(
    db: &mut SqliteConnection,
    seal: &Sealer,
    account: &str,
    secret: &Secret,
) -> Result<bool, StoreError> {
    let secret = seal.seal(place(account), secret.expose())?;
    let kept = sqlx::query!(
        "INSERT INTO second_factors (account, secret) VALUES (?, ?)
         ON CONFLICT (account) DO UPDATE SET secret = excluded.secret, last_step = 0
         WHERE confirmed_at IS NULL",
        account,
        secret
    )
    .execute(db)
    .await
    .doing("storing a second factor")?;
    Ok(kept.rows_affected() == 1)
}

pub(crate) async fn confirm(
    db: &mut SqliteConnection,
    account: &str,
    step: u64,
    at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let (step, at) = (signed(step), to_unix_ms(at));
    let confirmed = sqlx::query!(
        "UPDATE second_factors SET confirmed_at = ?, last_step = ?
         WHERE account = ? AND confirmed_at IS NULL",
        at,
        step,
        account
    )
    .execute(db)
    .await
    .doing("confirming a second factor")?;
    Ok(confirmed.rows_affected() == 1)
}

pub(crate) async fn is_confirmed(
    db: &mut SqliteConnection,
    account: &str,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM second_factors
             WHERE account = ? AND confirmed_at IS NOT NULL) AS "is!: bool""#,
        account
    )
    .fetch_one(db)
    .await
    .doing("reading a second factor")
}

/// False if this step, or a later one, was used before.
pub(crate) async fn use_step(
    db: &mut SqliteConnection,
    account: &str,
    step: u64,
) -> Result<bool, StoreError> {
    let step = signed(step);
    let used = sqlx::query!(
        "UPDATE second_factors SET last_step = ?1 WHERE account = ?2 AND last_step < ?1",
        step,
        account
    )
    .execute(db)
    .await
    .doing("using a code up")?;
    Ok(used.rows_affected() == 1)
}

/// In the place of those there are.
pub(crate) async fn set_recovery(
    db: &mut SqliteConnection,
    account: &str,
    hashes: &[String],
) -> Result<(), StoreError> {
    const DOING: &str = "storing recovery codes";
    sqlx::query!("DELETE FROM recovery_codes WHERE account = ?", account)
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    for hash in hashes {
        sqlx::query!(
            "INSERT INTO recovery_codes (account, hash) VALUES (?, ?)",
            account,
            hash
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    }
    Ok(())
}

pub(crate) async fn use_recovery(
    db: &mut SqliteConnection,
    account: &str,
    hash: &str,
) -> Result<bool, StoreError> {
    let used = sqlx::query!(
        "DELETE FROM recovery_codes WHERE account = ? AND hash = ?",
        account,
        hash
    )
    .execute(db)
    .await
    .doing("using a recovery code up")?;
    Ok(used.rows_affected() == 1)
}

/// False if there was none, confirmed or not.
pub(crate) async fn remove(db: &mut SqliteConnection, account: &str) -> Result<bool, StoreError> {
    set_recovery(&mut *db, account, &[]).await?;
    let gone = sqlx::query!("DELETE FROM second_factors WHERE account = ?", account)
        .execute(db)
        .await
        .doing("removing a second factor")?;
    Ok(gone.rows_affected() == 1)
}
