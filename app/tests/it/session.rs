use axum::Router;
use axum::body::Body;
use axum::routing::any;
use flukedeploy_app::{DashboardSettings, accept_session};
use flukedeploy_domain::access::Actor;
use flukedeploy_platform::identity::{ensure_admin, new_set_up_token};
use flukedeploy_platform::ports::SystemClock;
use flukedeploy_platform::secret::Secret;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{Request, StatusCode};
use std::sync::Arc;
use tower::ServiceExt;

use crate::browser::{Browser, PASSWORD};
use crate::support::{Stand, settings};

#[tokio::test]
async fn the_set_up_link_makes_the_first_account_once() {
    let stand = Stand::new().await;
    let link = new_set_up_token(&stand.px).await.unwrap().unwrap();
    let path = format!("/setup/{}", link.expose());
    let mut browser = Browser::new(&stand);
    assert_eq!(browser.get("/apps").await.location(), "/setup");
    browser.get("/setup").await.has("one-time link");

    browser.get(&path).await.has("Create the first account");
    let fields = [
        ("name", "ada"),
        ("password", "short"),
        ("password_again", "short"),
    ];
    let page = browser.post(&path, &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("value=\"ada\"")
        .has("Must have 12 to 256 characters.")
        .lacks("short");
    let fields = [
        ("name", "ada"),
        ("password", PASSWORD),
        ("password_again", "another-password"),
    ];
    browser
        .post(&path, &fields)
        .await
        .has("Must be the same as the password above.");

    let fields = [
        ("name", "ada"),
        ("password", PASSWORD),
        ("password_again", PASSWORD),
    ];
    let page = browser.post(&path, &fields).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);

    let page = Browser::new(&stand).get(&path).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    page.has("This link does not work").has("/sign-in");
}

#[tokio::test]
async fn strangers_sign_in_and_come_to_where_they_wanted() {
    let stand = Stand::new().await;
    ensure_admin(&stand.px, Secret::new(PASSWORD))
        .await
        .unwrap();
    let mut browser = Browser::new(&stand);
    for path in [
        "/",
        "/apps",
        "/apps/x/logs",
        "/logs",
        "/deployments/dep-1-a",
        "/tokens",
        "/nothing-here",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(page.location().starts_with("/sign-in"), "{path}");
    }
    let page = browser.get("/apps?x=1").await;
    assert_eq!(page.location(), "/sign-in?next=/apps%3Fx%3D1");
    browser
        .get(page.location())
        .await
        .has("name=\"next\" value=\"/apps?x=1\"");
    browser
        .get("/sign-in?next=//evil.example")
        .await
        .lacks("evil.example");

    let wrong = [("name", "admin"), ("password", "not the password")];
    let page = browser.post("/sign-in", &wrong).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.has("The name or the password is wrong")
        .has("value=\"admin\"")
        .lacks("not the password");

    let right = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("next", "/apps?x=1"),
    ];
    assert_eq!(
        browser.post("/sign-in", &right).await.location(),
        "/apps?x=1"
    );
    let evil = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("next", "https://evil.example"),
    ];
    assert_eq!(browser.post("/sign-in", &evil).await.location(), "/");

    assert_eq!(browser.post("/sign-out", &[]).await.location(), "/sign-in");
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_planted_before_the_sign_in_is_worth_nothing() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let first = browser.cookies().to_vec();
    let fields = [("name", "admin"), ("password", PASSWORD)];
    browser.post("/sign-in", &fields).await;
    assert_ne!(browser.cookies(), first, "the id changes with each sign-in");
}

#[tokio::test]
async fn the_cookie_is_bound_to_the_host_over_https() {
    let stand = Stand::new().await;
    ensure_admin(&stand.px, Secret::new(PASSWORD))
        .await
        .unwrap();
    let sessions = stand.store.sessions(Arc::new(SystemClock));
    let settings = DashboardSettings {
        cookie_secure: true,
    };
    let router = flukedeploy_app::dashboard_router(stand.px.clone(), sessions, &settings);
    let request = Request::post("/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", "https://127.0.0.1:3000")
        .header("host", "127.0.0.1:3000")
        .body(Body::from(format!("name=admin&password={PASSWORD}")))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let (cookies, others): (Vec<_>, Vec<_>) = cookies
        .map(|cookie| cookie.to_str().unwrap())
        .partition(|cookie| cookie.starts_with("__Host-flukedeploy_main="));
    let [cookie] = cookies[..] else {
        panic!("{cookies:?}")
    };
    assert_eq!(others.len(), 1, "{others:?}");
    for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/sign-in"] {
        assert!(others[0].contains(attribute), "{attribute} in {others:?}");
    }
    for attribute in [
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
        "Path=/",
        "Max-Age=604800",
    ] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
}

#[tokio::test]
async fn another_site_can_do_nothing() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    for site in ["cross-site", "same-site"] {
        let page = browser
            .from(site)
            .post("/apps/shop/delete", &[("confirm", "shop")])
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{site}");
        let fields = [("name", "admin"), ("password", PASSWORD)];
        assert_eq!(
            browser.post("/sign-in", &fields).await.status,
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            browser.post("/sign-out", &[]).await.status,
            StatusCode::FORBIDDEN
        );
    }
    assert_eq!(
        browser.from("none").get("/apps/shop").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_was_typed_outlives_the_session() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.forget_cookies();
    let typed = [("image", "shop:v9"), ("env_vars", "A=1\r\nB=<2>")];
    let page = browser.post("/apps/shop/deploy", &typed).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.has("Your session ended")
        .has("name=\"carried.image\" value=\"shop:v9\"");

    let fields = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("next", "/apps/shop/deploy"),
        ("carried_to", "/apps/shop/deploy"),
        ("carried.image", "shop:v9"),
        ("carried.env_vars", "A=1\r\nB=<2>"),
    ];
    let page = browser.post("/sign-in", &fields).await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("You are signed in again")
        .has("value=\"shop:v9\"")
        .has("B=&lt;2&gt;");
    browser.get("/deployments").await.has("No deployments yet");
}

#[tokio::test]
async fn the_api_takes_the_cookie_from_our_own_pages_only() {
    let stand = Stand::new().await;
    let browser = Browser::signed_in(&stand).await;
    let cookies: Vec<_> = browser
        .cookies()
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    let who = |actor: Option<axum::Extension<Actor>>| async move {
        actor.map_or_else(|| "nobody".to_owned(), |axum::Extension(actor)| actor.name)
    };
    let api = Router::new().route("/api/v1/apps", any(who));
    let sessions = stand.store.sessions(Arc::new(SystemClock));
    let api = accept_session(
        api,
        &stand.px,
        sessions,
        &DashboardSettings {
            cookie_secure: false,
        },
    );
    let ask = async |method: &str, site: &str, more: &[(&str, &str)]| {
        let mut request = Request::builder()
            .method(method)
            .uri("/api/v1/apps")
            .header("sec-fetch-site", site);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = api
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let cookie = [(COOKIE.as_str(), cookies.join("; "))];
    let cookie: Vec<_> = cookie
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        ask("POST", "same-origin", &cookie).await,
        (StatusCode::OK, "admin".to_owned())
    );
    assert_eq!(
        ask("POST", "same-site", &cookie).await.0,
        StatusCode::FORBIDDEN
    );
    let socket = [cookie[0], ("upgrade", "websocket")];
    assert_eq!(
        ask("GET", "cross-site", &socket).await.0,
        StatusCode::FORBIDDEN
    );
    // A request without the cookie is nobody's, and a token speaks for itself.
    assert_eq!(
        ask("POST", "cross-site", &[]).await,
        (StatusCode::OK, "nobody".to_owned())
    );
    let token = [cookie[0], (AUTHORIZATION.as_str(), "Bearer fd_x_y")];
    assert_eq!(
        ask("POST", "cross-site", &token).await,
        (StatusCode::OK, "nobody".to_owned())
    );
}
