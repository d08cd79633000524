use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogFilter, LogMetadata, LogSource, SourceType,
};
use flukedeploy_platform::ports::{LogQuery, LogStore, StoreError};
use flukedeploy_store::SqliteLogStore;
use time::Duration;

use crate::support::*;

async fn open_logs() -> (Dir, SqliteLogStore) {
    let dir = Dir::new();
    let logs = SqliteLogStore::open(&dir.path()).await.unwrap();
    (dir, logs)
}

/// The `number`-th millisecond after [`NOW`].
fn entry(number: u32, app: &str, message: &str) -> LogEntry {
    let source = LogSource {
        kind: SourceType::Container,
        container_name: format!("{app}.1"),
        service_id: Some(format!("fd-main-{app}-production-r1")),
        node_id: None,
        task_id: Some("task".to_owned()),
        stream: Some("stderr".to_owned()),
    };
    let metadata = LogMetadata::new(EventType::HealthCheck, app);
    let at = NOW + Duration::milliseconds(i64::from(number));
    LogEntry::new(
        at,
        u64::from(number),
        Level::Info,
        message,
        source,
        metadata,
    )
}

fn ask(filter: LogFilter) -> LogQuery {
    LogQuery {
        filter,
        limit: 100,
        ..LogQuery::default()
    }
}

async fn messages(logs: &SqliteLogStore, query: &LogQuery) -> Vec<String> {
    let page = logs.query(query).await.unwrap();
    assert_eq!(
        usize::try_from(page.total).unwrap(),
        page.entries.len(),
        "all on one page"
    );
    page.entries.into_iter().map(|it| it.message).collect()
}

#[tokio::test]
async fn an_entry_comes_back_as_it_was_to_the_nanosecond() {
    let (_dir, logs) = open_logs().await;
    let mut whole = entry(1, "shop", "Grüße, \"Welt\" %_\\ 🦀\n");
    whole.timestamp += Duration::nanoseconds(456_789);
    whole.tags = vec!["a".to_owned()];
    whole.flukedeploy_metadata.deployment_id = Some("dep-1".to_owned());
    whole.flukedeploy_metadata.release = Some(3);
    logs.append(std::slice::from_ref(&whole)).await.unwrap();
    logs.append(&[]).await.unwrap();
    let page = logs.query(&ask(LogFilter::default())).await.unwrap();
    assert_eq!((page.total, page.entries), (1, vec![whole]));
}

#[tokio::test]
async fn an_entry_that_is_there_is_skipped() {
    let (_dir, logs) = open_logs().await;
    let first = entry(1, "shop", "first");
    let mut again = entry(1, "shop", "again");
    again.level = Level::Error;
    logs.append(&[first.clone(), again.clone()]).await.unwrap();
    logs.append(&[again, entry(2, "shop", "second")])
        .await
        .unwrap();
    assert_eq!(
        messages(&logs, &ask(LogFilter::default())).await,
        ["second", "first"]
    );
}

#[tokio::test]
async fn every_filter_narrows_and_they_add_up() {
    let (_dir, logs) = open_logs().await;
    let mut entries = Vec::new();
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    for number in 0..32_u32 {
        let app = if number % 2 == 0 { "shop" } else { "other" };
        let mut entry = entry(number, app, &format!("line {number}"));
        entry.level = levels[usize::try_from(number / 2 % 4).unwrap()];
        if number >= 16 {
            entry.flukedeploy_metadata.deployment_id = Some(format!("dep-{}", number % 4));
        }
        if number % 3 == 0 {
            entry.flukedeploy_metadata.event_type = EventType::ScaleEvent;
        }
        entries.push(entry);
    }
    logs.append(&entries).await.unwrap();

    let apps = [None, Some("shop"), Some("nobody")];
    let deployments = [None, Some("dep-0"), Some("dep-3")];
    let severities = [None, Some(Level::Warn)];
    let events = [None, Some(EventType::ScaleEvent)];
    let mut found = 0;
    for app in apps {
        for deployment in deployments {
            for level in severities {
                for min_level in severities {
                    for event_type in events {
                        let filter = LogFilter {
                            app_name: app.map(str::to_owned),
                            deployment_id: deployment.map(str::to_owned),
                            level,
                            event_type,
                            min_level,
                        };
                        // The domain's own rule is the measure.
                        let expected: Vec<String> = entries
                            .iter()
                            .rev()
                            .filter(|entry| filter.matches(entry))
                            .map(|entry| entry.message.clone())
                            .collect();
                        found += expected.len();
                        assert_eq!(
                            messages(&logs, &ask(filter.clone())).await,
                            expected,
                            "{filter:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(found > 100);
}

#[tokio::test]
async fn text_is_found_in_any_letter_case_and_without_wildcards() {
    let (_dir, logs) = open_logs().await;
    let lines = [
        "100% full",
        "100 is full",
        "a_b",
        "aXb",
        "ÄRGER mit Straße",
        r"C:\dir",
    ];
    let entries: Vec<_> = (0..)
        .zip(lines)
        .map(|(number, line)| entry(number, "shop", line))
        .collect();
    logs.append(&entries).await.unwrap();
    for (text, expected) in [
        ("FULL", &["100 is full", "100% full"][..]),
        ("100%", &["100% full"]),
        ("A_B", &["a_b"]),
        ("ärger", &["ÄRGER mit Straße"]),
        ("STRAßE", &["ÄRGER mit Straße"]),
        (r"c:\D", &[r"C:\dir"]),
        ("'; DROP TABLE log_entries; --", &[]),
        ("service_id", &[]),
    ] {
        let query = LogQuery {
            text: Some(text.to_owned()),
            ..ask(LogFilter::default())
        };
        assert_eq!(messages(&logs, &query).await, expected, "{text}");
    }
    let everything = LogQuery {
        text: Some(String::new()),
        ..ask(LogFilter::default())
    };
    assert_eq!(messages(&logs, &everything).await.len(), lines.len());
}

#[tokio::test]
async fn pages_are_stable_and_entries_of_one_time_keep_their_order() {
    let (_dir, logs) = open_logs().await;
    let mut entries: Vec<_> = (0..10)
        .map(|number| entry(number, "shop", &number.to_string()))
        .collect();
    // Three of one instant, and arrival out of the order of time.
    for entry in &mut entries[4..7] {
        entry.timestamp = NOW + Duration::milliseconds(5);
    }
    let late = entries.remove(1);
    logs.append(&entries).await.unwrap();
    logs.append(&[late]).await.unwrap();

    for oldest_first in [true, false] {
        let mut expected: Vec<String> = (0..10).map(|number: u32| number.to_string()).collect();
        if !oldest_first {
            expected.reverse();
        }
        let mut seen = Vec::new();
        for offset in (0..12).step_by(3) {
            let query = LogQuery {
                limit: 3,
                offset,
                oldest_first,
                ..LogQuery::default()
            };
            let page = logs.query(&query).await.unwrap();
            assert_eq!(page.total, 10);
            seen.extend(page.entries.into_iter().map(|it| it.message));
        }
        assert_eq!(seen, expected);
    }
    let since = LogQuery {
        since: Some(NOW + Duration::milliseconds(8)),
        ..ask(LogFilter::default())
    };
    assert_eq!(messages(&logs, &since).await, ["9", "8"]);
}

#[tokio::test]
async fn container_logs_resume_after_the_newest_line_of_their_service() {
    let (_dir, logs) = open_logs().await;
    let service = "fd-main-shop-production-r1";
    assert_eq!(logs.newest_of_service(service).await.unwrap(), None);
    let mut newest = entry(1, "shop", "newest");
    newest.timestamp += Duration::nanoseconds(999_999);
    let mut of_deployment = entry(9, "shop", "not a container's");
    of_deployment.source.kind = SourceType::Deployment;
    logs.append(&[
        newest.clone(),
        entry(0, "shop", "older"),
        of_deployment,
        entry(8, "other", "another service"),
    ])
    .await
    .unwrap();
    assert_eq!(
        logs.newest_of_service(service).await.unwrap(),
        Some(newest.timestamp)
    );
}

#[tokio::test]
async fn old_entries_expire_however_many() {
    let (_dir, logs) = open_logs().await;
    let old: Vec<_> = (0..10_500)
        .map(|number| entry(number, "shop", "old"))
        .collect();
    logs.append(&old).await.unwrap();
    logs.append(&[entry(20_000, "shop", "new")]).await.unwrap();
    let before = NOW + Duration::milliseconds(20_000);
    assert_eq!(logs.expire(before).await.unwrap(), 10_500);
    assert_eq!(logs.expire(before).await.unwrap(), 0);
    assert_eq!(messages(&logs, &ask(LogFilter::default())).await, ["new"]);
}

#[tokio::test]
async fn an_entry_that_fits_no_type_is_named() {
    let (dir, logs) = open_logs().await;
    let entry = entry(1, "shop", "line");
    logs.append(std::slice::from_ref(&entry)).await.unwrap();
    sqlx::query("UPDATE log_entries SET entry = '{'")
        .execute(&mut raw(&dir.path()).await)
        .await
        .unwrap();
    let error = logs.query(&ask(LogFilter::default())).await.unwrap_err();
    let StoreError::Corrupt { table, id, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((table, id), ("log_entries", entry.id));
}
