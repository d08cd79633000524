use flukedeploy_domain::access::Tier;
use serde_json::json;

use super::House;

#[tokio::test]
async fn a_webhook_is_made_changed_tested_and_removed() {
    let house = House::new().await;
    let body = json!({
        "url": "https://hooks.example.com/in", "events": ["deployment.failed", "app.created"]
    });
    let made = house.call("POST", "/api/v1/webhooks", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 64);
    assert_eq!(made.body["active"], true);

    let list = house.call("GET", "/api/v1/webhooks", None).await;
    assert_eq!(list.body["total"], 1);
    assert_eq!(list.body["webhooks"][0]["events"], body["events"]);
    assert!(!list.body.to_string().contains(&secret), "{list:?}");

    let app = json!({"app_name": "shop"});
    house.call("POST", "/api/v1/apps", Some(&app)).await;
    let path = format!("/api/v1/webhooks/{id}");
    let test = house.call("POST", &format!("{path}/test"), None).await;
    assert_eq!(
        (test.status.as_u16(), &test.body["event"]),
        (202, &json!("webhook.test"))
    );
    let told = house.call("GET", &format!("{path}/deliveries"), None).await;
    assert_eq!(told.body["total"], 2, "{told:?}");
    assert_eq!(told.body["deliveries"][1]["event"], "app.created");
    assert_eq!(told.body["deliveries"][0]["status"], "pending");
    let one = house
        .call("GET", &format!("{path}/deliveries?limit=1"), None)
        .await;
    assert_eq!(one.body["total"], 1);

    let delivery = test.body["id"].as_str().unwrap();
    let resend = format!("/api/v1/webhooks/deliveries/{delivery}/resend");
    let again = house.call("POST", &resend, None).await;
    assert_eq!(
        (again.status.as_u16(), again.body["id"].as_str()),
        (202, Some(delivery))
    );

    let off = json!({"active": false, "events": ["*"]});
    let changed = house.call("PATCH", &path, Some(&off)).await;
    assert_eq!(changed.body["active"], false, "{changed:?}");
    assert_eq!(changed.body["events"], json!(["*"]));
    let refused = house.call("POST", &resend, None).await;
    assert_eq!(refused.problem(409), "not_now");

    let gone = house.call("DELETE", &path, None).await;
    assert_eq!(gone.status, 204);
    for (method, path) in [
        ("DELETE", path.clone()),
        ("POST", format!("{path}/test")),
        ("POST", resend),
    ] {
        let missing = house.call(method, &path, None).await;
        assert_eq!(missing.problem(404), "not_found", "{path}");
    }
}

#[tokio::test]
async fn bad_webhooks_are_refused_with_every_fault() {
    let house = House::new().await;
    let body = json!({"url": "ftp://x", "events": ["nonsense"], "app_name": "No Name"});
    let refused = house.call("POST", "/api/v1/webhooks", Some(&body)).await;
    assert_eq!(refused.problem(422), "invalid_request");
    for field in ["url", "events", "app_name"] {
        assert!(
            refused.body["detail"].as_str().unwrap().contains(field),
            "{refused:?}"
        );
    }
    for body in [
        json!({}),
        json!({"url": "https://user:pw@x.example/"}),
        json!({"url": "https://x.example/", "secret": "short"}),
        json!({"url": "https://x.example/", "events": []}),
        json!({"url": "https://x.example/", "events": "all"}),
        json!({"url": "https://x.example/", "app_name": "nobody"}),
    ] {
        let refused = house.call("POST", "/api/v1/webhooks", Some(&body)).await;
        assert_eq!(refused.problem(422), "invalid_request", "{body}");
    }
    let wrong = json!({"active": "yes"});
    let refused = house
        .call("PATCH", "/api/v1/webhooks/wh-1", Some(&wrong))
        .await;
    assert_eq!(refused.problem(422), "invalid_request");
    let unknown = house
        .call("GET", "/api/v1/webhooks/..%2f/deliveries", None)
        .await;
    assert_eq!(unknown.problem(404), "not_found");
}

#[tokio::test]
async fn webhooks_are_for_administrators() {
    let house = House::new().await;
    let agent = house.token(Tier::Advanced).await;
    let list = house.call_as(&agent, "GET", "/api/v1/webhooks", None).await;
    assert_eq!(list.problem(403), "forbidden");
    let body = json!({"url": "https://x.example/"});
    let made = house
        .call_as(&agent, "POST", "/api/v1/webhooks", Some(&body))
        .await;
    assert_eq!(made.problem(403), "forbidden");
}
