//! What somebody could try at the doors of machines.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use flukedeploy_domain::access::{Door, Tier};
use flukedeploy_platform::identity;
use flukedeploy_platform::people::{self, Origin};
use flukedeploy_platform::secret::Secret;
use serde_json::json;

use super::{ADMIN, House};
use crate::doors::rest::GUARDED;

/// How long a look-up of this token takes, in the middle of many.
async fn looked_up(house: &House, tokens: [&str; 3]) -> [Duration; 3] {
    const TIMES: usize = 301;
    let mut taken: [Vec<Duration>; 3] = Default::default();
    // In turns: what else the machine does is felt by all of them.
    for _ in 0..TIMES {
        for (token, taken) in tokens.iter().zip(&mut taken) {
            let begun = Instant::now();
            let found = identity::token_standing(&house.px, token, Door::Rest, None).await;
            taken.push(begun.elapsed());
            assert!(found.is_err());
        }
    }
    taken.map(|mut all| {
        all.sort_unstable();
        all[TIMES / 2]
    })
}

/// A secret is looked for by its digest, so how much of it is right cannot be felt; and an id that
/// exists costs a digest more than one that does not, which is nothing beside reading the store.
#[tokio::test]
async fn the_time_of_a_look_up_tells_nothing_of_a_token() {
    let house = House::new().await;
    let token = house.token(Tier::Advanced).await;
    let (start, secret) = token.rsplit_once('_').unwrap();
    let (half, _) = secret.split_at(secret.len() - 1);
    let last = if secret.ends_with('a') { "b" } else { "a" };
    let nearly = format!("{start}_{half}{last}");
    let far = format!("{start}_{}", "z".repeat(secret.len()));
    let unknown = format!("fd_aaaaaaaaaaaa_{secret}");
    // A busy machine is no leak: what is wrong is wrong every time.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let [nearly, far, unknown] = looked_up(&house, [&nearly, &far, &unknown]).await;
        let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
        let (of_secret, of_id) = (ratio(nearly, far), ratio(far, unknown));
        if (0.8..1.25).contains(&of_secret) && (0.5..2.0).contains(&of_id) {
            return;
        }
        seen.push((of_secret, of_id));
    }
    panic!("nearly right to wrong, and known to unknown: {seen:?}");
}

/// What comes in a header is one value of one line, in answers, in the trail and in logs.
#[tokio::test]
async fn nothing_sent_in_a_header_breaks_out_of_its_line() {
    let house = House::new().await;
    let request = Request::post("/api/v1/apps")
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("content-type", "application/json")
        .header("x-request-id", "one two\u{7f}")
        .header("x-flukedeploy-intent", "tidy\tup \u{1b}[31mred")
        .body(Body::from(json!({"app_name": "shop"}).to_string()));
    // Control characters are no header at all.
    assert!(request.is_err());
    let request = Request::post("/api/v1/apps")
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("content-type", "application/json")
        .header("x-request-id", "one two; set-cookie: a=b")
        .header(
            "x-flukedeploy-intent",
            "tidy\tup \"level\":\"error\" %0d%0a",
        )
        .body(Body::from(json!({"app_name": "shop"}).to_string()))
        .unwrap();
    let made = house.send(request).await;
    assert_eq!(made.status, 201, "{made:?}");
    let headers = format!("{:?}", made.headers);
    assert!(!headers.contains("a=b"), "{headers}");
    let trail = house
        .call("GET", "/api/v1/audit?action=create_app", None)
        .await;
    let origin = &trail.body["entries"][0]["origin"];
    let id = origin["request_id"].as_str().unwrap();
    assert!(!id.contains(' ') && !id.contains(';'), "{origin}");
    let intent = origin["intent"].as_str().unwrap();
    assert!(!intent.chars().any(char::is_control), "{origin}");

    // Line ends in what is told become no lines of the log.
    let reason = "quiet\n{\"level\":\"error\",\"message\":\"all is lost\"}\r\nINFO forged";
    let body = json!({"app_name": "shop", "image": "shop:1", "reason": reason});
    house.call("POST", "/api/v1/deployments", Some(&body)).await;
    let text = house
        .call("GET", "/api/v1/logs?app_name=shop&format=text", None)
        .await;
    let text = text.body.as_str().unwrap_or_default().to_owned();
    for line in text.lines() {
        assert!(!line.starts_with("INFO forged"), "{text}");
        assert!(!line.starts_with("{\"level\""), "{text}");
    }
}

/// Who is not behind a proxy that we trust is who connects, whatever the headers say.
#[tokio::test]
async fn a_tokens_networks_are_not_entered_by_a_header() {
    let house = House::new().await;
    let body = json!({"name": "office", "tier": "extended", "addresses": ["203.0.113.0/24"]});
    let made = house.call("POST", "/api/v1/tokens", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.body["token"].as_str().unwrap();
    let ask = async |peer: &str, header: Option<(&str, &str)>| {
        let peer: std::net::SocketAddr = format!("{peer}:4711").parse().unwrap();
        let mut request = Request::get("/api/v1/apps")
            .header("authorization", format!("Bearer {token}"))
            .extension(ConnectInfo(peer));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        house.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(ask("203.0.113.9", None).await.status, 200);
    assert_eq!(ask("198.51.100.7", None).await.problem(401), "unauthorized");
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "203.0.113.9, 203.0.113.10"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("cf-connecting-ip", "203.0.113.9"),
        ("true-client-ip", "203.0.113.9"),
    ] {
        let answer = ask("198.51.100.7", Some((name, value))).await;
        assert_eq!(answer.problem(401), "unauthorized", "{name}");
    }
}

/// Names in addresses are names: no way out of them, and nothing of the file system behind them.
#[tokio::test]
async fn no_address_leads_to_a_file() {
    let house = House::new().await;
    for (method, path) in GUARDED.iter().filter(|(_, path)| path.contains('{')) {
        for way in [
            "..%2f..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e%2f%2e%2e%2fcontrol.db",
            "..%5ccontrol.db",
            "x%00.json",
            "%2fetc%2fpasswd",
        ] {
            let mut rest = *path;
            let mut filled = String::new();
            while let Some((before, after)) = rest.split_once('{') {
                filled += before;
                filled += way;
                rest = after.split_once('}').unwrap().1;
            }
            filled += rest;
            let body = json!({});
            let body = (*method != "get").then_some(&body);
            let method = method.to_uppercase();
            let answer = house.call(&method, &format!("/api/v1{filled}"), body).await;
            let is_empty_list = answer.status == 200 && answer.body["total"] == 0;
            assert!(
                answer.status.is_client_error() || is_empty_list,
                "{method} {filled}: {answer:?}"
            );
            assert!(!answer.body.to_string().contains("root:x:"), "{answer:?}");
        }
    }
}

/// The first token is made once, and no answer shows one that anybody could know.
#[tokio::test]
async fn no_well_known_password_or_token_opens_anything() {
    let house = House::new().await;
    for token in [
        "captain42",
        "admin",
        "password",
        "flukedeploy",
        "changeme",
        "",
        "null",
        "undefined",
        "fd__",
        "fd_admin_admin",
        "Bearer",
        "bootstrap",
    ] {
        let answer = house.call_as(token, "GET", "/api/v1/apps", None).await;
        assert_eq!(answer.problem(401), "unauthorized", "{token:?}");
    }
    for (name, password) in [
        ("admin", "captain42"),
        ("admin", "admin"),
        ("captain", "captain42"),
    ] {
        let found =
            people::sign_in(&house.px, name, &Secret::new(password), &Origin::default()).await;
        assert!(found.is_err(), "{name} {password}");
    }
}
