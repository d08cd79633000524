use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{Store, StoreError};

use crate::support::*;

#[tokio::test]
async fn numbers_count_up_per_environment_and_are_never_given_twice() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "other", &[]).await;
    let first = open_deployment(&store, "shop", 1).await;
    let second = open_deployment(&store, "shop", 2).await;
    let third = open_deployment(&store, "shop", 3).await;
    let elsewhere = open_deployment(&store, "other", 4).await;

    let new = new_release(&first);
    let release = store.create_release(&new).await.unwrap();
    assert_eq!(release.number, ReleaseNo(1));
    assert_eq!(
        (&release.image, &release.settings, &release.version),
        (&new.image, &new.settings, &new.version)
    );
    assert_eq!((release.created_at, release.was_healthy), (NOW, false));
    // A restart asks again.
    assert_eq!(store.create_release(&new).await.unwrap(), release);
    let second = store.create_release(&new_release(&second)).await.unwrap();
    assert_eq!(second.number, ReleaseNo(2));
    let elsewhere = store
        .create_release(&new_release(&elsewhere))
        .await
        .unwrap();
    assert_eq!(elsewhere.number, ReleaseNo(1));

    sqlx::query("DELETE FROM releases WHERE number = 2")
        .execute(&mut raw(&dir.path()).await)
        .await
        .unwrap();
    let third = store.create_release(&new_release(&third)).await.unwrap();
    assert_eq!(third.number, ReleaseNo(3));

    let (shop, production) = (name("shop"), production());
    assert_eq!(
        store
            .release(&shop, &production, ReleaseNo(1))
            .await
            .unwrap(),
        Some(release.clone())
    );
    assert_eq!(
        store
            .release(&shop, &production, ReleaseNo(2))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        store.releases(&shop, &production, 10).await.unwrap(),
        [third.clone(), release]
    );
    assert_eq!(
        store.releases(&shop, &production, 1).await.unwrap(),
        [third]
    );
}

#[tokio::test]
async fn the_active_release_is_marked_healthy() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let deployment = open_deployment(&store, "shop", 1).await;
    let number = store
        .create_release(&new_release(&deployment))
        .await
        .unwrap()
        .number;
    let (shop, production) = (name("shop"), production());
    let active = async || {
        let environment = store.environment(&shop, &production).await.unwrap();
        environment.unwrap().active_release
    };
    assert_eq!(active().await, None);
    store
        .switch_release(&shop, &production, &switch(Some(number)))
        .await
        .unwrap();
    assert_eq!(active().await, Some(number));

    // One that does not exist is refused, and what serves stays.
    let error = store
        .switch_release(&shop, &production, &switch(Some(ReleaseNo(9))))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert_eq!(active().await, Some(number));

    store
        .switch_release(&shop, &production, &switch(None))
        .await
        .unwrap();
    assert_eq!(active().await, None);
    let release = store.release(&shop, &production, number).await.unwrap();
    assert!(release.unwrap().was_healthy);
    let error = store
        .switch_release(&name("nobody"), &production, &switch(None))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn a_release_needs_its_deployment() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let error = store
        .create_release(&new_release(&deployment("shop", 1)))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    // No number was used up.
    let deployment = open_deployment(&store, "shop", 2).await;
    let release = store.create_release(&new_release(&deployment)).await;
    assert_eq!(release.unwrap().number, ReleaseNo(1));
}
