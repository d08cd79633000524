//! The dashboard's sessions in the control plane's database.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::identity::SignedIn;
use flukedeploy_platform::ports::{Clock, StoreError, StoredSession};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;
use time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use crate::audit::hex;
use crate::database::Database;
use crate::error::{Doing, corrupt};

/// A collision of 128 random bits says that the generator is broken: then stop, do not spin.
const MAX_IDS_TRIED: u32 = 3;

/// Sessions by the hash of their id. Made by [`SqliteStore::sessions`](crate::SqliteStore::sessions).
#[derive(Clone)]
pub struct SessionStore {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").finish_non_exhaustive()
    }
}

impl SessionStore {
    pub(crate) fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock }
    }

    /// Removes sessions that are over; how many. For a timer: `load` refuses them anyway.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_expired(&self) -> std::result::Result<u64, StoreError> {
        const DOING: &str = "removing expired sessions";
        let now = to_unix_ms(self.clock.now());
        let mut db = self.database.write(DOING).await?;
        let gone = sqlx::query!("DELETE FROM sessions WHERE expires_at <= ?", now)
            .execute(&mut *db)
            .await
            .doing(DOING)?;
        db.commit().await.doing(DOING)?;
        Ok(gone.rows_affected())
    }
}

/// What the table knows of an id: not enough to be let in with.
fn id_hash(id: &Id) -> String {
    hex(&Sha256::digest(id.0.to_le_bytes()))
}

/// The text may reach a log, so it names the act and the database's own words, no value.
fn backend(error: &StoreError) -> Error {
    let cause = std::error::Error::source(error);
    Error::Backend(match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

fn encoded(record: &Record) -> Result<String> {
    serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))
}

#[async_trait]
impl tower_sessions::SessionStore for SessionStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        const DOING: &str = "storing a session";
        let data = encoded(record)?;
        let expires_at = to_unix_ms(record.expiry_date);
        let mut db = self
            .database
            .write(DOING)
            .await
            .map_err(|error| backend(&error))?;
        for _ in 0..MAX_IDS_TRIED {
            let id_hash = id_hash(&record.id);
            let made = sqlx::query!(
                "INSERT INTO sessions (id_hash, data, expires_at) VALUES (?, ?, ?)
                 ON CONFLICT (id_hash) DO NOTHING",
                id_hash,
                data,
                expires_at
            )
            .execute(&mut *db)
            .await
            .doing(DOING)
            .map_err(|error| backend(&error))?;
            if made.rows_affected() == 1 {
                return db
                    .commit()
                    .await
                    .doing(DOING)
                    .map_err(|error| backend(&error));
            }
            record.id = Id::default();
        }
        Err(Error::Backend("every new session id was taken".to_owned()))
    }

    /// Changes a session that is there. One that was deleted while its request was under way
    /// (somebody signed out in another tab) stays deleted.
    async fn save(&self, record: &Record) -> Result<()> {
        const DOING: &str = "storing a session";
        let data = encoded(record)?;
        let expires_at = to_unix_ms(record.expiry_date);
        let id_hash = id_hash(&record.id);
        let save = async {
            let mut db = self.database.write(DOING).await?;
            let saved = sqlx::query!(
                "UPDATE sessions SET data = ?, expires_at = ? WHERE id_hash = ?",
                data,
                expires_at,
                id_hash
            )
            .execute(&mut *db)
            .await
            .doing(DOING)?;
            db.commit().await.doing(DOING)?;
            Ok(saved.rows_affected())
        };
        if save.await.map_err(|error| backend(&error))? == 0 {
            tracing::debug!("a session was over before its request");
        }
        Ok(())
    }

    async fn load(&self, session_id: &Id) -> Result<Option<Record>> {
        const DOING: &str = "reading a session";
        let id_hash = id_hash(session_id);
        let now = to_unix_ms(self.clock.now());
        let mut db = self
            .database
            .read(DOING)
            .await
            .map_err(|error| backend(&error))?;
        let row = sqlx::query!(
            "SELECT data, expires_at FROM sessions WHERE id_hash = ? AND expires_at > ?",
            id_hash,
            now
        )
        .fetch_optional(&mut *db)
        .await
        .doing(DOING)
        .map_err(|error| backend(&error))?;
        row.map(|row| {
            Ok(Record {
                id: *session_id,
                data: serde_json::from_str(&row.data)
                    .map_err(|error| Error::Decode(error.to_string()))?,
                expiry_date: from_unix_ms(row.expires_at),
            })
        })
        .transpose()
    }

    async fn delete(&self, session_id: &Id) -> Result<()> {
        const DOING: &str = "deleting a session";
        let id_hash = id_hash(session_id);
        let delete = async {
            let mut db = self.database.write(DOING).await?;
            sqlx::query!("DELETE FROM sessions WHERE id_hash = ?", id_hash)
                .execute(&mut *db)
                .await
                .doing(DOING)?;
            db.commit().await.doing(DOING)
        };
        delete.await.map_err(|error| backend(&error))
    }
}

/// What a signed-in session holds, as the dashboard writes it.
#[derive(serde::Deserialize)]
struct Data {
    signed_in: Stored,
}

#[derive(serde::Deserialize)]
struct Stored {
    signed_in: SignedIn,
    renewed_at_ms: i64,
}

pub(crate) async fn of(
    db: &mut SqliteConnection,
    account: &str,
    now: OffsetDateTime,
) -> std::result::Result<Vec<StoredSession>, StoreError> {
    let now = to_unix_ms(now);
    let rows = sqlx::query!(
        "SELECT id_hash, data, expires_at FROM sessions WHERE account = ? AND expires_at > ?",
        account,
        now
    )
    .fetch_all(db)
    .await
    .doing("reading the sessions")?;
    let mut sessions = rows
        .into_iter()
        .map(|row| {
            let data: Data = serde_json::from_str(&row.data)
                .map_err(|cause| corrupt("sessions", &row.id_hash, cause))?;
            Ok(StoredSession {
                signed_in: data.signed_in.signed_in,
                seen_at: from_unix_ms(data.signed_in.renewed_at_ms),
                expires_at: from_unix_ms(row.expires_at),
            })
        })
        .collect::<std::result::Result<Vec<_>, StoreError>>()?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.seen_at));
    Ok(sessions)
}

pub(crate) async fn end(
    db: &mut SqliteConnection,
    account: &str,
    handle: &str,
) -> std::result::Result<bool, StoreError> {
    let gone = sqlx::query!(
        "DELETE FROM sessions WHERE account = ? AND handle = ?",
        account,
        handle
    )
    .execute(db)
    .await
    .doing("ending a session")?;
    Ok(gone.rows_affected() > 0)
}

pub(crate) async fn end_all_but(
    db: &mut SqliteConnection,
    account: &str,
    keep: Option<&str>,
) -> std::result::Result<u64, StoreError> {
    let keep = keep.unwrap_or_default();
    let gone = sqlx::query!(
        "DELETE FROM sessions WHERE account = ? AND coalesce(handle, '-') <> ?",
        account,
        keep
    )
    .execute(db)
    .await
    .doing("ending sessions")?;
    Ok(gone.rows_affected())
}
