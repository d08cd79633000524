//! The audit trail over REST: searched, exported, and what an entry says of a change.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::House;

async fn entries(house: &House, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/audit?{query}");
    let found = house.call("GET", &path, None).await;
    assert_eq!(found.status, 200, "{query}: {found:?}");
    found.body["entries"].as_array().unwrap().clone()
}

async fn shop_with_history() -> House {
    let house = House::new().await;
    let new = json!({"app_name": "shop", "container_port": 80, "replicas": 1});
    let made = house.call("POST", "/api/v1/apps", Some(&new)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let change = json!({
        "replicas": 3,
        "secret_env_vars": {"TOKEN": "canary-4711"},
    });
    let changed = house
        .call("PATCH", "/api/v1/apps/shop", Some(&change))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    house
}

#[tokio::test]
async fn an_entry_says_what_was_before_and_is_after_and_of_secrets_the_names() {
    let house = shop_with_history().await;
    let body = json!({"project": "office"});
    let put = house
        .call("PUT", "/api/v1/apps/shop/project", Some(&body))
        .await;
    assert!(put.status.is_success(), "{put:?}");
    let entry = entries(&house, "action=change_settings").await.remove(0);
    let of = |name: &str| {
        let changes = entry["changes"].as_array().unwrap().iter();
        changes
            .clone()
            .find(|change| change["name"] == name)
            .cloned()
    };
    assert_eq!(
        of("replicas").unwrap(),
        json!({"name": "replicas", "before": "1", "after": "3"})
    );
    assert_eq!(of("env_vars.TOKEN").unwrap()["after"], "(set)");
    assert!(!entry.to_string().contains("canary"), "{entry}");
    let moved = entries(&house, "action=change_projects").await.remove(0);
    assert_eq!(
        moved["changes"],
        json!([{"name": "project", "after": "office"}])
    );
}

#[tokio::test]
async fn the_trail_is_searched_and_what_cannot_be_looked_for_is_named() {
    let house = shop_with_history().await;
    assert_eq!(entries(&house, "app_name=shop&door=rest").await.len(), 2);
    assert_eq!(entries(&house, "app_name=other").await.len(), 0);
    assert_eq!(entries(&house, "q=CREATED%20app").await.len(), 1);
    assert_eq!(entries(&house, "outcome=denied").await.len(), 0);
    assert_eq!(entries(&house, "since=2100-01-01T00:00:00Z").await.len(), 0);
    let page = house.call("GET", "/api/v1/audit?limit=1", None).await;
    let next = page.body["next_before"].as_i64().unwrap();
    let older = entries(&house, &format!("limit=1&before={next}")).await;
    assert_eq!(older[0]["sequence"].as_i64().unwrap(), next - 1);

    let bad = "/api/v1/audit?action=fly&door=window&outcome=maybe&since=noon&limit=x";
    let refused = house.call("GET", bad, None).await;
    assert_eq!(refused.problem(400), "bad_request");
    for name in ["action", "door", "outcome", "since", "limit"] {
        assert!(refused.body.to_string().contains(name), "{refused:?}");
    }
    let long = format!("/api/v1/audit?q={}", "x".repeat(201));
    let refused = house.call("GET", &long, None).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
}

/// Whoever keeps the export can check the chain without us.
#[tokio::test]
async fn an_export_holds_the_chain() {
    let house = shop_with_history().await;
    let export = house.call("GET", "/api/v1/audit/export", None).await;
    assert_eq!(export.status, 200);
    assert_eq!(export.headers["content-type"], "application/x-ndjson");
    let text = export.body.as_str().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= 2, "{text}");
    let mut former = String::new();
    for (index, line) in lines.iter().enumerate() {
        let (start, hash) = line.rsplit_once(r#","hash":""#).unwrap();
        let hash = hash.trim_end_matches(r#""}"#);
        assert!(start.starts_with(&format!(r#"{{"sequence":{},"#, index + 1)));
        let digest = Sha256::digest(format!("{former}{start}}}").as_bytes());
        let chained = digest.iter().zip(hash.as_bytes().chunks(2));
        let is_same = chained
            .into_iter()
            .all(|(byte, hex)| format!("{byte:02x}").as_bytes() == hex);
        assert!(is_same && hash.len() == 64, "line {}: {hash}", index + 1);
        former = hash.to_owned();
    }
    let only = house
        .call("GET", "/api/v1/audit/export?action=change_settings", None)
        .await;
    // One line is one JSON value.
    assert_eq!(only.body["entry"]["action"], "change_settings");
}
