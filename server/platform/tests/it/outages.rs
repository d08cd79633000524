//! The engine, the ingress or the disk is away for a while.

use std::time::{Duration, Instant};

use flukedeploy_domain::deployment::{State, Status};
use flukedeploy_domain::diagnosis::Cause;

use crate::bench::{World, diagnosis, impatient, service, settings, until};
use crate::tap::Trouble;

#[test]
fn an_engine_that_is_away_for_a_moment_costs_time_only() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    for call in [
        "info",
        "image_available",
        "ensure_service",
        "services",
        "remove_service",
    ] {
        life.tap.fail(call, "", Trouble::Away, 2);
    }
    life.tap.fail("resolve_image", "", Trouble::Away, 1);
    life.tap.fail("all_tasks", "", Trouble::Away, 5);
    life.ship("shop", "shop:v2");
    assert_eq!(life.active("shop"), Some(2));
    world.assert_sound();
}

#[test]
fn an_engine_that_stays_away_fails_the_deployment_and_nothing_else() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.fail("engine", "", Trouble::Away, u32::MAX);
    let id = life.deploy("shop", "shop:v2");
    let done = life.end(&id);
    assert_eq!(diagnosis(&done).code, Cause::EngineUnavailable);
    assert_eq!(world.ingress.routed("shop"), [(service("shop", 1), 1)]);
    life.tap.release("engine");
    life.ship("shop", "shop:v3");
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn an_engine_that_goes_away_while_replicas_start_is_named() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", impatient(1));
    life.ship("shop", "shop:v1");
    life.tap.fail("all_tasks", "", Trouble::Away, u32::MAX);
    let done = life.end(&life.deploy("shop", "shop:v2"));
    assert_eq!(
        diagnosis(&done).code,
        Cause::EngineUnavailable,
        "{:?}",
        done.state
    );
    life.tap.release("all_tasks");
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn an_engine_that_is_away_at_the_start_is_waited_for() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.crash();
    let life = world.boot_quietly(|tap| tap.fail("engine", "", Trouble::Away, u32::MAX));
    life.start();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!life.run(flukedeploy_platform::system::is_ready(&life.px)));
    life.tap.release("engine");
    until("ready", || {
        life.run(flukedeploy_platform::system::is_ready(&life.px))
    });
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn an_ingress_that_is_away_is_waited_for() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("switch_release", "");
    let id = life.deploy("shop", "shop:v2");
    until("the switch", || life.tap.is_hanging("switch_release"));
    world.ingress.disconnect();
    life.tap.release("switch_release");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!life.record(&id).state.is_final());
    assert!(
        world.swarm.services().contains(&service("shop", 1)),
        "the old one serves on"
    );
    world.ingress.connect();
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn an_ingress_that_comes_back_after_a_crash_is_waited_for() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("publish", "");
    let id = life.deploy("shop", "shop:v2");
    until("the switch", || life.tap.is_hanging("publish"));
    world.ingress.disconnect();
    life.crash();
    let life = world.boot();
    // Longer than a few quick tries take.
    std::thread::sleep(Duration::from_secs(3));
    world.ingress.connect();
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn without_an_ingress_the_traffic_stays_where_it_is() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("switch_release", "");
    let id = life.deploy("shop", "shop:v2");
    until("the switch", || life.tap.is_hanging("switch_release"));
    world.ingress.disconnect();
    life.tap.release("switch_release");
    until("that it gives up", || {
        matches!(life.record(&id).state, State::Returning { .. })
            || life.record(&id).state.is_final()
    });
    world.ingress.connect();
    let done = life.end(&id);
    assert_eq!(diagnosis(&done).code, Cause::IngressUnavailable);
    assert_eq!(done.state.status(), Status::RolledBack);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn an_app_that_could_not_be_asked_is_not_called_unwell() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", impatient(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("ensure_service", "r2");
    let id = life.deploy("shop", "shop:v2");
    until("its start", || life.tap.is_hanging("ensure_service"));
    world.ingress.disconnect();
    life.tap.release("ensure_service");
    until("its end", || {
        !matches!(
            life.record(&id).state,
            State::Running { .. } | State::Pending
        )
    });
    world.ingress.connect();
    assert_eq!(diagnosis(&life.end(&id)).code, Cause::IngressUnavailable);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_full_disk_holds_a_deployment_up_and_loses_nothing() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("resolve_image", "v2");
    let id = life.deploy("shop", "shop:v2");
    until("the build", || life.tap.is_hanging("resolve_image"));
    life.tap.fail("save_deployment", "", Trouble::Refused, 4);
    life.tap.release("resolve_image");
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn a_disk_that_fails_during_the_return_does_not_leave_a_share_behind() {
    let world = World::new();
    world.swarm.image("shop:bad", crate::bench::dying());
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:bad");
    until("the return", || {
        matches!(life.record(&id).state, State::Returning { .. })
            || life.record(&id).state.is_final()
    });
    life.tap.fail("release", "", Trouble::Refused, 1);
    life.tap.fail("environment", "", Trouble::Refused, 1);
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::Failed);
    assert!(
        !world.swarm.services().contains(&service("shop", 2)),
        "{:?}",
        world.swarm.trail()
    );
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn requests_that_never_end_do_not_hold_a_deployment_for_ever() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    world.ingress.set_in_flight(&service("shop", 1), 2);
    life.ship("shop", "shop:v2");
    until("word of them", || {
        life.told("shop", "2 requests to it were still open")
    });
    life.assert_serves("shop", 2);
}

#[test]
fn a_shutdown_does_not_wait_for_a_hanging_ingress() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("await_drained", "");
    let id = life.deploy("shop", "shop:v2");
    until("the drain", || life.tap.is_hanging("await_drained"));
    let began = Instant::now();
    life.shut_down();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let life = world.boot();
    assert_eq!(life.end(&id).state, State::Success);
    // The story of the deployment is whole.
    let entries = life.entries(&id);
    assert!(
        entries
            .iter()
            .any(|entry| entry.message.contains("All new requests go to release 2"))
    );
    world.assert_sound();
}
