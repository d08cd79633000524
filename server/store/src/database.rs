//! One database file: a single writing connection and a pool of reading ones.
//!
//! `SQLite` allows one writer at a time. Queueing for the one connection here is fair and cannot
//! fail, whereas competing connections get `SQLITE_BUSY`; the busy timeout is for other processes
//! only. Readers see the last commit and never wait for the writer (WAL).

use std::fs::{OpenOptions, Permissions};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flukedeploy_platform::ports::StoreError;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

use crate::error::{Doing, missing};
use crate::keys::KeyFile;
use crate::memory::{self, Digests};
use crate::migration::migrate;
use crate::sealing::Sealer;
use crate::{rotation, schema};

/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection; past this the disk is in trouble.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// The write-ahead log is cut back to this after a large transaction.
const WAL_LIMIT_BYTES: &str = "67108864";

#[derive(Debug, Clone)]
pub(crate) struct Database {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Rises with every writing transaction, once it is over.
    changes: Arc<AtomicU64>,
    sealer: Arc<Sealer>,
    digests: Arc<Digests>,
}

/// A writing transaction. When it is over, however it ended, readers of [`Database::changes`] know
/// that what they have may be old.
pub(crate) struct Write {
    transaction: Transaction<'static, Sqlite>,
    over: Over,
}

struct Over(Arc<AtomicU64>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Write {
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        let Self { transaction, over } = self;
        let result = transaction.commit().await;
        drop(over);
        result
    }
}

impl Deref for Write {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

impl Database {
    /// Makes the file, readable by its owner alone, where there is none, and brings its schema up
    /// to date.
    pub(crate) async fn open(
        path: &Path,
        migrator: &Migrator,
        synchronous: SqliteSynchronous,
        readers: u32,
    ) -> Result<Self, StoreError> {
        let options = options(path);
        let writing = writing(&options, synchronous);
        let mut connection = first_connection(path, &writing, migrator).await?;
        let sealer = rotation::sealer(&mut connection, &KeyFile::beside(path)).await?;
        let digests = memory::digest_key(&mut connection, &sealer).await?;
        connection.close().await.doing("opening the database")?;

        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                // A file does not hang up.
                .test_before_acquire(false)
        };
        Ok(Self {
            // Never closed for idleness: the readers need somebody to keep the WAL's index alive.
            writer: pool()
                .max_connections(1)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_with(writing)
                .await
                .doing("opening the database")?,
            readers: pool()
                .max_connections(readers)
                .connect_with(options.read_only(true))
                .await
                .doing("opening the database for reading")?,
            changes: Arc::default(),
            sealer: Arc::new(sealer),
            digests: Arc::new(digests),
        })
    }

    /// Seals and opens what of a row is secret.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What stands for texts that must not be told.
    pub(crate) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Begins a transaction that holds the write lock from its first statement, so that what it
    /// reads stays true until it commits.
    pub(crate) async fn write(&self, doing: &'static str) -> Result<Write, StoreError> {
        let transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .doing(doing)?;
        Ok(Write {
            transaction,
            over: Over(Arc::clone(&self.changes)),
        })
    }

    /// A number that rises with every writing transaction of this process.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A connection for one query.
    pub(crate) async fn read(
        &self,
        doing: &'static str,
    ) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.doing(doing)
    }

    /// Begins a transaction in which all queries see the same moment.
    pub(crate) async fn snapshot(
        &self,
        doing: &'static str,
    ) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.doing(doing)
    }

    /// Waits for what is under way, then folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

fn writing(options: &SqliteConnectOptions, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("journal_size_limit", WAL_LIMIT_BYTES)
        // What was deleted is overwritten.
        .pragma("secure_delete", "ON")
}

/// Makes the file where there is none and brings its schema up to date.
async fn first_connection(
    path: &Path,
    writing: &SqliteConnectOptions,
    migrator: &Migrator,
) -> Result<SqliteConnection, StoreError> {
    make_private(path).doing("opening the database file")?;
    let mut connection = writing
        .clone()
        .foreign_keys(false)
        .connect()
        .await
        .doing("opening the database")?;
    migrate(&mut connection, migrator)
        .await
        .doing("bringing its schema up to date")?;
    Ok(connection)
}

/// The one connection to a database that is there, and its key file.
pub(crate) async fn open_alone(path: &Path) -> Result<(SqliteConnection, KeyFile), StoreError> {
    if !path.is_file() {
        return Err(missing(format!("the database {}", path.display())));
    }
    let writing = writing(&options(path), SqliteSynchronous::Full);
    let connection = first_connection(path, &writing, &schema::CONTROL).await?;
    Ok((connection, KeyFile::beside(path)))
}

/// `SQLite` gives its `-wal` and `-shm` files the mode of the main file, so that has to be right
/// before the first connection; and the umask may have taken bits we need.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
