//! Which key the database is sealed with: found at every start, and changed on demand.
//!
//! All of it happens under the database's write lock, so that two processes do not get in each
//! other's way. A change of the key goes: both keys into the file; everything sealed anew and the new
//! key noted, in one transaction; the file without the old key. Wherever that is cut off, the file
//! holds the key that the database says, and the next start takes the other one away.

use std::path::Path;

use flukedeploy_platform::ports::StoreError;
use sqlx::{Connection, SqliteConnection};

use crate::error::Doing;
use crate::keys::{Key, KeyError, KeyFile};
use crate::resealing;
use crate::sealing::{Place, Sealer};

/// What is sealed to know the key again.
const PROOF: &str = "flukedeploy";

struct State {
    key_id: String,
    proof: String,
    is_clean: bool,
}

fn proof(key_id: &str) -> Place<'_> {
    Place {
        table: "sealing",
        column: "proof",
        row: key_id,
    }
}

async fn state(db: &mut SqliteConnection) -> Result<Option<State>, StoreError> {
    sqlx::query_as!(
        State,
        r#"SELECT key_id, proof, is_clean AS "is_clean: bool" FROM sealing"#
    )
    .fetch_optional(db)
    .await
    .doing("reading which key the database is sealed with")
}

async fn note(
    db: &mut SqliteConnection,
    sealer: &Sealer,
    is_clean: bool,
) -> Result<(), StoreError> {
    let key_id = sealer.key_id();
    let proof = sealer.seal(proof(key_id), PROOF)?;
    sqlx::query!(
        "INSERT INTO sealing (one, key_id, proof, is_clean) VALUES (1, ?, ?, ?)
         ON CONFLICT (one) DO UPDATE SET key_id = excluded.key_id, proof = excluded.proof,
           is_clean = excluded.is_clean",
        key_id,
        proof,
        is_clean
    )
    .execute(db)
    .await
    .doing("noting which key the database is sealed with")?;
    Ok(())
}

/// Finds the key of a database whose schema is up to date. Where there is none yet, makes one and seals
/// what stands in the open.
///
/// # Errors
/// The key file is missing, belongs to another database, or cannot be read.
pub(crate) async fn sealer(
    connection: &mut SqliteConnection,
    file: &KeyFile,
) -> Result<Sealer, StoreError> {
    const DOING: &str = "looking for the key of its secrets";
    let mut db = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .doing(DOING)?;
    let keys = file.read().doing(DOING)?;
    let (sealer, is_clean) = if let Some(state) = state(&mut db).await? {
        let keys = keys.ok_or_else(|| KeyError::Missing {
            path: file.path().to_owned(),
            key: state.key_id.clone(),
        });
        let sealer = known(&keys.doing(DOING)?, &state, file).doing(DOING)?;
        (sealer, state.is_clean)
    } else {
        let key = match keys.as_deref().and_then(<[Key]>::last) {
            // Of a start that was cut off.
            Some(key) => key.clone(),
            None => file.create().doing(DOING)?,
        };
        let sealer = Sealer::new(&key);
        let count = resealing::first(&mut db, &sealer).await?;
        if count > 0 {
            tracing::info!(count, "secrets in the database are sealed from now on");
        }
        note(&mut db, &sealer, count == 0).await?;
        (sealer, count == 0)
    };
    db.commit().await.doing(DOING)?;
    if !is_clean {
        clean(connection).await?;
    }
    Ok(sealer)
}

/// The key that the database says; others go from the file.
fn known(keys: &[Key], state: &State, file: &KeyFile) -> Result<Sealer, KeyError> {
    let (path, key) = (file.path().to_owned(), state.key_id.clone());
    let Some(found) = keys.iter().find(|found| found.id == state.key_id) else {
        return Err(KeyError::Other { path, key });
    };
    let sealer = Sealer::new(found);
    match sealer.open(proof(&state.key_id), &state.proof) {
        Ok(text) if text.as_str() == PROOF => {}
        _ => return Err(KeyError::Wrong { path, key }),
    }
    if keys.len() > 1 {
        tracing::info!(key = %found.id, "a change of the key that was cut off is put in order");
        file.replace(std::slice::from_ref(found))?;
    }
    Ok(sealer)
}

/// Leaves nothing of what was there before in free pages and in the write-ahead log. If others read
/// just now, the next start tries again.
async fn clean(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    const DOING: &str = "clearing away what was not sealed";
    sqlx::query("VACUUM")
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    if !truncate_log(connection).await? {
        tracing::warn!("the database is in use: free pages are cleared at the next start");
        return Ok(());
    }
    sqlx::query!("UPDATE sealing SET is_clean = 1")
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    Ok(())
}

/// Folds the write-ahead log into the file and empties it; false if somebody else holds on to it.
async fn truncate_log(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    // Not a macro: what a pragma answers cannot be described.
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await
        .doing("emptying the write-ahead log")?;
    Ok(busy == 0)
}

/// What a change of the key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new key's name.
    pub key: String,
    /// How many sealed texts there are.
    pub count: u64,
}

/// The steps of a change of the key, for tests that cut it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    BothInFile,
    SealedAnew,
    Committed,
    Cleaned,
}

/// Seals everything anew with a new key. `connection` is set up for writing, and nobody else has the
/// database open.
pub(crate) async fn rotate(
    connection: &mut SqliteConnection,
    file: &KeyFile,
    at: &mut (dyn FnMut(Step) -> Result<(), StoreError> + Send),
) -> Result<Rotated, StoreError> {
    const DOING: &str = "changing the key of its secrets";
    let old = sealer(connection, file).await?;
    let mut db = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .doing(DOING)?;
    let mut keys = file.read().doing(DOING)?.unwrap_or_default();
    if !keys.iter().any(|key| key.id == old.key_id()) {
        return Err(KeyError::Other {
            path: file.path().to_owned(),
            key: old.key_id().to_owned(),
        })
        .doing(DOING);
    }
    let key = Key::random().doing(DOING)?;
    keys.push(key.clone());
    file.replace(&keys).doing(DOING)?;
    at(Step::BothInFile)?;
    let new = Sealer::new(&key);
    let count = resealing::again(&mut db, &old, &new).await?;
    note(&mut db, &new, false).await?;
    at(Step::SealedAnew)?;
    db.commit().await.doing(DOING)?;
    at(Step::Committed)?;
    clean(connection).await?;
    at(Step::Cleaned)?;
    // Takes the old key out of the file.
    sealer(connection, file).await?;
    Ok(Rotated { key: key.id, count })
}

/// See [`SqliteStore::rotate_key`](crate::SqliteStore::rotate_key).
pub(crate) async fn rotate_at(path: &Path) -> Result<Rotated, StoreError> {
    let (mut connection, file) = crate::database::open_alone(path).await?;
    let rotated = rotate(&mut connection, &file, &mut |_| Ok(())).await;
    connection.close().await.doing("closing the database")?;
    rotated
}

#[cfg(test)]
mod tests;
