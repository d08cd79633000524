//! Log entries: stored, lost with honesty, and never in the way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::deployment::State;
use flukedeploy_domain::log_entry::{EventType, LogFilter};
use flukedeploy_platform::apps::{ChangeApp, change_app};
use flukedeploy_platform::follow::{Followed, Follower, Since, Start};
use flukedeploy_platform::logs::{self, ReadLogs};
use time::OffsetDateTime;

use crate::bench::{Life, World, name, production, settings, until};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

/// Longer than any entry takes, shorter than a person waits for a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

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
    while let Some(told) = reader.try_next() {
        let of_it = told.entries().iter().filter(|entry| {
            entry.flukedeploy_metadata.deployment_id.as_deref() == Some(done.id.as_str())
        });
        seen.extend(of_it.map(|entry| entry.id.clone()));
    }
    assert!(seen.len() > 10);
    assert_eq!(seen, stored);
}

/// Writes one entry, which is the newest then, and returns its id.
fn write_one(life: &Life<'_>) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let change = ChangeApp {
        set_env_vars: EnvVars([("N".to_owned(), number.to_string())].into()),
        ..ChangeApp::default()
    };
    let (app, environment) = (name("shop"), production());
    let actor = Actor::system();
    let changing = change_app(&life.px, &actor, &app, &environment, change);
    life.run(changing).unwrap();
    let newest = ReadLogs {
        filter: LogFilter {
            event_type: Some(EventType::ConfigChange),
            ..LogFilter::default()
        },
        limit: 1,
        ..ReadLogs::default()
    };
    // Reading brings it to the store.
    let newest = life.run(logs::read_logs(&life.px, &actor, newest));
    newest.unwrap().entries.pop().unwrap().id
}

/// More writes, each of one entry, than wait for a reader.
fn trickle(life: &Life<'_>, count: u32) {
    for _ in 0..count {
        write_one(life);
    }
}

/// Everything up to an entry, and how much was dropped.
fn read_up_to(life: &Life<'_>, reader: &mut Follower, last: &str) -> (Vec<String>, u64) {
    let (mut ids, mut dropped) = (Vec::new(), 0);
    while ids.last().is_none_or(|id| id != last) {
        let next = life.run(async { tokio::time::timeout(PATIENCE, reader.next()).await });
        for followed in next.expect("more in time").expect("the platform runs") {
            match followed {
                Followed::Entry(entry) => ids.push(entry.id.clone()),
                Followed::Dropped(count) => dropped += count,
            }
        }
    }
    (ids, dropped)
}

/// All ids as they came in, by the log itself.
fn all_ids(life: &Life<'_>) -> Vec<String> {
    let mut reader = Follower::new(&life.px, Actor::system()).unwrap();
    let start = Start::Since(Since::Time(OffsetDateTime::UNIX_EPOCH));
    life.run(reader.select(LogFilter::default(), start))
        .unwrap();
    let last = write_one(life);
    read_up_to(life, &mut reader, &last).0
}

fn chatty(world: &World, lines: u32) {
    let behaviour = Behaviour {
        chatter: lines,
        ..Behaviour::default()
    };
    world.swarm.image("shop:v1", behaviour);
}

#[test]
fn a_reader_that_fell_behind_reads_on_from_the_store() {
    let world = World::new();
    chatty(&world, 3_000);
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut reader = Follower::new(&life.px, Actor::system()).unwrap();
    life.run(reader.select(LogFilter::default(), Start::Now))
        .unwrap();
    life.ship("shop", "shop:v1");
    trickle(&life, 80);
    let all = all_ids(&life);
    let (seen, dropped) = read_up_to(&life, &mut reader, all.last().unwrap());
    assert_eq!(dropped, 0);
    let missing = all.len() - seen.len();
    assert!(
        seen.len() > 3_000 && missing < 10,
        "{missing}: from before it listened"
    );
    assert_eq!(seen, all[missing..], "each once and in order");
}

#[test]
fn a_slow_reader_is_told_how_much_it_missed_while_others_read_from_the_store() {
    let world = World::new();
    chatty(&world, 6_000);
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut readers: Vec<_> = (0..5)
        .map(|_| Follower::new(&life.px, Actor::system()).unwrap())
        .collect();
    for reader in &mut readers {
        life.run(reader.select(LogFilter::default(), Start::Now))
            .unwrap();
    }
    life.ship("shop", "shop:v1");
    trickle(&life, 80);
    let all = all_ids(&life);
    let mut last = readers.pop().unwrap();
    for reader in &mut readers {
        let burst = life.run(reader.next()).unwrap();
        assert!(matches!(burst[0], Followed::Entry(_)), "{:?}", burst[0]);
    }
    let (seen, dropped) = read_up_to(&life, &mut last, all.last().unwrap());
    assert!(dropped > 6_000, "{dropped}");
    assert_eq!(
        seen,
        all[all.len() - seen.len()..],
        "and goes on without a gap"
    );
    for mut reader in readers {
        let (_, dropped) = read_up_to(&life, &mut reader, all.last().unwrap());
        assert_eq!(dropped, 0);
    }
}

#[test]
fn what_is_stored_joins_what_comes_without_gap_or_double() {
    let world = World::new();
    chatty(&world, 6_000);
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let before = all_ids(&life);
    let filter = LogFilter {
        app_name: Some("shop".to_owned()),
        ..LogFilter::default()
    };
    // Each begins elsewhere, and more comes while it reads than waits for a reader.
    for skip in [0, 1, 4_321] {
        let since = match skip {
            0 => Since::Time(OffsetDateTime::UNIX_EPOCH),
            _ => Since::Entry(before[skip - 1].clone()),
        };
        let mut reader = Follower::new(&life.px, Actor::system()).unwrap();
        life.run(reader.select(filter.clone(), Start::Since(since)))
            .unwrap();
        let first = life.run(reader.next()).unwrap();
        let first: Vec<_> = first
            .iter()
            .map(|followed| match followed {
                Followed::Entry(entry) => entry.id.clone(),
                Followed::Dropped(count) => panic!("{count} dropped"),
            })
            .collect();
        trickle(&life, 60);
        let all = all_ids(&life);
        let (rest, dropped) = read_up_to(&life, &mut reader, all.last().unwrap());
        assert_eq!(dropped, 0);
        assert_eq!([first, rest].concat(), all[skip..]);
    }
    // A new filter of a reader that was owed something begins now.
    let mut reader = Follower::new(&life.px, Actor::system()).unwrap();
    let everything = Start::Since(Since::Time(OffsetDateTime::UNIX_EPOCH));
    life.run(reader.select(filter.clone(), everything)).unwrap();
    life.run(reader.select(filter, Start::Tail(3))).unwrap();
    let known = all_ids(&life);
    let (seen, _) = read_up_to(&life, &mut reader, known.last().unwrap());
    assert_eq!(seen, known[known.len() - 4..]);
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
    while let Some(told) = reader.try_next() {
        for entry in told.entries() {
            let of = entry.flukedeploy_metadata.deployment_id.as_deref();
            seen += usize::from(of == Some(done.id.as_str()));
        }
    }
    let life = world.boot();
    assert_eq!(life.entries(&done.id).len(), seen);
}
