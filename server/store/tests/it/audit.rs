use flukedeploy_domain::deployment::{Event, Queue};
use flukedeploy_platform::ports::{Account, Store, StoreError, StoredToken};
use flukedeploy_store::{AuditVerdict, SqliteStore};

use crate::support::*;

async fn with_entries(count: u32) -> (Dir, SqliteStore) {
    let (dir, store) = open().await;
    for number in 0..count {
        create_app(&store, &format!("app-{number}"), &[]).await;
    }
    (dir, store)
}

#[tokio::test]
async fn entries_come_newest_first_by_page() {
    let (_dir, store) = open().await;
    assert!(store.audit_entries(10, None).await.unwrap().is_empty());
    create_app(&store, "shop", &[]).await;
    let entry = audit("delete");
    store.delete_app(&name("shop"), &entry).await.unwrap();

    let newest = store.audit_entries(1, None).await.unwrap();
    assert_eq!((newest[0].sequence, &newest[0].entry), (2, &entry));
    let older = store.audit_entries(10, Some(2)).await.unwrap();
    assert_eq!((older.len(), older[0].sequence), (1, 1));
    assert_ne!(older[0].hash, newest[0].hash);
    let AuditVerdict::Intact { entries, head } = store.verify_audit().await.unwrap() else {
        panic!("nobody touched it");
    };
    assert_eq!((entries, &head), (2, &newest[0].hash));
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_an_entry() {
    let (dir, store) = with_entries(2).await;
    let mut db = raw(&dir.path()).await;
    for sql in [
        "UPDATE audit_entries SET entry = '{}'",
        "DELETE FROM audit_entries",
    ] {
        sqlx::query(sql).execute(&mut db).await.unwrap_err();
    }
    assert!(matches!(
        store.verify_audit().await.unwrap(),
        AuditVerdict::Intact { entries: 2, .. }
    ));
}

#[tokio::test]
async fn tampering_shows_at_the_first_row_that_is_wrong() {
    const SWAP: &str = "
        UPDATE audit_entries SET sequence = -2 WHERE sequence = 2;
        UPDATE audit_entries SET sequence = 2 WHERE sequence = 3;
        UPDATE audit_entries SET sequence = 3 WHERE sequence = -2";
    let changed = |sequence| AuditVerdict::Changed { sequence };
    let missing = |sequence| AuditVerdict::Missing { sequence };
    for (tamper, verdict) in [
        (
            "UPDATE audit_entries SET entry = replace(entry, 'create', 'Create')
             WHERE sequence IN (3, 4)",
            changed(3),
        ),
        (
            "UPDATE audit_entries SET hash = lower(hex(zeroblob(32))) WHERE sequence = 2",
            changed(2),
        ),
        (SWAP, changed(2)),
        ("DELETE FROM audit_entries WHERE sequence = 1", missing(1)),
        ("DELETE FROM audit_entries WHERE sequence = 3", missing(3)),
        ("DELETE FROM audit_entries WHERE sequence = 5", missing(5)),
        ("DELETE FROM audit_entries", missing(1)),
        ("UPDATE audit_head SET sequence = 4", changed(5)),
    ] {
        let (dir, store) = with_entries(5).await;
        let mut db = raw(&dir.path()).await;
        sqlx::raw_sql(
            "DROP TRIGGER audit_entries_never_change; DROP TRIGGER audit_entries_never_go",
        )
        .execute(&mut db)
        .await
        .unwrap();
        assert!(matches!(
            store.verify_audit().await.unwrap(),
            AuditVerdict::Intact { entries: 5, .. }
        ));
        sqlx::raw_sql(tamper).execute(&mut db).await.unwrap();
        assert_eq!(store.verify_audit().await.unwrap(), verdict, "{tamper}");
    }
}

#[tokio::test]
async fn the_check_reads_more_than_one_page_of_rows() {
    let (dir, store) = with_entries(1).await;
    let mut db = raw(&dir.path()).await;
    // Rows of a chain that was never hashed: it must get to row 2 and no further.
    sqlx::raw_sql(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO audit_entries SELECT i, '{}', '' FROM n;
         UPDATE audit_head SET sequence = 2500",
    )
    .execute(&mut db)
    .await
    .unwrap();
    assert_eq!(
        store.verify_audit().await.unwrap(),
        AuditVerdict::Changed { sequence: 2 }
    );
}

/// A change whose audit entry cannot be written does not happen.
#[tokio::test]
async fn no_change_without_its_entry() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &["shop.example.com"]).await;
    let mut deployment = open_deployment(&store, "shop", 1).await;
    let account = Account {
        id: "a1".to_owned(),
        name: "ada".to_owned(),
        password_hash: "old".to_owned(),
        tier: flukedeploy_domain::access::Tier::Admin,
        created_at: NOW,
        password_changed_at: NOW,
        display_name: None,
        disabled_at: None,
        has_second_factor: false,
    };
    let token = StoredToken {
        id: "t1".to_owned(),
        name: "ci".to_owned(),
        persona: None,
        tier: flukedeploy_domain::access::Tier::Admin,
        secret_hash: "00".to_owned(),
        created_at: NOW,
        created_by: "a1".to_owned(),
        owner: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        maker: None,
        is_narrowed: false,
        limits: flukedeploy_domain::access::Limits::default(),
    };
    store
        .create_account(&account, true, &audit("account"))
        .await
        .unwrap();
    store
        .create_token(&token, &[], &audit("token"))
        .await
        .unwrap();
    let mut db = raw(&dir.path()).await;
    sqlx::raw_sql(
        "CREATE TRIGGER no_more BEFORE INSERT ON audit_entries
         BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .execute(&mut db)
    .await
    .unwrap();

    let entry = audit("never");
    let shop = name("shop");
    let (other, environment) = app("other", &[]);
    let mut second_account = account.clone();
    (second_account.id, second_account.name) = ("a2".to_owned(), "bob".to_owned());
    let mut second_token = token.clone();
    second_token.id = "t2".to_owned();
    let second = crate::support::deployment("shop", 2);
    let refused: Vec<Result<(), StoreError>> = vec![
        store.create_app(&other, &environment, &entry).await,
        store
            .change_settings(&shop, &production(), 1, &settings(&[]), &entry)
            .await
            .map(|_| ()),
        store.delete_app(&shop, &entry).await,
        store
            .open_deployment(&second, Queue::Wait, Some(("key", "hash")), &entry)
            .await
            .map(|_| ()),
        store
            .request_cancel(&deployment.id, &entry)
            .await
            .map(|_| ()),
        store.create_account(&second_account, false, &entry).await,
        store.set_password("a1", "new", &entry).await,
        store.create_token(&second_token, &[], &entry).await,
        store.revoke_token("t1", NOW, &entry).await.map(|_| ()),
    ];
    for result in refused {
        assert!(
            matches!(result, Err(StoreError::Failed { .. })),
            "{result:?}"
        );
    }

    assert_eq!(store.app_names().await.unwrap(), [name("shop")]);
    let (_, unchanged) = app("shop", &["shop.example.com"]);
    assert_eq!(store.environments().await.unwrap(), [unchanged]);
    assert_eq!(
        store.recent_deployments(9).await.unwrap(),
        [deployment.clone()]
    );
    assert!(store.account("a1").await.unwrap() == Some(account));
    assert!(store.account("a2").await.unwrap().is_none());
    assert!(store.tokens().await.unwrap() == [token]);
    assert_eq!(audited(&store).await, 4);
    // The writing connection is as good as new.
    deployment.apply(Event::Started, NOW).unwrap();
    store.save_deployment(&deployment).await.unwrap();
}
