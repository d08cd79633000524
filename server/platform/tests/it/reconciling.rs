//! What is and what should be.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::{PhaseName, State};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_platform::apps::{self, ChangeApp};
use flukedeploy_platform::logs::{self, ReadLogs};

use crate::bench::{Life, World, name, production, service, settings, until};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

fn told(life: &Life<'_>, app: &str, text: &str) -> bool {
    let request = ReadLogs {
        filter: LogFilter {
            app_name: Some(app.to_owned()),
            ..LogFilter::default()
        },
        text: Some(TextQuery::parse(&format!("\"{text}\"")).unwrap()),
        limit: 100,
        total: true,
        ..ReadLogs::default()
    };
    let page = life
        .run(logs::read_logs(&life.px, &Actor::system(), request))
        .unwrap();
    page.total > 0
}

/// Changing it back would restart its replicas: that is not for the reconciler to do by itself.
#[test]
fn a_service_that_somebody_changed_is_told_and_a_restart_puts_it_right() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.crash();
    world.ingress.may_pause("shop");
    let mut changed = world.swarm.spec(&service("shop", 1)).unwrap();
    changed.image.pinned = "shop@sha256:other".to_owned();
    world.swarm.add_behind_our_back(changed);

    let life = world.boot();
    let view = || {
        life.run(apps::get_app(&life.px, &Actor::system(), &name("shop")))
            .unwrap()
    };
    until("the report", || view().drift == ["image"]);
    assert!(told(&life, "shop", "was changed behind our back"));
    let spec = world.swarm.spec(&service("shop", 1)).unwrap();
    assert_eq!(spec.image.pinned, "shop@sha256:other", "it was not touched");
    life.ship("shop", "shop:v1");
    life.assert_serves("shop", 2);
}

#[test]
fn drift_is_repaired_and_told() {
    let world = World::new();
    let life = world.boot();
    for app in ["gone", "small", "fine"] {
        life.create_app(app, settings(2));
        life.ship(app, "app:v1");
    }
    life.crash();
    world.ingress.may_pause("gone");
    world.ingress.may_pause("small");
    world.swarm.remove_behind_our_back(&service("gone", 1));
    let mut fewer = world.swarm.spec(&service("small", 1)).unwrap();
    fewer.replicas = 1;
    world.swarm.add_behind_our_back(fewer.clone());
    let mut stray = fewer;
    stray.name = service("stray", 7);
    stray
        .labels
        .insert("com.flukedeploy.app".to_owned(), "stray".to_owned());
    world.swarm.add_behind_our_back(stray);
    let before = world.swarm.trail().len();

    let life = world.boot();
    for app in ["gone", "small", "fine"] {
        life.assert_serves(app, 1);
        until("both replicas", || {
            world.swarm.endpoints_that_are_well(&service(app, 1)).len() == 2
        });
    }
    until("the stray's end", || {
        !world.swarm.services().contains(&service("stray", 7))
    });
    assert!(told(&life, "gone", "was missing"));
    assert!(told(&life, "small", "had 1 replicas instead of 2"));
    until("the word of it", || {
        told(&life, "stray", "belonged to nothing")
    });
    let trail = world.swarm.trail().split_off(before);
    let touched = |step: &String| {
        step.contains(&service("fine", 1))
            && (step.starts_with("ensure") || step.starts_with("rem"))
    };
    assert!(!trail.iter().any(touched), "{trail:#?}");
    world.assert_sound();
}

#[test]
fn one_app_that_cannot_be_repaired_does_not_stop_the_others() {
    let world = World::new();
    let life = world.boot();
    for app in ["broken", "fine"] {
        life.create_app(app, settings(1));
        life.ship(app, "app:v1");
    }
    // Interrupted in the middle of a deployment.
    life.tap.hang("ensure_service", "fine");
    let id = life.deploy("fine", "app:v2");
    until("the start", || life.tap.is_hanging("ensure_service"));
    life.crash();
    world.ingress.may_pause("broken");
    world.swarm.remove_behind_our_back(&service("broken", 1));
    let life = world.boot_quietly(|tap| {
        tap.fail("ensure_service", "broken", Trouble::Refused, u32::MAX);
    });
    life.start();
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("fine", 2);
    world.assert_sound();
}

#[test]
fn a_replica_that_dies_is_left_out_at_once_and_its_successor_taken_in() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    let service = service("shop", 1);
    let before = world.swarm.endpoints_that_are_well(&service);
    let slow = Behaviour {
        ready_after_ms: 300,
        ..Behaviour::default()
    };
    world.swarm.image("shop:v1", slow);
    world.swarm.kill_one(&service);
    until("the successor", || {
        let after = world.swarm.endpoints_that_are_well(&service);
        after.len() == 2 && after != before
    });
    until("a table with both", || {
        let last = world.swarm.trail().pop().unwrap_or_default();
        last == format!("route shop: {service}*1/2")
    });
    let trail = world.swarm.trail();
    assert!(
        trail.contains(&format!("route shop: {service}*1/1")),
        "{trail:#?}"
    );
    world.assert_sound();
}

/// The reconciler found a leftover; before it removes it, a deployment goes back to that release.
#[test]
fn a_release_that_is_gone_back_to_is_no_leftover() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.create_app("other", settings(1));
    life.ship("other", "other:v1");
    life.ship("shop", "shop:v1");
    let first = world.swarm.spec(&service("shop", 1)).unwrap();
    life.ship("shop", "shop:v2");
    // As if it could not be removed then.
    world.swarm.add_behind_our_back(first);
    // Deleting another app looks for leftovers; held in the middle of removing that app's own.
    life.tap.hang("remove_service", "other");
    let px = life.px.clone();
    let deleting =
        life.spawn(async move { apps::delete_app(&px, &Actor::system(), &name("other")).await });
    until("the removal", || life.tap.is_hanging("remove_service"));
    let id = life.rollback("shop", 1);
    let deploys = State::Running {
        phase: PhaseName::Deploy,
    };
    until("the deploy phase", || life.record(&id).state == deploys);
    std::thread::sleep(std::time::Duration::from_millis(300));
    life.tap.release("remove_service");
    life.run(deleting).unwrap().unwrap();
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn new_host_names_reach_the_ingress_although_the_caller_went_away() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.tap.hang("publish", "");
    let px = life.px.clone();
    let change = ChangeApp {
        domains: Some(vec!["shop.example.com".parse().unwrap()]),
        ..ChangeApp::default()
    };
    let asked = life.spawn(async move {
        apps::change_app(&px, &Actor::system(), &name("shop"), &production(), change)
            .await
            .map(|_| ())
    });
    until("the table", || life.tap.is_hanging("publish"));
    asked.abort();
    life.tap.release("publish");
    // The next reason to look at the routes brings it along, although it changes none itself.
    let change = ChangeApp {
        replicas: Some(2),
        ..ChangeApp::default()
    };
    let (actor, shop) = (Actor::system(), name("shop"));
    life.run(apps::change_app(
        &life.px,
        &actor,
        &shop,
        &production(),
        change,
    ))
    .unwrap();
    until("the new name", || {
        world
            .ingress
            .hosts("shop")
            .contains(&"shop.example.com".to_owned())
    });
    world.assert_sound();
}
