//! Cancel, in each phase.

use flukedeploy_domain::deployment::{PhaseName, State, Status, Strategy};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_platform::{Error, deployments};

use crate::bench::{World, diagnosis, service, settings, until};
use crate::swarm::Behaviour;

/// Where a deployment is held so that it can be cancelled there.
fn cancelled_while_hanging(call: &'static str, about: &str, phase: PhaseName) {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang(call, about);
    let id = life.deploy("shop", "shop:v2");
    until(call, || life.tap.is_hanging(call));
    life.cancel(&id);
    life.tap.release(call);
    let done = life.end(&id);
    let found = diagnosis(&done);
    assert_eq!((found.code, found.phase), (Cause::Cancelled, phase));
    assert_eq!(done.state.status(), Status::Failed);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn in_pre_build() {
    cancelled_while_hanging("info", "", PhaseName::PreBuild);
}

#[test]
fn in_build() {
    cancelled_while_hanging("resolve_image", "v2", PhaseName::Build);
}

#[test]
fn in_pre_deploy() {
    cancelled_while_hanging("create_release", "", PhaseName::PreDeploy);
}

#[test]
fn in_deploy_while_the_service_is_made() {
    cancelled_while_hanging("ensure_service", "r2", PhaseName::Deploy);
}

#[test]
fn in_deploy_while_its_replicas_start() {
    let world = World::new();
    world.swarm.image(
        "shop:v2",
        Behaviour {
            answers: 503,
            ..Behaviour::default()
        },
    );
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    until("the new service", || {
        world.swarm.services().contains(&service("shop", 2))
    });
    life.cancel(&id);
    let done = life.end(&id);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn in_deploy_after_recreate_has_stopped_the_old_release() {
    let world = World::new();
    world.swarm.image(
        "files:v2",
        Behaviour {
            answers: 503,
            ..Behaviour::default()
        },
    );
    let life = world.boot();
    let mut settings = settings(1);
    settings.strategy = Strategy::Recreate;
    life.create_app("files", settings);
    life.ship("files", "files:v1");
    world.ingress.may_pause("files");
    let id = life.deploy("files", "files:v2");
    until("the new service", || {
        world.swarm.services().contains(&service("files", 2))
    });
    life.cancel(&id);
    let done = life.end(&id);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    assert_eq!(done.state.status(), Status::RolledBack);
    life.assert_serves("files", 1);
    world.assert_sound();
}

#[test]
fn while_it_waits_for_its_turn() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.tap.hang("resolve_image", "v1");
    let first = life.deploy("shop", "shop:v1");
    until("the first", || life.tap.is_hanging("resolve_image"));
    let second = life.deploy("shop", "shop:v2");
    life.cancel(&second);
    life.tap.release("resolve_image");
    assert_eq!(life.end(&first).state, State::Success);
    let done = life.end(&second);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    assert!(
        done.phases.iter().all(|phase| phase.started_at.is_none()),
        "nothing was begun"
    );
    life.assert_serves("shop", 1);
}

#[test]
fn what_has_ended_cannot_be_cancelled() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let done = life.ship("shop", "shop:v1");
    let actor = flukedeploy_domain::access::Actor::system();
    let refused = life.run(deployments::cancel(&life.px, &actor, &done.id));
    assert!(
        matches!(refused, Err(Error::AlreadyEnded { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_crash_does_not_forget_a_cancel() {
    let world = World::new();
    world.swarm.image(
        "shop:v2",
        Behaviour {
            answers: 503,
            ..Behaviour::default()
        },
    );
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    until("the new service", || {
        world.swarm.services().contains(&service("shop", 2))
    });
    // Stored, and then the process ends before anybody acts on it.
    life.tap.hang("save_deployment", "");
    life.cancel(&id);
    until("its last step", || life.tap.is_hanging("save_deployment"));
    life.crash();
    let life = world.boot();
    assert_eq!(diagnosis(&life.end(&id)).code, Cause::Cancelled);
    life.assert_serves("shop", 1);
    world.assert_sound();
}
