use flukedeploy_domain::access::Tier;
use flukedeploy_platform::ports::{Account, Store, StoreError, StoredToken};
use time::Duration;

use crate::support::*;

fn account(id: &str, name: &str) -> Account {
    Account {
        id: id.to_owned(),
        name: name.to_owned(),
        password_hash: "$argon2id$v=19$first".to_owned(),
        tier: Tier::Admin,
        created_at: NOW,
        password_changed_at: NOW,
        display_name: None,
        disabled_at: None,
        has_second_factor: false,
    }
}

fn token(id: &str) -> StoredToken {
    StoredToken {
        id: id.to_owned(),
        name: format!("token {id}"),
        persona: Some("OPERATOR".to_owned()),
        tier: Tier::Extended,
        secret_hash: "ab".repeat(32),
        created_at: NOW,
        created_by: "a1".to_owned(),
        owner: None,
        expires_at: Some(NOW + Duration::days(30)),
        revoked_at: None,
        last_used_at: None,
        maker: None,
        is_narrowed: false,
        limits: flukedeploy_domain::access::Limits::default(),
    }
}

#[tokio::test]
async fn the_first_account_is_made_once() {
    let (_dir, store) = open().await;
    assert!(!store.has_accounts().await.unwrap());
    let ada = account("a1", "ada");
    store
        .create_account(&ada, true, &audit("first"))
        .await
        .unwrap();
    assert!(store.has_accounts().await.unwrap());
    assert!(store.account("a1").await.unwrap() == Some(ada.clone()));
    assert!(store.account_by_name("ada").await.unwrap() == Some(ada));
    assert!(store.account("ada").await.unwrap().is_none());
    assert!(store.account_by_name("a1").await.unwrap().is_none());

    for (other, first) in [
        (account("a2", "bob"), true),
        (account("a2", "ada"), false),
        (account("a1", "bob"), false),
    ] {
        let error = store
            .create_account(&other, first, &audit("second"))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    }
    assert!(store.account_by_name("bob").await.unwrap().is_none());
    assert_eq!(audited(&store).await, 1);
    store
        .create_account(&account("a2", "bob"), false, &audit("second"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_password_has_the_time_of_its_audit_entry() {
    let (_dir, store) = open().await;
    store
        .create_account(&account("a1", "ada"), true, &audit("first"))
        .await
        .unwrap();
    let mut change = audit("password");
    change.at = NOW + Duration::hours(1);
    store
        .set_password("a1", "$argon2id$v=19$second", &change)
        .await
        .unwrap();
    let ada = store.account("a1").await.unwrap().unwrap();
    assert_eq!(ada.password_hash, "$argon2id$v=19$second");
    assert_eq!(ada.password_changed_at, change.at);
    assert_eq!(ada.created_at, NOW);
    let error = store
        .set_password("nobody", "$argon2id$", &change)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert_eq!(audited(&store).await, 2);
}

#[tokio::test]
async fn tokens_are_listed_newest_first_and_revoked_once() {
    let (_dir, store) = open().await;
    for id in ["t1", "t2"] {
        store
            .create_token(&token(id), &[], &audit("create"))
            .await
            .unwrap();
    }
    assert!(store.token("t1").await.unwrap() == Some(token("t1")));
    assert!(store.token("t3").await.unwrap().is_none());
    let error = store
        .create_token(&token("t1"), &[], &audit("again"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");

    let at = NOW + Duration::minutes(5);
    let revoke = audit("revoke");
    assert!(store.revoke_token("t1", at, &revoke).await.unwrap());
    assert!(!store.revoke_token("t1", NOW, &revoke).await.unwrap());
    assert!(!store.revoke_token("t3", at, &revoke).await.unwrap());
    let tokens = store.tokens().await.unwrap();
    let listed: Vec<_> = tokens
        .iter()
        .map(|token| (token.id.as_str(), token.revoked_at))
        .collect();
    assert_eq!(listed, [("t2", None), ("t1", Some(at))]);
    assert_eq!(audited(&store).await, 3);
}

#[tokio::test]
async fn the_last_use_is_kept_to_the_minute_and_never_goes_back() {
    let (_dir, store) = open().await;
    store
        .create_token(&token("t1"), &[], &audit("create"))
        .await
        .unwrap();
    for (at, kept) in [(0, 0), (59, 0), (60, 60), (30, 60), (600, 600)] {
        store
            .touch_token("t1", NOW + Duration::seconds(at))
            .await
            .unwrap();
        let token = store.token("t1").await.unwrap().unwrap();
        assert_eq!(token.last_used_at, Some(NOW + Duration::seconds(kept)));
    }
    store.touch_token("nobody", NOW).await.unwrap();
}
