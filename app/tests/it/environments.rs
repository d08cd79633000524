use flukedeploy_platform::apps::get_environment;
use http::StatusCode;

use crate::browser::{Browser, PASSWORD};
use crate::support::{Stand, admin, settings};

#[tokio::test]
async fn a_preview_is_made_shown_changed_and_deleted() {
    let stand = Stand::new().await;
    stand.app("shop", settings(2)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let staging = "/apps/shop?environment=staging";
    let page = browser.get("/apps/shop").await;
    page.has("aria-label=\"Environments\"")
        .has("/apps/shop/environments/new");
    assert_eq!(browser.get(staging).await.status, StatusCode::NOT_FOUND);

    let new = "/apps/shop/environments/new";
    browser.get(new).await.has("name=\"ttl_hours\"");
    let wrong = [
        ("name", "Not Good"),
        ("ttl_hours", "99999"),
        ("env_vars", "A=1"),
    ];
    let page = browser.post(new, &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"name-fault\"")
        .has("id=\"ttl_hours-fault\"")
        .has("value=\"Not Good\"");
    let right = [
        ("name", "staging"),
        ("from", "production"),
        ("ttl_hours", "24"),
        ("replicas", "1"),
    ];
    let page = browser.post(new, &right).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, staging)
    );
    let page = browser.get(staging).await;
    // Every form of the page acts on the environment it was opened for.
    page.has("shop · staging")
        .has("shop-staging.apps.example.com")
        .has("This preview goes")
        .has("/apps/shop/ttl?environment=staging")
        .has("/apps/shop?environment=staging#settings")
        .has("/apps/shop/deploy?environment=staging")
        .has("/apps/shop/delete?environment=staging");
    browser
        .get("/apps/shop/deploy?environment=staging")
        .await
        .has("action=\"/apps/shop/deploy?environment=staging\"");

    let page = browser
        .post(staging, &[("container_port", "8080"), ("replicas", "7")])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.location());
    let replicas = async |environment: &str| {
        let (shop, environment) = ("shop".parse().unwrap(), environment.parse().unwrap());
        get_environment(&stand.px, &admin(), &shop, &environment)
            .await
            .unwrap()
            .configured_replicas
    };
    assert_eq!(
        (replicas("staging").await, replicas("production").await),
        (7, 2)
    );
    browser
        .post("/apps/shop/ttl?environment=staging", &[("ttl_hours", "")])
        .await;
    browser.get(staging).await.has("It stays until somebody");

    let promote = browser.get("/apps/shop/promote?from=staging").await;
    promote.has("The one that serves in staging");
    let early = [("from", "staging"), ("to", "production")];
    let page = browser.post("/apps/shop/promote", &early).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("Nothing serves in the environment staging of shop");

    let delete = "/apps/shop/delete?environment=staging";
    let page = browser.post(delete, &[("confirm", "shop")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = browser.post(delete, &[("confirm", "staging")]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/apps/shop")
    );
    assert_eq!(browser.get(staging).await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/apps/shop").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_release_is_not_promoted_from_where_it_was_not_listed() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    for name in ["staging", "qa"] {
        browser
            .post("/apps/shop/environments/new", &[("name", name)])
            .await;
    }
    let page = browser.get("/apps/shop/promote?from=staging").await;
    page.has("name=\"releases_of\" value=\"staging\"");
    let other = [
        ("releases_of", "staging"),
        ("from", "qa"),
        ("to", "production"),
        ("release", "1"),
    ];
    let page = browser.post("/apps/shop/promote", &other).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Was listed for 'staging': choose one of qa.")
        .has("name=\"releases_of\" value=\"qa\"");
}

#[tokio::test]
async fn what_a_button_cannot_do_shows_on_the_page_it_stands_on() {
    let stand = Stand::new().await;
    stand.app("ttl-x", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let new = "/apps/ttl-x/environments/new";
    browser.post(new, &[("name", "qa")]).await;
    let button = "/apps/ttl-x/ttl?environment=qa";
    let page = browser.post(button, &[("ttl_hours", "soon")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("ttl-x · qa")
        .has("Remove it after must be 1 to 2160")
        .has("value=\"soon\"");
    let page = browser.get(button).await;
    assert_eq!(page.location(), "/apps/ttl-x?environment=qa");

    // The session ended in between: the button's form waits on its page, too.
    browser.forget_cookies();
    let page = browser.post(button, &[("ttl_hours", "24")]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let fields = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("carried_to", button),
        ("carried.ttl_hours", "24"),
    ];
    let page = browser.post("/sign-in", &fields).await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("ttl-x · qa")
        .has("You are signed in again")
        .has("value=\"24\"");
}
