use flukedeploy_domain::app::{Environment, Volume};
use flukedeploy_domain::deployment::Queue;
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_platform::ports::{LeftoverVolume, Store, StoreError};
use flukedeploy_store::SqliteStore;
use time::Duration;

use crate::support::*;

fn staging() -> EnvironmentName {
    "staging".parse().unwrap()
}

fn staging_of(app_name: &str) -> Environment {
    let (_, production) = app(app_name, &[]);
    Environment {
        name: staging(),
        ..production
    }
}

fn what(error: StoreError) -> String {
    match error {
        StoreError::Exists { what } | StoreError::Missing { what } => what,
        other => panic!("{other:?}"),
    }
}

fn volume(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        path: format!("/{name}"),
        shared: false,
    }
}

async fn create(store: &SqliteStore, environment: &Environment) -> Result<(), StoreError> {
    store.create_environment(environment, &audit("make")).await
}

#[tokio::test]
async fn one_comes_back_as_it_was_created_with_its_end() {
    let (_dir, store) = open().await;
    let missing = create(&store, &staging_of("shop")).await.unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }));
    create_app(&store, "shop", &[]).await;
    let mut made = staging_of("shop");
    made.expires_at = Some(NOW + Duration::hours(1));
    create(&store, &made).await.unwrap();
    let shop = name("shop");
    let kept = store.environment(&shop, &staging()).await.unwrap();
    assert_eq!(kept, Some(made.clone()));
    let overview = store.app_overview(&shop).await.unwrap().unwrap();
    assert_eq!(overview.environments.len(), 2);
    assert!(matches!(
        create(&store, &made).await,
        Err(StoreError::Exists { .. })
    ));
    store
        .set_expiry(&shop, &staging(), None, &audit("keep"))
        .await
        .unwrap();
    let kept = store.environment(&shop, &staging()).await.unwrap();
    assert_eq!(kept.unwrap().expires_at, None);
}

#[tokio::test]
async fn two_never_share_an_address_whoever_comes_first() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "shop-staging", &[]).await;
    let taken = what(create(&store, &staging_of("shop")).await.unwrap_err());
    assert!(taken.contains("shop-staging"), "{taken}");
    create_app(&store, "blog", &[]).await;
    create(&store, &staging_of("blog")).await.unwrap();
    let (second, environment) = app("blog-staging", &[]);
    let refused = store
        .create_app(&second, &environment, &audit("make"))
        .await
        .unwrap_err();
    assert!(what(refused).contains("environment staging"));
    // Nothing of it stayed.
    assert_eq!(store.app_names().await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_goes_leaves_its_volumes_to_be_removed_and_nothing_else() {
    let (_dir, store) = open().await;
    let shop = name("shop");
    create_app(&store, "shop", &[]).await;
    let mut made = staging_of("shop");
    made.settings.volumes = vec![volume("data")];
    create(&store, &made).await.unwrap();
    // A deployment that never came to an end mounts another one.
    let mut with_cache = deployment("shop", 1);
    with_cache.environment = staging();
    with_cache.settings.volumes = vec![volume("data"), volume("cache")];
    store
        .open_deployment(&with_cache, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap();

    let delete = async |environment: EnvironmentName, over_at| {
        let audit = audit("end");
        store
            .delete_environment(&shop, &environment, over_at, &audit)
            .await
            .unwrap()
    };
    assert!(!delete(staging(), Some(NOW)).await, "it has no end");
    assert!(store.leftover_volumes().await.unwrap().is_empty());
    let before = audited(&store).await;
    assert!(delete(staging(), None).await);
    assert_eq!(audited(&store).await, before + 1);
    assert!(!delete(production(), None).await);
    assert_eq!(store.deployment(&with_cache.id).await.unwrap(), None);

    let left = store.leftover_volumes().await.unwrap();
    let names: Vec<_> = left.iter().map(|left| left.volume.as_str()).collect();
    assert_eq!(names, ["cache", "data"]);
    // A new one of that name would get them; it has to wait.
    assert!(matches!(
        create(&store, &made).await,
        Err(StoreError::Exists { .. })
    ));
    for volume in &left {
        store.forget_leftover_volume(volume).await.unwrap();
    }
    create(&store, &made).await.unwrap();
}

#[tokio::test]
async fn a_deleted_app_keeps_its_volumes_but_not_those_of_its_previews() {
    let (_dir, store) = open().await;
    let (shop, mut production) = app("shop", &[]);
    production.settings.volumes = vec![volume("data")];
    store
        .create_app(&shop, &production, &audit("make"))
        .await
        .unwrap();
    let mut preview = staging_of("shop");
    preview.settings.volumes = vec![volume("data")];
    preview.expires_at = Some(NOW + Duration::hours(1));
    create(&store, &preview).await.unwrap();
    store.delete_app(&shop.name, &audit("end")).await.unwrap();
    assert_eq!(
        store.leftover_volumes().await.unwrap(),
        [LeftoverVolume {
            app: name("shop"),
            environment: staging(),
            volume: "data".to_owned(),
        }]
    );
}
