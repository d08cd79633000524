//! The peer of storing: `SQLite` with a write-ahead log, an index, and one sync per batch as we
//! have.

use std::fs;
use std::path::Path;
use std::time::Instant;

use flukedeploy_platform::ports::{LogBatch, Logged};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor, query};
use tokio::runtime::Runtime;

use crate::{BATCH, Result};

const TABLE: &str = "CREATE TABLE lines (
    app TEXT NOT NULL, time INTEGER NOT NULL, level INTEGER NOT NULL, message TEXT NOT NULL)";
const INDEX: &str = "CREATE INDEX by_app ON lines (app, time, level)";
/// Rows in one statement: with one row each, most of the time would go to handing statements
/// from thread to thread, which is no fault of `SQLite`.
const ROWS: usize = 250;

pub(crate) struct Sqlite {
    runtime: Runtime,
    insert: String,
}

impl Sqlite {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let rows = ["(?, ?, ?, ?)"; ROWS].join(", ");
        let insert = format!("INSERT INTO lines (app, time, level, message) VALUES {rows}");
        assert!(BATCH.is_multiple_of(ROWS), "batches are whole statements");
        Ok(Self { runtime, insert })
    }

    /// Lines a second, into a new database.
    pub(crate) fn store(&self, file: &Path, batches: &[LogBatch]) -> Result<f64> {
        for ending in ["db", "db-wal", "db-shm"] {
            let _ = fs::remove_file(file.with_extension(ending));
        }
        self.runtime.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // One sync with each commit.
                .synchronous(SqliteSynchronous::Full);
            let mut db = SqliteConnection::connect_with(&options).await?;
            db.execute(TABLE).await?;
            db.execute(INDEX).await?;
            let begun = Instant::now();
            let mut count = 0;
            for batch in batches {
                self.insert(&mut db, &batch.logged).await?;
                count += batch.logged.len();
            }
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            let took = begun.elapsed().as_secs_f64();
            db.close().await?;
            Ok(count as f64 / took)
        })
    }

    async fn insert(&self, db: &mut SqliteConnection, batch: &[Logged]) -> Result<()> {
        let mut transaction = db.begin().await?;
        for rows in batch.chunks(ROWS) {
            let mut insert = query(AssertSqlSafe(self.insert.as_str()));
            for logged in rows {
                let Logged::Line(line) = logged else {
                    return Err("lines alone are stored here".into());
                };
                insert = insert
                    .bind(&line.origin.metadata.app_name)
                    .bind(line.at)
                    .bind(line.level as i64)
                    .bind(&line.message);
            }
            insert.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}
