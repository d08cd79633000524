//! Values the platform remembers for itself.

use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;

use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

/// Where a value stands. All are sealed: some are secrets.
fn place(key: &str) -> Place<'_> {
    Place {
        table: "remembered",
        column: "value",
        row: key,
    }
}

fn opened(seal: &Sealer, key: &str, sealed: &str) -> Result<String, StoreError> {
    let value = seal.open(place(key), sealed);
    let value = value.map_err(|cause| corrupt("remembered", key, cause))?;
    Ok(value.to_string())
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_optional(db)
        .await
        .doing("reading a remembered value")?
        .map(|sealed| opened(seal, key, &sealed))
        .transpose()
}

pub(crate) async fn put(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    let value = seal.seal(place(key), value)?;
    sqlx::query!(
        "INSERT INTO remembered (key, value) VALUES (?, ?)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value
    )
    .execute(db)
    .await
    .doing("remembering a value")?;
    Ok(())
}

pub(crate) async fn put_once(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
    value: &str,
) -> Result<String, StoreError> {
    const DOING: &str = "remembering a value once";
    let value = seal.seal(place(key), value)?;
    sqlx::query!(
        "INSERT INTO remembered (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
        key,
        value
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    let stored = sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_one(db)
        .await
        .doing(DOING)?;
    opened(seal, key, &stored)
}

pub(crate) async fn forget(db: &mut SqliteConnection, key: &str) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM remembered WHERE key = ?", key)
        .execute(db)
        .await
        .doing("forgetting a value")?;
    Ok(())
}
