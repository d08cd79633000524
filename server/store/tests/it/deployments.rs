use std::collections::BTreeSet;

use flukedeploy_domain::deployment::rollout::Progress;
use flukedeploy_domain::deployment::{
    Deployment, Event, HealthStatus, PhaseName, Queue, Source, State,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{Opened, Store, StoreError};
use time::Duration;

use crate::support::*;

fn diagnosis() -> Diagnosis {
    Diagnosis {
        code: Cause::ExitedWithCode,
        phase: PhaseName::Deploy,
        message: "the app ended with code 1".to_owned(),
        evidence: Evidence {
            exit_code: Some(1),
            untrusted_output: vec!["panic: \"ü\"".to_owned()],
            ..Evidence::default()
        },
        next: vec!["look at the log".to_owned()],
    }
}

fn ids(deployments: &[Deployment]) -> Vec<&str> {
    deployments.iter().map(|it| it.id.as_str()).collect()
}

#[tokio::test]
async fn a_deployment_comes_back_as_it_was_at_every_step() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut deployment = deployment("shop", 1);
    deployment.reason = Some("it's time; DROP TABLE apps".to_owned());
    let opened = store
        .open_deployment(&deployment, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap();
    assert_eq!(opened, NEW);

    let mut now = NOW;
    let mut events = vec![Event::Started];
    events.extend([const { Event::PhaseDone }; 3]);
    events.push(Event::PhaseFailed(diagnosis()));
    events.push(Event::Returned {
        serving: Some(ReleaseNo(4)),
    });
    for event in events {
        let stored = store.deployment(&deployment.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&deployment));
        assert_eq!(store.unfinished_deployments().await.unwrap().len(), 1);
        now += Duration::milliseconds(1_001);
        deployment.apply(event, now).unwrap();
        deployment.image = Some(image());
        deployment.release = Some(ReleaseNo(5));
        deployment.from_release = Some(ReleaseNo(4));
        deployment.replicas_ready += 1;
        deployment.health_status = HealthStatus::Unhealthy;
        deployment.settings.replicas = 7;
        deployment.progress = Progress {
            step: deployment.progress.step + 1,
            touched: true,
            activated: false,
            former: Some(2),
            ..Progress::default()
        };
        store.save_deployment(&deployment).await.unwrap();
    }
    assert!(matches!(deployment.state, State::RolledBack { .. }));
    let stored = store.deployment(&deployment.id).await.unwrap();
    assert_eq!(stored.as_ref(), Some(&deployment));
    assert!(store.unfinished_deployments().await.unwrap().is_empty());
    assert_eq!(store.completed_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_rollback_to_a_release_comes_back() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut deployment = deployment("shop", 1);
    deployment.source = Source::Release {
        number: ReleaseNo(3),
        because: Some(Box::new(diagnosis())),
    };
    deployment.version = None;
    store
        .open_deployment(&deployment, Queue::Wait, None, &audit("rollback"))
        .await
        .unwrap();
    assert_eq!(
        store.deployment(&deployment.id).await.unwrap(),
        Some(deployment)
    );
}

#[tokio::test]
async fn a_deployment_needs_its_environment_and_a_new_id() {
    let (_dir, store) = open().await;
    let orphan = deployment("shop", 1);
    let error = store
        .open_deployment(
            &orphan,
            Queue::Wait,
            Some(("key", "hash")),
            &audit("deploy"),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    let error = store.save_deployment(&orphan).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert_eq!(audited(&store).await, 0);

    create_app(&store, "shop", &[]).await;
    let stored = open_deployment(&store, "shop", 1).await;
    let error = store
        .open_deployment(&stored, Queue::Wait, None, &audit("deploy"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
}

#[tokio::test]
async fn saving_leaves_a_request_to_cancel_alone() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut deployment = open_deployment(&store, "shop", 1).await;
    let cancel = audit("cancel");
    assert!(store.request_cancel(&deployment.id, &cancel).await.unwrap());
    // The runner did not see the request yet.
    deployment.apply(Event::Started, NOW).unwrap();
    store.save_deployment(&deployment).await.unwrap();
    let stored = store.deployment(&deployment.id).await.unwrap().unwrap();
    assert!(stored.cancel_requested);
    assert_eq!(stored.state, deployment.state);
    // Asking again changes nothing, so it is written down once.
    assert!(store.request_cancel(&deployment.id, &cancel).await.unwrap());
    assert_eq!(audited(&store).await, 3);

    deployment
        .apply(Event::PhaseFailed(diagnosis()), NOW)
        .unwrap();
    store.save_deployment(&deployment).await.unwrap();
    assert!(!store.request_cancel(&deployment.id, &cancel).await.unwrap());
    assert_eq!(audited(&store).await, 3);
    let unknown = "dep-1-unknown".parse().unwrap();
    let error = store.request_cancel(&unknown, &cancel).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn lists_are_in_order_of_arrival_and_limited() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "other", &[]).await;
    // The clock may go back; what came later is newer all the same.
    let first = open_deployment(&store, "shop", 30).await;
    let second = open_deployment(&store, "other", 20).await;
    let mut third = open_deployment(&store, "shop", 10).await;
    let (shop, production) = (name("shop"), production());

    let recent = store.recent_deployments(2).await.unwrap();
    assert_eq!(ids(&recent), [third.id.as_str(), second.id.as_str()]);
    let of_shop = store.deployments_of(&shop, None, 10).await.unwrap();
    assert_eq!(ids(&of_shop), [third.id.as_str(), first.id.as_str()]);
    let one = store
        .deployments_of(&shop, Some(&production), 1)
        .await
        .unwrap();
    assert_eq!(ids(&one), [third.id.as_str()]);
    let staging = "staging".parse().unwrap();
    let none = store
        .deployments_of(&shop, Some(&staging), 9)
        .await
        .unwrap();
    assert!(none.is_empty());

    let unfinished = store.unfinished_deployments().await.unwrap();
    let expected: Vec<_> = [&first, &second, &third].map(|it| it.id.to_string()).into();
    assert_eq!(ids(&unfinished), expected);
    assert_eq!(store.completed_count().await.unwrap(), 0);
    third.apply(Event::PhaseFailed(diagnosis()), NOW).unwrap();
    store.save_deployment(&third).await.unwrap();
    let unfinished = store.unfinished_deployments().await.unwrap();
    assert_eq!(ids(&unfinished), expected[..2]);
    assert_eq!(store.completed_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_repeated_request_gets_the_deployment_of_the_first() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let first = deployment("shop", 1);
    let key = Some(("key", "hash"));
    let opened = store
        .open_deployment(&first, Queue::Wait, key, &audit("deploy"))
        .await
        .unwrap();
    assert_eq!(opened, NEW);

    let second = deployment("shop", 2);
    let replayed = store
        .open_deployment(&second, Queue::Wait, key, &audit("deploy"))
        .await
        .unwrap();
    assert_eq!(replayed, Opened::Replayed(Box::new(first.clone())));
    assert_eq!(store.deployment(&second.id).await.unwrap(), None);
    assert_eq!(audited(&store).await, 2);

    // Those who only want to know are told the same.
    let ask = async |actor: &str, hash: &str, after: u32| {
        let now = NOW + Duration::seconds(i64::from(after));
        store.replayed(actor, ("key", hash), now).await
    };
    assert_eq!(ask("t1", "hash", 2).await.unwrap(), Some(first.clone()));
    assert_eq!(ask("t2", "hash", 2).await.unwrap(), None);
    assert_eq!(ask("t1", "hash", 2 + 24 * 60 * 60).await.unwrap(), None);
    let reused = ask("t1", "other hash", 2).await;
    assert!(matches!(reused, Err(StoreError::KeyReused)), "{reused:?}");

    let error = store
        .open_deployment(
            &second,
            Queue::Wait,
            Some(("key", "other hash")),
            &audit("deploy"),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::KeyReused), "{error:?}");

    // The key belongs to the actor.
    let mut of_another = deployment("shop", 3);
    of_another.initiated_as = actor("t2");
    let opened = store
        .open_deployment(
            &of_another,
            Queue::Wait,
            Some(("key", "other hash")),
            &audit("deploy"),
        )
        .await
        .unwrap();
    assert_eq!(opened, NEW);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let first = deployment("shop", 0);
    let day = 24 * 60 * 60;
    let key = Some(("key", "hash"));
    for (number, is_new) in [(0, true), (day - 1, false), (day, true), (day + 1, false)] {
        let deployment = deployment("shop", number);
        let opened = store
            .open_deployment(&deployment, Queue::Wait, key, &audit("deploy"))
            .await
            .unwrap();
        assert_eq!(opened == NEW, is_new, "after {number} s");
    }
    let kept: Vec<String> = sqlx::query_scalar("SELECT deployment FROM idempotency_keys")
        .fetch_all(&mut raw(&dir.path()).await)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    assert_ne!(kept[0], first.id.as_str());
}

#[tokio::test]
async fn a_row_that_fits_no_type_is_named() {
    let (dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let deployment = open_deployment(&store, "shop", 1).await;
    let mut db = raw(&dir.path()).await;
    let mut seen = BTreeSet::new();
    for (spoil, repair) in [
        (
            "UPDATE deployments SET state = '{}'",
            "UPDATE deployments SET state = '{\"name\":\"pending\"}'",
        ),
        (
            "UPDATE deployments SET strategy = 'guess'",
            "UPDATE deployments SET strategy = 'rolling'",
        ),
        (
            "UPDATE deployments SET replicas = -1",
            "UPDATE deployments SET replicas = 1",
        ),
    ] {
        sqlx::query(spoil).execute(&mut db).await.unwrap();
        let error = store.deployment(&deployment.id).await.unwrap_err();
        let StoreError::Corrupt { table, id, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (table, id.as_str()),
            ("deployments", deployment.id.as_str())
        );
        seen.insert(source.to_string());
        sqlx::query(repair).execute(&mut db).await.unwrap();
        store.deployment(&deployment.id).await.unwrap().unwrap();
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
