use flukedeploy_domain::deployment::Queue;
use std::collections::BTreeSet;

use flukedeploy_platform::ports::{Store, StoreError};
use flukedeploy_store::{AuditVerdict, SqliteStore};
use tokio::task::JoinSet;

use crate::support::*;

const WRITERS: u32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_writers_over_two_processes_worth_of_connections() {
    let (dir, store) = open().await;
    let second = SqliteStore::open(&dir.path()).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let store = if number % 2 == 0 { &store } else { &second }.clone();
        tasks.spawn(async move {
            let app = format!("app-{number}");
            create_app(&store, &app, &[]).await;
            let deployment = open_deployment(&store, &app, number).await;
            store.create_release(&new_release(&deployment)).await?;
            store.app_overview(&name(&app)).await?;
            Ok::<_, StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(store.app_names().await.unwrap().len(), 100);
    assert!(matches!(
        store.verify_audit().await.unwrap(),
        AuditVerdict::Intact { entries: 200, .. }
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_sent_a_hundred_times_at_once_makes_one_deployment() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            store
                .open_deployment(
                    &deployment("shop", number),
                    Queue::Wait,
                    Some(("key", "hash")),
                    &audit("deploy"),
                )
                .await
                .unwrap()
        });
    }
    let mut made = 0;
    while let Some(opened) = tasks.join_next().await {
        made += u32::from(opened.unwrap() == NEW);
    }
    assert_eq!(made, 1);
    assert_eq!(store.recent_deployments(100).await.unwrap().len(), 1);
    assert_eq!(audited(&store).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn releases_made_at_once_have_numbers_without_gap_or_double() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let deployment = open_deployment(&store, "shop", number).await;
            let release = store.create_release(&new_release(&deployment)).await;
            release.unwrap().number.0
        });
    }
    let mut numbers = BTreeSet::new();
    while let Some(number) = tasks.join_next().await {
        numbers.insert(number.unwrap());
    }
    assert_eq!(numbers, (1..=WRITERS).collect());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let (_dir, store) = open().await;
    for number in 0..20_u32 {
        let (app, environment) = app(&format!("app-{number}"), &[]);
        let entry = audit("create");
        let mut future = store.create_app(&app, &environment, &entry);
        // Some way into the transaction, a little further each time.
        for _ in 0..number {
            if tokio::time::timeout(std::time::Duration::from_micros(200), &mut future)
                .await
                .is_ok()
            {
                break;
            }
        }
    }
    create_app(&store, "last", &[]).await;
    let apps = store.app_overviews().await.unwrap();
    assert!(apps.iter().all(|app| app.environments.len() == 1));
    assert_eq!(audited(&store).await, apps.len());
}
