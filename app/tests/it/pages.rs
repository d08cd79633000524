use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::log_entry::Level;
use http::StatusCode;
use http::header::CONTENT_SECURITY_POLICY;
use time::Duration;

use crate::browser::Browser;
use crate::support::{End, Stand, settings};

const EVIL: &str = "</script><img src=x onerror=alert(1)>";

#[tokio::test]
async fn every_page_stands_without_any_app() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    for (path, text) in [
        ("/", "Create the first app"),
        ("/apps", "Create the first app"),
        ("/apps/new", "Container port"),
        ("/deployments", "No deployments yet"),
        ("/tokens", "New token"),
        ("/credentials", "No credentials yet"),
        ("/system", "Engine"),
        ("/connect", "mcpServers"),
        ("/components", "Every component"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        page.has(text)
            .has("<title>")
            .has("href=\"#main\"")
            .has("lang=\"en\"");
        assert_eq!(page.html.matches("<h1").count(), 1, "{path} has one h1");
        assert!(
            page.html.len() < 50 * 1024,
            "{path}: {} bytes",
            page.html.len()
        );
    }
}

#[tokio::test]
async fn nothing_inline_and_nothing_from_elsewhere() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let one = stand
        .deployment(&app, "shop:v1", Duration::minutes(1), End::Success)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    for path in [
        "/",
        "/apps/shop",
        "/apps/shop/logs",
        "/logs",
        &format!("/deployments/{}", one.id),
        "/sign-in",
    ] {
        let page = browser.get(path).await;
        let policy = page.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for rule in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "object-src 'none'",
        ] {
            assert!(policy.contains(rule), "{rule}");
        }
        assert_eq!(page.headers["referrer-policy"], "same-origin");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        page.lacks(" style=\"").lacks(" onclick").lacks("<style");
        assert!(
            page.html.matches("<script").count()
                == page
                    .html
                    .matches("<script type=\"module\" src=\"/assets/")
                    .count(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_app_shows_what_runs_and_where_one_could_go_back() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(2)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(2), End::Success)
        .await;
    stand
        .deployment(&app, "shop:v2", Duration::hours(1), End::Success)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get("/apps/shop").await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("http://shop.apps.example.com/")
        .has("/apps/shop/deploy")
        .has("/apps/shop/rollback?release=1")
        .has("DATABASE_URL")
        .has("v2 (release 2)")
        .lacks("s3cret");
    browser.get("/apps").await.has(">shop<").has("v2");
    browser
        .get("/deployments")
        .await
        .has("shop:v1")
        .has("shop:v2");
    let page = browser.get("/apps/shop/rollback?release=1").await;
    page.has("Release ").has("v1").has("checked");
    browser
        .get("/apps/shop/deploy")
        .await
        .has("value=\"shop:v2\"");
    browser
        .get("/apps/shop/delete")
        .await
        .has("There is no way back");
}

#[tokio::test]
async fn a_deployment_tells_its_story() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(2), End::Success)
        .await;
    let diagnosis = Diagnosis {
        code: Cause::ExitedWithCode,
        phase: PhaseName::Deploy,
        message: "the app exited with code 3".to_owned(),
        evidence: Evidence {
            exit_code: Some(3),
            untrusted_output: vec![EVIL.to_owned()],
            ..Evidence::default()
        },
        next: vec!["read the last lines".to_owned()],
    };
    let failed = stand
        .deployment(
            &app,
            "shop:v2",
            Duration::hours(1),
            End::Failed(Box::new(diagnosis)),
        )
        .await;
    let running = stand
        .deployment(
            &app,
            "shop:v3",
            Duration::seconds(9),
            End::In(PhaseName::Deploy),
        )
        .await;
    let mut browser = Browser::signed_in(&stand).await;

    let page = browser.get(&format!("/deployments/{}", failed.id)).await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("The app exited with code 3.")
        .has("exited_with_code")
        .has("Read the last lines.")
        .has("Release 1 serves all traffic again.")
        .has("&lt;img src=x")
        .lacks("<img src=x")
        .lacks("http-equiv=\"refresh\"")
        .lacks("Cancel deployment")
        .lacks("data-live-status");
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        page.has(&format!("data-phase=\"{phase}\""));
    }

    let page = browser.get(&format!("/deployments/{}", running.id)).await;
    page.has("<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>")
        .has(">Abort<")
        .has("data-live-status")
        .has("data-status=\"running\"")
        .has("Phase deploy started");
    browser.get("/").await.has("Deploying now").has("shop:v3");
}

#[tokio::test]
async fn what_somebody_cancelled_did_not_fail() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(2), End::Success)
        .await;
    let cancelled = Diagnosis {
        code: Cause::Cancelled,
        phase: PhaseName::Deploy,
        message: "the deployment was cancelled".to_owned(),
        evidence: Evidence::default(),
        next: Vec::new(),
    };
    let end = End::Failed(Box::new(cancelled));
    let one = stand
        .deployment(&app, "shop:v2", Duration::hours(1), end)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get(&format!("/deployments/{}", one.id))
        .await
        .has("It was cancelled. Release 1 serves all traffic again.")
        .has("Stopped in Deploy")
        .lacks("It failed.");
}

#[tokio::test]
async fn a_failure_behind_an_app_that_serves_is_told_without_contradiction() {
    let stand = Stand::new().await;
    // The pretended engine has two replicas of its second release.
    let app = stand.app("shop-web", settings(2)).await;
    for image in ["shop:v1", "shop:v2"] {
        stand
            .deployment(&app, image, Duration::hours(2), End::Success)
            .await;
    }
    let diagnosis = Diagnosis {
        code: Cause::ExitedWithCode,
        phase: PhaseName::Deploy,
        message: "the app exited with code 3".to_owned(),
        evidence: Evidence::default(),
        next: Vec::new(),
    };
    stand
        .deployment(
            &app,
            "shop:v3",
            Duration::hours(1),
            End::Failed(Box::new(diagnosis)),
        )
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    // Nothing has been seen of its replicas yet.
    browser.get("/").await.has("1 app is not well.");
    stand.px.start();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let page = loop {
        let page = browser.get("/").await;
        if page.html.contains("<strong>0</strong> not well") {
            break page;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", page.html);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    page.has("Everything serves; 1 app wants a look.")
        .has("Release 2 serves. The last deployment failed. The app exited with code 3.");
}

#[tokio::test]
async fn foreign_text_is_only_text() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let one = stand
        .deployment(&app, "shop:v1", Duration::minutes(2), End::Success)
        .await;
    stand.line(&one, Level::Error, EVIL).await;
    stand.line(&one, Level::Info, "plain").await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get("/apps/shop/logs").await;
    page.has("&lt;img src=x")
        .lacks("<img src=x")
        .has("plain")
        .has("id=\"log-line\"");
    let page = browser.get("/apps/shop/logs?q=plain&level=info").await;
    page.has("plain").lacks("onerror").has("value=\"plain\"");
    browser
        .get("/apps/shop/logs?q=%3Cimg%3E")
        .await
        .has("No entry fits")
        .lacks("\"<img>");
    let evil = "/apps/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let page = browser.get(evil).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    page.lacks("<script>alert");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_names_what_is_near() {
    let stand = Stand::new().await;
    stand.app("shop-web", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get("/apps/shop-wbe").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    page.has("href=\"/apps/shop-web\"").has("app_not_found");
    for path in [
        "/nothing",
        "/apps/x/nothing",
        "/deployments/dep-1-00000000",
        "/deployments/%00",
        "/tokens/zz/revoke",
    ] {
        assert_eq!(
            browser.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let page = browser.get("/api/v1/nothing").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert_eq!(page.headers["content-type"], "application/problem+json");
    assert_eq!(
        browser.post("/apps", &[]).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn many_apps_are_still_one_page() {
    let stand = Stand::new().await;
    for number in 0..60 {
        stand
            .app(&format!("{}-{number}", "a".repeat(40)), settings(1))
            .await;
    }
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get("/apps").await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("60 apps");
}
