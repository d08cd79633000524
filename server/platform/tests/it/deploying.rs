//! Deployments that go well.

use flukedeploy_domain::deployment::{HealthStatus, PhaseName, PhaseStatus, State, Strategy};
use flukedeploy_domain::log_entry::{EventType, Level};
use flukedeploy_platform::deployments::RollbackTarget;

use crate::bench::{World, deploy_of, service, settings};
use crate::swarm::Behaviour;

#[test]
fn the_first_deployment_goes_through_five_phases_and_tells_of_them() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    let done = life.ship("shop", "shop:v1");
    assert_eq!(
        (done.replicas_ready, done.health_status),
        (2, HealthStatus::Healthy)
    );
    for phase in PhaseName::ALL {
        let record = done.phase(phase);
        assert_eq!(record.status, PhaseStatus::Success, "{phase:?}");
        assert!(record.duration_ms().is_some());
    }
    life.assert_serves("shop", 1);
    assert_eq!(world.swarm.spec(&service("shop", 1)).unwrap().replicas, 2);

    let entries = life.entries(&done.id);
    let told = |event, message: &str| {
        entries.iter().any(|entry| {
            entry.flukedeploy_metadata.event_type == event && entry.message.contains(message)
        })
    };
    for (event, message) in [
        (EventType::PreBuild, "Phase pre_build started"),
        (EventType::BuildStart, "Phase build started"),
        (EventType::BuildComplete, "Phase build completed"),
        (EventType::PreDeploy, "Phase pre_deploy completed"),
        (EventType::DeployStart, "Phase deploy started"),
        (EventType::HealthCheck, "Health check: healthy"),
        (EventType::DeployComplete, "Phase deploy completed"),
        (EventType::PostDeploy, "Phase post_deploy completed"),
    ] {
        assert!(told(event, message), "no {message:?} in {entries:#?}");
    }
    assert!(entries.iter().all(|entry| entry.level != Level::Error));
    world.assert_sound();
}

#[test]
fn traffic_moves_then_the_old_release_is_drained_then_it_goes() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let before = world.swarm.trail().len();
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);

    let trail = world.swarm.trail().split_off(before);
    let at = |wanted: &str| {
        trail
            .iter()
            .position(|done| done.starts_with(wanted))
            .unwrap_or_else(|| panic!("no {wanted:?} in {trail:#?}"))
    };
    let steps = [
        at(&format!("ensure {}", service("shop", 2))),
        at(&format!("route shop: {}*1/1", service("shop", 2))),
        at(&format!("drained {}", service("shop", 1))),
        at(&format!("remove {}", service("shop", 1))),
    ];
    assert!(steps.is_sorted(), "{steps:?} in {trail:#?}");
    world.assert_sound();
}

#[test]
fn a_rolling_deployment_gives_each_batch_its_share() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(4));
    life.ship("shop", "shop:v1");
    let before = world.swarm.trail().len();
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    let trail = world.swarm.trail().split_off(before);
    let (old, new) = (service("shop", 1), service("shop", 2));
    for share in 1..4 {
        let split = format!("route shop: {old}*{}/4, {new}*{share}/{share}", 4 - share);
        assert!(trail.contains(&split), "no {split:?} in {trail:#?}");
    }
    world.assert_sound();
}

#[test]
fn blue_green_moves_everything_at_once() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(3));
    life.ship("shop", "shop:v1");
    let before = world.swarm.trail().len();
    let done = life.end(&life.deploy_with("shop", "shop:v2", Strategy::BlueGreen));
    assert_eq!(done.state, State::Success);
    life.assert_serves("shop", 2);
    let trail = world.swarm.trail().split_off(before);
    // The former release may be listed for a moment, with no share.
    let shared = |step: &String| step.contains(", ") && !step.contains("*0/");
    assert!(!trail.iter().any(shared), "{trail:#?}");
    world.assert_sound();
}

#[test]
fn recreate_never_runs_two_releases_at_once() {
    let world = World::new();
    let life = world.boot();
    let mut settings = settings(1);
    settings.strategy = Strategy::Recreate;
    life.create_app("files", settings);
    life.ship("files", "files:v1");
    let before = world.swarm.trail().len();
    life.ship("files", "files:v2");
    life.assert_serves("files", 2);
    let trail = world.swarm.trail().split_off(before);
    let at = |wanted: &str| {
        trail
            .iter()
            .position(|done| done.starts_with(wanted))
            .unwrap()
    };
    let steps = [
        at("route files: "),
        at(&format!("drained {}", service("files", 1))),
        at(&format!("scale {} 0", service("files", 1))),
        at(&format!("ensure {}", service("files", 2))),
        at(&format!("remove {}", service("files", 1))),
    ];
    assert!(steps.is_sorted(), "{steps:?} in {trail:#?}");
    assert_eq!(
        trail[steps[0]], "route files:  (they wait)",
        "nobody is sent to what is about to stop"
    );
    world.assert_sound();
}

#[test]
fn going_back_brings_image_settings_and_variables_as_one() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut first = deploy_of("shop", "shop:v1");
    first
        .env_vars
        .0
        .insert("COLOUR".to_owned(), "red".to_owned());
    let first = life.try_deploy(first).unwrap();
    life.end(&first.deployment.deployment_id);
    let mut second = deploy_of("shop", "shop:v2");
    second
        .env_vars
        .0
        .insert("COLOUR".to_owned(), "blue".to_owned());
    second.replicas = Some(2);
    let second = life.try_deploy(second).unwrap();
    life.end(&second.deployment.deployment_id);
    life.assert_serves("shop", 2);

    let back = life
        .try_rollback("shop", RollbackTarget::Previous, None)
        .unwrap();
    assert_eq!(
        (back.from_version.as_deref(), back.to_version.as_deref()),
        (Some("v2"), Some("v1"))
    );
    let done = life.end(&back.deployment.deployment_id);
    assert_eq!(done.state, State::Success);
    life.assert_serves("shop", 1);
    let spec = world.swarm.spec(&service("shop", 1)).unwrap();
    assert_eq!(spec.image.requested.as_str(), "shop:v1");
    assert_eq!((spec.replicas, spec.env.0["COLOUR"].as_str()), (1, "red"));
    // The environment's own settings went back too, so that the next deployment starts from there.
    life.ship("shop", "shop:v3");
    let spec = world.swarm.spec(&service("shop", 3)).unwrap();
    assert_eq!((spec.replicas, spec.env.0["COLOUR"].as_str()), (1, "red"));
    world.assert_sound();
}

#[test]
fn a_release_that_names_itself_is_in_dns_before_the_old_one_goes() {
    let world = World::new();
    let slow = Behaviour {
        has_healthcheck: true,
        ready_after_ms: 400,
        ..Behaviour::default()
    };
    world.swarm.image("shop:v2", slow);
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    let aliases = world.swarm.spec(&service("shop", 2)).unwrap().aliases;
    assert_eq!(aliases, ["shop", "srv-captain--shop"]);
    assert!(
        life.world
            .swarm
            .endpoints_that_are_well(&service("shop", 2))
            .len()
            == 2
    );
    world.assert_sound();
}
