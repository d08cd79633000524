use axum::body::Body;
use axum::extract::Request;
use flukedeploy_domain::access::{Actor, ActorKind, Door, Tier};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt as _;

use super::{ADMIN, Answer, House};
use crate::doors::body::MAX_BODY_BYTES;

#[tokio::test]
async fn an_app_is_made_shown_changed_and_removed() {
    let house = House::new().await;
    let body = json!({
        "app_name": "shop", "container_port": 8080, "health": {"path": "/up"},
        "env_vars": {"MODE": "fast"}, "domains": ["shop.example.com"], "future_field": 1
    });
    let made = house.call("POST", "/api/v1/apps", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["cache-control"], "no-store");
    assert_eq!(made.body["health"]["path"], "/up");
    assert_eq!(made.body["env_var_names"], json!(["MODE"]));
    assert!(!made.body.to_string().contains("fast"), "{made:?}");
    assert_eq!(
        house
            .call("POST", "/api/v1/apps", Some(&body))
            .await
            .problem(409),
        "already_exists"
    );

    let change = json!({"replicas": 3, "env_vars": {"MODE": null}, "if_version": 1});
    let changed = house
        .call("PATCH", "/api/v1/apps/shop", Some(&change))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["replicas"]["requested"], 3);
    assert_eq!(changed.body["env_var_names"], json!([]));
    let again = house
        .call("PATCH", "/api/v1/apps/shop", Some(&change))
        .await;
    assert_eq!(again.problem(409), "settings_changed");

    let list = house.call("GET", "/api/v1/apps", None).await;
    assert_eq!(
        (&list.body["total"], &list.body["apps"][0]["app_name"]),
        (&json!(1), &json!("shop"))
    );
    let near = house.call("GET", "/api/v1/apps/shopp", None).await;
    assert_eq!(near.problem(404), "app_not_found");
    assert_eq!(near.body["did_you_mean"], json!(["shop"]));
    assert_eq!(
        house
            .call("GET", "/api/v1/apps/Bad_Name", None)
            .await
            .problem(400),
        "bad_request"
    );
}

#[tokio::test]
async fn environments_are_made_shown_changed_and_named_everywhere() {
    let house = House::new().await;
    let body = json!({"app_name": "shop", "env_vars": {"MODE": "live"}, "domains": ["a.example"]});
    house.call("POST", "/api/v1/apps", Some(&body)).await;
    let all = "/api/v1/apps/shop/environments";
    let staging = "/api/v1/apps/shop/environments/staging";
    let body = json!({"name": "staging", "ttl_seconds": 3600, "replicas": 2});
    let made = house.call("POST", all, Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["environment"], "staging");
    assert_eq!(made.body["url"], "http://shop-staging.localhost:8080/");
    assert_eq!(made.body["domains"], json!([]));
    assert_eq!(made.body["env_var_names"], json!(["MODE"]));
    assert!(made.body["expires_at"].is_string(), "{made:?}");
    let again = house.call("POST", all, Some(&body)).await;
    assert_eq!(again.problem(409), "already_exists");
    for bad in [
        json!({}),
        json!({"name": "Bad Name"}),
        json!({"name": "x", "ttl_seconds": 5}),
        json!({"name": "x", "ttl_seconds": "long"}),
        json!({"name": "x", "from": "../y"}),
    ] {
        let refused = house.call("POST", all, Some(&bad)).await;
        assert_eq!(refused.status, 422, "{bad}: {refused:?}");
    }
    let from_nowhere = json!({"name": "x", "from": "nowhere"});
    let refused = house.call("POST", all, Some(&from_nowhere)).await;
    assert_eq!(refused.problem(404), "environment_not_found");

    let kept = json!({"ttl_seconds": null, "env_vars": {"MODE": "trial"}});
    let kept = house.call("PATCH", staging, Some(&kept)).await;
    assert!(kept.body.get("expires_at").is_none(), "{kept:?}");
    let change = json!({"replicas": 5});
    let by_query = "/api/v1/apps/shop?environment=staging";
    let changed = house.call("PATCH", by_query, Some(&change)).await;
    assert_eq!(changed.body["configured_replicas"], 5);
    let production = house.call("GET", "/api/v1/apps/shop", None).await;
    assert_eq!(production.body["configured_replicas"], 1);
    let names: Vec<_> = production.body["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|known| known["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["production", "staging"]);
    let listed = house.call("GET", all, None).await;
    assert_eq!(listed.body["total"], 2);

    for path in [
        "/api/v1/apps/shop?environment=nowhere",
        "/api/v1/apps/shop/releases?environment=nowhere",
        "/api/v1/apps/shop/environments/nowhere",
    ] {
        let refused = house.call("GET", path, None).await;
        assert_eq!(refused.problem(404), "environment_not_found", "{path}");
        assert!(refused.body["detail"].as_str().unwrap().contains("staging"));
    }
    let bad = house
        .call("GET", "/api/v1/apps/shop?environment=%2F", None)
        .await;
    assert_eq!(bad.problem(400), "bad_request");

    let deploy = json!({"app_name": "shop", "image": "shop:v1", "environment": "staging"});
    let begun = house
        .call("POST", "/api/v1/deployments", Some(&deploy))
        .await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let of = |environment: &str| format!("/api/v1/apps/shop/deployments?environment={environment}");
    let there = house.call("GET", &of("staging"), None).await;
    let elsewhere = house.call("GET", &of("production"), None).await;
    assert_eq!(
        (&there.body["total"], &elsewhere.body["total"]),
        (&json!(1), &json!(0))
    );
    let early = json!({"from": "staging"});
    let early = house
        .call("POST", "/api/v1/apps/shop/promote", Some(&early))
        .await;
    assert_eq!(early.problem(409), "not_now");
    let itself = json!({"from": "staging", "to": "staging"});
    let refused = house
        .call("POST", "/api/v1/apps/shop/promote", Some(&itself))
        .await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let never = "/api/v1/apps/shop/environments/production";
    let refused = house.call("DELETE", never, None).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[tokio::test]
async fn a_deployment_is_accepted_and_can_be_followed_everywhere() {
    let house = House::new().await;
    let body = json!({
        "app_name": "shop", "image": "shop:1.0", "create": true, "idempotency_key": "one"
    });
    let first = house.call("POST", "/api/v1/deployments", Some(&body)).await;
    assert_eq!(first.status, 202, "{first:?}");
    let id = first.body["deployment_id"].as_str().unwrap();
    assert_eq!(first.body["status"], "pending");
    assert_eq!(
        first.body["status_url"],
        format!("http://127.0.0.1:3000/api/v1/deployments/{id}")
    );
    assert_eq!(
        first.body["stream_url"],
        format!("ws://127.0.0.1:8767/?deployment_id={id}")
    );
    let again = house.call("POST", "/api/v1/deployments", Some(&body)).await;
    assert_eq!(
        (
            again.body["deployment_id"].as_str(),
            &again.body["replayed"]
        ),
        (Some(id), &json!(true))
    );
    let other = json!({"app_name": "shop", "image": "shop:2.0", "idempotency_key": "one"});
    let reused = house
        .call("POST", "/api/v1/deployments", Some(&other))
        .await;
    assert_eq!(reused.problem(409), "idempotency_key_reused");

    for path in [
        format!("/deployments/{id}"),
        format!("/deployments/{id}/logs"),
    ] {
        assert_eq!(
            house
                .call("GET", &format!("/api/v1{path}"), None)
                .await
                .status,
            200,
            "{path}"
        );
    }
    let active = house.call("GET", "/api/v1/deployments/active", None).await;
    assert_eq!(active.body["total"], 1);
    let stats = house.call("GET", "/api/v1/deployments/stats", None).await;
    assert_eq!(
        (&stats.body["active_count"], &stats.body["total_tracked"]),
        (&json!(1), &json!(1))
    );
    let history = house
        .call("GET", "/api/v1/apps/shop/deployments", None)
        .await;
    assert_eq!(
        (&history.body["app_name"], &history.body["total"]),
        (&json!("shop"), &json!(1))
    );
    let none = house
        .call("GET", "/api/v1/apps/unknown/deployments", None)
        .await;
    assert_eq!(
        (none.status.as_u16(), &none.body["total"]),
        (200, &json!(0))
    );
    let nowhere = house.call("POST", "/api/v1/apps/shop/rollback", None).await;
    assert_eq!(nowhere.problem(404), "release_not_found");
    let report = house
        .call(
            "POST",
            "/api/v1/apps/shop/validate",
            Some(&json!({"image": "a:1"})),
        )
        .await;
    assert_eq!(report.status, 200, "{report:?}");
}

#[tokio::test]
async fn an_unknown_deployment_is_told_in_the_contracts_words() {
    let house = House::new().await;
    for id in ["dep-1770200000000-9f3c1a7e", "no%20id%20at%20all"] {
        for path in ["", "/logs"] {
            let path = format!("/api/v1/deployments/{id}{path}");
            let answer = house.call("GET", &path, None).await;
            assert_eq!(answer.problem(404), "deployment_not_found");
            assert_eq!(answer.body["error"], "Deployment not found");
            assert!(answer.body["deployment_id"].is_string());
        }
    }
}

#[tokio::test]
async fn bad_input_gets_a_stable_code_and_never_a_500() {
    let house = House::new().await;
    let post = |body: serde_json::Value| {
        let house = &house;
        async move { house.call("POST", "/api/v1/deployments", Some(&body)).await }
    };
    let unknown = post(json!({"app_name": "shop", "image": "a:1"})).await;
    assert_eq!(unknown.problem(404), "app_not_found");
    let invalid = post(json!({
        "app_name": "Shop", "replicas": 10_000, "container_port": 0, "image": "--bad"
    }))
    .await;
    assert_eq!(invalid.problem(422), "invalid_request");
    assert_eq!(
        invalid.body["fields"].as_array().unwrap().len(),
        4,
        "{invalid:?}"
    );
    let nested = json!({"app_name": {"a": []}, "image": 5, "env_vars": "x", "create": "yes"});
    assert_eq!(
        post(nested).await.body["fields"].as_array().unwrap().len(),
        4
    );
    let staging =
        json!({"app_name": "shop", "image": "a:1", "environment": "staging", "create": true});
    assert_eq!(post(staging).await.status, 404);
    for (query, status) in [("limit=ten", 400), ("offset=-1", 400), ("limit=0", 422)] {
        let answer = house
            .call("GET", &format!("/api/v1/logs?{query}"), None)
            .await;
        answer.problem(status);
    }
    let empty = house
        .call("GET", "/api/v1/logs?app_name=none&deployment_id=x", None)
        .await;
    assert_eq!(
        (&empty.body["total"], &empty.body["limit"]),
        (&json!(0), &json!(1_000))
    );
}

#[tokio::test]
async fn what_is_no_json_is_refused_as_such() {
    let house = House::new().await;
    let send = |content_type: Option<&'static str>, body: &'static str| {
        let house = &house;
        async move {
            let mut request =
                Request::post("/api/v1/apps").header("authorization", format!("Bearer {ADMIN}"));
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            house.send(request.body(Body::from(body)).unwrap()).await
        }
    };
    assert_eq!(
        send(Some("application/json"), "{oops").await.problem(400),
        "bad_request"
    );
    assert_eq!(
        send(Some("application/json"), "[]").await.problem(400),
        "bad_request"
    );
    assert_eq!(
        send(Some("text/plain"), "{}").await.problem(415),
        "unsupported_media_type"
    );
    assert_eq!(
        send(None, "{}").await.problem(415),
        "unsupported_media_type"
    );
    assert_eq!(send(None, "").await.problem(422), "invalid_request");
}

#[tokio::test]
async fn a_large_body_is_refused_without_being_kept() {
    let house = House::new().await;
    let large = Request::post("/api/v1/deployments")
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("content-type", "application/json")
        .header("content-length", (50 * 1024 * 1024).to_string())
        .body(Body::from(vec![b' '; MAX_BODY_BYTES]));
    assert_eq!(
        house.send(large.unwrap()).await.problem(413),
        "body_too_large"
    );
    let chunk = bytes::Bytes::from(vec![b' '; 1024 * 1024]);
    let chunks = (0..50).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let undeclared = Request::post("/api/v1/deployments")
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("content-type", "application/json")
        .body(Body::from_stream(futures_util::stream::iter(chunks)));
    assert_eq!(
        house.send(undeclared.unwrap()).await.problem(413),
        "body_too_large"
    );
}

/// Over a real connection, by a client that sends everything before it reads anything.
#[tokio::test]
async fn the_refusal_of_a_large_body_reaches_the_client() {
    const LENGTH: usize = 50 * 1024 * 1024;
    let house = House::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for path in ["/api/v1/deployments", "/mcp"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\
             content-type: application/json\r\ncontent-length: {LENGTH}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b' '; 64 * 1024];
        for _ in 0..LENGTH / chunk.len() {
            stream.write_all(&chunk).await.unwrap();
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{path}");
    }
}

#[tokio::test]
async fn addresses_and_methods_that_do_not_exist_are_problems_too() {
    let house = House::new().await;
    for path in [
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v3/apps",
        "/api/v1/apps/",
        "/api/v1/apps/a/b/c",
    ] {
        assert_eq!(
            house.call("GET", path, None).await.problem(404),
            "not_found",
            "{path}"
        );
    }
    let wrong = house.call("PUT", "/api/v1/apps", None).await;
    assert_eq!(wrong.problem(405), "method_not_allowed");
    let allowed = wrong.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
}

#[tokio::test]
async fn only_valid_credentials_open_the_door() {
    let house = House::new().await;
    let extended = house.token(Tier::Extended).await;
    let nobody = house
        .send(Request::get("/api/v1/apps").body(Body::empty()).unwrap())
        .await;
    assert_eq!(nobody.problem(401), "unauthorized");
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    for bad in ["nonsense", "fd_a_b", &format!("{extended}x")] {
        let answer = house.call_as(bad, "GET", "/api/v1/apps", None).await;
        assert_eq!(answer.problem(401), "unauthorized", "{bad}");
        assert!(!answer.body.to_string().contains(bad));
    }
    assert_eq!(
        house
            .call_as(&extended, "GET", "/api/v1/apps", None)
            .await
            .status,
        200
    );
    let deploy = json!({"app_name": "shop", "image": "a:1", "create": true});
    let refused = house
        .call_as(&extended, "POST", "/api/v1/deployments", Some(&deploy))
        .await;
    assert_eq!(refused.problem(403), "forbidden");
    assert!(
        refused.body["next"].as_str().unwrap().contains("advanced"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends_when_it_is_revoked() {
    let house = House::new().await;
    let body = json!({"name": "ci", "tier": "advanced"});
    let made = house.call("POST", "/api/v1/tokens", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.body["token"].as_str().unwrap().to_owned();
    let id = made.body["id"].as_str().unwrap();
    let list = house.call("GET", "/api/v1/tokens", None).await;
    assert!(!list.body.to_string().contains(&token));
    // It lists what was made with it, and that is nothing.
    let own = house.call_as(&token, "GET", "/api/v1/tokens", None).await;
    assert_eq!((own.status.as_u16(), &own.body["total"]), (200, &json!(0)));
    let revoke = format!("/api/v1/tokens/{id}");
    assert_eq!(house.call("DELETE", &revoke, None).await.status, 204);
    assert_eq!(
        house
            .call_as(&token, "GET", "/api/v1/apps", None)
            .await
            .problem(401),
        "unauthorized"
    );
    let audit = house.call("GET", "/api/v1/audit?limit=10", None).await;
    assert_eq!(audit.status, 200, "{audit:?}");
    assert_eq!(audit.body["entries"][0]["action"], "revoke_token");
}

#[tokio::test]
async fn a_session_must_send_json_to_change_anything() {
    let house = House::new().await;
    let user = Actor {
        kind: ActorKind::User,
        id: "u".to_owned(),
        name: "admin".to_owned(),
        persona: None,
        tier: Tier::Admin,
        door: Door::Dashboard,
        ..Actor::system()
    };
    let send = |method: &'static str, path: &'static str, content_type: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("host", "localhost")
            .extension(user.clone())
            .body(Body::from(r#"{"app_name":"shop"}"#));
        house.send(request.unwrap())
    };
    let form = send("POST", "/api/v1/apps", "application/x-www-form-urlencoded").await;
    assert_eq!(form.problem(415), "unsupported_media_type");
    assert_eq!(
        send("POST", "/api/v1/apps", "application/json")
            .await
            .status,
        201
    );
    assert_eq!(send("GET", "/api/v1/apps", "text/plain").await.status, 200);
    // An agent's door is not opened by somebody's browser.
    assert_eq!(
        send("POST", "/mcp", "application/json").await.problem(401),
        "unauthorized"
    );
}

#[tokio::test]
async fn health_says_little_without_a_token_and_more_with_one() {
    let house = House::new().await;
    for path in ["/api/v1/health", "/api/v2/health"] {
        let open = house
            .send(Request::get(path).body(Body::empty()).unwrap())
            .await;
        let keys: Vec<_> = open.body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["status", "timestamp", "version"], "{open:?}");
        // The engine of these tests never answers.
        assert_eq!(
            (open.status.as_u16(), &open.body["status"]),
            (503, &json!("unhealthy"))
        );
        let full = house.call("GET", path, None).await;
        assert_eq!(full.body["flukedeploy"]["websocket_clients"], 0);
        assert!(full.body["issues"][0]["message"].is_string(), "{full:?}");
    }
    assert_eq!(
        house
            .call_as("bad", "GET", "/api/v1/health", None)
            .await
            .problem(401),
        "unauthorized"
    );
    let alive = house
        .send(Request::get("/healthz").body(Body::empty()).unwrap())
        .await;
    assert_eq!((alive.status.as_u16(), alive.body), (200, json!("ok")));
    let ready = house
        .send(Request::get("/readyz").body(Body::empty()).unwrap())
        .await;
    assert_eq!(
        (ready.status.as_u16(), ready.body),
        (503, json!("not ready"))
    );
    assert_eq!(house.call("GET", "/api/v1/system", None).await.status, 200);
}

#[tokio::test]
async fn logs_are_paged_grouped_counted_and_exported() {
    let house = House::new().await;
    let made = house
        .call("POST", "/api/v1/apps", Some(&json!({"app_name": "shop"})))
        .await;
    assert_eq!(made.status, 201);
    for replicas in 2..7 {
        let change = json!({"replicas": replicas});
        let changed = house
            .call("PATCH", "/api/v1/apps/shop", Some(&change))
            .await;
        assert_eq!(changed.status, 200);
    }
    let logs = async |query: &str| {
        let path = format!("/api/v1/logs{query}");
        house.call("GET", &path, None).await
    };
    let all = logs("?app_name=shop&q=%22changed%20replicas%22").await.body;
    assert_eq!(all["total"], 5, "{all}");
    let ids: Vec<&Value> = all["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["id"])
        .collect();

    // Page by page, while more come.
    let first = logs("?app_name=shop&q=changed&limit=2").await.body;
    let change = json!({"replicas": 9});
    house
        .call("PATCH", "/api/v1/apps/shop", Some(&change))
        .await;
    let cursor = first["cursor"].as_str().unwrap();
    let path = format!("?app_name=shop&q=changed&limit=3&cursor={cursor}");
    let second = logs(&path).await.body;
    let paged = first["logs"].as_array().unwrap().iter();
    let paged = paged.chain(second["logs"].as_array().unwrap());
    assert!(
        paged.map(|entry| &entry["id"]).eq(ids.iter().copied()),
        "{second}"
    );

    let summary = logs("?app_name=shop&summary=true").await.body;
    let groups = summary["patterns"].as_array().unwrap();
    assert!(groups.iter().any(|group| group["count"] == 6), "{summary}");
    let id = ids[2].as_str().unwrap();
    let around = logs(&format!("?app_name=shop&id={id}&context=1"))
        .await
        .body;
    assert_eq!(around["entry"]["id"], id, "{around}");
    assert_eq!(&around["before"][0]["id"], ids[3]);
    assert_eq!(&around["after"][0]["id"], ids[1]);
    // Every hit of a query among its neighbours.
    let path = "?app_name=shop&q=%22changed%20replicas%22&context=1&order=asc";
    let hits = logs(path).await.body;
    assert_eq!(hits["total"], 6, "{hits}");
    let hits = hits["hits"].as_array().unwrap();
    assert_eq!(&hits[2]["entry"]["id"], ids[2]);
    assert_eq!(&hits[2]["before"][0]["id"], ids[3]);
    assert_eq!(&hits[2]["after"][0]["id"], ids[1]);
    for bad in [
        "?q=changed&context=1&format=text",
        "?id=dep-5-000000000",
        "?q=/(a%7Ca)*%5B/",
    ] {
        assert_eq!(logs(bad).await.problem(400), "bad_request", "{bad}");
    }
    for beyond in ["?q=changed&context=1&limit=51", "?q=changed&context=201"] {
        assert_eq!(
            logs(beyond).await.problem(422),
            "invalid_request",
            "{beyond}"
        );
    }
    // Would take for ever where a pattern is tried by going back.
    let hostile = logs("?app_name=shop&q=/(a%2B)%2B(a%2B)%2Bz/").await;
    assert_eq!(
        (hostile.status.as_u16(), &hostile.body["total"]),
        (200, &json!(0))
    );
    let gone = logs("?app_name=shop&id=dep-5-000000000&context=1").await;
    assert_eq!(
        (gone.status.as_u16(), &gone.body["code"]),
        (404, &json!("log_entry_not_found"))
    );

    let counted = logs("/histogram?app_name=shop&q=changed&buckets=10")
        .await
        .body;
    let buckets = counted["buckets"].as_array().unwrap();
    let total: u64 = buckets.iter().map(|b| b["info"].as_u64().unwrap()).sum();
    assert_eq!(total, 6, "{counted}");
    for (format, begins) in [("ndjson", "{"), ("jsonld", "{\"@context\""), ("text", "20")] {
        let path = format!("/api/v1/logs/export?app_name=shop&q=changed&format={format}");
        let request = Request::get(path).header("authorization", format!("Bearer {ADMIN}"));
        let request = request.body(Body::empty()).unwrap();
        let answer = house.router.clone().oneshot(request).await.unwrap();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.lines().all(|line| line.starts_with(begins)), "{text}");
    }
}

#[tokio::test]
async fn health_and_diagnosis_have_the_shapes_of_the_contract_under_both_prefixes() {
    let house = House::new().await;
    flukedeploy_platform::health::look(&house.px).await;
    for prefix in ["/api/v1", "/api/v2"] {
        let get = async |path: &str| house.call("GET", &format!("{prefix}{path}"), None).await;
        let has = |answer: &Answer, at: &str, names: &[&str]| {
            let found = answer.body.pointer(at).unwrap();
            for name in names {
                assert!(found.get(*name).is_some(), "{name}: {answer:?}");
            }
        };
        let health = get("/health").await;
        assert_eq!(health.status, 503);
        has(
            &health,
            "",
            &["status", "uptime_seconds", "timestamp", "version", "issues"],
        );
        has(
            &health,
            "/system",
            &[
                "cpu_usage_percent",
                "memory_used_percent",
                "memory_used_mb",
                "memory_total_mb",
                "disk_used_percent",
                "disk_used_gb",
                "disk_total_gb",
                "load_average",
            ],
        );
        has(
            &health,
            "/docker",
            &[
                "swarm_healthy",
                "manager_node",
                "services_count",
                "containers_running",
                "networks_count",
            ],
        );
        has(
            &health,
            "/flukedeploy",
            &[
                "apps_deployed",
                "root_domain",
                "deployments_active",
                "websocket_clients",
                "log_buffer_size",
            ],
        );
        let issues = get("/health/issues").await;
        has(&issues, "", &["total", "critical", "warnings"]);
        has(
            &issues,
            "/issues/0",
            &[
                "id",
                "kind",
                "severity",
                "component",
                "message",
                "timestamp",
                "first_seen",
                "last_seen",
                "evidence",
                "suggested_action",
            ],
        );
        let system = get("/health/system").await;
        has(
            &system,
            "/memory",
            &["total_mb", "used_mb", "free_mb", "usage_percent"],
        );
        has(
            &system,
            "/disk",
            &["total_gb", "used_gb", "free_gb", "usage_percent"],
        );
        has(&system, "/cpu", &["usage_percent", "cores", "load_average"]);
        let docker = get("/health/docker").await;
        has(
            &docker,
            "/swarm",
            &["initialized", "manager", "node_id", "node_hostname"],
        );
        has(
            &docker,
            "/services",
            &["total", "running", "failed", "list"],
        );
        has(&docker, "/containers", &["total", "running", "exited"]);
        has(&docker, "/networks", &["total", "overlay"]);
        let containers = get("/health/containers?detailed=false").await;
        has(
            &containers,
            "",
            &[
                "total",
                "healthy",
                "unhealthy",
                "starting",
                "containers",
                "cached",
                "cache_age_seconds",
            ],
        );

        let diagnosed = house
            .call("POST", &format!("{prefix}/diagnose"), None)
            .await;
        assert_eq!(
            (diagnosed.status.as_u16(), &diagnosed.body["overall_status"]),
            (503, &json!("fail"))
        );
        let names: Vec<&str> = diagnosed.body["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["name"].as_str().unwrap())
            .collect();
        for name in [
            "disk_space",
            "memory",
            "docker_running",
            "docker_swarm",
            "services_health",
            "container_resources",
            "ports",
            "dns_resolution",
            "network_connectivity",
            "volumes",
            "log_rotation",
            "environment_variables",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        has(
            &diagnosed,
            "/summary",
            &["total", "passed", "warnings", "failed"],
        );
        let quick = get("/diagnose/quick").await;
        assert_eq!(
            (quick.status.as_u16(), &quick.body["status"]),
            (200, &json!("fail"))
        );
        assert_eq!(quick.body["checks"].as_array().unwrap().len(), 4);

        let repair = async |body: Value| {
            house
                .call("POST", &format!("{prefix}/repair"), Some(&body))
                .await
        };
        let actions = get("/repair/actions").await;
        has(
            &actions,
            "/actions/0",
            &["action", "description", "automated", "risk_level"],
        );
        let unknown = repair(json!({"action": "rebuild_moon"})).await;
        assert_eq!(
            (unknown.status.as_u16(), &unknown.body["error"]),
            (404, &json!("Unknown repair action"))
        );
        let risky = repair(json!({"action": "remove_orphaned_services"})).await;
        assert_eq!(risky.status, 400);
        assert_eq!(
            risky.body["error"],
            "Confirmation required for high-risk action"
        );
        assert_eq!(risky.body["action"]["risk_level"], "high");
        let done = repair(json!({"action": "clean_logs"})).await;
        has(&done, "", &["action", "status", "message", "logs"]);
        let healed = house
            .call("POST", &format!("{prefix}/repair/auto"), None)
            .await;
        has(&healed, "", &["total", "successful", "failed", "results"]);
        let nobody = house
            .send(
                Request::get(format!("{prefix}/health/issues"))
                    .body(Body::empty())
                    .unwrap(),
            )
            .await;
        assert_eq!(nobody.problem(401), "unauthorized");
        let reader = house.token(Tier::Advanced).await;
        let refused = house
            .call_as(&reader, "POST", &format!("{prefix}/repair/auto"), None)
            .await;
        assert_eq!(refused.problem(403), "forbidden");
    }
}
