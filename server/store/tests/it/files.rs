use std::error::Error as _;
use std::os::unix::fs::PermissionsExt;

use flukedeploy_platform::ports::{Store, StoreError};
use flukedeploy_store::SqliteStore;

use crate::support::*;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let dir = Dir::new();
    // Left by somebody careless.
    std::fs::write(dir.path(), "").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    create_app(&store, "shop", &[]).await;
    assert_eq!(mode(&dir.path()), 0o600);
    assert_eq!(mode(&dir.path().with_extension("db-wal")), 0o600);
}

#[tokio::test]
async fn the_connections_are_set_up_as_promised() {
    let (dir, _store) = open().await;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut raw(&dir.path()).await)
        .await
        .unwrap();
    assert_eq!(journal, "wal");
    let loose: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM pragma_table_list
         WHERE schema = 'main' AND type = 'table' AND strict = 0
           AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut raw(&dir.path()).await)
    .await
    .unwrap();
    assert!(loose.is_empty(), "not STRICT: {loose:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    store.close().await;
    let mut db = raw(&dir.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();

    let error = SqliteStore::open(&dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    let cause = error.source().unwrap().to_string();
    assert!(
        cause.contains("newer version") && cause.contains("9999"),
        "{cause}"
    );
    let apps: i64 = sqlx::query_scalar("SELECT count(*) FROM apps")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(apps, 1);
}

#[tokio::test]
async fn what_is_no_database_is_an_error() {
    let dir = Dir::new();
    std::fs::write(
        dir.path(),
        "this is a letter to my aunt, not a database".repeat(99),
    )
    .unwrap();
    let error = SqliteStore::open(&dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    let error = SqliteStore::open(&dir.path().join("no/such/directory")).await;
    assert!(matches!(error, Err(StoreError::Failed { .. })));
}

#[tokio::test]
async fn opening_again_and_at_the_same_time_changes_nothing() {
    let dir = Dir::new();
    let path = dir.path();
    let (first, second) = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    let (first, second) = (first.unwrap(), second.unwrap());
    create_app(&first, "shop", &[]).await;
    assert_eq!(second.app_names().await.unwrap(), [name("shop")]);
    let third = SqliteStore::open(&path).await.unwrap();
    assert_eq!(third.app_names().await.unwrap(), [name("shop")]);
}
