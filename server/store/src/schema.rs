//! The schema. This module needs none of the queries: see `examples/migrate.rs`.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// The control plane's database.
pub static CONTROL: Migrator = sqlx::migrate!("../../migrations/control");

/// Makes a new database with the schema, for the query macros; never for the product.
///
/// # Errors
/// The file cannot be written, or a migration is not SQL.
pub async fn create_for_macros(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await?;
    for step in CONTROL.iter() {
        sqlx::raw_sql(step.sql.clone())
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}
