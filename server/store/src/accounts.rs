//! People.

use flukedeploy_domain::access::Tier;
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
    display_name: Option<String>,
    disabled_at: Option<i64>,
    has_second_factor: bool,
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
            display_name: row.display_name,
            disabled_at: row.disabled_at.map(from_unix_ms),
            has_second_factor: row.has_second_factor,
        })
    }
}

pub(crate) async fn any(db: &mut SqliteConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM accounts) AS "any!: bool""#)
        .fetch_one(db)
        .await
        .doing("looking for accounts")
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, name, password_hash, tier, created_at, password_changed_at, display_name,
                 disabled_at,
                 EXISTS (SELECT 1 FROM second_factors
                         WHERE account = id AND confirmed_at IS NOT NULL)
                   AS "has_second_factor!: bool"
               FROM accounts "# + $rest
            $(, $arg)*
        )
    };
}

pub(crate) async fn by_name(
    db: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Account>, StoreError> {
    select!("WHERE name = ?", name)
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
    select!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading an account")?
        .map(Account::try_from)
        .transpose()
}

pub(crate) async fn by_identity(
    db: &mut SqliteConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<Account>, StoreError> {
    select!(
        "WHERE id = (SELECT account FROM identities WHERE issuer = ? AND subject = ?)",
        issuer,
        subject
    )
    .fetch_optional(db)
    .await
    .doing("reading an account")?
    .map(Account::try_from)
    .transpose()
}

pub(crate) async fn all(db: &mut SqliteConnection) -> Result<Vec<Account>, StoreError> {
    select!("ORDER BY name")
        .fetch_all(db)
        .await
        .doing("reading the accounts")?
        .into_iter()
        .map(Account::try_from)
        .collect()
}

pub(crate) async fn set_display_name(
    db: &mut SqliteConnection,
    id: &str,
    display_name: Option<&str>,
) -> Result<bool, StoreError> {
    let set = sqlx::query!(
        "UPDATE accounts SET display_name = ? WHERE id = ?",
        display_name,
        id
    )
    .execute(db)
    .await
    .doing("storing a name")?;
    Ok(set.rows_affected() == 1)
}

/// False if it is so already, or there is none.
pub(crate) async fn switch(
    db: &mut SqliteConnection,
    id: &str,
    disabled_at: Option<OffsetDateTime>,
) -> Result<bool, StoreError> {
    let disabled_at = disabled_at.map(to_unix_ms);
    let set = sqlx::query!(
        "UPDATE accounts SET disabled_at = ?1
         WHERE id = ?2 AND (disabled_at IS NULL) <> (?1 IS NULL)",
        disabled_at,
        id
    )
    .execute(db)
    .await
    .doing("turning an account off or on")?;
    Ok(set.rows_affected() == 1)
}

/// False if it is so already, or there is none.
pub(crate) async fn set_tier(
    db: &mut SqliteConnection,
    id: &str,
    tier: Tier,
) -> Result<bool, StoreError> {
    let tier = to_word(&tier)?;
    let set = sqlx::query!(
        "UPDATE accounts SET tier = ?1 WHERE id = ?2 AND tier <> ?1",
        tier,
        id
    )
    .execute(db)
    .await
    .doing("changing who is an administrator")?;
    Ok(set.rows_affected() == 1)
}

pub(crate) async fn delete(db: &mut SqliteConnection, id: &str) -> Result<bool, StoreError> {
    let gone = sqlx::query!("DELETE FROM accounts WHERE id = ?", id)
        .execute(db)
        .await
        .doing("removing an account")?;
    Ok(gone.rows_affected() == 1)
}

/// Looked at after a change, in its transaction: somebody has to be left.
pub(crate) async fn keep_an_administrator(db: &mut SqliteConnection) -> Result<(), StoreError> {
    let admin = to_word(&Tier::Admin)?;
    let left = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM accounts WHERE tier = ? AND disabled_at IS NULL)
             AS "left!: bool""#,
        admin
    )
    .fetch_one(db)
    .await
    .doing("looking for administrators")?;
    if left {
        Ok(())
    } else {
        Err(StoreError::LastAdministrator)
    }
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
        "INSERT INTO accounts
           (id, name, password_hash, tier, created_at, password_changed_at, display_name)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        account.id,
        account.name,
        account.password_hash,
        tier,
        created_at,
        password_changed_at,
        account.display_name
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
