//! People.

use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{Account, StoreError};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{from_word, to_word};
use crate::error::{Doing, corrupt, exists, missing};

struct Row {
    id: String,
    name: String,
    password_hash: String,
    tier: String,
    created_at: i64,
    password_changed_at: i64,
}

impl TryFrom<Row> for Account {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            tier: from_word(&row.tier).map_err(|cause| corrupt("accounts", &row.id, cause))?,
            id: row.id,
            name: row.name,
            password_hash: row.password_hash,
            created_at: from_unix_ms(row.created_at),
            password_changed_at: from_unix_ms(row.password_changed_at),
        })
    }
}

pub(crate) async fn any(db: &mut SqliteConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM accounts) AS "any!: bool""#)
        .fetch_one(db)
        .await
        .doing("looking for accounts")
}

pub(crate) async fn by_name(
    db: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Account>, StoreError> {
    sqlx::query_as!(
        Row,
        "SELECT id, name, password_hash, tier, created_at, password_changed_at
         FROM accounts WHERE name = ?",
        name
    )
    .fetch_optional(db)
    .await
    .doing("reading an account")?
    .map(Account::try_from)
    .transpose()
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Account>, StoreError> {
    sqlx::query_as!(
        Row,
        "SELECT id, name, password_hash, tier, created_at, password_changed_at
         FROM accounts WHERE id = ?",
        id
    )
    .fetch_optional(db)
    .await
    .doing("reading an account")?
    .map(Account::try_from)
    .transpose()
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    account: &Account,
    first: bool,
) -> Result<(), StoreError> {
    if first && any(&mut *db).await? {
        return Err(exists("an account"));
    }
    let tier = to_word(&account.tier)?;
    let created_at = to_unix_ms(account.created_at);
    let password_changed_at = to_unix_ms(account.password_changed_at);
    let made = sqlx::query!(
        "INSERT INTO accounts (id, name, password_hash, tier, created_at, password_changed_at)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        account.id,
        account.name,
        account.password_hash,
        tier,
        created_at,
        password_changed_at
    )
    .execute(db)
    .await
    .doing("creating an account")?;
    if made.rows_affected() == 0 {
        return Err(exists("an account of that name"));
    }
    Ok(())
}

pub(crate) async fn set_password(
    db: &mut SqliteConnection,
    id: &str,
    password_hash: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let at = to_unix_ms(at);
    let set = sqlx::query!(
        "UPDATE accounts SET password_hash = ?, password_changed_at = ? WHERE id = ?",
        password_hash,
        at,
        id
    )
    .execute(db)
    .await
    .doing("storing a password")?;
    if set.rows_affected() == 0 {
        return Err(missing("the account"));
    }
    Ok(())
}
