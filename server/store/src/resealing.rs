//! Every place in the database that holds a sealed text: read as it was before sealing, and sealed
//! anew with another key.
//!
//! Not the query macros: what differs between these queries is a list of its own. A test goes through
//! the list.

use std::collections::BTreeMap;

use flukedeploy_platform::ports::StoreError;
use serde_json::{Map, Value};
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use crate::columns::Cause;
use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

/// Rows read at a time.
const PAGE: i64 = 500;

/// One column with sealed texts. `select` answers, after `key`, at most so many rows of: what tells the
/// row in an update; its name in a [`Place`]; the text. `update` sets the text of a row by `key`.
struct SealedText {
    table: &'static str,
    column: &'static str,
    select: &'static str,
    update: &'static str,
}

const SEALED: [SealedText; 15] = [
    SealedText {
        table: "environments",
        column: "settings",
        select: "SELECT app || '/' || name AS key, app || '/' || name, sealed FROM environments
                 WHERE sealed IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE environments SET sealed = ? WHERE app || '/' || name = ?",
    },
    SealedText {
        table: "releases",
        column: "settings",
        select: "SELECT deployment AS key, app || '/' || environment || '/' || number, sealed
                 FROM releases WHERE sealed IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE releases SET sealed = ? WHERE deployment = ?",
    },
    SealedText {
        table: "deployments",
        column: "settings",
        select: "SELECT id AS key, id, sealed FROM deployments
                 WHERE sealed IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE deployments SET sealed = ? WHERE id = ?",
    },
    SealedText {
        table: "deployments",
        column: "source",
        select: "SELECT id AS key, id, source_sealed FROM deployments
                 WHERE source_sealed IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE deployments SET source_sealed = ? WHERE id = ?",
    },
    SealedText {
        table: "projects",
        column: "variables",
        select: "SELECT name AS key, name, sealed FROM projects
                 WHERE sealed IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE projects SET sealed = ? WHERE name = ?",
    },
    SealedText {
        table: "credentials",
        column: "secret",
        select: "SELECT kind || '/' || host AS key, kind || '/' || host, secret FROM credentials
                 WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE credentials SET secret = ? WHERE kind || '/' || host = ?",
    },
    SealedText {
        table: "webhooks",
        column: "secret",
        select: "SELECT id AS key, id, secret FROM webhooks WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE webhooks SET secret = ? WHERE id = ?",
    },
    SealedText {
        table: "webhooks",
        column: "url",
        select: "SELECT id AS key, id, url FROM webhooks WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE webhooks SET url = ? WHERE id = ?",
    },
    SealedText {
        table: "log_forwarders",
        column: "url",
        select: "SELECT id AS key, id, url FROM log_forwarders WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE log_forwarders SET url = ? WHERE id = ?",
    },
    SealedText {
        table: "log_forwarders",
        column: "secrets",
        select: "SELECT id AS key, id, secrets FROM log_forwarders WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE log_forwarders SET secrets = ? WHERE id = ?",
    },
    SealedText {
        table: "flukebase",
        column: "token",
        select: "SELECT CAST(only AS TEXT) AS key, CAST(only AS TEXT), token FROM flukebase
                 WHERE token IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        update: "UPDATE flukebase SET token = ? WHERE CAST(only AS TEXT) = ?",
    },
    SealedText {
        table: "flukebase_variables",
        column: "variables",
        select:
            "SELECT project || '/' || environment AS key, project || '/' || environment, variables
                 FROM flukebase_variables WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE flukebase_variables SET variables = ?
                 WHERE project || '/' || environment = ?",
    },
    SealedText {
        table: "second_factors",
        column: "secret",
        select: "SELECT account AS key, account, secret FROM second_factors
                 WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE second_factors SET secret = ? WHERE account = ?",
    },
    SealedText {
        table: "remembered",
        column: "value",
        select: "SELECT key, key, value FROM remembered WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE remembered SET value = ? WHERE key = ?",
    },
    SealedText {
        table: "idempotency_keys",
        column: "request_hash",
        select: "SELECT actor || '/' || key AS place, actor || '/' || key, request_hash
                 FROM idempotency_keys WHERE place > ? ORDER BY place LIMIT ?",
        update: "UPDATE idempotency_keys SET request_hash = ? WHERE actor || '/' || key = ?",
    },
];

/// A column of JSON that held secrets in the open.
struct Open {
    table: &'static str,
    column: &'static str,
    /// Where they stand: with the name that is sealed along.
    parts: &'static [(&'static str, &'static [&'static str])],
    select: &'static str,
    update: &'static str,
}

const SETTINGS: &[(&str, &[&str])] = &[
    ("env_vars", &["env_vars"]),
    ("build.args", &["build", "args"]),
    ("build.secrets", &["build", "secrets"]),
];

const OPEN: [Open; 4] = [
    Open {
        table: "environments",
        column: "settings",
        parts: SETTINGS,
        select: "SELECT app || '/' || name AS key, app || '/' || name, settings FROM environments
                 WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE environments SET settings = ?, sealed = ? WHERE app || '/' || name = ?",
    },
    Open {
        table: "releases",
        column: "settings",
        parts: SETTINGS,
        select: "SELECT deployment AS key, app || '/' || environment || '/' || number, settings
                 FROM releases WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE releases SET settings = ?, sealed = ? WHERE deployment = ?",
    },
    Open {
        table: "deployments",
        column: "settings",
        parts: SETTINGS,
        select: "SELECT id AS key, id, settings FROM deployments
                 WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE deployments SET settings = ?, sealed = ? WHERE id = ?",
    },
    Open {
        table: "deployments",
        column: "source",
        parts: &[("env_vars", &["changes", "env_vars"])],
        select: "SELECT id AS key, id, source FROM deployments
                 WHERE key > ? ORDER BY key LIMIT ?",
        update: "UPDATE deployments SET source = ?, source_sealed = ? WHERE id = ?",
    },
];

type Row = (String, String, String);

async fn page(
    db: &mut SqliteConnection,
    select: &'static str,
    after: &str,
) -> Result<Vec<Row>, StoreError> {
    sqlx::query_as(select)
        .bind(after)
        .bind(PAGE)
        .fetch_all(db)
        .await
        .doing("reading what is to be sealed")
}

/// Seals everything anew: what `old` opens, `new` opens then. How many values there were.
///
/// # Errors
/// [`StoreError::Corrupt`] names the first row that `old` does not open.
pub(crate) async fn again(
    db: &mut SqliteConnection,
    old: &Sealer,
    new: &Sealer,
) -> Result<u64, StoreError> {
    let mut count = 0;
    for sealed in &SEALED {
        let mut after = String::new();
        loop {
            let rows = page(db, sealed.select, &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.0);
            for (key, row, text) in rows {
                let place = Place {
                    table: sealed.table,
                    column: sealed.column,
                    row: &row,
                };
                let opened = old
                    .open(place, &text)
                    .map_err(|cause| corrupt(sealed.table, &row, cause))?;
                set(db, sealed.update, &new.seal(place, &opened)?, &key).await?;
                count += 1;
            }
        }
    }
    Ok(count)
}

async fn set(
    db: &mut SqliteConnection,
    update: &'static str,
    text: &str,
    key: &str,
) -> Result<(), StoreError> {
    sqlx::query(update)
        .bind(text)
        .bind(key)
        .execute(db)
        .await
        .doing("storing what was sealed")?;
    Ok(())
}

/// Seals what stands in the open since before there was sealing. How many values there were.
pub(crate) async fn first(db: &mut SqliteConnection, seal: &Sealer) -> Result<u64, StoreError> {
    let is_sealed: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM environments WHERE sealed IS NOT NULL
         UNION ALL SELECT 1 FROM deployments WHERE sealed IS NOT NULL LIMIT 1",
    )
    .fetch_optional(&mut *db)
    .await
    .doing("reading what is to be sealed")?;
    if is_sealed.is_some() {
        let why =
            "the row is gone, and with it which key everything is sealed with: restore a copy";
        return Err(corrupt("sealing", "1", why));
    }
    let mut count = 0;
    for open in &OPEN {
        let mut after = String::new();
        loop {
            let rows = page(db, open.select, &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.0);
            for (key, row, text) in rows {
                let place = Place {
                    table: open.table,
                    column: open.column,
                    row: &row,
                };
                let hidden = hide(open.parts, &text);
                let hidden = hidden.map_err(|cause| corrupt(open.table, &row, cause))?;
                let Some((json, values)) = hidden else {
                    continue;
                };
                sqlx::query(open.update)
                    .bind(json)
                    .bind(seal.seal(place, &values)?)
                    .bind(key)
                    .execute(&mut *db)
                    .await
                    .doing("storing what was sealed")?;
                count += 1;
            }
        }
    }
    for plain in SEALED.iter().filter(|sealed| {
        // The others are those above.
        OPEN.iter().all(|open| open.table != sealed.table)
    }) {
        let mut after = String::new();
        loop {
            let rows = page(db, plain.select, &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.0);
            for (key, row, text) in rows {
                let place = Place {
                    table: plain.table,
                    column: plain.column,
                    row: &row,
                };
                set(db, plain.update, &seal.seal(place, &text)?, &key).await?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// The JSON with empty values, and the JSON of the values by part; `None` if it has none.
fn hide(
    parts: &[(&'static str, &'static [&'static str])],
    text: &str,
) -> Result<Option<(String, Zeroizing<String>)>, Cause> {
    let mut json: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
    let mut hidden: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (part, path) in parts {
        let found = path
            .iter()
            .try_fold(&mut json, |value, name| value.get_mut(*name));
        let Some(Value::Object(variables)) = found else {
            continue;
        };
        if variables.is_empty() {
            continue;
        }
        if !variables.values().all(Value::is_string) {
            return Err("a variable has a value that is no text".into());
        }
        let empty = variables
            .keys()
            .map(|name| (name.clone(), Value::from("")))
            .collect();
        hidden.insert(part, std::mem::replace(variables, empty));
    }
    if hidden.is_empty() {
        return Ok(None);
    }
    let values = serde_json::to_string(&hidden).map_err(|_| "its values are no JSON")?;
    Ok(Some((json.to_string(), Zeroizing::new(values))))
}
