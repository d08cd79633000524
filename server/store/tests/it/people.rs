//! Second factors under their seal, and sessions as the dashboard writes them.

use std::collections::HashMap;
use std::sync::Arc;

use flukedeploy_domain::access::Tier;
use flukedeploy_platform::ports::{
    Account, Clock as _, People as _, Store as _, StoreError, SystemClock,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_store::SqliteStore;
use serde_json::json;
use time::Duration;
use tower_sessions::SessionStore as _;
use tower_sessions::session::{Id, Record};

use crate::support::*;

fn account(id: &str) -> Account {
    Account {
        id: id.to_owned(),
        name: format!("name-{id}"),
        password_hash: "$argon2id$".to_owned(),
        tier: Tier::Admin,
        created_at: NOW,
        password_changed_at: NOW,
        display_name: Some("Shown".to_owned()),
        disabled_at: None,
        has_second_factor: false,
    }
}

async fn with_accounts(store: &SqliteStore, ids: &[&str]) {
    for id in ids {
        let made = store
            .create_account(&account(id), false, &audit("made"))
            .await;
        made.unwrap();
    }
}

#[tokio::test]
async fn a_second_factor_is_sealed_survives_a_new_key_and_opens_for_its_account_only() {
    let (dir, store) = open().await;
    with_accounts(&store, &["a1", "a2"]).await;
    let secret = Secret::new("C4N4RYSECRETOFTHEFACTOR");
    assert!(store.offer_second_factor("a1", &secret).await.unwrap());
    let other = Secret::new("ANOTHERONE");
    assert!(store.offer_second_factor("a2", &other).await.unwrap());
    assert!(
        !store
            .account("a1")
            .await
            .unwrap()
            .unwrap()
            .has_second_factor
    );
    let hashes = ["h1".to_owned(), "h2".to_owned()];
    let confirmed = store
        .confirm_second_factor("a1", 100, &hashes, &audit("on"))
        .await;
    assert!(confirmed.unwrap());
    assert!(
        store
            .account("a1")
            .await
            .unwrap()
            .unwrap()
            .has_second_factor
    );
    assert!(!store.offer_second_factor("a1", &other).await.unwrap());
    store.close().await;
    for file in std::fs::read_dir(dir.path().parent().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let canary = secret.expose().as_bytes();
        assert!(!bytes.windows(canary.len()).any(|part| part == canary));
    }

    SqliteStore::rotate_key(&dir.path()).await.unwrap();
    let store = SqliteStore::open(&dir.path()).await.unwrap();
    let factor = store.second_factor("a1").await.unwrap().unwrap();
    assert_eq!((factor.secret, factor.recovery_codes_left), (secret, 2));

    // A step is used once, and none before it.
    for (step, fresh) in [(100, false), (99, false), (101, true), (101, false)] {
        assert_eq!(store.use_step("a1", step).await.unwrap(), fresh, "{step}");
    }
    for fresh in [true, false] {
        let used = store.use_recovery_code("a1", "h1", &audit("used")).await;
        assert_eq!(used.unwrap(), fresh);
    }

    let mut db = raw(&dir.path()).await;
    sqlx::raw_sql(
        "UPDATE second_factors
         SET secret = (SELECT secret FROM second_factors WHERE account = 'a2')
         WHERE account = 'a1'",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let moved = store.second_factor("a1").await.unwrap_err();
    assert!(matches!(moved, StoreError::Corrupt { .. }), "{moved}");
    assert!(
        store
            .remove_second_factor("a2", false, &audit("off"))
            .await
            .unwrap()
    );
    // With the account goes what belongs to it.
    assert!(store.delete_account("a1", &audit("gone")).await.unwrap());
    assert!(store.second_factor("a1").await.unwrap().is_none());
}

fn session(id: i128, account: &str, handle: &str, seen_ms: i64) -> Record {
    let signed_in = json!({
        "account_id": account, "name": "ann", "password_changed_at_ms": 1, "session": handle,
        "began_at_ms": 1, "proved_at_ms": 1, "address": "203.0.113.9", "browser": "curl/8",
    });
    let data = json!({"signed_in": signed_in, "renewed_at_ms": seen_ms});
    Record {
        id: Id(id),
        data: HashMap::from([("signed_in".to_owned(), data)]),
        expiry_date: SystemClock.now() + Duration::hours(1),
    }
}

#[tokio::test]
async fn sessions_are_found_by_account_and_ended_one_by_one() {
    let (_dir, store) = open().await;
    let sessions = store.sessions(Arc::new(SystemClock));
    for (id, account, handle, seen) in [
        (1, "a1", "s1", 10),
        (2, "a1", "s2", 30),
        (3, "a1", "s3", 20),
        (4, "a2", "s4", 10),
    ] {
        let mut record = session(id, account, handle, seen);
        sessions.create(&mut record).await.unwrap();
    }
    // Half a sign-in, and a session from before sessions had names.
    let mut half = session(5, "a1", "s5", 1);
    half.data = HashMap::from([("half_signed_in".to_owned(), json!({"account_id": "a1"}))]);
    sessions.create(&mut half).await.unwrap();
    let mut old = session(6, "a1", "s6", 1);
    let data = json!({"signed_in": {"account_id": "a1", "name": "ann", "password_changed_at_ms": 1}, "renewed_at_ms": 1});
    old.data = HashMap::from([("signed_in".to_owned(), data)]);
    sessions.create(&mut old).await.unwrap();

    let now = SystemClock.now();
    let listed = async |account: &str| {
        let found = store.sessions_of(account, now).await.unwrap();
        let names = found.into_iter().map(|found| found.signed_in.session);
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed("a1").await, ["s2", "s3", "s1", ""]);
    let end = async |account: &str, name: &str| {
        store
            .end_session(account, name, &audit("ended"))
            .await
            .unwrap()
    };
    assert!(!end("a2", "s1").await, "somebody else's");
    assert!(end("a1", "s1").await && !end("a1", "s1").await);
    assert!(sessions.load(&Id(1)).await.unwrap().is_none());
    let ended = store.end_other_sessions("a1", "s2", &audit("others")).await;
    assert_eq!(ended.unwrap(), 2);
    assert_eq!(listed("a1").await, ["s2"]);
    assert_eq!(listed("a2").await, ["s4"]);
    assert!(sessions.load(&Id(5)).await.unwrap().is_some());
    let later = now + Duration::hours(2);
    assert!(store.sessions_of("a1", later).await.unwrap().is_empty());
}
