//! The `LogStore` port, in a file of its own.

use std::path::Path;

use async_trait::async_trait;
use flukedeploy_domain::log_entry::{Level, LogEntry, SourceType};
use flukedeploy_platform::ports::{LogPage, LogQuery, LogStore, StoreError};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{QueryBuilder, Sqlite};
use time::OffsetDateTime;

use crate::columns::{from_json, to_json};
use crate::database::Database;
use crate::error::{Doing, corrupt};
use crate::schema;

const READERS: u32 = 4;
/// Entries removed in one transaction, so that expiring never holds up appending for long.
const EXPIRED_AT_ONCE: i64 = 5_000;

/// Log entries in one `SQLite` file. Clones share the connections.
///
/// A line of a container belongs to the service in its `source.service_id`. Callers put there
/// whatever names the service for them (its Swarm name or id) and ask
/// [`newest_of_service`](LogStore::newest_of_service) for the same.
///
/// Times are kept to the nanosecond, although the wire shows milliseconds.
#[derive(Debug, Clone)]
pub struct SqliteLogStore {
    database: Database,
}

impl SqliteLogStore {
    /// Opens the file, or makes it (mode 0600), and brings its schema up to date. The directory
    /// must exist.
    ///
    /// `synchronous=NORMAL`: a killed process loses nothing, a power cut may lose the last
    /// batches, which the containers' own logs still have.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let database =
            Database::open(path, &schema::LOGS, SqliteSynchronous::Normal, READERS).await?;
        Ok(Self { database })
    }

    /// Waits for what is under way and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn expire_some(&self, before_ns: i64) -> Result<u64, StoreError> {
        const DOING: &str = "removing old log entries";
        let mut db = self.database.write(DOING).await?;
        let gone = sqlx::query!(
            "DELETE FROM log_entries WHERE sequence IN (
               SELECT sequence FROM log_entries WHERE at_ns < ? ORDER BY at_ns LIMIT ?)",
            before_ns,
            EXPIRED_AT_ONCE
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
        db.commit().await.doing(DOING)?;
        Ok(gone.rows_affected())
    }
}

/// Times past 1677 to 2262 are kept as the nearest that can be.
fn to_ns(at: OffsetDateTime) -> i64 {
    let ns = at.unix_timestamp_nanos();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

fn from_ns(ns: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Higher is worse, as [`Level`] orders itself. Stored: a number never changes its meaning.
fn severity(level: Level) -> i64 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warn => 30,
        Level::Error => 40,
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at_ns: i64,
    entry: String,
}

impl TryFrom<Row> for LogEntry {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let entry: Self =
            from_json(&row.entry).map_err(|cause| corrupt("log_entries", &row.id, cause))?;
        Ok(Self {
            timestamp: from_ns(row.at_ns),
            ..entry
        })
    }
}

/// Adds the conditions of a query; everything a caller wrote is bound.
fn push_filter(sql: &mut QueryBuilder<Sqlite>, query: &LogQuery) {
    let filter = &query.filter;
    sql.push(" WHERE 1");
    if let Some(app) = &filter.app_name {
        sql.push(" AND app = ").push_bind(app.clone());
    }
    if let Some(deployment) = &filter.deployment_id {
        sql.push(" AND deployment = ").push_bind(deployment.clone());
    }
    if let Some(level) = filter.level {
        sql.push(" AND level = ").push_bind(severity(level));
    }
    if let Some(level) = filter.min_level {
        sql.push(" AND level >= ").push_bind(severity(level));
    }
    if let Some(event) = filter.event_type {
        sql.push(" AND event = ").push_bind(event.as_str());
    }
    if let Some(since) = query.since {
        sql.push(" AND at_ns >= ").push_bind(to_ns(since));
    }
    if let Some(text) = query.text.as_deref().filter(|text| !text.is_empty()) {
        // Not LIKE: that has wildcards to escape, and knows no letter case beyond ASCII.
        sql.push(" AND instr(folded, ")
            .push_bind(text.to_lowercase())
            .push(") > 0");
    }
}

/// How many entries match.
fn count_of(query: &LogQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM log_entries");
    push_filter(&mut sql, query);
    sql
}

/// The matching entries of one page, in order.
fn page_of(query: &LogQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT id, at_ns, entry FROM log_entries");
    push_filter(&mut sql, query);
    sql.push(if query.oldest_first {
        " ORDER BY at_ns, sequence"
    } else {
        " ORDER BY at_ns DESC, sequence DESC"
    });
    sql.push(" LIMIT ").push_bind(i64::from(query.limit));
    sql.push(" OFFSET ").push_bind(i64::from(query.offset));
    sql
}

#[async_trait]
impl LogStore for SqliteLogStore {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), StoreError> {
        const DOING: &str = "storing log entries";
        if entries.is_empty() {
            return Ok(());
        }
        let mut db = self.database.write(DOING).await?;
        for entry in entries {
            let metadata = &entry.flukedeploy_metadata;
            let at_ns = to_ns(entry.timestamp);
            let level = severity(entry.level);
            let event = metadata.event_type.as_str();
            let service = match entry.source.kind {
                SourceType::Container => entry.source.service_id.as_deref(),
                SourceType::Deployment | SourceType::System => None,
            };
            let folded = entry.message.to_lowercase();
            let json = to_json(entry)?;
            sqlx::query!(
                "INSERT OR IGNORE INTO log_entries
                   (id, at_ns, level, event, app, deployment, service, folded, entry)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                entry.id,
                at_ns,
                level,
                event,
                metadata.app_name,
                metadata.deployment_id,
                service,
                folded,
                json
            )
            .execute(&mut *db)
            .await
            .doing(DOING)?;
        }
        db.commit().await.doing(DOING)
    }

    async fn query(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        const DOING: &str = "searching log entries";
        let mut db = self.database.snapshot(DOING).await?;
        let total: i64 = count_of(query)
            .build_query_scalar()
            .fetch_one(&mut *db)
            .await
            .doing(DOING)?;
        let rows: Vec<Row> = page_of(query)
            .build_query_as()
            .fetch_all(&mut *db)
            .await
            .doing(DOING)?;
        Ok(LogPage {
            total: u64::try_from(total).unwrap_or(0),
            entries: rows
                .into_iter()
                .map(LogEntry::try_from)
                .collect::<Result<_, _>>()?,
        })
    }

    async fn newest_of_service(&self, service: &str) -> Result<Option<OffsetDateTime>, StoreError> {
        const DOING: &str = "reading the newest log line of a service";
        let mut db = self.database.read(DOING).await?;
        let newest = sqlx::query_scalar!(
            r#"SELECT max(at_ns) AS "at_ns: i64" FROM log_entries WHERE service = ?"#,
            service
        )
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
        Ok(newest.map(from_ns))
    }

    async fn expire(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let before_ns = to_ns(before);
        let mut total = 0;
        loop {
            let gone = self.expire_some(before_ns).await?;
            total += gone;
            if gone < EXPIRED_AT_ONCE.unsigned_abs() {
                return Ok(total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::log_entry::LogFilter;
    use sqlx::{AssertSqlSafe, Connection, Row as _, SqliteConnection};

    use super::*;

    async fn plan(db: &mut SqliteConnection, sql: QueryBuilder<Sqlite>) -> String {
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sql().as_str()));
        let steps = sqlx::raw_sql(sql).fetch_all(db).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
        steps.join("; ")
    }

    #[tokio::test]
    async fn each_way_to_look_at_logs_has_its_index() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        schema::LOGS.run(&mut db).await.unwrap();
        let app = LogFilter {
            app_name: Some("shop".to_owned()),
            ..LogFilter::default()
        };
        let deployment = LogFilter {
            deployment_id: Some("dep-1".to_owned()),
            ..LogFilter::default()
        };
        let both = LogFilter {
            app_name: app.app_name.clone(),
            ..deployment.clone()
        };
        for (filter, indexes) in [
            (LogFilter::default(), &["log_entries_by_time"][..]),
            (app, &["log_entries_by_app"]),
            (deployment, &["log_entries_by_deployment"]),
            (both, &["log_entries_by_deployment", "log_entries_by_app"]),
        ] {
            for oldest_first in [false, true] {
                let query = LogQuery {
                    filter: filter.clone(),
                    since: Some(OffsetDateTime::UNIX_EPOCH),
                    text: Some("disk".to_owned()),
                    limit: 100,
                    oldest_first,
                    ..LogQuery::default()
                };
                for sql in [page_of(&query), count_of(&query)] {
                    let plan = plan(&mut db, sql).await;
                    assert!(
                        indexes.iter().any(|index| plan.contains(index)) && !plan.contains("TEMP"),
                        "{filter:?}: {plan}"
                    );
                }
            }
        }
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_770_200_000_123_456_789).unwrap();
        assert_eq!(from_ns(to_ns(at)), at);
        assert_eq!(
            to_ns(time::macros::datetime!(9000-01-01 0:00 UTC)),
            i64::MAX
        );
    }

    #[test]
    fn severities_order_as_levels_do() {
        let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
        assert!(levels.is_sorted());
        assert!(levels.map(severity).is_sorted_by(|a, b| a < b));
    }
}
