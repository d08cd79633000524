//! Deployments that fail: the old release serves on, and the cause is told.

use flukedeploy_domain::deployment::{PhaseName, PhaseStatus, State, Status, Strategy};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_domain::log_entry::Level;

use crate::bench::{World, diagnosis, dying, impatient, service, settings};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

fn cases() -> Vec<(&'static str, Behaviour, Cause)> {
    let good = Behaviour::default;
    vec![
        ("exits", dying(), Cause::ExitedWithCode),
        (
            "hungry",
            Behaviour {
                out_of_memory: true,
                ..dying()
            },
            Cause::KilledForMemory,
        ),
        (
            "deaf",
            Behaviour {
                listens_on: None,
                ..good()
            },
            Cause::NeverListens,
        ),
        (
            "elsewhere",
            Behaviour {
                listens_on: Some(8080),
                ..good()
            },
            Cause::ListensOnAnotherPort,
        ),
        (
            "wrong",
            Behaviour {
                answers: 500,
                ..good()
            },
            Cause::HealthCheckFailed,
        ),
        (
            "absent",
            Behaviour {
                exists: false,
                ..good()
            },
            Cause::ImageNotFound,
        ),
        (
            "big",
            Behaviour {
                fits_nowhere: true,
                ..good()
            },
            Cause::NoNodeFits,
        ),
        (
            "refused",
            Behaviour {
                rejected: Some("mount denied"),
                ..good()
            },
            Cause::StartFailed,
        ),
        (
            "unpulled",
            Behaviour {
                rejected: Some("No such image: shop@sha256:00"),
                ..good()
            },
            Cause::ImageNotFound,
        ),
    ]
}

#[test]
fn each_failure_has_its_cause_and_the_old_release_serves_on() {
    let world = World::new();
    let life = world.boot();
    for (app, behaviour, _) in cases() {
        world.swarm.image(&format!("{app}:bad"), behaviour);
        life.create_app(app, impatient(1));
    }
    // Side by side, and each waits for its own deadline only.
    let firsts: Vec<_> = cases()
        .iter()
        .map(|(app, ..)| life.deploy(app, "app:v1"))
        .collect();
    for id in &firsts {
        assert_eq!(life.end(id).state, State::Success);
    }
    let bad: Vec<_> = cases()
        .iter()
        .map(|(app, ..)| life.deploy(app, &format!("{app}:bad")))
        .collect();
    for ((app, _, cause), id) in cases().into_iter().zip(&bad) {
        let done = life.end(id);
        let found = diagnosis(&done);
        assert_eq!(found.code, cause, "{app}: {found:?}");
        assert!(!found.next.is_empty(), "{app}");
        assert_eq!(
            done.state.status(),
            Status::Failed,
            "{app}: nothing that served was touched"
        );
        let failed = done
            .phases
            .iter()
            .filter(|phase| phase.status == PhaseStatus::Failed);
        assert_eq!(failed.count(), 1, "{app}");
        life.assert_serves(app, 1);
        let entries = life.entries(id);
        assert!(
            entries.iter().any(|entry| entry.level == Level::Error
                && entry.flukedeploy_metadata.error_code.as_deref() == Some(cause.code())),
            "{app}"
        );
    }
    let evidence = |index: usize| diagnosis(&life.record(&bad[index])).evidence.clone();
    assert_eq!(evidence(0).exit_code, Some(3));
    assert_eq!(evidence(0).untrusted_output, ["goodbye"]);
    assert_eq!(evidence(3).listening_ports, [8080]);
    assert!(evidence(4).health_answer.unwrap().contains("500"));
    world.assert_sound();
}

#[test]
fn the_first_deployment_of_all_leaves_nothing_behind_when_it_fails() {
    let world = World::new();
    world.swarm.image("shop:bad", dying());
    let life = world.boot();
    life.create_app("shop", settings(1));
    let done = life.end(&life.deploy("shop", "shop:bad"));
    assert_eq!(diagnosis(&done).code, Cause::ExitedWithCode);
    assert_eq!(done.state.status(), Status::Failed);
    assert_eq!(life.active("shop"), None);
    assert!(world.swarm.services().is_empty());
    life.ship("shop", "shop:v1");
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn recreate_starts_the_old_release_again() {
    let world = World::new();
    world.swarm.image("files:bad", dying());
    let life = world.boot();
    let mut settings = settings(1);
    settings.strategy = Strategy::Recreate;
    life.create_app("files", settings);
    life.ship("files", "files:v1");
    let before = world.swarm.trail().len();
    let done = life.end(&life.deploy("files", "files:bad"));
    let State::RolledBack { diagnosis, to } = &done.state else {
        panic!("{:?}", done.state);
    };
    assert_eq!((diagnosis.code, to.0), (Cause::ExitedWithCode, 1));
    life.assert_serves("files", 1);
    let trail = world.swarm.trail().split_off(before);
    let at = |wanted: String| {
        trail
            .iter()
            .rposition(|done| done.starts_with(&wanted))
            .unwrap()
    };
    assert!(
        at(format!("remove {}", service("files", 2)))
            < at(format!("scale {} 1", service("files", 1))),
        "{trail:#?}"
    );
    world.assert_sound();
}

#[test]
fn a_batch_that_fails_takes_back_the_share_of_the_first() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", impatient(4));
    life.ship("shop", "shop:v1");
    // The first replicas are well; later ones never are.
    let mut cmd = crate::bench::deploy_of("shop", "shop:v2");
    cmd.reason = Some("half of it".to_owned());
    let id = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    crate::bench::until("a first share", || {
        world
            .ingress
            .routed("shop")
            .iter()
            .any(|(name, _)| *name == service("shop", 2))
    });
    world.swarm.image(
        "shop:v2",
        Behaviour {
            listens_on: None,
            ..Behaviour::default()
        },
    );
    let done = life.end(&id);
    // On a quick machine all batches may have been there before the image turned bad.
    if done.state != State::Success {
        assert_eq!(done.state.status(), Status::RolledBack, "{:?}", done.state);
        life.assert_serves("shop", 1);
    }
    world.assert_sound();
}

#[test]
fn a_release_that_dies_of_its_first_requests_is_no_success() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", impatient(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("request", "");
    let id = life.deploy("shop", "shop:v2");
    crate::bench::until("the proof", || life.tap.is_hanging("request"));
    world.ingress.may_pause("shop");
    world.swarm.image("shop:v2", dying());
    world.swarm.kill_one(&service("shop", 2));
    life.tap.release("request");
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::RolledBack, "{:?}", done.state);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_release_that_is_gone_by_the_time_the_old_one_would_be_retired_is_no_success() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", impatient(1));
    life.ship("shop", "shop:v1");
    // Held where the deploy phase is over and the next has not looked yet.
    life.tap.hang("publish", "");
    let id = life.deploy("shop", "shop:v2");
    crate::bench::until("the switch", || life.tap.is_hanging("publish"));
    life.tap.hang("save_deployment", "");
    life.tap.release("publish");
    crate::bench::until("the next step", || life.tap.is_hanging("save_deployment"));
    world.ingress.may_pause("shop");
    world.swarm.image("shop:v2", dying());
    world.swarm.kill_one(&service("shop", 2));
    crate::bench::until("that it shows", || world.ingress.routed("shop").is_empty());
    life.tap.release("save_deployment");
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::RolledBack, "{:?}", done.state);
    let found = diagnosis(&done);
    assert_eq!(
        (found.code, found.phase),
        (Cause::CrashLoop, PhaseName::PostDeploy)
    );
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn what_the_engine_refuses_is_told_in_its_words() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.fail("ensure_service", "r2", Trouble::Refused, 1);
    let done = life.end(&life.deploy("shop", "shop:v2"));
    let found = diagnosis(&done);
    assert_eq!(
        (found.code, found.phase),
        (Cause::StartFailed, PhaseName::Deploy)
    );
    assert!(found.message.contains("not like this"), "{found:?}");
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_release_whose_image_is_gone_cannot_be_gone_back_to() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    world.swarm.image(
        "shop:v1",
        Behaviour {
            exists: false,
            ..Behaviour::default()
        },
    );
    let done = life.end(&life.rollback("shop", 1));
    assert_eq!(diagnosis(&done).code, Cause::ReleaseGone);
    life.assert_serves("shop", 2);
    world.assert_sound();
}
