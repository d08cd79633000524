//! Values the platform remembers for itself.

use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;

use crate::error::Doing;

pub(crate) async fn get(
    db: &mut SqliteConnection,
    key: &str,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_optional(db)
        .await
        .doing("reading a remembered value")
}

pub(crate) async fn put(
    db: &mut SqliteConnection,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
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
    key: &str,
    value: &str,
) -> Result<String, StoreError> {
    const DOING: &str = "remembering a value once";
    sqlx::query!(
        "INSERT INTO remembered (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
        key,
        value
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_one(db)
        .await
        .doing(DOING)
}

pub(crate) async fn forget(db: &mut SqliteConnection, key: &str) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM remembered WHERE key = ?", key)
        .execute(db)
        .await
        .doing("forgetting a value")?;
    Ok(())
}
