//! What a rollout leaves behind in its environment, and what callers want of it on the way.

use flukedeploy_domain::app::{Environment, Probation, RunMode, Standby};
use flukedeploy_domain::deployment::rollout::{Progress, Share};
use flukedeploy_domain::deployment::{Deployment, Event, Queue, Receipt, Status, Wishes};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{Opened, Scale, Store, StoreError, Switch};
use flukedeploy_store::SqliteStore;
use time::Duration;

use crate::support::*;

async fn shop(store: &SqliteStore) -> Environment {
    let environment = store.environment(&name("shop"), &production()).await;
    environment.unwrap().unwrap()
}

/// The releases 1 and 2 of `shop`, and the deployment of the second.
async fn two_releases(store: &SqliteStore) -> Deployment {
    create_app(store, "shop", &[]).await;
    let mut newest = open_deployment(store, "shop", 1).await;
    store.create_release(&new_release(&newest)).await.unwrap();
    newest = open_deployment(store, "shop", 2).await;
    store.create_release(&new_release(&newest)).await.unwrap();
    newest
}

fn second_serves(deployment: &Deployment) -> Switch {
    Switch {
        active: Some(ReleaseNo(2)),
        standby: Some(Standby {
            release: ReleaseNo(1),
            until: NOW + Duration::minutes(10),
        }),
        probation: Some(Probation {
            release: ReleaseNo(2),
            deployment: deployment.id.clone(),
            until: NOW + Duration::minutes(5),
            former_errors_permille: Some(3),
        }),
    }
}

#[tokio::test]
async fn an_environment_comes_back_as_it_was_created() {
    let (_dir, store) = open().await;
    let deployment = deployment("shop", 1);
    let (app, mut environment) = app("shop", &[]);
    let Switch {
        standby, probation, ..
    } = second_serves(&deployment);
    (environment.standby, environment.probation) = (standby, probation);
    environment.mode = RunMode::Asleep;
    store
        .create_app(&app, &environment, &audit("create"))
        .await
        .unwrap();
    assert_eq!(shop(&store).await, environment);
}

#[tokio::test]
async fn a_switch_keeps_standby_and_probation_in_the_same_step() {
    let (_dir, store) = open().await;
    let deployment = two_releases(&store).await;
    let switch = second_serves(&deployment);
    let (app, production) = (name("shop"), production());
    store
        .switch_release(&app, &production, &switch)
        .await
        .unwrap();
    let serving = shop(&store).await;
    assert_eq!(
        (
            serving.active_release,
            serving.standby,
            serving.probation.clone()
        ),
        (switch.active, switch.standby, switch.probation.clone())
    );
    let all = store.environments().await.unwrap();
    assert_eq!(all, std::slice::from_ref(&serving));
    let overview = store.app_overview(&app).await.unwrap().unwrap();
    assert_eq!(overview.environments, std::slice::from_ref(&serving));

    // A switch to what does not exist leaves all three as they were.
    let nowhere = Switch {
        active: Some(ReleaseNo(9)),
        standby: None,
        probation: None,
    };
    let error = store.switch_release(&app, &production, &nowhere).await;
    assert!(matches!(error, Err(StoreError::Missing { .. })));
    assert_eq!(shop(&store).await, serving);

    let back = Switch {
        active: Some(ReleaseNo(1)),
        ..nowhere
    };
    store
        .switch_release(&app, &production, &back)
        .await
        .unwrap();
    let serving = shop(&store).await;
    assert_eq!(serving.active_release, Some(ReleaseNo(1)));
    assert_eq!((serving.standby, serving.probation), (None, None));
}

#[tokio::test]
async fn a_standby_ends_only_as_itself() {
    let (_dir, store) = open().await;
    let deployment = two_releases(&store).await;
    let (app, production) = (name("shop"), production());
    store
        .switch_release(&app, &production, &second_serves(&deployment))
        .await
        .unwrap();
    let serving = shop(&store).await;
    let end = async |release: u32| {
        store
            .end_standby(&app, &production, ReleaseNo(release))
            .await
            .unwrap();
        shop(&store).await
    };
    assert_eq!(end(2).await, serving, "another release is not the standby");
    let ended = end(1).await;
    assert_eq!(ended.standby, None);
    assert_eq!(ended.probation, serving.probation);
    assert_eq!(end(1).await, ended);
}

#[tokio::test]
async fn a_probation_that_was_failed_withdraws_the_release_once() {
    let (_dir, store) = open().await;
    let deployment = two_releases(&store).await;
    let (app, production) = (name("shop"), production());
    store
        .switch_release(&app, &production, &second_serves(&deployment))
        .await
        .unwrap();
    let end = async |id, reason| {
        store
            .end_probation(&app, &production, id, reason)
            .await
            .unwrap();
        let release = store.release(&app, &production, ReleaseNo(2)).await;
        release.unwrap().unwrap().withdrawn
    };
    let other = "dep-1-other".parse().unwrap();
    assert_eq!(end(&other, Some("not its own")).await, None);
    assert!(shop(&store).await.probation.is_some());

    let reason = "40 ‰ of the requests failed";
    let withdrawn = end(&deployment.id, Some(reason)).await;
    assert_eq!(withdrawn.as_deref(), Some(reason));
    let serving = shop(&store).await;
    assert_eq!(serving.probation, None);
    assert!(serving.standby.is_some());
    let again = end(&deployment.id, Some("once more")).await;
    assert_eq!(again.as_deref(), Some(reason), "it is over already");
    let first = store.release(&app, &production, ReleaseNo(1)).await;
    assert_eq!(first.unwrap().unwrap().withdrawn, None);
}

#[tokio::test]
async fn a_probation_that_was_passed_withdraws_nothing() {
    let (_dir, store) = open().await;
    let deployment = two_releases(&store).await;
    let (app, production) = (name("shop"), production());
    store
        .switch_release(&app, &production, &second_serves(&deployment))
        .await
        .unwrap();
    store
        .end_probation(&app, &production, &deployment.id, None)
        .await
        .unwrap();
    assert_eq!(shop(&store).await.probation, None);
    let release = store.release(&app, &production, ReleaseNo(2)).await;
    assert!(release.unwrap().unwrap().is_stable());
}

#[tokio::test]
async fn wishes_are_the_callers_and_refused_once_final() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    let mut deployment = open_deployment(&store, "shop", 1).await;
    let wishes = Wishes {
        paused: true,
        promoted_step: Some(2),
        superseded_by: None,
    };
    let steer = audit("pause");
    assert!(
        store
            .set_wishes(&deployment.id, &wishes, &steer)
            .await
            .unwrap()
    );
    // The runner did not see them yet.
    deployment.apply(Event::Started, NOW).unwrap();
    deployment.progress = Progress {
        step: 1,
        touched: true,
        activated: true,
        former: Some(3),
        former_mode: RunMode::Asleep,
        given: Some(Share { new: 1, of: 20 }),
    };
    store.save_deployment(&deployment).await.unwrap();
    let stored = store.deployment(&deployment.id).await.unwrap().unwrap();
    assert_eq!(stored.wishes, wishes);
    assert_eq!(stored.progress, deployment.progress);

    for _ in 0..5 {
        deployment.apply(Event::PhaseDone, NOW).unwrap();
    }
    deployment.receipt = Some(Receipt {
        outcome: Status::Success,
        started_at: NOW,
        ended_at: NOW + Duration::seconds(9),
        by: "ann".to_owned(),
        persona: None,
        door: flukedeploy_domain::access::Door::Cli,
        old_release: None,
        new_release: Some(ReleaseNo(1)),
        pinned_image: None,
        phases: Vec::new(),
        requests: None,
        changes: Vec::new(),
    });
    store.save_deployment(&deployment).await.unwrap();
    let nothing = Wishes::default();
    let late = store.set_wishes(&deployment.id, &nothing, &steer).await;
    assert!(!late.unwrap());
    let stored = store.deployment(&deployment.id).await.unwrap().unwrap();
    assert_eq!(stored.wishes, wishes);
    assert_eq!(stored.receipt, deployment.receipt);
    // What changed nothing is not written down.
    assert_eq!(audited(&store).await, 3);

    let unknown = "dep-1-unknown".parse().unwrap();
    let error = store.set_wishes(&unknown, &wishes, &steer).await;
    assert!(matches!(error, Err(StoreError::Missing { .. })));
}

#[tokio::test]
async fn a_deployment_supersedes_what_is_unfinished_in_its_environment() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "other", &[]).await;
    let mut done = open_deployment(&store, "shop", 1).await;
    for event in [const { Event::PhaseDone }; 6].into_iter().enumerate() {
        let event = if event.0 == 0 {
            Event::Started
        } else {
            event.1
        };
        done.apply(event, NOW).unwrap();
    }
    store.save_deployment(&done).await.unwrap();
    let running = open_deployment(&store, "shop", 2).await;
    let paused = Wishes {
        paused: true,
        ..Wishes::default()
    };
    store
        .set_wishes(&running.id, &paused, &audit("pause"))
        .await
        .unwrap();
    let waiting = open_deployment(&store, "shop", 3).await;
    let elsewhere = open_deployment(&store, "other", 4).await;

    let new = deployment("shop", 5);
    let opened = store
        .open_deployment(&new, Queue::Supersede, None, &audit("deploy"))
        .await
        .unwrap();
    let superseded = vec![running.id.clone(), waiting.id.clone()];
    assert_eq!(opened, Opened::New { superseded });
    for (former, paused) in [(&running, true), (&waiting, false)] {
        let stored = store.deployment(&former.id).await.unwrap().unwrap();
        assert!(stored.cancel_requested);
        assert_eq!(stored.wishes.superseded_by.as_ref(), Some(&new.id));
        assert_eq!(stored.wishes.paused, paused, "other wishes stay");
    }
    for untouched in [&done, &elsewhere, &new] {
        let stored = store.deployment(&untouched.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(untouched));
    }

    // Somebody who read it before does not take that back.
    store
        .set_wishes(&running.id, &Wishes::default(), &audit("resume"))
        .await
        .unwrap();
    let stored = store.deployment(&running.id).await.unwrap().unwrap();
    assert!(!stored.wishes.paused);
    assert_eq!(stored.wishes.superseded_by, Some(new.id));
}

#[tokio::test]
async fn scaling_changes_the_release_and_what_comes_after_it() {
    let (dir, store) = open().await;
    two_releases(&store).await;
    let (app, production) = (name("shop"), production());
    let before = shop(&store).await;
    let scale = async |release: u32, replicas| {
        let release = ReleaseNo(release);
        store
            .scale(&app, &production, Scale { release, replicas })
            .await
    };
    let replicas = async |release: u32| {
        let release = store.release(&app, &production, ReleaseNo(release)).await;
        release.unwrap().unwrap().settings
    };
    scale(2, 5).await.unwrap();
    let mut expected = settings(&[]);
    assert_eq!(replicas(1).await, expected);
    expected.replicas = 5;
    assert_eq!(replicas(2).await, expected, "nothing else changes");
    let after = shop(&store).await;
    assert_eq!(after.settings, expected);
    assert_eq!(after.settings_version, before.settings_version + 1);
    for table in ["releases", "environments"] {
        let kinds = sqlx::AssertSqlSafe(format!(
            "SELECT DISTINCT json_type(settings, '$.replicas') FROM {table}"
        ));
        let kinds: Vec<String> = sqlx::query_scalar(kinds)
            .fetch_all(&mut raw(&dir.path()).await)
            .await
            .unwrap();
        assert_eq!(kinds, ["integer"], "{table}");
    }

    // The same again is no change of the settings; a release that follows them is one of its own.
    scale(2, 5).await.unwrap();
    scale(1, 5).await.unwrap();
    assert_eq!(shop(&store).await, after);
    assert_eq!(replicas(1).await, expected);

    let error = scale(9, 7).await;
    assert!(matches!(error, Err(StoreError::Missing { .. })));
    assert_eq!(shop(&store).await, after);
}

#[tokio::test]
async fn a_mode_stays_until_it_is_changed() {
    let (_dir, store) = open().await;
    create_app(&store, "shop", &[]).await;
    create_app(&store, "other", &[]).await;
    let (app, production) = (name("shop"), production());
    for mode in [
        RunMode::Stopped,
        RunMode::Asleep,
        RunMode::Maintenance,
        RunMode::Running,
    ] {
        store.set_mode(&app, &production, mode).await.unwrap();
        assert_eq!(shop(&store).await.mode, mode);
        let other = store.environment(&name("other"), &production).await;
        assert_eq!(other.unwrap().unwrap().mode, RunMode::Running);
    }
    let error = store
        .set_mode(&name("nobody"), &production, RunMode::Stopped)
        .await;
    assert!(matches!(error, Err(StoreError::Missing { .. })));
}
