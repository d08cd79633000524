//! Nothing can be stored in the log for a while: whoever listens, deploys or waits notices no more of
//! it than that it is said.

use std::time::Duration;

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::State;
use flukedeploy_domain::log_entry::{Level, LogFilter, SYSTEM, SourceType};
use flukedeploy_platform::follow::{Followed, Follower, Since, Start};
use flukedeploy_platform::system::system_view;
use time::OffsetDateTime;

use crate::bench::{Life, World, settings};
use crate::tap::Trouble;

/// More than have room while nothing can be stored.
const LINES: usize = 25_000;
const PATIENCE: Duration = Duration::from_secs(15);

fn container() -> LogFilter {
    LogFilter {
        source_type: Some(SourceType::Container),
        ..LogFilter::default()
    }
}

fn everything() -> LogFilter {
    LogFilter::default()
}

fn system() -> LogFilter {
    LogFilter {
        app_name: Some(SYSTEM.to_owned()),
        ..LogFilter::default()
    }
}

fn listener(life: &Life<'_>, filter: LogFilter, start: Start) -> Follower {
    let mut reader = Follower::new(&life.px, Actor::system()).unwrap();
    life.run(reader.select(filter, start)).unwrap();
    reader
}

/// What comes until so many are there, or nothing more comes.
fn heard(life: &Life<'_>, reader: &mut Follower, count: usize, patience: Duration) -> Vec<String> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = life.run(async { tokio::time::timeout(patience, reader.next()).await });
        let Ok(burst) = next else { break };
        for followed in burst.expect("the platform runs") {
            match followed {
                Followed::Entry(entry) => messages.push(entry.message.clone()),
                Followed::Dropped(count) => panic!("{count} dropped"),
            }
        }
    }
    messages
}

fn prints(world: &World, app: &str) {
    let lines = (1..=LINES).map(|line| (false, format!("line {line}")));
    *world.swarm.prints.lock().unwrap() = vec![(app.to_owned(), lines.collect())];
}

/// What an app printed, `times` times: each line as often, and in order if it was once.
#[track_caller]
fn assert_all(messages: &[String], times: usize) {
    let mut numbers: Vec<usize> = messages
        .iter()
        .map(|message| message.trim_start_matches("line ").parse().unwrap())
        .collect();
    if times > 1 {
        numbers.sort_unstable();
    }
    let wanted = (0..times * LINES).map(|at| at / times + 1);
    let wrong = numbers
        .iter()
        .zip(wanted)
        .find(|(number, wanted)| *number != wanted);
    assert!(
        numbers.len() == times * LINES && wrong.is_none(),
        "{} lines, first wrong: {wrong:?}",
        numbers.len()
    );
}

fn problems(life: &Life<'_>) -> Vec<String> {
    let view = life.run(system_view(&life.px, &Actor::system())).unwrap();
    let about = |problem: &String| problem.contains("log entries");
    view.problems.into_iter().filter(about).collect()
}

#[test]
fn while_nothing_can_be_stored_all_is_heard_and_nothing_is_lost() {
    let world = World::new();
    prints(&world, "shop");
    let life = world.boot();
    life.create_app("shop", settings(1));
    let (mut reader, mut news) = (listener(&life, everything(), Start::Now), Vec::new());
    life.tap.fail("append", "", Trouble::Refused, u32::MAX);
    for image in ["shop:v1", "shop:v2"] {
        let id = life.deploy("shop", image);
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let burst = heard(&life, &mut reader, 1, PATIENCE);
            assert!(!burst.is_empty(), "{} lines of {image}", lines.len());
            let is_line = |message: &String| message.starts_with("line ");
            let (more, rest) = burst.into_iter().partition::<Vec<_>, _>(is_line);
            lines.extend(more);
            news.extend(rest);
        }
        assert_all(&lines, 1);
        assert_eq!(life.end(&id).state, State::Success);
        assert_eq!(problems(&life).len(), 1, "{:?}", problems(&life));
    }
    life.tap.release("append");
    let again = "Log entries are stored again";
    while !news.iter().any(|text| text == again) {
        let burst = heard(&life, &mut reader, 1, PATIENCE);
        assert!(!burst.is_empty(), "nothing said of it: {news:#?}");
        let twice = burst.iter().find(|text| text.starts_with("line "));
        assert!(twice.is_none(), "told twice: {twice:?}");
        news.extend(burst);
    }
    let about = |text: &&String| text.starts_with("Log entries ");
    assert_eq!(news.iter().filter(about).count(), 2, "{news:#?}");
    assert!(problems(&life).is_empty());
    // Both releases printed the same.
    let start = Start::Since(Since::Time(OffsetDateTime::UNIX_EPOCH));
    let mut stored = listener(&life, container(), start.clone());
    let stored = heard(&life, &mut stored, 2 * LINES, PATIENCE);
    assert_all(&stored, 2);
    let mut stored = listener(&life, system(), start);
    let stored = heard(&life, &mut stored, 10, Duration::from_secs(1));
    assert_eq!(stored.iter().filter(about).count(), 2, "{stored:?}");
}

#[test]
fn a_platform_that_stops_meanwhile_reads_on_where_the_store_is() {
    let world = World::new();
    prints(&world, "shop");
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut apps = listener(&life, container(), Start::Now);
    life.tap.fail("append", "", Trouble::Refused, u32::MAX);
    let first = life.deploy("shop", "shop:v1");
    assert_all(&heard(&life, &mut apps, LINES, PATIENCE), 1);
    assert_eq!(life.end(&first).state, State::Success);
    // The last moment, in which what came later must not pass by what came before.
    drop(apps);
    life.shut_down();

    let life = world.boot();
    let start = Start::Since(Since::Time(OffsetDateTime::UNIX_EPOCH));
    let mut stored = listener(&life, container(), start);
    let stored = heard(&life, &mut stored, LINES, PATIENCE);
    assert_all(&stored, 1);
}

#[test]
fn trouble_is_told_once_a_change() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut news = listener(&life, system(), Start::Now);
    for _ in 0..2 {
        life.tap.fail("append", "", Trouble::Refused, 3);
        life.ship("shop", "shop:v1");
        let told = heard(&life, &mut news, 2, PATIENCE);
        assert!(told[0].contains("cannot be stored now"), "{told:?}");
        assert_eq!(told[1], "Log entries are stored again");
    }
    let start = Start::Since(Since::Time(OffsetDateTime::UNIX_EPOCH));
    let mut stored = Follower::new(&life.px, Actor::system()).unwrap();
    let filter = LogFilter {
        level: Some(Level::Warn),
        ..system()
    };
    life.run(stored.select(filter, start)).unwrap();
    let stored = heard(&life, &mut stored, 10, Duration::from_secs(1));
    let about = |text: &&String| text.contains("cannot be stored");
    assert_eq!(stored.iter().filter(about).count(), 2, "{stored:?}");
}
