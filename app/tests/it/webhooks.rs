use flukedeploy_platform::webhooks::{list_deliveries, list_webhooks};
use http::StatusCode;

use crate::browser::Browser;
use crate::support::{Stand, admin, settings};

#[tokio::test]
async fn a_webhook_is_made_tested_switched_and_removed_without_scripts() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get("/webhooks")
        .await
        .has("No webhooks yet")
        .has("aria-current=\"page\"")
        .has("id=\"event-deployment-failed\"");

    let wrong = [
        ("url", "ftp://hooks.example.com"),
        ("events", "deployment.failed"),
        ("app_name", "Bad Name"),
        ("webhook_password", "hunter2"),
    ];
    let page = browser.post("/webhooks", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("value=\"ftp://hooks.example.com\"")
        .has("id=\"url-fault\"")
        .has("id=\"app_name-fault\"")
        .lacks("hunter2");

    let right = [
        ("url", "https://hooks.example.com/in?key=1"),
        ("events", "app.created"),
        ("events", "deployment.failed"),
    ];
    let page = browser.post("/webhooks", &right).await;
    assert_eq!(page.status, StatusCode::CREATED);
    page.has("The webhook is made.")
        .has("id=\"new-secret\"")
        .has("Send a test");
    assert_eq!(page.headers["cache-control"], "no-store");
    let webhook = list_webhooks(&stand.px, &admin()).await.unwrap().remove(0);
    let address = format!("/webhooks/{}", webhook.id);
    browser
        .get("/webhooks")
        .await
        .has("hooks.example.com")
        .has(&address)
        .lacks("new-secret");
    browser.get(&address).await.has("Nothing was told yet");

    stand.app("shop", settings(1)).await;
    let page = browser.post(&format!("{address}/test"), &[]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, &*address)
    );
    let page = browser.get(&address).await;
    page.has("webhook.test")
        .has("app.created")
        .has("Waiting")
        .has("Try now");
    let told = list_deliveries(&stand.px, &admin(), &webhook.id, 10)
        .await
        .unwrap();
    let resend = format!("/webhooks/deliveries/{}/resend", told[0].id);
    let page = browser.post(&resend, &[]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, &*address)
    );

    let page = browser
        .post(&format!("{address}/switch"), &[("active", "false")])
        .await;
    assert_eq!(page.location(), address);
    browser
        .get(&address)
        .await
        .has("Dropped")
        .has("Turn on")
        .lacks("Send a test");
    let page = browser.post(&resend, &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("turn it on first").has("Deliveries");

    let page = browser.get(&format!("{address}/delete")).await;
    page.has("Remove the webhook").has("Keep it");
    let page = browser.post(&format!("{address}/delete"), &[]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/webhooks")
    );
    assert_eq!(browser.get(&address).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        browser.get("/webhooks/nonsense").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_secret_that_was_typed_is_asked_for_again_and_never_shown() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let wrong = [
        ("url", "https://hooks.example.com"),
        ("webhook_password", "hunter2"),
    ];
    let page = browser.post("/webhooks", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Secret must have")
        .has("id=\"webhook_password-fault\"")
        .has("Type it again")
        .lacks("hunter2");
}
