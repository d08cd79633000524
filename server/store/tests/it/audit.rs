use flukedeploy_domain::access::{Action, Door, Origin};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter, Outcome};
use flukedeploy_domain::deployment::{Event, Queue};
use flukedeploy_platform::ports::{
    Account, AuditOrder, People as _, Store, StoreError, StoredToken,
};
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
    let all = AuditFilter::default();
    let read = async |before, limit| {
        let order = AuditOrder::NewestBefore(before);
        store.audit_entries(&all, order, limit).await.unwrap()
    };
    assert!(read(None, 10).await.is_empty());
    create_app(&store, "shop", &[]).await;
    let entry = audit("delete");
    store.delete_app(&name("shop"), &entry).await.unwrap();

    let newest = read(None, 1).await;
    assert_eq!((newest[0].sequence, &newest[0].entry), (2, &entry));
    let older = read(Some(2), 10).await;
    assert_eq!((older.len(), older[0].sequence), (1, 1));
    assert_ne!(older[0].hash, newest[0].hash);
    let AuditVerdict::Intact { entries, head } = store.verify_audit().await.unwrap() else {
        panic!("nobody touched it");
    };
    assert_eq!((entries, &head), (2, &newest[0].hash));
}

#[tokio::test]
async fn what_one_looks_for_is_found_and_nothing_else() {
    let (_dir, store) = open().await;
    let ada = actor("t1");
    let mut eve = actor("t2");
    (eve.name, eve.door) = ("Eve 100%_".to_owned(), Door::Mcp);
    let at = |minute| NOW + time::Duration::minutes(minute);
    let mut entries = vec![
        AuditEntry::new(
            at(0),
            &ada,
            Action::Deploy,
            "app:shop",
            "deployed \u{1f980} CRABS",
        ),
        AuditEntry::new(
            at(1),
            &eve,
            Action::Deploy,
            "app:shop/staging",
            "was refused",
        ),
        AuditEntry::new(
            at(2),
            &eve,
            Action::DeleteApp,
            "app:shop2",
            "deleted app shop2",
        ),
        AuditEntry::new(at(3), &ada, Action::Deploy, "app:other", "deployed it"),
    ];
    entries[1].outcome = Outcome::Denied;
    entries[3].origin = Some(Origin {
        intent: Some("mend the \"'; DROP\" of crabs".to_owned()),
        ..Origin::default()
    });
    for entry in &entries {
        store.note(entry).await.unwrap();
    }
    let found = async |filter: AuditFilter| {
        let order = AuditOrder::OldestAfter(0);
        let rows = store.audit_entries(&filter, order, 10).await.unwrap();
        rows.iter().map(|row| row.sequence).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let none = AuditFilter::default;
    let cases = [
        (none(), vec![1, 2, 3, 4]),
        (
            AuditFilter {
                actor: text("t2"),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                actor: text("Eve 100%_"),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                actor: text("Eve"),
                ..none()
            },
            vec![],
        ),
        (
            AuditFilter {
                action: Some(Action::Deploy),
                ..none()
            },
            vec![1, 2, 4],
        ),
        (
            AuditFilter {
                resource: text("app:shop"),
                ..none()
            },
            vec![1, 2],
        ),
        (
            AuditFilter {
                resource: text("app:shop/staging"),
                ..none()
            },
            vec![2],
        ),
        (
            AuditFilter {
                door: Some(Door::Mcp),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                outcome: Some(Outcome::Denied),
                ..none()
            },
            vec![2],
        ),
        (
            AuditFilter {
                outcome: Some(Outcome::Done),
                ..none()
            },
            vec![1, 3, 4],
        ),
        (
            AuditFilter {
                since: Some(at(1)),
                until: Some(at(3)),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                text: text("Crabs"),
                ..none()
            },
            vec![1, 4],
        ),
        (
            AuditFilter {
                text: text("100%_"),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                text: text("%"),
                ..none()
            },
            vec![2, 3],
        ),
        (
            AuditFilter {
                text: text("\"'; drop"),
                ..none()
            },
            vec![4],
        ),
        (
            AuditFilter {
                text: text("shop"),
                door: Some(Door::Mcp),
                ..none()
            },
            vec![2, 3],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(found(filter.clone()).await, expected, "{filter:?}");
    }
    let order = AuditOrder::OldestAfter(2);
    let rest = store.audit_entries(&none(), order, 1).await.unwrap();
    assert_eq!((rest.len(), rest[0].sequence), (1, 3));
    assert_eq!(
        serde_json::from_str::<AuditEntry>(&rest[0].stored).unwrap(),
        rest[0].entry
    );
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
