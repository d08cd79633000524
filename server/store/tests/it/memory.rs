use flukedeploy_platform::ports::Store;

use crate::support::*;

#[tokio::test]
async fn values_are_remembered_changed_and_forgotten() {
    let (dir, store) = open().await;
    store.ping().await.unwrap();
    assert_eq!(store.remembered("a").await.unwrap(), None);
    store.remember("a", "1").await.unwrap();
    store.remember("b", "2").await.unwrap();
    store.remember("a", "3").await.unwrap();
    assert_eq!(store.remembered("a").await.unwrap().unwrap(), "3");
    store.forget("a").await.unwrap();
    store.forget("a").await.unwrap();
    assert_eq!(store.remembered("a").await.unwrap(), None);
    assert_eq!(store.remember_once("b", "4").await.unwrap(), "2");
    assert_eq!(store.remember_once("c", "5").await.unwrap(), "5");

    // Another start of the program.
    store.close().await;
    store.ping().await.unwrap_err();
    let store = flukedeploy_store::SqliteStore::open(&dir.path())
        .await
        .unwrap();
    assert_eq!(store.remembered("b").await.unwrap().unwrap(), "2");
    assert_eq!(store.remembered("c").await.unwrap().unwrap(), "5");
}
