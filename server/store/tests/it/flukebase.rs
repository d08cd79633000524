//! What waits for `FlukeBase` is written with the step that it tells about, and leaves in order.

use std::collections::BTreeMap;

use flukedeploy_domain::deployment::{PhaseName, Queue, State};
use flukedeploy_domain::flukebase::{
    Attempt, Binding, Message, MessageStatus, ProjectId, TaskStatus, Waiting,
};
use flukedeploy_platform::ports::{FlukebaseEffect, FlukebaseMemory as _, Store as _};
use flukedeploy_store::SqliteStore;
use time::Duration;

use crate::support::*;

fn project(number: i64) -> ProjectId {
    ProjectId::new(number).unwrap()
}

async fn bind(store: &SqliteStore, app: &str, number: i64) {
    let binding = Binding {
        project_id: project(number),
        variables: false,
    };
    let on = FlukebaseEffect {
        is_on: true,
        other_apps: None,
    };
    let settings = store.flukebase_settings().await.unwrap();
    let bindings = BTreeMap::from([(name(app), Some(binding))]);
    store
        .put_flukebase(&settings, on, &bindings, None)
        .await
        .unwrap();
}

async fn open_one(store: &SqliteStore, app: &str, number: u32) {
    let wanted = deployment(app, number);
    store
        .open_deployment(&wanted, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap();
}

fn status(waiting: &Waiting) -> TaskStatus {
    match &waiting.message {
        Message::Task(news) => news.status,
        other => panic!("{other:?}"),
    }
}

async fn end_first(store: &SqliteStore, attempt: Attempt) -> Waiting {
    let first = store.flukebase_waiting().await.unwrap().remove(0);
    let ending = first.tried(attempt, NOW, 0);
    store
        .end_flukebase(first.sequence, &ending, NOW)
        .await
        .unwrap();
    first
}

#[tokio::test]
async fn each_project_has_an_order_of_its_own_and_nothing_is_queued_twice() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "blog", &[]).await;
    create_app(&store, "nobody", &[]).await;
    bind(&store, "shop", 7).await;
    bind(&store, "blog", 8).await;
    for (app, number) in [("shop", 1), ("blog", 2), ("nobody", 3)] {
        open_one(&store, app, number).await;
    }
    let waiting = store.flukebase_waiting().await.unwrap();
    let projects: Vec<i64> = waiting.iter().map(|one| one.project.number()).collect();
    assert_eq!(projects, [7, 8]);

    let mut wanted = deployment("shop", 1);
    for phase in [PhaseName::PreBuild, PhaseName::Build, PhaseName::PreDeploy] {
        wanted.state = State::Running { phase };
        store.save_deployment(&wanted).await.unwrap();
        // Stored once more, as after a crash.
        store.save_deployment(&wanted).await.unwrap();
    }
    assert_eq!(
        status(&end_first(&store, Attempt::Delivered).await),
        TaskStatus::Pending
    );
    assert_eq!(
        status(&end_first(&store, Attempt::Delivered).await),
        TaskStatus::InProgress
    );
    let left = store.flukebase_waiting().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].project, project(8));
    let counts = store.flukebase_counts().await.unwrap();
    assert_eq!(counts.by_status[&MessageStatus::Delivered], 2);
    assert_eq!(counts.by_status[&MessageStatus::Waiting], 1);
    assert_eq!(
        store
            .expire_flukebase(NOW + Duration::days(9))
            .await
            .unwrap(),
        2
    );
}

#[tokio::test]
async fn what_failed_waits_and_what_was_refused_makes_way() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    bind(&store, "shop", 7).await;
    open_one(&store, "shop", 1).await;
    open_one(&store, "shop", 2).await;
    let why = || "it failed".to_owned();
    let first = end_first(&store, Attempt::Faulty { why: why() }).await;
    let again = store.flukebase_waiting().await.unwrap().remove(0);
    assert_eq!((again.sequence, again.attempts), (first.sequence, 1));
    assert!(again.due_at > NOW);
    end_first(&store, Attempt::Refused { why: why() }).await;
    let next = store.flukebase_waiting().await.unwrap().remove(0);
    assert!(next.sequence > first.sequence);
    let counts = store.flukebase_counts().await.unwrap();
    assert_eq!(counts.last_error.as_deref(), Some("it failed"));
}

#[tokio::test]
async fn a_binding_goes_with_its_app_and_turned_off_nothing_is_queued() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    bind(&store, "shop", 7).await;
    let settings = store.flukebase_settings().await.unwrap();
    let off = FlukebaseEffect::default();
    store
        .put_flukebase(&settings, off, &BTreeMap::new(), None)
        .await
        .unwrap();
    open_one(&store, "shop", 1).await;
    assert!(store.flukebase_waiting().await.unwrap().is_empty());
    store
        .delete_app(&name("shop"), &audit("delete"))
        .await
        .unwrap();
    assert!(store.flukebase_bindings().await.unwrap().is_empty());
}
