//! How traffic moves: strategies, canaries, what stands by, what is watched, what people steer.

use std::time::Instant;

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{Quantity, RunMode, Settings, Volume, WhenQuiet};
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Queue, State, Status, Strategy};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_platform::Error;
use flukedeploy_platform::deployments::{
    Everyday, Rollback, RollbackTarget, Steer, What, act, plan_deploy, plan_rollback, steer,
};
use flukedeploy_platform::ports::Store as _;

use crate::bench::{
    Life, World, deploy_of, diagnosis, dying, name, production, service, settings, until,
};
use crate::swarm::Behaviour;

/// A canary with short windows.
fn on_trial(steps: &[u32]) -> Settings {
    let mut settings = settings(2);
    settings.strategy = Strategy::Canary;
    settings.rollout.canary.steps = steps.to_vec();
    settings.rollout.canary.step_seconds = 1;
    settings.rollout.canary.min_requests = 20;
    settings
}

fn shares(world: &World, app: &str) -> Vec<(String, u32)> {
    world.ingress.routed(app)
}

impl Life<'_> {
    fn steer(&self, id: &DeploymentId, how: Steer) -> Result<(), Error> {
        self.run(steer(&self.px, &Actor::system(), id, how))
            .map(|_| ())
    }

    fn act(&self, app: &str, what: What) -> Deployment {
        let cmd = Everyday {
            app: name(app),
            environment: production(),
            what,
            queue: Queue::Wait,
            reason: None,
            idempotency_key: None,
        };
        let id = self.run(act(&self.px, &Actor::system(), cmd)).unwrap();
        self.end(&id.deployment.deployment_id)
    }

    fn scale(&self, app: &str, replicas: u32) -> Deployment {
        self.act(app, What::Scale(replicas))
    }

    fn set_mode(&self, app: &str, mode: RunMode) -> Deployment {
        self.act(app, What::Mode(mode))
    }
}

#[test]
fn a_canary_that_does_as_well_takes_over_step_by_step() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", on_trial(&[10, 50]));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    let (old, new) = (service("shop", 1), service("shop", 2));
    for share in [10, 50] {
        until("its share", || {
            shares(&world, "shop") == [(old.clone(), 100 - share), (new.clone(), share)]
        });
        until("its judgement", || {
            world.ingress.count(&old, 50, 0, 2_000);
            world.ingress.count(&new, 10, 0, 2_000);
            life.record(&id).progress.step > share / 50
        });
    }
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn a_canary_that_fails_more_often_goes_back_with_the_figures() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", on_trial(&[10, 50]));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    let (old, new) = (service("shop", 1), service("shop", 2));
    until("its share", || shares(&world, "shop").len() == 2);
    until("the end", || {
        world.ingress.count(&old, 90, 0, 2_000);
        world.ingress.count(&new, 10, 2, 2_000);
        std::thread::sleep(std::time::Duration::from_millis(50));
        life.record(&id).state.is_final()
    });
    let done = life.record(&id);
    assert_eq!(done.state.status(), Status::RolledBack);
    let found = diagnosis(&done);
    assert_eq!(found.code, Cause::CanaryFailed);
    let figures = found.evidence.traffic.clone().unwrap();
    assert!(
        figures.contains("requests to the new release failed"),
        "{figures}"
    );
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_canary_without_traffic_pauses_and_is_promoted_by_hand() {
    let world = World::new();
    let life = world.boot();
    let mut settings = on_trial(&[10]);
    settings.rollout.canary.when_quiet = WhenQuiet::Pause;
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    until("the pause", || life.record(&id).wishes.paused);
    assert!(!life.record(&id).state.is_final());
    life.steer(&id, Steer::Promote).unwrap();
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    assert!(matches!(
        life.steer(&id, Steer::Pause),
        Err(Error::AlreadyEnded { .. })
    ));
    world.assert_sound();
}

#[test]
fn a_canary_waits_for_traffic_over_a_crash_and_is_aborted() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", on_trial(&[10, 50]));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    let (old, new) = (service("shop", 1), service("shop", 2));
    until("the second step", || {
        world.ingress.count(&new, 20, 0, 2_000);
        life.record(&id).progress.step == 1
    });
    until("its share", || {
        shares(&world, "shop").contains(&(new.clone(), 50))
    });
    life.crash();
    let life = world.boot();
    // It does not begin anew, and the new release keeps at least the share it had passed with.
    until("its share again", || {
        shares(&world, "shop") == [(old.clone(), 50), (new.clone(), 50)]
    });
    assert_eq!(life.record(&id).progress.step, 1);
    life.cancel(&id);
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::RolledBack);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn rolling_without_room_never_runs_more_than_it_may() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(3);
    settings.rollout.max_surge = Quantity::Count(1);
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let before = world.swarm.trail().len();
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    let trail = world.swarm.trail().split_off(before);
    let (old, new) = (service("shop", 1), service("shop", 2));
    let steps: Vec<&String> = trail
        .iter()
        .filter(|step| step.starts_with("ensure") || step.starts_with("scale"))
        .collect();
    let wanted = [
        format!("ensure {new} 1"),
        format!("scale {old} 2"),
        format!("scale {new} 2"),
        format!("scale {old} 1"),
        format!("scale {new} 3"),
    ];
    assert_eq!(steps, wanted.iter().collect::<Vec<_>>());
    world.assert_sound();
}

#[test]
fn going_back_to_what_stands_by_asks_docker_for_nothing() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(2);
    settings.rollout.warm_seconds = Some(600);
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    assert!(
        world.swarm.services().contains(&service("shop", 1)),
        "it stands by"
    );
    for call in ["info", "image_available", "services", "ensure_service"] {
        life.tap.hang(call, "");
    }
    let began = Instant::now();
    let id = life.rollback("shop", 1);
    assert_eq!(life.end(&id).state, State::Success);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(shares(&world, "shop"), [(service("shop", 1), 1)]);
    for call in ["info", "image_available", "services", "ensure_service"] {
        life.tap.release(call);
    }
    // The one that was left stands by now, and the time of that ends too.
    assert!(world.swarm.services().contains(&service("shop", 2)));
    world.clock.forward(time::Duration::seconds(601));
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_release_that_breaks_its_promise_is_left_by_itself_once() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(1);
    settings.objective.probation_seconds = 3_600;
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let bad = life.ship("shop", "shop:v2");
    let new = service("shop", 2);
    until("the return", || {
        world.ingress.count(&new, 100, 30, 2_000);
        life.active("shop") == Some(1)
    });
    let all = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap();
    let back = life.end(&all[0].id);
    assert_eq!(back.state, State::Success);
    let flukedeploy_domain::deployment::Source::Release { because, .. } = &back.source else {
        panic!("{:?}", back.source);
    };
    assert_eq!(because.as_ref().unwrap().code, Cause::ObjectiveBroken);
    life.assert_serves("shop", 1);
    // The record of what succeeded stays true, and the release says why it is not gone back to.
    assert_eq!(life.record(&bad.id).state, State::Success);
    let release = life
        .run(
            life.store
                .release(&name("shop"), &production(), bad.release.unwrap()),
        )
        .unwrap()
        .unwrap();
    assert!(!release.is_stable());
    let old = service("shop", 1);
    for _ in 0..40 {
        world.ingress.count(&old, 100, 50, 2_000);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let now = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap();
    assert_eq!(
        now.len(),
        all.len(),
        "what was brought back is not taken away again"
    );
    world.assert_sound();
}

#[test]
fn scaling_is_recorded_and_survives_the_next_deployment() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let up = life.scale("shop", 3);
    assert_eq!((up.state.clone(), up.act()), (State::Success, "scale"));
    assert_eq!(
        world
            .swarm
            .endpoints_that_are_well(&service("shop", 1))
            .len(),
        3
    );
    let down = life.scale("shop", 2);
    assert_eq!(down.state, State::Success);
    assert_eq!(world.swarm.spec(&service("shop", 1)).unwrap().replicas, 2);
    assert_eq!(world.ingress.holds("shop"), None, "nobody waits any more");
    let receipt = down.receipt.unwrap();
    assert_eq!(receipt.changes[0].after.as_deref(), Some("2"));
    life.ship("shop", "shop:v2");
    assert_eq!(world.swarm.spec(&service("shop", 2)).unwrap().replicas, 2);
    world.assert_sound();
}

#[test]
fn scaling_up_what_does_not_come_up_is_undone() {
    let world = World::new();
    let life = world.boot();
    let mut settings = crate::bench::impatient(1);
    settings.rollout.warm_seconds = Some(0);
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    world.swarm.image("shop:v1", dying());
    let failed = life.scale("shop", 3);
    assert_eq!(
        failed.state.status(),
        Status::RolledBack,
        "{:?}",
        failed.state
    );
    until("one replica", || {
        world.swarm.spec(&service("shop", 1)).unwrap().replicas == 1
    });
    let environment = life
        .run(life.store.environment(&name("shop"), &production()))
        .unwrap()
        .unwrap();
    assert_eq!(environment.settings.replicas, 1);
}

#[test]
fn a_restart_is_a_new_release_of_the_same_image_with_the_settings_of_now() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let change = flukedeploy_platform::apps::ChangeApp {
        set_env_vars: flukedeploy_domain::app::EnvVars(
            [("COLOUR".to_owned(), "red".to_owned())].into(),
        ),
        ..Default::default()
    };
    life.run(flukedeploy_platform::apps::change_app(
        &life.px,
        &Actor::system(),
        &name("shop"),
        &production(),
        change,
    ))
    .unwrap();
    let done = life.act("shop", What::Restart);
    assert_eq!(done.state, State::Success);
    life.assert_serves("shop", 2);
    let spec = world.swarm.spec(&service("shop", 2)).unwrap();
    assert_eq!(spec.image.requested.as_str(), "shop:v1");
    assert_eq!(spec.env.0["COLOUR"], "red");
    let names: Vec<_> = done
        .receipt
        .unwrap()
        .changes
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(names, ["env_vars.COLOUR"]);
    world.assert_sound();
}

#[test]
fn stopped_asleep_woken_and_in_maintenance() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    world.ingress.may_pause("shop");
    assert_eq!(
        life.set_mode("shop", RunMode::Stopped).state,
        State::Success
    );
    assert_eq!(world.swarm.spec(&service("shop", 1)).unwrap().replicas, 0);
    assert_eq!(world.ingress.holds("shop"), None);
    // A restarted control plane does not start it again.
    life.crash();
    let life = world.boot();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(world.swarm.spec(&service("shop", 1)).unwrap().replicas, 0);

    assert_eq!(life.set_mode("shop", RunMode::Asleep).state, State::Success);
    until("the hold", || world.ingress.holds("shop") == Some(false));
    world.ingress.want("shop");
    until("its waking", || {
        shares(&world, "shop") == [(service("shop", 1), 1)]
    });
    until("two replicas", || {
        world
            .swarm
            .endpoints_that_are_well(&service("shop", 1))
            .len()
            == 2
    });
    until("rest", || {
        life.run(life.store.unfinished_deployments())
            .unwrap()
            .is_empty()
    });

    assert_eq!(
        life.set_mode("shop", RunMode::Maintenance).state,
        State::Success
    );
    assert_eq!(world.ingress.holds("shop"), Some(true));
    assert_eq!(
        life.set_mode("shop", RunMode::Running).state,
        State::Success
    );
    assert_eq!(world.ingress.holds("shop"), None);
    life.assert_serves("shop", 1);
}

#[test]
fn a_newer_deployment_takes_the_place_of_those_before_it() {
    let world = World::new();
    let life = world.boot();
    world.swarm.image(
        "shop:slow",
        Behaviour {
            ready_after_ms: 20_000,
            ..Behaviour::default()
        },
    );
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let running = life.deploy("shop", "shop:slow");
    let waiting = life.deploy("shop", "shop:v2");
    until("the slow one", || {
        world.swarm.services().contains(&service("shop", 2))
    });
    let mut cmd = deploy_of("shop", "shop:v3");
    cmd.queue = Queue::Supersede;
    let newest = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    for former in [&running, &waiting] {
        let done = life.end(former);
        let found = diagnosis(&done);
        assert_eq!(found.code, Cause::Superseded, "{found:?}");
        assert!(found.message.contains(newest.as_str()));
    }
    assert_eq!(life.end(&newest).state, State::Success);
    world.assert_sound();
}

#[test]
fn a_cancel_after_the_switch_still_goes_back() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("request", "");
    let id = life.deploy("shop", "shop:v2");
    until("the proof", || life.tap.is_hanging("request"));
    life.cancel(&id);
    life.tap.release("request");
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::RolledBack, "{:?}", done.state);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_dry_run_tells_the_plan_and_does_nothing() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(1);
    settings.volumes = vec![Volume {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        shared: false,
    }];
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let mut cmd = deploy_of("shop", "shop:latest");
    cmd.env_vars
        .0
        .insert("KEY".to_owned(), "hunter2".to_owned());
    let plan = life
        .run(plan_deploy(&life.px, &Actor::system(), &cmd))
        .unwrap();
    assert_eq!(plan.strategy, Strategy::Recreate);
    assert_eq!(plan.changes[0].name, "env_vars.KEY");
    assert!(
        plan.risks.iter().any(|risk| risk.contains("requests wait")),
        "{plan:?}"
    );
    assert!(
        plan.risks
            .iter()
            .any(|risk| risk.contains("names no version"))
    );
    assert!(!serde_json::to_string(&plan).unwrap().contains("hunter2"));
    let all = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap();
    assert_eq!(all.len(), 1);
    cmd.strategy = Some(Strategy::Rolling);
    assert!(
        life.try_deploy(cmd).is_err(),
        "two releases cannot share the volume"
    );
    let back = Rollback {
        app: name("shop"),
        environment: production(),
        to: RollbackTarget::Previous,
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    let nowhere = life.run(plan_rollback(&life.px, &Actor::system(), &back));
    assert!(matches!(nowhere, Err(Error::ReleaseNotFound { .. })));
}

#[test]
fn a_rollback_that_succeeded_is_replayed_as_what_it_was() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    let to = RollbackTarget::Previous;
    let first = life.try_rollback("shop", to.clone(), Some("key")).unwrap();
    life.end(&first.deployment.deployment_id);
    let again = life.try_rollback("shop", to, Some("key")).unwrap();
    assert!(again.replayed);
    assert_eq!(
        again.deployment.deployment_id,
        first.deployment.deployment_id
    );
    assert_eq!(
        (again.from_version, again.to_version),
        (first.from_version, first.to_version)
    );
}

#[test]
fn a_volume_that_somebody_else_uses_is_named() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(1);
    settings.volumes = vec![Volume {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        shared: false,
    }];
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let mut thief = world.swarm.spec(&service("shop", 1)).unwrap();
    thief.name = "thief".to_owned();
    world.swarm.add_behind_our_back(thief);
    let done = life.end(&life.deploy("shop", "shop:v2"));
    let found = diagnosis(&done);
    assert_eq!(found.code, Cause::VolumeInUse);
    assert_eq!(found.evidence.held_by.as_deref(), Some("thief.1"));
    assert_eq!(
        done.state.status(),
        Status::RolledBack,
        "the former one serves again"
    );
    assert_eq!(life.active("shop"), Some(1));
}
