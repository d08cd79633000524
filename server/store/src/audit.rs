//! The audit trail: entries chained by hash, so that an edited, missing or moved row shows.
//!
//! `hash = SHA-256(former hash as hex ‖ {"sequence":N,"entry":…})`; the first former hash is empty.
//! The chain has no key: it shows tampering by whoever does not rewrite all of it. Keep the newest
//! hash elsewhere to notice even that.

use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::timestamp::to_wire;
use flukedeploy_platform::ports::{AuditOrder, AuditRow, StoreError};
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use crate::columns::{from_json, to_json};
use crate::error::{Doing, corrupt};

/// Rows checked at a time.
const PAGE: i64 = 1_000;

/// What a check of the whole trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditVerdict {
    /// Every row is as it was written; the newest hash, empty where there is no entry.
    Intact { entries: u64, head: String },
    /// This row, or its place in the order, is not as it was written.
    Changed { sequence: i64 },
    /// There is no row of this number any more.
    Missing { sequence: i64 },
}

struct Row {
    sequence: i64,
    entry: String,
    hash: String,
}

impl TryFrom<Row> for AuditRow {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            sequence: row.sequence,
            entry: from_json(&row.entry)
                .map_err(|cause| corrupt("audit_entries", row.sequence.to_string(), cause))?,
            stored: row.entry,
            hash: row.hash,
        })
    }
}

/// `entry` is JSON already; it is hashed as the text it is stored as.
fn chain(former: &str, sequence: i64, entry: &str) -> String {
    let mut sha = Sha256::new();
    sha.update(former.as_bytes());
    sha.update(format!(r#"{{"sequence":{sequence},"entry":{entry}}}"#).as_bytes());
    hex(&sha.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

pub(crate) async fn append(
    db: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    const DOING: &str = "writing the audit trail";
    let head = sqlx::query!("SELECT sequence, hash FROM audit_head WHERE one = 1")
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
    let sequence = head.sequence + 1;
    let entry = to_json(entry)?;
    let hash = chain(&head.hash, sequence, &entry);
    sqlx::query!(
        "INSERT INTO audit_entries (sequence, entry, hash) VALUES (?, ?, ?)",
        sequence,
        entry,
        hash
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    sqlx::query!(
        "UPDATE audit_head SET sequence = ?, hash = ? WHERE one = 1",
        sequence,
        hash
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    Ok(())
}

pub(crate) async fn entries(
    db: &mut SqliteConnection,
    filter: &AuditFilter,
    order: AuditOrder,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    const DOING: &str = "reading the audit trail";
    let mut query = QueryBuilder::new("SELECT sequence, entry, hash FROM audit_entries WHERE ");
    match order {
        AuditOrder::NewestBefore(before) => query
            .push("sequence < ")
            .push_bind(before.unwrap_or(i64::MAX)),
        AuditOrder::OldestAfter(after) => query.push("sequence > ").push_bind(after),
    };
    narrow(&mut query, filter);
    query.push(match order {
        AuditOrder::NewestBefore(_) => " ORDER BY sequence DESC LIMIT ",
        AuditOrder::OldestAfter(_) => " ORDER BY sequence LIMIT ",
    });
    query.push_bind(limit);
    let rows = query.build().fetch_all(db).await.doing(DOING)?;
    rows.iter()
        .map(|row| {
            let row = Row {
                sequence: row.try_get("sequence").doing(DOING)?,
                entry: row.try_get("entry").doing(DOING)?,
                hash: row.try_get("hash").doing(DOING)?,
            };
            AuditRow::try_from(row)
        })
        .collect()
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &AuditFilter) {
    if let Some(actor) = &filter.actor {
        query.push(" AND (actor_id = ").push_bind(actor.clone());
        query.push(" OR actor_name = ").push_bind(actor.clone());
        query.push(")");
    }
    if let Some(action) = filter.action {
        query.push(" AND action = ").push_bind(action.as_str());
    }
    if let Some(resource) = &filter.resource {
        // Everything that begins with "app:shop/": '0' is the character after '/'.
        query.push(" AND (resource = ").push_bind(resource.clone());
        query
            .push(" OR (resource >= ")
            .push_bind(format!("{resource}/"));
        query
            .push(" AND resource < ")
            .push_bind(format!("{resource}0"));
        query.push("))");
    }
    if let Some(door) = filter.door {
        query.push(" AND door = ").push_bind(door.as_str());
    }
    if let Some(outcome) = filter.outcome {
        query.push(" AND outcome = ").push_bind(outcome.as_str());
    }
    // Times are stored in UTC with the same number of digits each: they sort as text.
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(to_wire(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(to_wire(until));
    }
    if let Some(text) = &filter.text {
        query.push(
            " AND instr(lower(concat_ws(char(10), json_extract(entry, '$.summary'), actor_name, \
             resource, json_extract(entry, '$.origin.intent'))), lower(",
        );
        query.push_bind(text.clone()).push(")) > 0");
    }
}

pub(crate) async fn verify(db: &mut SqliteConnection) -> Result<AuditVerdict, StoreError> {
    const DOING: &str = "checking the audit trail";
    let head = sqlx::query!("SELECT sequence, hash FROM audit_head WHERE one = 1")
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
    let (mut last, mut former) = (0_i64, String::new());
    loop {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT sequence AS "sequence!", entry, hash FROM audit_entries
               WHERE sequence > ? ORDER BY sequence LIMIT ?"#,
            last,
            PAGE
        )
        .fetch_all(&mut *db)
        .await
        .doing(DOING)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if row.sequence != last + 1 {
                return Ok(AuditVerdict::Missing { sequence: last + 1 });
            }
            if row.hash != chain(&former, row.sequence, &row.entry) {
                return Ok(AuditVerdict::Changed {
                    sequence: row.sequence,
                });
            }
            (last, former) = (row.sequence, row.hash);
        }
    }
    Ok(if last < head.sequence {
        AuditVerdict::Missing { sequence: last + 1 }
    } else if last != head.sequence || former != head.hash {
        AuditVerdict::Changed { sequence: last }
    } else {
        AuditVerdict::Intact {
            entries: u64::try_from(last).unwrap_or(0),
            head: former,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_part_and_never_changes() {
        // printf '%s' '{"sequence":1,"entry":{}}' | sha256sum
        let first = chain("", 1, "{}");
        assert_eq!(first.len(), 64);
        assert_eq!(first, hex(&Sha256::digest(br#"{"sequence":1,"entry":{}}"#)));
        assert_ne!(first, chain("", 2, "{}"));
        assert_ne!(first, chain("", 1, "{ }"));
        assert_ne!(first, chain(&first, 1, "{}"));
        assert_eq!(hex(&[0, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }
}
