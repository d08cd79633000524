use flukedeploy_domain::log_entry::{EventType, LogMetadata, LogSource, SourceType};
use proptest::prelude::*;

use super::*;

fn entry(n: u64, level: Level, message: &str) -> LogEntry {
    let source = LogSource {
        kind: SourceType::Container,
        container_name: "shop".to_owned(),
        service_id: None,
        node_id: None,
        task_id: None,
        stream: None,
    };
    let at = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(n);
    let metadata = LogMetadata::new(EventType::PostDeploy, "shop");
    LogEntry::new(at, n, level, message, source, metadata)
}

fn summary(limit: usize, entries: &[LogEntry]) -> Summary {
    let mut patterns = Patterns::new(limit);
    for entry in entries {
        patterns.add(entry);
    }
    patterns.finish()
}

#[test]
fn five_hundred_lines_become_two_patterns() {
    let mut entries = Vec::new();
    for n in 0..500 {
        let line = format!("GET /users/{n} {} in {} ms", 200 + n % 3, n % 50);
        entries.push(entry(n, Level::Info, &line));
    }
    for n in 0..20 {
        let line = format!("connect to 10.0.0.{n}:5432 failed");
        entries.push(entry(500 + n, Level::Error, &line));
    }
    let got = summary(100, &entries);
    let told: Vec<_> = got
        .patterns
        .iter()
        .map(|p| (p.count, p.template.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (20, "connect to <IP>:<NUM> failed"),
            (500, "GET /users/<NUM> <NUM> in <NUM> ms")
        ]
    );
    assert_eq!(
        (got.entries, got.counts.info, got.counts.error),
        (520, 500, 20)
    );
    let failed = &got.patterns[0];
    assert_eq!(
        (failed.first_seen, failed.last_seen),
        (entries[500].timestamp, entries[519].timestamp)
    );
    assert_eq!(failed.example, "connect to 10.0.0.0:5432 failed");
    assert_eq!(failed.example_id, entries[500].id);
}

#[test]
fn words_that_differ_become_a_gap_and_other_lines_stay_apart() {
    let lines = [
        "session of alice was closed by timeout",
        "session of bob was closed by timeout",
        "cache is warm",
        "cache was emptied by carol",
    ];
    let entries: Vec<_> = lines
        .iter()
        .map(|line| entry(1, Level::Info, line))
        .collect();
    let got = summary(100, &entries);
    let told: Vec<_> = got.patterns.iter().map(|p| p.template.as_str()).collect();
    assert_eq!(
        told,
        [
            "session of <*> was closed by timeout",
            "cache is warm",
            "cache was emptied by carol"
        ]
    );
}

#[test]
fn patterns_of_another_release_can_be_told_from_new_ones() {
    let old = summary(
        10,
        &[
            entry(1, Level::Info, "up"),
            entry(2, Level::Error, "lost 3"),
            entry(3, Level::Info, "worker anna is ready"),
        ],
    );
    let mut new = summary(
        10,
        &[
            entry(1, Level::Info, "up"),
            entry(2, Level::Error, "lost 7"),
            entry(3, Level::Error, "new"),
            entry(4, Level::Info, "worker bert is ready"),
            entry(5, Level::Warn, "up"),
        ],
    );
    new.compare(&old, 3);
    assert_eq!(new.compared_with_release, Some(3));
    let is_new = new.patterns.iter().filter(|pattern| pattern.is_new);
    let told: Vec<_> = is_new.map(|p| (p.level, p.template.as_str())).collect();
    assert_eq!(told, [(Level::Error, "new"), (Level::Warn, "up")]);
}

#[test]
fn the_first_error_comes_with_its_surroundings() {
    let mut entries: Vec<_> = (0..20)
        .map(|n| entry(n, Level::Info, &format!("line {n}")))
        .collect();
    entries[10] = entry(10, Level::Error, "boom");
    let trace: Vec<String> = (0..100).map(|n| format!("  at f{n}")).collect();
    entries[10].flukedeploy_metadata.stack_trace = Some(trace.join("\n"));
    entries[10].flukedeploy_metadata.error_code = Some("Boom".to_owned());
    entries[12] = entry(12, Level::Error, "boom again");
    let excerpt = summary(10, &entries).first_error.unwrap();
    let lines: Vec<_> = excerpt
        .lines
        .iter()
        .map(|line| line.message.as_str())
        .collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        (lines[0], lines[5], lines[10]),
        ("line 5", "boom", "line 15")
    );
    let trace = excerpt.stack_trace.unwrap();
    assert!(
        trace.starts_with("  at f0\n") && trace.ends_with("  at f99"),
        "{trace}"
    );
    assert!(
        trace.contains("… 88 lines left out …") && trace.lines().count() == 13,
        "{trace}"
    );
    assert_eq!(summary(10, &[entry(1, Level::Warn, "x")]).first_error, None);
    let early = summary(10, &[entry(1, Level::Error, "x")])
        .first_error
        .unwrap();
    assert_eq!(early.lines.len(), 1);
}

#[test]
fn text_made_to_fill_memory_does_not() {
    let mut patterns = Patterns::new(200);
    for n in 0..20_000_u64 {
        let word = |k: u64| {
            let mut text = String::new();
            let mut rest = n.wrapping_mul(2_654_435_761).wrapping_add(k * 7_919) % 300_000_000;
            while rest > 0 {
                text.push(char::from(b'g' + u8::try_from(rest % 20).unwrap()));
                rest /= 20;
            }
            text
        };
        let words = 1 + n % 60;
        let line: Vec<String> = (0..words).map(word).collect();
        patterns.add(&entry(n, Level::Info, &line.join(" ")));
    }
    assert!(patterns.branches.len() <= 800 + 200 && patterns.leaves.len() <= 200);
    let got = patterns.finish();
    assert_eq!(got.patterns.len(), 200);
    let counted: u64 = got.patterns.iter().map(|p| p.count).sum();
    assert_eq!(counted + got.without_pattern, 20_000);
}

proptest! {
    #[test]
    fn every_entry_is_counted_once(
        lines in proptest::collection::vec(("(\\PC|[0-9 a-f:/.\"'-]){0,40}", 0_usize..4), 0..40), limit in 1_usize..6,
    ) {
        let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
        let entries: Vec<_> =
            lines.iter().enumerate().map(|(n, (line, level))| entry(n as u64, levels[*level], line)).collect();
        let got = summary(limit, &entries);
        let counted: u64 = got.patterns.iter().map(|p| p.count).sum();
        prop_assert_eq!(counted + got.without_pattern, entries.len() as u64);
        prop_assert!(got.patterns.len() <= limit);
        let errors = lines.iter().filter(|(_, level)| *level == 3).count() as u64;
        prop_assert_eq!(got.counts.error, errors);
        prop_assert_eq!(got.first_error.is_some(), errors > 0);
        prop_assert!(got.patterns.iter().all(|p| p.first_seen <= p.last_seen && p.count > 0));
    }
}

#[test]
#[ignore = "measures; meant for an optimised build"]
fn how_long_an_entry_takes() {
    let rounds = 100_000;
    let entries: Vec<_> = (0..rounds)
        .map(|n| {
            entry(
                n,
                Level::Info,
                &format!("GET /users/{n} 200 in {} ms for bob", n % 50),
            )
        })
        .collect();
    let began = std::time::Instant::now();
    let got = summary(200, &entries);
    let each = began.elapsed().as_nanos() / u128::from(rounds);
    println!("{each} ns an entry, {} patterns", got.patterns.len());
}
