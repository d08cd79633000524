use serde_json::json;

use super::House;

const PATH: &str = "/api/v1/log-forwarders";

#[tokio::test]
async fn a_log_forwarder_is_made_changed_tested_and_removed() {
    let house = House::new().await;
    let body = json!({
        "kind": "otlp", "url": "https://otel.example.com", "min_level": "warn",
        "headers": {"Authorization": "Bearer not-to-be-shown"}
    });
    let made = house.call("POST", PATH, Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["url"], "https://otel.example.com/v1/logs");
    assert_eq!(made.body["headers"], json!(["Authorization"]));
    assert_eq!(made.body["state"], "forwarding");
    assert_eq!(made.body.get("secret"), None);
    let hook = json!({"kind": "webhook", "url": "https://hooks.example.com/in"});
    let hook = house.call("POST", PATH, Some(&hook)).await;
    let secret = hook.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 64);

    let list = house.call("GET", PATH, None).await;
    assert_eq!(list.body["total"], 2);
    let text = list.body.to_string();
    assert!(!text.contains(&secret) && !text.contains("not-to-be-shown"));

    let one = format!("{PATH}/{}", made.body["id"].as_str().unwrap());
    let change = json!({"active": false, "min_level": null});
    let changed = house.call("PATCH", &one, Some(&change)).await;
    assert_eq!(changed.body["state"], "paused", "{changed:?}");
    assert_eq!(changed.body.get("min_level"), None);
    assert_eq!(changed.body["headers"], json!(["Authorization"]));
    let tried = house.call("POST", &format!("{one}/test"), None).await;
    assert_eq!(tried.body["arrived"], false, "{tried:?}");
    assert!(tried.body["why"].is_string());

    let gone = house.call("DELETE", &one, None).await;
    assert_eq!(gone.status, 204);
    for (method, path) in [
        ("GET", one.clone()),
        ("DELETE", one.clone()),
        ("POST", format!("{one}/test")),
        ("GET", format!("{PATH}/nonsense")),
    ] {
        assert_eq!(house.call(method, &path, None).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_log_forwarder_is_refused_with_its_faults() {
    let house = House::new().await;
    for (body, field) in [
        (json!({"kind": "fax", "url": "tcp://x.example"}), "kind"),
        (json!({"kind": "syslog"}), "url"),
        (json!({"kind": "syslog", "url": "https://x.example"}), "url"),
        (json!({"kind": "otlp", "url": "tcp://x.example"}), "url"),
        (
            json!({"kind": "syslog", "url": "tcp://x.example", "secret": "0123456789abcdef"}),
            "secret",
        ),
        (
            json!({"kind": "syslog", "url": "tcp://x.example", "app_name": "nobody"}),
            "app_name",
        ),
        (
            json!({"kind": "webhook", "url": "https://x.example", "min_level": "loud"}),
            "min_level",
        ),
        (
            json!({"kind": "webhook", "url": "https://x.example", "headers": {"Host": "y"}}),
            "headers.",
        ),
    ] {
        let refused = house.call("POST", PATH, Some(&body)).await;
        assert!(refused.status.is_client_error(), "{body} {refused:?}");
        assert!(refused.body.to_string().contains(field), "{refused:?}");
    }
}
