//! How a database file is brought up to its schema. Forward only.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, SqliteConnection};
use thiserror::Error;

/// Why a database file could not be brought up to date. It is then unchanged.
#[derive(Debug, Error)]
pub(crate) enum MigrationError {
    #[error(
        "the database was written by a newer version of this program (its schema has step \
         {found}, this program knows steps up to {known}); start that version, or restore a backup"
    )]
    Newer { found: i64, known: i64 },
    #[error("rows refer to others that are not there, first in table {table}")]
    BrokenReference { table: String },
    #[error("a schema step failed")]
    Step(#[source] MigrateError),
    #[error("SQLite failed")]
    Sqlite(#[from] sqlx::Error),
}

/// Applies what is missing, all of it or nothing. `connection` must have foreign keys off: steps
/// that rebuild a table would otherwise cascade. A second process waits for the first and then
/// finds nothing to do.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    migrator: &Migrator,
) -> Result<(), MigrationError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrator
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) => MigrationError::Newer {
                found,
                known: migrator.iter().map(|step| step.version).max().unwrap_or(0),
            },
            other => MigrationError::Step(other),
        })?;
    // Not a macro: what a pragma answers cannot be described.
    let broken: Option<(String,)> =
        sqlx::query_as(r#"SELECT "table" FROM pragma_foreign_key_check LIMIT 1"#)
            .fetch_optional(&mut *transaction)
            .await?;
    if let Some((table,)) = broken {
        return Err(MigrationError::BrokenReference { table });
    }
    transaction.commit().await?;
    Ok(())
}
