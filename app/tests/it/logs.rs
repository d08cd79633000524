//! The log explorer without a browser: what an address asks for is what the page has.

use std::sync::Arc;

use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use flukedeploy_platform::ports::{LogBatch, LogStore as _};
use http::StatusCode;
use time::{Duration, OffsetDateTime};

use crate::browser::{Browser, Page};
use crate::support::{End, Stand, settings};

fn printed(at: OffsetDateTime, number: u64, level: Level, message: &str) -> LogEntry {
    let source = LogSource {
        kind: SourceType::Container,
        container_name: "shop".to_owned(),
        service_id: None,
        node_id: Some("node-a".to_owned()),
        task_id: Some(format!("task-{}", number % 2)),
        stream: Some("stdout".to_owned()),
    };
    let mut metadata = LogMetadata::new(EventType::DeployStart, "shop");
    metadata.environment = Some("production".to_owned());
    metadata.release = Some(3);
    LogEntry::new(at, number, level, message, source, metadata)
}

async fn store(stand: &Stand, entries: Vec<LogEntry>) {
    let batch = LogBatch::of(entries);
    stand.logs.append(Arc::new(batch)).await.unwrap();
}

/// The values of an attribute, in order.
fn all<'a>(page: &'a Page, attribute: &str) -> Vec<&'a str> {
    let start = format!("{attribute}=\"");
    let parts = page.html.split(start.as_str()).skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

/// An address out of the page, as a browser reads it.
fn link(page: &Page, word: &str) -> String {
    let (before, _) = page.html.split_once(&format!(">{word}<")).unwrap();
    let (_, to) = before.rsplit_once("href=\"").unwrap();
    to.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_double_while_lines_arrive() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let start = stand.px.now() - Duration::minutes(10);
    let entry = |number: u64| {
        let at = start + Duration::milliseconds(i64::try_from(number).unwrap());
        printed(at, number, Level::Info, &format!("line {number}"))
    };
    let entries: Vec<_> = (0..450).map(entry).collect();
    let mut wanted: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    store(&stand, entries).await;
    let mut browser = Browser::signed_in(&stand).await;

    let newest = browser.get("/apps/shop/logs").await;
    newest.has("450 entries in the last 24 hours; the newest 200 are here.");
    let older = browser.get(&link(&newest, "Older entries")).await;
    // Meanwhile there is more: what was looked at stays where it is.
    store(&stand, vec![entry(450)]).await;
    let oldest = browser.get(&link(&older, "Older entries")).await;
    oldest.lacks("Older entries");
    let shown = [&oldest, &older, &newest].map(|page| all(page, "data-entry"));
    assert_eq!(shown.concat(), wanted);

    // And the same way back, to the line that came.
    let back = browser.get(&link(&oldest, "Newer entries")).await;
    assert_eq!(all(&back, "data-entry"), shown[1]);
    let back = browser.get(&link(&back, "Newer entries")).await;
    let end = browser.get(&link(&back, "Newer entries")).await;
    wanted.push(entry(450).id);
    assert_eq!(all(&end, "data-entry"), wanted[450..]);
    end.has("Look for newer entries").has("data-follow-log");
    older.lacks("data-follow-log");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_beside_its_field_and_kept() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    store(
        &stand,
        vec![printed(stand.px.now(), 1, Level::Error, "a fact")],
    )
    .await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .get("/apps/shop/logs?q=%2Fa(%2F&since=soon&level=error")
        .await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("id=\"q-fault\"")
        .has("id=\"since-fault\"")
        .has("value=\"/a(/\"")
        .has("Nothing was searched")
        .lacks("a fact")
        .lacks("data-follow-log")
        .lacks("/api/v1/logs/export");
}

#[tokio::test]
async fn a_line_is_linked_to_and_shown_among_those_of_its_replica() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let start = stand.px.now() - Duration::days(3);
    let entries: Vec<_> = (0..60)
        .map(|number| {
            let at = start + Duration::seconds(i64::try_from(number).unwrap());
            let mut entry = printed(at, number, Level::Info, &format!("line {number}"));
            if number == 30 {
                let field = ("<order>".to_owned(), serde_json::json!({"id": 4711}));
                entry.flukedeploy_metadata.fields.extend([field]);
                entry.flukedeploy_metadata.stack_trace = Some("first\nsecond".to_owned());
            }
            entry
        })
        .collect();
    let ids: Vec<_> = entries.iter().map(|entry| entry.id.clone()).collect();
    store(&stand, entries).await;
    let mut browser = Browser::signed_in(&stand).await;
    // Older than what is shown at first.
    let page = browser.get("/apps/shop/logs").await;
    page.has("Look at all times").lacks("line 30");
    let page = browser.get("/apps/shop/logs?range=all&q=30").await;
    page.has("stack trace, 2 lines")
        .has("&lt;order&gt;")
        .has("4711");
    let to = link(&page, "Link to this line");
    assert_eq!(to, format!("?id={0}#e-{0}", ids[30]));

    let to = to.split('#').next().unwrap();
    let page = browser.get(&format!("/apps/shop/logs{to}")).await;
    let even: Vec<_> = ids.iter().step_by(2).map(String::as_str).collect();
    assert_eq!(all(&page, "data-entry"), even);
    page.has("15 entries before and 14 after it, of replica task-0")
        .has("class=\"entry entry-info entry-here\"")
        .has(&format!("id=\"e-{}\"", ids[30]));
    for gone in ["dep-1-nothing", "%3Cscript%3E"] {
        let page = browser.get(&format!("/apps/shop/logs?id={gone}")).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        page.has("This line is not there");
    }
}

#[tokio::test]
async fn counts_are_bars_a_table_and_links_and_deployments_are_marks() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let other = stand.app("blog", settings(1)).await;
    let ago = Duration::minutes(20);
    let one = stand.deployment(&app, "shop:v1", ago, End::Success).await;
    let two = stand.deployment(&other, "blog:v1", ago, End::Success).await;
    let at = stand.px.now() - Duration::minutes(5);
    let entries = (0..7).map(|number| {
        let level = if number < 2 {
            Level::Error
        } else {
            Level::Warn
        };
        printed(at, number, level, &format!("line {number}"))
    });
    store(&stand, entries.collect()).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get("/apps/shop/logs?range=1h&level=warn").await;
    page.has("2 errors")
        .has("5 warnings")
        .has("Counts as a table")
        .has("bar-deployment")
        .has(&format!("href=\"/deployments/{}\"", one.id))
        .lacks(&two.id.to_string());
    let all_apps = browser.get("/logs?range=1h").await;
    all_apps
        .has(&format!("href=\"/deployments/{}\"", two.id))
        .has("entry-app")
        .has("line 6");
    browser
        .get("/logs?app=blog&range=1h")
        .await
        .lacks("line 6")
        .has("<option value=\"blog\" selected");
}
