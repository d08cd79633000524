//! Projects and secrets as files, at the door for machines.

use serde_json::{Value, json};

use super::House;

const VARIABLES: &str = "/api/v1/projects/office/variables";

async fn house() -> House {
    let house = House::new().await;
    let app = json!({"app_name": "shop"});
    house.call("POST", "/api/v1/apps", Some(&app)).await;
    let project = json!({"project": "office"});
    let put = house
        .call("PUT", "/api/v1/apps/shop/project", Some(&project))
        .await;
    assert_eq!(put.status, 204, "{put:?}");
    house
}

fn names(body: &Value) -> Vec<&str> {
    let all = body["env_vars"].as_array().unwrap();
    all.iter().map(|one| one["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_a_project_shares_is_changed_in_parts_or_as_a_whole_and_never_told() {
    let house = house().await;
    let change = json!({"env_vars": {"REGION": "hunter1"}, "secret_env_vars": [
        {"key": "TOKEN", "value": "hunter2-and-more"},
        {"key": "CERT", "value": "hunter3", "file": "cert.pem", "uid": 1000}]});
    let changed = house.call("PATCH", VARIABLES, Some(&change)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        changed.body["env_vars"],
        json!([
            {"key": "CERT", "is_secret": true, "file": {"path": "/run/secrets/cert.pem", "uid": 1000},
             "is_shared": true},
            {"key": "REGION", "is_secret": false, "is_shared": true},
            {"key": "TOKEN", "is_secret": true, "is_shared": true},
        ])
    );
    assert_eq!(changed.body["version"], 2);

    // As it was answered, it is taken again: what has no value keeps what it holds.
    let again = json!({"env_vars": [changed.body["env_vars"][0],
        {"key": "REGION", "value": "hunter4"}], "if_version": 2});
    let replaced = house.call("PUT", VARIABLES, Some(&again)).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(names(&replaced.body), ["CERT", "REGION"]);
    let stale = house.call("PUT", VARIABLES, Some(&again)).await;
    stale.problem(409);
    let bare = json!({"env_vars": [{"key": "CERT", "secret": false}]});
    let refused = house.call("PATCH", VARIABLES, Some(&bare)).await;
    refused.problem(422);

    let app = house.call("GET", "/api/v1/apps/shop", None).await;
    assert_eq!(app.body["project"], "office");
    assert_eq!(app.body["shared_env_vars"][0]["key"], "CERT");
    assert_eq!(app.body["shared_env_vars"][0]["is_overridden"], false);
    let list = house.call("GET", "/api/v1/projects", None).await;
    assert_eq!(list.body["total"], 1);
    assert_eq!(list.body["projects"][0]["apps"], json!(["shop"]));
    let audit = house.call("GET", "/api/v1/audit", None).await;
    assert!(
        audit.body.to_string().contains("CERT (secret)"),
        "{audit:?}"
    );
    for answer in [changed, replaced, stale, refused, app, list, audit] {
        assert!(!answer.body.to_string().contains("hunter"), "{answer:?}");
    }
    let gone = json!({"env_vars": {"REGION": null}});
    let changed = house.call("PATCH", VARIABLES, Some(&gone)).await;
    assert_eq!(names(&changed.body), ["CERT"]);
    let nowhere = house.call("GET", "/api/v1/projects/nowhere", None).await;
    assert_eq!(nowhere.problem(404), "project_not_found");
}

#[tokio::test]
async fn a_secret_of_an_app_becomes_a_file_and_a_variable_again() {
    let house = house().await;
    let path = "/api/v1/apps/shop";
    let change = json!({"env_vars": [{"key": "KEY", "value": "hunter2", "delivery": "file"}]});
    let changed = house.call("PATCH", path, Some(&change)).await;
    let expected = json!([{"key": "KEY", "is_secret": true, "file": {"path": "/run/secrets/KEY"}}]);
    assert_eq!(changed.body["env_vars"], expected, "{changed:?}");
    let large = json!({"env_vars": [{"key": "KEY", "value": "hunter2".repeat(80_000)}]});
    let refused = house.call("PATCH", path, Some(&large)).await;
    refused.problem(422);
    assert!(refused.body.to_string().contains("511999"), "{refused:?}");
    let back = json!({"env_vars": [{"key": "KEY", "delivery": "variable"}]});
    let changed = house.call("PATCH", path, Some(&back)).await;
    let expected = json!([{"key": "KEY", "is_secret": true}]);
    assert_eq!(changed.body["env_vars"], expected, "{changed:?}");
    for answer in [refused, changed] {
        assert!(!answer.body.to_string().contains("hunter"), "{answer:?}");
    }
}
