//! API tokens, without their secrets.

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{StoreError, StoredToken};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{from_word, to_word};
use crate::error::{Doing, corrupt, exists};

struct Row {
    id: String,
    name: String,
    persona: Option<String>,
    tier: String,
    secret_hash: String,
    created_at: i64,
    created_by: String,
    owner: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TryFrom<Row> for StoredToken {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            tier: from_word(&row.tier).map_err(|cause| corrupt("tokens", &row.id, cause))?,
            id: row.id,
            name: row.name,
            persona: row.persona,
            secret_hash: row.secret_hash,
            created_at: from_unix_ms(row.created_at),
            created_by: row.created_by,
            owner: row.owner,
            expires_at: row.expires_at.map(from_unix_ms),
            revoked_at: row.revoked_at.map(from_unix_ms),
            last_used_at: row.last_used_at.map(from_unix_ms),
        })
    }
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            "SELECT id, name, persona, tier, secret_hash, created_at, created_by, owner,
               expires_at, revoked_at, last_used_at
             FROM tokens " + $rest
            $(, $arg)*
        )
    };
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    id: &str,
) -> Result<Option<StoredToken>, StoreError> {
    select!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading a token")?
        .map(StoredToken::try_from)
        .transpose()
}

pub(crate) async fn newest(db: &mut SqliteConnection) -> Result<Vec<StoredToken>, StoreError> {
    select!("ORDER BY sequence DESC")
        .fetch_all(db)
        .await
        .doing("reading the tokens")?
        .into_iter()
        .map(StoredToken::try_from)
        .collect()
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    token: &StoredToken,
) -> Result<(), StoreError> {
    let tier = to_word(&token.tier)?;
    let created_at = to_unix_ms(token.created_at);
    let expires_at = token.expires_at.map(to_unix_ms);
    let revoked_at = token.revoked_at.map(to_unix_ms);
    let last_used_at = token.last_used_at.map(to_unix_ms);
    let made = sqlx::query!(
        "INSERT INTO tokens
           (id, name, persona, tier, secret_hash, created_at, created_by, owner, expires_at,
            revoked_at, last_used_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        token.id,
        token.name,
        token.persona,
        tier,
        token.secret_hash,
        created_at,
        token.created_by,
        token.owner,
        expires_at,
        revoked_at,
        last_used_at
    )
    .execute(db)
    .await
    .doing("creating a token")?;
    if made.rows_affected() == 0 {
        return Err(exists(format!("the token {}", token.id)));
    }
    Ok(())
}

pub(crate) async fn revoke(
    db: &mut SqliteConnection,
    id: &str,
    at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let at = to_unix_ms(at);
    let revoked = sqlx::query!(
        "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
        at,
        id
    )
    .execute(db)
    .await
    .doing("revoking a token")?;
    Ok(revoked.rows_affected() == 1)
}

/// Those of a person who goes.
pub(crate) async fn revoke_all_of(
    db: &mut SqliteConnection,
    owner: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let at = to_unix_ms(at);
    sqlx::query!(
        "UPDATE tokens SET revoked_at = ? WHERE owner = ? AND revoked_at IS NULL",
        at,
        owner
    )
    .execute(db)
    .await
    .doing("revoking the tokens of a person")?;
    Ok(())
}

/// Whether the last use on record is so old that this one is worth a write.
pub(crate) async fn is_touch_due(
    db: &mut SqliteConnection,
    id: &str,
    older_than: OffsetDateTime,
) -> Result<bool, StoreError> {
    let older_than = to_unix_ms(older_than);
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT 1 FROM tokens
             WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)) AS "due!: bool""#,
        id,
        older_than
    )
    .fetch_one(db)
    .await
    .doing("reading the last use of a token")
}

/// Never goes back in time.
pub(crate) async fn touch(
    db: &mut SqliteConnection,
    id: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let at = to_unix_ms(at);
    sqlx::query!(
        "UPDATE tokens SET last_used_at = max(?, coalesce(last_used_at, 0)) WHERE id = ?",
        at,
        id
    )
    .execute(db)
    .await
    .doing("noting the use of a token")?;
    Ok(())
}
