//! People over REST, and what a session's end does to what it opened.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use flukedeploy_app::{DashboardSettings, accept_session, dashboard_router};
use flukedeploy_domain::access::{Actor, ActorKind, ActorSession, Door, Tier};
use flukedeploy_platform::identity;
use flukedeploy_platform::people::{self, Origin};
use flukedeploy_platform::ports::SystemClock;
use flukedeploy_platform::secret::Secret;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::{Answer, House};
use crate::doors::rest_router;

const PASSWORD: &str = "correct horse battery";
const SETTINGS: DashboardSettings = DashboardSettings {
    cookie_secure: false,
};

/// The dashboard and the API that its sessions open, as they are served.
pub(super) fn whole(house: &House) -> Router {
    let sessions = house.store.sessions(Arc::new(SystemClock));
    let api = rest_router(house.state.clone());
    accept_session(api, &house.px, sessions.clone(), &SETTINGS).merge(dashboard_router(
        house.px.clone(),
        sessions,
        &SETTINGS,
    ))
}

/// Signs in from there with what proxies say of it; the session's cookie.
async fn sign_in(router: &Router, peer: &str, forwarded: &str) -> String {
    sign_in_as(router, "admin", peer, forwarded).await
}

async fn sign_in_as(router: &Router, name: &str, peer: &str, forwarded: &str) -> String {
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    let request = Request::post("/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .header("user-agent", "curl/8.5.0")
        .header("x-forwarded-for", forwarded)
        .extension(ConnectInfo(peer))
        .body(Body::from(format!("name={name}&password={PASSWORD}")))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 303);
    session_cookie(&response)
}

fn session_cookie(response: &axum::response::Response) -> String {
    let cookies = response.headers().get_all("set-cookie").iter();
    let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
    let cookie = cookies.find(|cookie| cookie.starts_with("flukedeploy_doors="));
    cookie.unwrap().to_owned()
}

async fn with_cookie(router: &Router, cookie: &str, method: &str, path: &str) -> Answer {
    send_with_cookie(router, cookie, method, path, Body::empty()).await
}

async fn send_with_cookie(
    router: &Router,
    cookie: &str,
    method: &str,
    path: &str,
    body: Body,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

async fn house() -> House {
    let house = House::new().await;
    identity::ensure_admin(&house.px, Secret::new(PASSWORD))
        .await
        .unwrap();
    house
}

#[tokio::test]
async fn people_are_invited_and_managed_over_rest() {
    let house = house().await;
    let body = json!({"name": "ann", "display_name": "Ann", "is_administrator": true});
    let made = house.call("POST", "/api/v1/invitations", Some(&body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["cache-control"], "no-store");
    let link = made.body["link"].as_str().unwrap().to_owned();
    let (_, secret) = link.rsplit_once('/').unwrap();
    let listed = house.call("GET", "/api/v1/invitations", None).await;
    assert_eq!(listed.body["invitations"][0]["state"], "open");
    assert!(!listed.body.to_string().contains(secret));
    let bad = json!({"name": "a b", "expires_in_hours": 9999});
    let refused = house.call("POST", "/api/v1/invitations", Some(&bad)).await;
    assert_eq!(refused.problem(422), "invalid_request");
    assert_eq!(refused.body["fields"].as_array().unwrap().len(), 2);

    let password = Secret::new("violet kettle orbit");
    people::accept_invitation(&house.px, secret, "", None, &password, &Origin::default())
        .await
        .unwrap();
    let users = house.call("GET", "/api/v1/users", None).await;
    assert_eq!(users.body["total"], 2);
    assert!(!users.body.to_string().contains("argon2"), "{users:?}");
    let of = |name: &str| {
        let users = users.body["users"].as_array().unwrap();
        let user = users.iter().find(|user| user["name"] == name).unwrap();
        format!("/api/v1/users/{}", user["id"].as_str().unwrap())
    };
    let (ann, admin) = (of("ann"), of("admin"));
    let off = json!({"disabled": true});
    let switched = house.call("PATCH", &ann, Some(&off)).await;
    assert!(switched.body["disabled_at"].is_string(), "{switched:?}");
    let last = house.call("PATCH", &admin, Some(&off)).await;
    assert_eq!(last.problem(409), "last_administrator");
    let on = json!({"disabled": false});
    assert_eq!(house.call("PATCH", &ann, Some(&on)).await.status, 200);
    let none = format!("{ann}/second-factor");
    assert_eq!(
        house.call("DELETE", &none, None).await.problem(409),
        "not_now"
    );
    assert_eq!(house.call("DELETE", &ann, None).await.status, 204);
    assert_eq!(
        house.call("GET", &ann, None).await.problem(404),
        "not_found"
    );
    let last = house.call("DELETE", &admin, None).await;
    assert_eq!(last.problem(409), "last_administrator");
    let audit = house.call("GET", "/api/v1/audit?limit=20", None).await;
    assert!(audit.body.to_string().contains("deleted the account ann"));
}

#[tokio::test]
async fn people_are_none_of_a_small_tokens_business() {
    let house = house().await;
    let token = house.token(Tier::Advanced).await;
    for (method, path) in [
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/users/x"),
        ("DELETE", "/api/v1/users/x"),
        ("DELETE", "/api/v1/users/x/second-factor"),
        ("GET", "/api/v1/invitations"),
        ("POST", "/api/v1/invitations"),
        ("DELETE", "/api/v1/invitations/x"),
    ] {
        let body = json!({});
        let body = (method == "POST").then_some(&body);
        let answer = house.call_as(&token, method, path, body).await;
        assert_eq!(answer.problem(403), "forbidden", "{method} {path}");
        let stranger = Request::builder().method(method).uri(path);
        let answer = house.send(stranger.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(401), "unauthorized", "{method} {path}");
    }
    // A token has no account, however much it may do.
    for path in ["/api/v1/account", "/api/v1/account/sessions"] {
        assert_eq!(house.call("GET", path, None).await.problem(409), "not_now");
    }
}

#[tokio::test]
async fn a_session_without_a_recent_proof_is_told_what_to_do() {
    let house = house().await;
    let accounts = people::list_people(&house.px, &Actor::system())
        .await
        .unwrap();
    let user = Actor {
        kind: ActorKind::User,
        id: accounts[0].id.clone(),
        name: "admin".to_owned(),
        persona: None,
        tier: Tier::Admin,
        door: Door::Dashboard,
        session: Some(ActorSession {
            id: "s".to_owned(),
            proved_at: house.px.now() - time::Duration::minutes(10),
        }),
        ..Actor::system()
    };
    for (method, path, body) in [
        ("POST", "/api/v1/invitations", "{}"),
        ("DELETE", "/api/v1/users/x", "{}"),
        ("DELETE", "/api/v1/apps/shop", "{}"),
        ("POST", "/api/v1/tokens", r#"{"name":"x","tier":"admin"}"#),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .extension(user.clone())
            .body(Body::from(body));
        let answer = house.send(request.unwrap()).await;
        assert_eq!(answer.problem(403), "proof_needed", "{method} {path}");
        let next = answer.body["next"].as_str().unwrap();
        assert!(next.contains("/account/confirm"), "{next}");
    }
    // Each stands in the trail like any other refusal.
    let entries = refusals(&house).await;
    for (action, resource) in [
        ("change_people", "system"),
        ("delete_app", "app:shop"),
        ("create_token", "system"),
    ] {
        let found = entries.iter().find(|entry| entry["action"] == action);
        let found = found.unwrap_or_else(|| panic!("{action} is not in {entries:?}"));
        assert_eq!(found["resource"], resource);
        assert_eq!(found["outcome"], "denied", "{found}");
        let summary = found["summary"].as_str().unwrap();
        assert!(summary.contains("needs a proof of who it is"), "{summary}");
    }
}

#[tokio::test]
async fn a_session_lists_and_ends_its_siblings_and_their_streams_within_two_seconds() {
    let house = house().await;
    let router = whole(&house);
    // Nobody trusted stands there: what the header says is the client's own invention.
    let here = sign_in(&router, "203.0.113.9", "1.2.3.4").await;
    let there = sign_in(&router, "198.51.100.7", "").await;
    let list = with_cookie(&router, &here, "GET", "/api/v1/account/sessions").await;
    assert_eq!(list.body["total"], 2, "{list:?}");
    let sessions = list.body["sessions"].as_array().unwrap();
    let own = sessions.iter().find(|s| s["is_current"] == true).unwrap();
    let other = sessions.iter().find(|s| s["is_current"] == false).unwrap();
    assert_eq!(own["address"], "203.0.113.9");
    assert_eq!(
        (&other["address"], &other["browser"]),
        (&json!("198.51.100.7"), &json!("curl"))
    );
    let cookie_value = there.split_once('=').unwrap().1;
    assert!(!list.body.to_string().contains(cookie_value));

    let stream = Request::get("/api/v1/logs/stream")
        .header("cookie", &there)
        .header("sec-fetch-site", "same-origin")
        .body(Body::empty())
        .unwrap();
    let stream = router.clone().oneshot(stream).await.unwrap();
    assert_eq!(stream.status(), 200);
    let reading = tokio::spawn(async move {
        let mut body = stream.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        Instant::now()
    });
    let path = format!("/api/v1/account/sessions/{}", other["id"].as_str().unwrap());
    let asked = Instant::now();
    assert_eq!(
        with_cookie(&router, &here, "DELETE", &path).await.status,
        204
    );
    let ended = tokio::time::timeout(Duration::from_secs(15), reading)
        .await
        .expect("the stream ends")
        .unwrap();
    assert!(ended > asked, "it had ended before");
    assert!(
        ended - asked < Duration::from_secs(2),
        "{:?}",
        ended - asked
    );
    let gone = with_cookie(&router, &there, "GET", "/api/v1/account").await;
    assert_eq!(gone.problem(401), "unauthorized");
    assert_eq!(
        with_cookie(&router, &here, "DELETE", &path).await.status,
        404
    );
    assert_eq!(
        with_cookie(&router, &here, "GET", "/api/v1/account")
            .await
            .status,
        200
    );
}

/// What was refused, as soon as somebody has written all of it down.
async fn refusals(house: &House) -> Vec<serde_json::Value> {
    house.px.start();
    let begun = Instant::now();
    loop {
        let audit = house.call("GET", "/api/v1/audit?limit=50", None).await;
        let entries = audit.body["entries"].as_array().unwrap().clone();
        let denied: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry["outcome"] == "denied")
            .collect();
        if denied.len() >= 3 || begun.elapsed() > Duration::from_secs(15) {
            return denied;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What somebody hears of an app, as it comes.
async fn listen(router: &Router, credential: (&str, &str)) -> Arc<Mutex<String>> {
    let stream = Request::get("/api/v1/logs/stream?app_name=shop")
        .header(credential.0, credential.1)
        .header("sec-fetch-site", "same-origin");
    let stream = router.clone().oneshot(stream.body(Body::empty()).unwrap());
    let stream = stream.await.unwrap();
    assert_eq!(stream.status(), 200);
    let heard = Arc::new(Mutex::new(String::new()));
    let writes = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut body = stream.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let text =
                String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)).into_owned();
            writes.lock().unwrap().push_str(&text);
        }
    });
    heard
}

async fn until_heard(heard: &Mutex<String>, text: &str) {
    let begun = Instant::now();
    while !heard.lock().unwrap().contains(text) {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{text} was never heard"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_is_an_administrator_is_changed_and_felt_at_once_but_one_stays() {
    let house = house().await;
    let router = whole(&house);
    let body = json!({"name": "ann", "is_administrator": true});
    let made = house.call("POST", "/api/v1/invitations", Some(&body)).await;
    let link = made.body["link"].as_str().unwrap().to_owned();
    let (_, secret) = link.rsplit_once('/').unwrap();
    let password = Secret::new(PASSWORD);
    people::accept_invitation(&house.px, secret, "", None, &password, &Origin::default())
        .await
        .unwrap();
    let users = house.call("GET", "/api/v1/users", None).await;
    let of = |name: &str| {
        let users = users.body["users"].as_array().unwrap();
        let user = users.iter().find(|user| user["name"] == name).unwrap();
        format!("/api/v1/users/{}", user["id"].as_str().unwrap())
    };
    let (ann, admin) = (of("ann"), of("admin"));
    let cookie = sign_in_as(&router, "ann", "203.0.113.9", "").await;
    let audit = "/api/v1/audit";
    assert_eq!(
        with_cookie(&router, &cookie, "GET", audit).await.status,
        200
    );
    // What Ann handed out as an administrator goes with it.
    let given = json!({"name": "eve", "is_administrator": true}).to_string();
    let given = send_with_cookie(
        &router,
        &cookie,
        "POST",
        "/api/v1/invitations",
        given.into(),
    )
    .await;
    assert_eq!(given.status, 201, "{given:?}");

    let shop = json!({"app_name": "shop"});
    let made = house.call("POST", "/api/v1/apps", Some(&shop)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let hers = listen(&router, ("cookie", &cookie)).await;
    let bearer = format!("Bearer {}", super::ADMIN);
    let others = listen(&router, ("authorization", &bearer)).await;
    let change = async |replicas: u32| {
        let changed = json!({"replicas": replicas});
        house
            .call("PATCH", "/api/v1/apps/shop", Some(&changed))
            .await
    };
    assert_eq!(change(2).await.status, 200);
    until_heard(&hers, "config_change").await;
    until_heard(&others, "config_change").await;
    let no = json!({"is_administrator": false});
    let changed = house.call("PATCH", &ann, Some(&no)).await;
    assert_eq!(changed.body["is_administrator"], false, "{changed:?}");
    // What is done from then on is none of hers: she may see nothing here, and the stream has ended.
    until_heard(&hers, "unauthorized").await;
    let heard = hers.lock().unwrap().len();
    let before = others.lock().unwrap().matches("config_change").count();
    assert_eq!(change(3).await.status, 200);
    let count = |text: &Mutex<String>| text.lock().unwrap().matches("config_change").count();
    let begun = Instant::now();
    while count(&others) == before {
        assert!(begun.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(hers.lock().unwrap().len(), heard);
    let refused = with_cookie(&router, &cookie, "GET", audit).await;
    assert_eq!(refused.problem(403), "forbidden");
    let open = house.call("GET", "/api/v1/invitations", None).await;
    assert_eq!(open.body["invitations"][0]["state"], "revoked", "{open:?}");

    let last = house.call("PATCH", &admin, Some(&no)).await;
    assert_eq!(last.problem(409), "last_administrator");
    let yes = json!({"is_administrator": true});
    let again = house.call("PATCH", &ann, Some(&yes)).await;
    assert_eq!(again.body["is_administrator"], true);
    assert_eq!(
        with_cookie(&router, &cookie, "GET", audit).await.status,
        200
    );
    // Now there is another one: also oneself may go.
    let own = send_with_cookie(&router, &cookie, "PATCH", &ann, no.to_string().into()).await;
    assert_eq!(own.status, 200, "{own:?}");
    for bad in [
        json!({}),
        json!({"disabled": true, "is_administrator": true}),
        json!({"is_administrator": 1}),
    ] {
        let refused = house.call("PATCH", &ann, Some(&bad)).await;
        assert_eq!(refused.problem(422), "invalid_request", "{bad}");
    }
    let trail = house
        .call("GET", "/api/v1/audit?limit=50", None)
        .await
        .body
        .to_string();
    for told in [
        "made ann an administrator no longer",
        "made ann an administrator",
    ] {
        assert!(trail.contains(told), "{trail}");
    }
}

#[tokio::test]
async fn a_session_changes_its_own_password_and_second_factor_and_a_token_never_does() {
    let house = house().await;
    let router = whole(&house);
    let cookie = sign_in(&router, "203.0.113.9", "").await;
    let other = sign_in(&router, "198.51.100.7", "").await;
    let ways = [
        (
            "POST",
            "/api/v1/account/confirm",
            json!({"password": PASSWORD}),
        ),
        (
            "PUT",
            "/api/v1/account/password",
            json!({"present_password": PASSWORD, "password": "violet kettle orbit"}),
        ),
        ("POST", "/api/v1/account/second-factor", json!({})),
        (
            "PUT",
            "/api/v1/account/second-factor",
            json!({"code": "000000"}),
        ),
        ("POST", "/api/v1/account/second-factor/codes", json!({})),
        ("DELETE", "/api/v1/account/second-factor", json!({})),
    ];
    // Not even the most powerful one, nor one with a person's cookie beside it.
    for (method, path, body) in &ways {
        assert_eq!(
            house.call(method, path, Some(body)).await.problem(409),
            "not_now",
            "{path}"
        );
        let both = Request::builder()
            .method(*method)
            .uri(*path)
            .header("cookie", &cookie)
            .header("authorization", format!("Bearer {}", super::ADMIN))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = Answer::of(router.clone().oneshot(both).await.unwrap()).await;
        assert_eq!(answer.problem(409), "not_now", "{path}");
        // A page of another site cannot do it either.
        let forged = Request::builder()
            .method(*method)
            .uri(*path)
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-site")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = Answer::of(router.clone().oneshot(forged).await.unwrap()).await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.body["error"], "cross_site_request", "{path}");
    }
    let send = async |cookie: &str, at: usize, body: serde_json::Value| {
        let (method, path, _) = &ways[at];
        send_with_cookie(&router, cookie, method, path, body.to_string().into()).await
    };
    let wrong = send(&cookie, 0, json!({"password": "not the password"})).await;
    assert_eq!(wrong.problem(422), "invalid_request");
    let response = {
        let (method, path, body) = &ways[1];
        let request = Request::builder()
            .method(*method)
            .uri(*path)
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    assert_eq!(response.status(), 204);
    let renewed = session_cookie(&response);
    assert_ne!(renewed, cookie, "the session goes on under a new id");
    for gone in [&cookie, &other] {
        assert_eq!(
            with_cookie(&router, gone, "GET", "/api/v1/account")
                .await
                .status,
            401
        );
    }
    let offered = send(&renewed, 2, json!({})).await;
    assert_eq!(offered.status, 200, "{offered:?}");
    assert!(
        offered.body["address"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://")
    );
    assert_eq!(offered.headers["cache-control"], "no-store");
    let wrong = send(&renewed, 3, json!({"code": "12"})).await;
    assert_eq!(wrong.problem(422), "invalid_request");
    // The offer is withdrawn, and then there is nothing to turn off.
    assert_eq!(send(&renewed, 5, json!({})).await.status, 204);
    assert_eq!(send(&renewed, 5, json!({})).await.problem(409), "not_now");
}
