use axum::body::Body;
use flukedeploy_domain::access::Door;
use flukedeploy_platform::apps::get_app;
use flukedeploy_platform::identity::authenticate_token;
use http::{Request, StatusCode};
use time::Duration;

use crate::browser::Browser;
use crate::support::{End, Stand, admin, settings};

#[tokio::test]
async fn an_app_is_created_or_nothing_that_was_typed_is_lost() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let wrong = [
        ("app_name", "Shop <Web>"),
        ("image", "shop:v1:x"),
        ("container_port", "0"),
        ("replicas", "10000"),
        ("health_probe", "http"),
        ("health_path", "healthz"),
        ("env_vars", "GOOD=1\r\nno equals sign"),
        ("domains", "http://x"),
    ];
    let page = browser.post("/apps/new", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("value=\"Shop &lt;Web&gt;\"")
        .has("value=\"shop:v1:x\"")
        .has("value=\"10000\"")
        .has("value=\"healthz\"")
        .has("GOOD=1\r\nno equals sign")
        .has("Must be 1 to 500, not '10000'.")
        .has("id=\"app_name-fault\"")
        .has("id=\"image-fault\"")
        .has("id=\"container_port-fault\"")
        .has("id=\"health_path-fault\"")
        .has("id=\"env_vars-fault\"")
        .has("id=\"domains-fault\"")
        .has("aria-invalid=\"true\"");

    let right = [
        ("app_name", "shop"),
        ("container_port", "8080"),
        ("replicas", "2"),
        ("health_probe", "http"),
        ("health_path", "/healthz"),
        ("strategy", "recreate"),
        ("env_vars", "A=1\r\nB=x=y"),
        ("domains", "shop.example.org"),
    ];
    let page = browser.post("/apps/new", &right).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/apps/shop")
    );
    let app = get_app(&stand.px, &admin(), &"shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!((app.container_port, app.configured_replicas), (8080, 2));
    assert_eq!(app.env_var_names, ["A", "B"]);

    let page = browser.post("/apps/new", &right).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("exists already").has("value=\"shop\"");
}

#[tokio::test]
async fn settings_change_and_a_clash_is_noticed() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let change = |version: &'static str, replicas: &'static str| {
        [
            ("settings_version", version),
            ("container_port", "9090"),
            ("replicas", replicas),
            ("health_probe", "tcp"),
            ("strategy", "rolling"),
            ("remove_env_vars", "LOG_LEVEL"),
            ("env_vars", "NEW=1"),
            ("domains", ""),
        ]
    };
    let page = browser.post("/apps/shop", &change("1", "3")).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/apps/shop?saved=1#settings")
    );
    let app = get_app(&stand.px, &admin(), &"shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!((app.container_port, app.configured_replicas), (9090, 3));
    assert_eq!(app.env_var_names, ["DATABASE_URL", "NEW"]);
    browser
        .get("/apps/shop?saved=1")
        .await
        .has("The settings are saved.")
        .has("value=\"3\"");

    let page = browser.post("/apps/shop", &change("1", "4")).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("The settings were changed in between")
        .has("value=\"4\"")
        .has("NEW=1");
}

#[tokio::test]
async fn deploying_leads_to_the_deployment_and_faults_stay_on_the_form() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post("/apps/shop/deploy", &[("image", ""), ("reason", "why not")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Must be given.").has("value=\"why not\"");
    let page = browser
        .post(
            "/apps/shop/deploy",
            &[("image", "shop:v1"), ("strategy", ""), ("version", "")],
        )
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let to = page.location().to_owned();
    assert!(to.starts_with("/deployments/dep-"), "{to}");
    browser.get(&to).await.has("shop:v1");
    let page = browser
        .post("/apps/ghost/deploy", &[("image", "shop:v1")])
        .await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_plan_is_shown_before_anything_is_done_and_keeps_what_was_typed() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(2)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(1), End::Success)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    let typed = [
        ("image", "shop:latest"),
        ("strategy", "canary"),
        ("queue", "supersede"),
        ("replicas", "3"),
        ("env_vars", "TOKEN=hunter2"),
        ("reason", "a <try>"),
        ("do", "plan"),
    ];
    let page = browser.post("/apps/shop/deploy", &typed).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.html);
    page.has("The plan")
        .has("Nothing was done yet: release 1 serves.")
        .has("Canary in 4 steps")
        .has("5% of new requests")
        .has("It is measured before the next step.")
        .has("names no version")
        .has(">replicas<")
        .has("Variable TOKEN")
        .has("form=\"deploy-form\"")
        .has("value=\"shop:latest\"")
        .has("value=\"a &lt;try&gt;\"")
        .has("TOKEN=hunter2")
        .has("value=\"supersede\" selected");
    browser.get("/deployments").await.lacks("shop:latest");

    let wrong = [("image", "shop:v2:x"), ("do", "plan")];
    let page = browser.post("/apps/shop/deploy", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"image-fault\"").lacks("The plan");
}

#[tokio::test]
async fn rolling_back_leads_to_a_deployment_of_the_old_release() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(2), End::Success)
        .await;
    stand
        .deployment(&app, "shop:v2", Duration::hours(1), End::Success)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post("/apps/shop/rollback", &[("reason", "v2 is slow")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Must be chosen.").has("v2 is slow");
    let page = browser
        .post("/apps/shop/rollback", &[("release", "2")])
        .await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    page.has("it could go back to 1");
    let page = browser
        .post("/apps/shop/rollback", &[("release", "1")])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    browser.get(page.location()).await.has("back to release 1");
}

#[tokio::test]
async fn an_app_is_deleted_only_by_its_name() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post("/apps/shop/delete", &[("confirm", "shopp")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has(
        "Must be the app&#x27;s name, shop."
            .replace("&#x27;", "'")
            .as_str(),
    )
    .has("value=\"shopp\"");
    let page = browser
        .post("/apps/shop/delete", &[("confirm", "shop")])
        .await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/apps")
    );
    assert_eq!(
        browser.get("/apps/shop").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser
        .post("/tokens", &[("name", ""), ("tier", "extended")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = [
        ("name", "<CI>"),
        ("tier", "extended"),
        ("expires_in_days", "30"),
    ];
    let page = browser.post("/tokens", &fields).await;
    assert_eq!(page.status, StatusCode::CREATED);
    assert_eq!(page.headers["cache-control"], "no-store");
    page.has("&lt;CI&gt;").lacks("<CI>");
    let start = page.html.find("fd_").unwrap();
    let secret: String = page.html[start..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .collect();
    let actor = authenticate_token(&stand.px, &secret, Door::Rest, None)
        .await
        .unwrap();
    browser.get("/tokens").await.lacks(&secret).has("Valid");

    let path = format!("/tokens/{}/revoke", actor.id);
    browser
        .get(&path)
        .await
        .has("<title>Revoke &lt;CI&gt; · Tokens · FlukeDeploy</title>")
        .lacks("<CI>");
    assert_eq!(browser.post(&path, &[]).await.location(), "/tokens");
    assert!(
        authenticate_token(&stand.px, &secret, Door::Rest, None)
            .await
            .is_err()
    );
    browser.get("/tokens").await.has("Revoked");
}

#[tokio::test]
async fn the_theme_is_remembered_and_leads_back() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.get("/apps").await.lacks("data-theme=");
    let request = Request::post("/theme")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("referer", "http://127.0.0.1:3000/apps?x=1")
        .body(Body::from("theme=dark"))
        .unwrap();
    assert_eq!(browser.send(request).await.location(), "/apps?x=1");
    browser.get("/apps").await.has("data-theme=\"dark\"");
}

#[tokio::test]
async fn what_is_no_form_is_refused_in_words() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let request = Request::post("/apps/new")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!(
            "app_name={}",
            "x".repeat(1024 * 1024 + 1)
        )))
        .unwrap();
    let page = browser.send(request).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    page.has("1 MiB");
    let request = Request::post("/apps/new")
        .header("content-type", "application/json")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(
        browser.send(request).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
}
