//! API tokens, without their secrets.

use flukedeploy_domain::access::{Limits, Subject};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{StoreError, StoredToken};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{from_json, from_word, to_json, to_word};
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
    maker_kind: Option<String>,
    maker: Option<String>,
    is_narrowed: i64,
    limits: Option<String>,
}

impl TryFrom<Row> for StoredToken {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let wrong = |cause| corrupt("tokens", &row.id, cause);
        let maker = match (row.maker_kind.as_deref(), row.maker) {
            (Some("account"), Some(id)) => Some(Subject::Account(id)),
            (Some("token"), Some(id)) => Some(Subject::Token(id)),
            (None, None) => None,
            _ => return Err(wrong("its maker is not known".into())),
        };
        let limits = row.limits.as_deref().map(from_json).transpose();
        Ok(Self {
            maker,
            limits: limits.map_err(wrong)?.unwrap_or_default(),
            is_narrowed: row.is_narrowed != 0,
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
               expires_at,
               revoked_at, last_used_at, maker_kind, maker, is_narrowed, limits
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
    let maker_kind = token.maker.as_ref().map(Subject::kind);
    let maker = token.maker.as_ref().map(Subject::id);
    let limits = (token.limits != Limits::default())
        .then(|| to_json(&token.limits))
        .transpose()?;
    let made = sqlx::query!(
        "INSERT INTO tokens
           (id, name, persona, tier, secret_hash, created_at, created_by, owner, expires_at, revoked_at,
            last_used_at, maker_kind, maker, is_narrowed, limits)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
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
        last_used_at,
        maker_kind,
        maker,
        token.is_narrowed,
        limits
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

/// False if it is not good after that time anyway.
pub(crate) async fn shorten(
    db: &mut SqliteConnection,
    id: &str,
    until: OffsetDateTime,
) -> Result<bool, StoreError> {
    let until = to_unix_ms(until);
    let shortened = sqlx::query!(
        "UPDATE tokens SET expires_at = ?
         WHERE id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
        until,
        id,
        until
    )
    .execute(db)
    .await
    .doing("shortening a token")?;
    Ok(shortened.rows_affected() == 1)
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
