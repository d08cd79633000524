//! Log entries: stored, lost with honesty, and never in the way.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::State;
use flukedeploy_platform::journal::Live;
use flukedeploy_platform::logs;

use crate::bench::{World, settings, until};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

#[test]
fn a_reader_sees_everything_at_once_and_the_store_soon() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut reader = logs::subscribe(&life.px, &Actor::system()).unwrap();
    let done = life.ship("shop", "shop:v1");
    let stored = life.entries(&done.id);
    let stored: Vec<_> = stored.into_iter().map(|entry| entry.id).collect();
    let mut seen = Vec::new();
    while let Some(Live::Entry(entry)) = reader.try_next() {
        if entry.flukedeploy_metadata.deployment_id.as_deref() == Some(done.id.as_str()) {
            seen.push(entry.id.clone());
        }
    }
    assert!(seen.len() > 10);
    assert_eq!(seen, stored);
}

#[test]
fn a_slow_reader_is_told_how_much_it_missed() {
    const LINES: u32 = 6_000;
    let world = World::new();
    world.swarm.image(
        "shop:v1",
        Behaviour {
            chatter: LINES,
            ..Behaviour::default()
        },
    );
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut reader = logs::subscribe(&life.px, &Actor::system()).unwrap();
    let done = life.ship("shop", "shop:v1");
    let Some(Live::Dropped(missed)) = reader.try_next() else {
        panic!("it missed nothing");
    };
    let mut got = 0;
    while let Some(next) = reader.try_next() {
        assert!(matches!(next, Live::Entry(_)));
        got += 1;
    }
    assert!(missed > 0 && missed + got >= u64::from(LINES));
    // The store was not as slow.
    let told = life.entries_now(&done.id);
    assert_eq!(told.len(), 5_000, "a whole page");
}

#[test]
fn a_log_store_that_fails_or_hangs_stops_no_deployment() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.tap.fail("append", "", Trouble::Refused, u32::MAX);
    life.ship("shop", "shop:v1");
    life.tap.release("append");
    life.tap.hang("append", "");
    let held = life.ship("shop", "shop:v2");
    until("the writer", || life.tap.is_hanging("append"));
    life.tap.release("append");
    assert!(
        !life.entries(&held.id).is_empty(),
        "what waited is stored after all"
    );
    let whole = life.ship("shop", "shop:v3");
    assert_eq!(whole.state, State::Success);
    assert!(life.entries(&whole.id).len() > 10);
    world.assert_sound();
}

#[test]
fn a_shutdown_brings_the_last_entries_to_disk() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut reader = logs::subscribe(&life.px, &Actor::system()).unwrap();
    let done = life.ship("shop", "shop:v1");
    life.shut_down();
    let mut seen = 0;
    while let Some(Live::Entry(entry)) = reader.try_next() {
        let of = entry.flukedeploy_metadata.deployment_id.as_deref();
        seen += usize::from(of == Some(done.id.as_str()));
    }
    let life = world.boot();
    assert_eq!(life.entries(&done.id).len(), seen);
}
