use flukedeploy_domain::deployment::Queue;
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_platform::ports::{Store, StoreError};
use flukedeploy_store::SqliteStore;

use crate::support::*;

fn what(error: StoreError) -> String {
    match error {
        StoreError::Exists { what } | StoreError::Missing { what } => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_app_comes_back_as_it_was_created() {
    let (_dir, store) = open().await;
    let (app, environment) = app("shop", &["shop.example.com", "www.example.com"]);
    store
        .create_app(&app, &environment, &audit("create"))
        .await
        .unwrap();

    let shop = name("shop");
    let overview = store.app_overview(&shop).await.unwrap().unwrap();
    assert_eq!(overview.app, app);
    assert_eq!(overview.environments, std::slice::from_ref(&environment));
    assert_eq!(overview.latest, [None]);
    assert_eq!(store.app_overviews().await.unwrap(), [overview]);
    assert_eq!(store.app_names().await.unwrap(), [name("shop")]);
    assert_eq!(
        store.environment(&shop, &production()).await.unwrap(),
        Some(environment.clone())
    );
    assert_eq!(store.environments().await.unwrap(), [environment]);
    assert_eq!(audited(&store).await, 1);
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let (_dir, store) = open().await;
    let nobody = name("nobody");
    assert_eq!(store.app_overview(&nobody).await.unwrap(), None);
    assert_eq!(
        store.environment(&nobody, &production()).await.unwrap(),
        None
    );
    assert!(store.app_overviews().await.unwrap().is_empty());
    assert!(store.app_names().await.unwrap().is_empty());
    assert!(store.environments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_taken_name_changes_nothing() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let (again, mut environment) = app("shop", &[]);
    environment.settings.replicas = 9;
    let error = store
        .create_app(&again, &environment, &audit("again"))
        .await
        .unwrap_err();
    assert_eq!(what(error), "the app shop");
    let environments = store.environments().await.unwrap();
    assert_eq!(environments[0].settings.replicas, 1);
    assert_eq!(audited(&store).await, 1);
}

#[tokio::test]
async fn two_apps_cannot_claim_one_host() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &["shop.example.com"]).await;

    let (other, environment) = app("other", &["new.example.com", "shop.example.com"]);
    let error = store
        .create_app(&other, &environment, &audit("create"))
        .await
        .unwrap_err();
    assert_eq!(what(error), "the host shop.example.com (app shop)");
    // Nothing of the refused app is left: no row, no claim, no audit entry.
    assert_eq!(store.app_names().await.unwrap(), [name("shop")]);
    assert_eq!(audited(&store).await, 1);
    create_app(&store, "other", &["new.example.com"]).await;

    let error = store
        .change_settings(
            &name("other"),
            &production(),
            1,
            &settings(&["shop.example.com"]),
            &audit("claim"),
        )
        .await
        .unwrap_err();
    assert_eq!(what(error), "the host shop.example.com (app shop)");
    let (_, unchanged) = app("other", &["new.example.com"]);
    assert_eq!(
        store
            .environment(&name("other"), &production())
            .await
            .unwrap(),
        Some(unchanged)
    );
    assert_eq!(audited(&store).await, 2);
}

#[tokio::test]
async fn a_host_is_free_again_when_it_is_given_up() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &["a.example.com", "b.example.com"]).await;
    create_app(&store, "other", &[]).await;
    // Twice in one list is one claim.
    change(&store, "shop", 1, &["b.example.com", "b.example.com"])
        .await
        .unwrap();
    change(&store, "other", 1, &["a.example.com"])
        .await
        .unwrap();
    change(&store, "other", 2, &["b.example.com"])
        .await
        .unwrap_err();
    store
        .delete_app(&name("shop"), &audit("delete"))
        .await
        .unwrap();
    change(&store, "other", 2, &["b.example.com"])
        .await
        .unwrap();
}

async fn change(
    store: &SqliteStore,
    app: &str,
    seen: u64,
    domains: &[&str],
) -> Result<u64, StoreError> {
    store
        .change_settings(
            &name(app),
            &production(),
            seen,
            &settings(domains),
            &audit("change"),
        )
        .await
        .map(|environment| environment.settings_version)
}

#[tokio::test]
async fn settings_change_only_from_the_version_that_was_seen() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    assert_eq!(change(&store, "shop", 1, &[]).await.unwrap(), 2);
    let stale = change(&store, "shop", 1, &["shop.example.com"]).await;
    assert!(matches!(stale, Err(StoreError::Stale { current: 2 })));
    let ahead = change(&store, "shop", u64::MAX, &[]).await;
    assert!(matches!(ahead, Err(StoreError::Stale { current: 2 })));
    let absent = change(&store, "nobody", 1, &[]).await.unwrap_err();
    assert_eq!(what(absent), "the environment production of the app nobody");
    let environments = store.environments().await.unwrap();
    assert_eq!(environments[0].settings, settings(&[]));
    assert_eq!(audited(&store).await, 2);
}

#[tokio::test]
async fn deleting_an_app_takes_everything_of_it_and_nothing_else() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &["shop.example.com"]).await;
    create_app(&store, "other", &["other.example.com"]).await;
    let kept = open_deployment(&store, "other", 1).await;
    let gone = deployment("shop", 2);
    store
        .open_deployment(&gone, Queue::Wait, Some(("key", "hash")), &audit("deploy"))
        .await
        .unwrap();
    let release = store.create_release(&new_release(&gone)).await.unwrap();

    let shop = name("shop");
    store.delete_app(&shop, &audit("delete")).await.unwrap();
    assert_eq!(store.app_names().await.unwrap(), [name("other")]);
    assert_eq!(store.deployment(&gone.id).await.unwrap(), None);
    assert_eq!(
        store
            .release(&shop, &production(), release.number)
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.deployment(&kept.id).await.unwrap(), Some(kept));
    let mut db = raw(&dir.path()).await;
    for (table, rows) in [("hosts", 1), ("idempotency_keys", 0), ("environments", 1)] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap();
        assert_eq!(count, rows, "{table}");
    }

    let error = store.delete_app(&shop, &audit("twice")).await.unwrap_err();
    assert_eq!(what(error), "the app shop");
    assert_eq!(audited(&store).await, 5);
}

#[tokio::test]
async fn overviews_are_by_name_with_the_newest_deployment_of_each_environment() {
    let (_dir, store) = open().await;
    create_app(&store, "zebra", &[]).await;
    create_app(&store, "ant", &[]).await;
    create_app(&store, "cat", &[]).await;
    let (_, mut beside) = app("ant", &[]);
    beside.name = "staging".parse().unwrap();
    store
        .create_environment(&beside, &audit("create"))
        .await
        .unwrap();
    open_deployment(&store, "ant", 1).await;
    let newest = open_deployment(&store, "ant", 2).await;
    let mut staging = deployment("ant", 3);
    staging.environment = "staging".parse().unwrap();
    store
        .open_deployment(&staging, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap();
    let zebra = open_deployment(&store, "zebra", 4).await;

    let overviews = store.app_overviews().await.unwrap();
    let names: Vec<_> = overviews.iter().map(|it| it.app.name.as_str()).collect();
    assert_eq!(names, ["ant", "cat", "zebra"]);
    let environments: Vec<&EnvironmentName> = overviews[0]
        .environments
        .iter()
        .map(|it| &it.name)
        .collect();
    assert_eq!(
        environments,
        ["production", "staging"]
            .map(|it| it.parse().unwrap())
            .iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(overviews[0].latest, [Some(newest), Some(staging)]);
    assert_eq!(overviews[1].latest, [None]);
    assert_eq!(overviews[2].latest, [Some(zebra)]);
    for overview in overviews {
        let alone = store.app_overview(&overview.app.name).await.unwrap();
        assert_eq!(alone, Some(overview));
    }
}
