//! Log forwarders and how far they have got.

use flukedeploy_domain::forwarder::{
    ForwardProgress, Forwarder, ForwarderId, MAX_FORWARDERS, Target,
};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;

use crate::columns::{Cause, from_json, from_word, to_i64, to_json};
use crate::error::{Doing, corrupt, exists};
use crate::sealing::{Place, Sealer};

struct Row {
    id: String,
    kind: String,
    url: String,
    secrets: String,
    filter: String,
    active: bool,
    created_at: i64,
    cursor: i64,
    sent: i64,
    missed: i64,
    refused: i64,
    last_success_at: Option<i64>,
    last_error: Option<String>,
    failures: i64,
    next_try_at: Option<i64>,
}

fn place<'a>(column: &'static str, id: &'a str) -> Place<'a> {
    Place {
        table: "log_forwarders",
        column,
        row: id,
    }
}

impl Row {
    fn read(&self, seal: &Sealer) -> Result<Forwarder, StoreError> {
        self.opened(seal)
            .map_err(|cause| corrupt("log_forwarders", &self.id, cause))
    }

    fn opened(&self, seal: &Sealer) -> Result<Forwarder, Cause> {
        let url = seal.open(place("url", &self.id), &self.url)?;
        let secrets = seal.open(place("secrets", &self.id), &self.secrets)?;
        Ok(Forwarder {
            id: self.id.parse()?,
            target: Target::new(from_word(&self.kind)?, &url)?,
            secrets: from_json(&secrets)?,
            filter: from_json(&self.filter)?,
            active: self.active,
            created_at: from_unix_ms(self.created_at),
            progress: ForwardProgress {
                cursor: self.cursor.try_into()?,
                sent: self.sent.try_into()?,
                missed: self.missed.try_into()?,
                refused: self.refused.try_into()?,
                last_success_at: self.last_success_at.map(from_unix_ms),
                last_error: self.last_error.clone(),
                failures: self.failures.try_into()?,
                next_try_at: self.next_try_at.map(from_unix_ms),
            },
        })
    }
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, kind, url, secrets, filter, active AS "active: bool", created_at,
                 cursor, sent, missed, refused, last_success_at, last_error, failures, next_try_at
               FROM log_forwarders "# + $rest
            $(, $arg)*
        )
    };
}

/// Oldest first.
pub(crate) async fn all(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Forwarder>, StoreError> {
    let mut forwarders = select!("ORDER BY id")
        .fetch_all(db)
        .await
        .doing("reading the log forwarders")?
        .into_iter()
        .map(|row| row.read(seal))
        .collect::<Result<Vec<_>, _>>()?;
    forwarders.sort_by_key(|forwarder| forwarder.created_at);
    Ok(forwarders)
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &ForwarderId,
) -> Result<Option<Forwarder>, StoreError> {
    let id = id.as_str();
    select!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading a log forwarder")?
        .map(|row| row.read(seal))
        .transpose()
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    seal: &Sealer,
    forwarder: &Forwarder,
) -> Result<(), StoreError> {
    const DOING: &str = "making a log forwarder";
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!: i64" FROM log_forwarders"#)
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= MAX_FORWARDERS {
        return Err(exists(format!(
            "the largest number of log forwarders ({MAX_FORWARDERS})"
        )));
    }
    let (id, kind) = (forwarder.id.as_str(), forwarder.target.kind().as_str());
    let url = seal.seal(place("url", id), &forwarder.target.url())?;
    let secrets = seal.seal(place("secrets", id), &to_json(&forwarder.secrets)?)?;
    let filter = to_json(&forwarder.filter)?;
    let created_at = to_unix_ms(forwarder.created_at);
    let cursor = to_i64(forwarder.progress.cursor);
    sqlx::query!(
        "INSERT INTO log_forwarders (id, kind, url, secrets, filter, active, created_at, cursor)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        kind,
        url,
        secrets,
        filter,
        forwarder.active,
        created_at,
        cursor
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}

/// False if there is none. Its progress stays; what was put off is tried now.
pub(crate) async fn change(
    db: &mut SqliteConnection,
    seal: &Sealer,
    forwarder: &Forwarder,
) -> Result<bool, StoreError> {
    let id = forwarder.id.as_str();
    let url = seal.seal(place("url", id), &forwarder.target.url())?;
    let secrets = seal.seal(place("secrets", id), &to_json(&forwarder.secrets)?)?;
    let filter = to_json(&forwarder.filter)?;
    let changed = sqlx::query!(
        "UPDATE log_forwarders
         SET url = ?, secrets = ?, filter = ?, active = ?, next_try_at = NULL
         WHERE id = ?",
        url,
        secrets,
        filter,
        forwarder.active,
        id
    )
    .execute(db)
    .await
    .doing("changing a log forwarder")?;
    Ok(changed.rows_affected() > 0)
}

/// False if there was none.
pub(crate) async fn delete(
    db: &mut SqliteConnection,
    id: &ForwarderId,
) -> Result<bool, StoreError> {
    let id = id.as_str();
    let gone = sqlx::query!("DELETE FROM log_forwarders WHERE id = ?", id)
        .execute(db)
        .await
        .doing("removing a log forwarder")?;
    Ok(gone.rows_affected() > 0)
}

pub(crate) async fn save(
    db: &mut SqliteConnection,
    id: &ForwarderId,
    progress: &ForwardProgress,
) -> Result<(), StoreError> {
    let id = id.as_str();
    let [cursor, sent, missed, refused] = [
        progress.cursor,
        progress.sent,
        progress.missed,
        progress.refused,
    ]
    .map(to_i64);
    let last_success_at = progress.last_success_at.map(to_unix_ms);
    let next_try_at = progress.next_try_at.map(to_unix_ms);
    sqlx::query!(
        "UPDATE log_forwarders
         SET cursor = ?, sent = ?, missed = ?, refused = ?, last_success_at = ?, last_error = ?,
             failures = ?, next_try_at = ?
         WHERE id = ?",
        cursor,
        sent,
        missed,
        refused,
        last_success_at,
        progress.last_error,
        progress.failures,
        next_try_at,
        id
    )
    .execute(db)
    .await
    .doing("storing how far log entries were forwarded")?;
    Ok(())
}
