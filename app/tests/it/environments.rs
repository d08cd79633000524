use flukedeploy_platform::apps::get_environment;
use http::StatusCode;

use crate::browser::Browser;
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
