use flukedeploy_domain::deployment::{Deployment, Event, PhaseName, State};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::webhook::{
    Attempt, Delivery, DeliveryStatus, Events, Webhook, WebhookEvent, WebhookId,
};
use flukedeploy_platform::ports::{Store, StoreError, Switch};
use flukedeploy_store::SqliteStore;
use serde_json::Value;
use time::Duration;

use crate::support::*;

fn webhook(number: u64) -> Webhook {
    Webhook {
        id: WebhookId::new(number),
        url: "https://hooks.example.com/in".parse().unwrap(),
        secret: "0123456789abcdef".to_owned(),
        events: Events::All,
        app: None,
        active: true,
        created_at: NOW + Duration::seconds(i64::try_from(number).unwrap()),
    }
}

async fn listen(store: &SqliteStore, webhook: &Webhook) {
    store.create_webhook(webhook, &audit("hook")).await.unwrap();
}

/// Oldest first.
async fn queue_of(store: &SqliteStore, webhook: &Webhook) -> Vec<Delivery> {
    let mut deliveries = store.deliveries(&webhook.id, 500).await.unwrap();
    deliveries.reverse();
    deliveries
}

async fn told(store: &SqliteStore, webhook: &Webhook) -> Vec<&'static str> {
    let queue = queue_of(store, webhook).await;
    queue
        .iter()
        .map(|delivery| delivery.event.as_str())
        .collect()
}

async fn step(store: &SqliteStore, deployment: &mut Deployment, event: Event) {
    deployment
        .apply(event, deployment.initiated_at + Duration::seconds(1))
        .unwrap();
    store.save_deployment(deployment).await.unwrap();
}

fn diagnosis(code: Cause) -> Diagnosis {
    Diagnosis {
        code,
        phase: PhaseName::PreBuild,
        message: "it failed".to_owned(),
        evidence: Evidence {
            untrusted_output: vec!["PASSWORD=hunter2".to_owned()],
            engine_message: Some("hunter3".to_owned()),
            ..Evidence::default()
        },
        next: Vec::new(),
    }
}

fn failed(status: u16) -> Attempt {
    Attempt::Failed {
        status: Some(status),
        why: format!("it answered {status}"),
        hopeless: false,
    }
}

#[tokio::test]
async fn what_happens_is_queued_for_those_who_listen_and_in_order() {
    let (_dir, store) = open().await;
    let (all, mut some, mut other) = (webhook(1), webhook(2), webhook(3));
    some.events = Events::of_names(["deployment.failed", "app.deleted"]).unwrap();
    other.app = Some(name("other"));
    for webhook in [&all, &some, &other] {
        listen(&store, webhook).await;
    }
    create_app(&store, "shop", &[]).await;
    let mut first = open_deployment(&store, "shop", 1).await;
    step(&store, &mut first, Event::Started).await;
    for _ in 0..5 {
        step(&store, &mut first, Event::PhaseDone).await;
    }
    assert_eq!(first.state, State::Success);
    let mut second = open_deployment(&store, "shop", 2).await;
    step(&store, &mut second, Event::Started).await;
    step(
        &store,
        &mut second,
        Event::PhaseFailed(diagnosis(Cause::BuildFailed)),
    )
    .await;
    let mut third = open_deployment(&store, "shop", 3).await;
    step(
        &store,
        &mut third,
        Event::PhaseFailed(diagnosis(Cause::Cancelled)),
    )
    .await;
    let mut staging = app("shop", &[]).1;
    staging.name = "staging".parse().unwrap();
    let (shop, entry) = (name("shop"), audit("staging"));
    store.create_environment(&staging, &entry).await.unwrap();
    let gone = store.delete_environment(&shop, &staging.name, None, &entry);
    assert!(gone.await.unwrap());
    store.delete_app(&shop, &audit("delete")).await.unwrap();

    assert_eq!(
        told(&store, &all).await,
        [
            "app.created",
            "deployment.started",
            "deployment.succeeded",
            "deployment.started",
            "deployment.failed",
            "deployment.cancelled",
            "environment.created",
            "environment.deleted",
            "app.deleted",
        ]
    );
    assert_eq!(
        told(&store, &some).await,
        ["deployment.failed", "app.deleted"]
    );
    assert_eq!(told(&store, &other).await, [""; 0]);

    let failure = &queue_of(&store, &some).await[0];
    let sent = store.outbound(&failure.id).await.unwrap().unwrap();
    assert_eq!(sent.webhook, some);
    let body: Value = serde_json::from_str(&sent.body).unwrap();
    assert_eq!(body["event"], "deployment.failed");
    assert_eq!(body["delivery_id"], failure.id.as_str());
    assert_eq!(body["timestamp"], "2026-02-04T10:13:23.123Z");
    assert_eq!(body["data"]["app_name"], "shop");
    assert_eq!(body["data"]["status"], "failed");
    assert_eq!(body["data"]["diagnosis"]["code"], "build_failed");
    for secret in ["hunter", "Gott", "0123456789abcdef"] {
        assert!(!sent.body.contains(secret), "{}", sent.body);
    }
}

#[tokio::test]
async fn a_withdrawn_release_is_told() {
    let (_dir, store) = open().await;
    let hook = webhook(1);
    listen(&store, &hook).await;
    create_app(&store, "shop", &[]).await;
    let deployment = open_deployment(&store, "shop", 1).await;
    let release = store
        .create_release(&new_release(&deployment))
        .await
        .unwrap();
    let probation = flukedeploy_domain::app::Probation {
        deployment: deployment.id.clone(),
        release: release.number,
        until: NOW,
        former_errors_permille: None,
    };
    let switch = Switch {
        active: Some(release.number),
        standby: None,
        probation: Some(probation),
    };
    let (shop, production) = (name("shop"), production());
    store
        .switch_release(&shop, &production, &switch)
        .await
        .unwrap();
    store
        .end_probation(
            &shop,
            &production,
            &deployment.id,
            Some("9 of 10 requests failed"),
        )
        .await
        .unwrap();
    assert_eq!(
        told(&store, &hook).await,
        ["app.created", "release.withdrawn"]
    );
    let told = &queue_of(&store, &hook).await[1];
    let body = store.outbound(&told.id).await.unwrap().unwrap().body;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["release"], 1);
    assert_eq!(body["data"]["reason"], "9 of 10 requests failed");
}

#[tokio::test]
async fn what_was_not_stored_is_not_told() {
    let (_dir, store) = open().await;
    let hook = webhook(1);
    listen(&store, &hook).await;
    create_app(&store, "shop", &[]).await;
    let mut deployment = open_deployment(&store, "shop", 1).await;
    step(&store, &mut deployment, Event::Started).await;
    assert!(
        store
            .request_cancel(&deployment.id, &audit("stop"))
            .await
            .unwrap()
    );
    deployment.state = State::Success;
    let refused = store.save_deployment(&deployment).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::CancelRequested),
        "{refused:?}"
    );
    let (app, environment) = app("shop", &[]);
    let again = store.create_app(&app, &environment, &audit("again")).await;
    assert!(again.is_err());
    assert_eq!(
        told(&store, &hook).await,
        ["app.created", "deployment.started"]
    );
}

#[tokio::test]
async fn only_the_first_of_a_queue_is_offered_until_it_is_over() {
    let (_dir, store) = open().await;
    let (one, two) = (webhook(1), webhook(2));
    listen(&store, &one).await;
    listen(&store, &two).await;
    for app in ["a", "b", "c"] {
        create_app(&store, app, &[]).await;
    }
    let offered = || async {
        let mut waiting = store.waiting_deliveries().await.unwrap();
        waiting.sort_by(|a, b| a.webhook.cmp(&b.webhook));
        waiting
            .into_iter()
            .map(|first| (first.delivery.to_string(), first.due_at))
            .collect::<Vec<_>>()
    };
    let id = |webhook: &Webhook, number: i64| format!("{}-{number}", webhook.id);
    assert_eq!(offered().await, [(id(&one, 1), NOW), (id(&two, 1), NOW)]);

    let mut queue = queue_of(&store, &one).await;
    queue[0].tried(failed(500), NOW, 0);
    store.save_delivery(&queue[0]).await.unwrap();
    let later = NOW + Duration::seconds(5);
    assert_eq!(offered().await[0], (id(&one, 1), later));
    queue[0].tried(Attempt::Accepted { status: 200 }, later, 0);
    store.save_delivery(&queue[0]).await.unwrap();
    assert_eq!(offered().await[0], (id(&one, 2), NOW));
    assert_eq!(queue_of(&store, &one).await[0], queue[0]);
    assert_eq!(store.outbound(&queue[0].id).await.unwrap(), None);

    // A repeat waits behind what has not been told at all.
    let mut again = audit("again");
    again.at = NOW + Duration::hours(1);
    let repeat = store
        .resend_delivery(&queue[0].id, &again)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (repeat.status, repeat.attempts),
        (DeliveryStatus::Pending, 0)
    );
    assert_eq!((repeat.created_at, repeat.queued_at), (NOW, again.at));
    assert_eq!(offered().await[0], (id(&one, 2), NOW));
    // An answer that comes late does not undo that.
    store.save_delivery(&queue[0]).await.unwrap();
    assert_eq!(queue_of(&store, &one).await.last(), Some(&repeat));
    // One that waits anyway is only tried sooner.
    queue[1].tried(failed(503), NOW, 0);
    store.save_delivery(&queue[1]).await.unwrap();
    let hurried = store
        .resend_delivery(&queue[1].id, &again)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((hurried.sequence, hurried.attempts), (queue[1].sequence, 1));
    assert_eq!(hurried.next_attempt_at, Some(again.at));
    let unknown = id(&one, 99).parse().unwrap();
    assert_eq!(store.resend_delivery(&unknown, &again).await.unwrap(), None);
}

#[tokio::test]
async fn what_waits_is_dropped_with_the_switch_and_goes_with_the_webhook() {
    let (_dir, store) = open().await;
    let hook = webhook(1);
    listen(&store, &hook).await;
    create_app(&store, "shop", &[]).await;
    let before = audited(&store).await;
    let entry = audit("off");
    let off = store.change_webhook(&hook.id, false, &Events::All, &entry);
    assert!(off.await.unwrap());
    assert_eq!(audited(&store).await, before + 1);
    create_app(&store, "other", &[]).await;
    let queue = queue_of(&store, &hook).await;
    assert_eq!((queue.len(), queue[0].status), (1, DeliveryStatus::Dropped));
    assert_eq!(
        queue[0].last_error.as_deref(),
        Some("the webhook was turned off")
    );
    assert!(store.waiting_deliveries().await.unwrap().is_empty());

    let only = Events::Only([WebhookEvent::AppDeleted].into());
    assert!(
        store
            .change_webhook(&hook.id, true, &only, &audit("on"))
            .await
            .unwrap()
    );
    let found = store.webhook(&hook.id).await.unwrap().unwrap();
    assert_eq!((found.active, found.events), (true, only));
    let test = store.queue_test(&hook.id, &audit("test")).await.unwrap();
    assert_eq!((test.event, test.sequence), (WebhookEvent::Test, 2));

    assert!(
        store
            .delete_webhook(&hook.id, &audit("gone"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .delete_webhook(&hook.id, &audit("gone"))
            .await
            .unwrap()
    );
    assert_eq!(queue_of(&store, &hook).await, []);
    assert!(store.queue_test(&hook.id, &audit("test")).await.is_err());
}

#[tokio::test]
async fn old_deliveries_expire_unless_they_wait() {
    let (_dir, store) = open().await;
    let hook = webhook(1);
    listen(&store, &hook).await;
    create_app(&store, "a", &[]).await;
    create_app(&store, "b", &[]).await;
    let mut queue = queue_of(&store, &hook).await;
    queue[0].tried(Attempt::Accepted { status: 200 }, NOW, 0);
    store.save_delivery(&queue[0]).await.unwrap();
    assert_eq!(store.expire_deliveries(NOW).await.unwrap(), 0);
    let later = NOW + Duration::seconds(1);
    assert_eq!(store.expire_deliveries(later).await.unwrap(), 1);
    assert_eq!(queue_of(&store, &hook).await, queue[1..]);
    // Numbers are never given twice.
    create_app(&store, "c", &[]).await;
    assert_eq!(queue_of(&store, &hook).await[1].sequence, 3);
}

#[tokio::test]
async fn there_may_be_a_hundred_webhooks() {
    let (_dir, store) = open().await;
    for number in 0..100 {
        listen(&store, &webhook(number)).await;
    }
    let more = store.create_webhook(&webhook(100), &audit("hook")).await;
    assert!(matches!(more, Err(StoreError::Exists { .. })), "{more:?}");
    let listed = store.webhooks().await.unwrap();
    assert_eq!(listed.len(), 100);
    assert!(listed.is_sorted_by_key(|webhook| webhook.created_at));
}
