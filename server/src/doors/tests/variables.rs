//! Variables that are marked secret, at the doors for machines.

use serde_json::{Value, json};

use super::House;

const APP: &str = "/api/v1/apps/shop";

fn told(body: &Value) -> Vec<(String, bool)> {
    let all = body["env_vars"].as_array().unwrap();
    let one = |item: &Value| {
        assert_eq!(item.as_object().unwrap().len(), 2, "{item}");
        let key = item["key"].as_str().unwrap().to_owned();
        (key, item["is_secret"].as_bool().unwrap())
    };
    all.iter().map(one).collect()
}

fn expected(pairs: &[(&str, bool)]) -> Vec<(String, bool)> {
    let owned = |(key, is_secret): &(&str, bool)| ((*key).to_owned(), *is_secret);
    pairs.iter().map(owned).collect()
}

#[tokio::test]
async fn a_mark_is_set_kept_and_taken_away_only_with_a_new_value() {
    let house = House::new().await;
    let body = json!({"app_name": "shop", "env_vars": {"MODE": "hunter1"},
        "secret_env_vars": {"THING": "hunter2-and-more"}});
    let made = house.call("POST", "/api/v1/apps", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        told(&made.body),
        expected(&[("MODE", false), ("THING", true)])
    );
    assert!(made.body["env_var_warnings"].is_null());
    assert!(!made.body.to_string().contains("hunter"), "{made:?}");

    let change = json!({"env_vars": [{"key": "MODE", "secret": true}, {"key": "THING", "value": "abc"},
        {"key": "NEW", "value": "hunter3"}]});
    let changed = house.call("PATCH", APP, Some(&change)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let all = [("MODE", true), ("NEW", false), ("THING", true)];
    assert_eq!(told(&changed.body), expected(&all));
    let warnings = changed.body["env_var_warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .as_str()
            .unwrap()
            .starts_with("THING is marked secret, but its value is too short")
    );

    let bare =
        json!({"env_vars": [{"key": "MODE", "secret": false}, {"key": "NONE", "secret": true}]});
    let refused = house.call("PATCH", APP, Some(&bare)).await;
    refused.problem(422);
    let why = refused.body.to_string();
    assert!(why.contains("needs a new value"), "{why}");
    assert!(why.contains("has no value yet"), "{why}");

    let open = json!({"env_vars": [{"key": "MODE", "value": "fast", "secret": false}],
        "secret_env_vars": {"THING": null}});
    let changed = house.call("PATCH", APP, Some(&open)).await;
    assert_eq!(
        told(&changed.body),
        expected(&[("MODE", false), ("NEW", false)])
    );

    let deploy = json!({"app_name": "shop", "image": "shop:1",
        "secret_env_vars": [{"key": "D", "value": "hunter4"}], "dry_run": true});
    let plan = house
        .call("POST", "/api/v1/deployments", Some(&deploy))
        .await;
    assert!(!plan.body.to_string().contains("hunter"), "{plan:?}");
    let wrong = json!({"app_name": "shop", "image": "shop:1",
        "env_vars": [{"key": "NEW", "secret": false}]});
    let refused = house
        .call("POST", "/api/v1/deployments", Some(&wrong))
        .await;
    refused.problem(422);
}
