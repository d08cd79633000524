//! Scale, restart, stop and start by the forms of an app's page.

use flukedeploy_domain::app::{Probation, RunMode, Standby};
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{Store, Switch};
use http::StatusCode;
use time::Duration;

use crate::browser::Browser;
use crate::support::{End, Stand, settings};

#[tokio::test]
async fn replicas_are_scaled_or_the_number_stays_with_its_fault() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.get("/apps/shop").await.lacks("Everyday");
    stand
        .deployment(&app, "shop:v1", Duration::hours(1), End::Success)
        .await;
    browser.get("/apps/shop").await.has("Everyday");
    let scale = |number: &'static str| [("everyday", "scale"), ("scale_to", number)];

    let page = browser.post("/apps/shop/scale", &scale("0")).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("id=\"scale_to-fault\"")
        .has("Must be 1 to 500, not '0'.")
        .has("id=\"scale_to\" name=\"scale_to\" type=\"text\" value=\"0\"")
        .lacks("id=\"replicas-fault\"");
    // The answer is drawn at the button's address: reloading it leads to the page.
    page.has("data-address=\"/apps/shop\"");
    let reloaded = browser.get("/apps/shop/scale").await;
    assert_eq!(reloaded.location(), "/apps/shop");
    let page = browser.post("/apps/shop/scale", &scale("")).await;
    page.has("Must be given.");

    let page = browser.post("/apps/shop/scale", &scale("3")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    browser
        .get(page.location())
        .await
        .has("<h1>Scale shop to 3 replicas</h1>");
}

#[tokio::test]
async fn an_app_is_taken_out_of_service_and_brought_back() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(1), End::Success)
        .await;
    let production = EnvironmentName::production();
    let mut browser = Browser::signed_in(&stand).await;
    for (mode, title) in [
        ("stopped", "Stop shop"),
        ("asleep", "Put shop to sleep"),
        ("maintenance", "Maintenance of shop"),
        ("running", "Start shop"),
    ] {
        let form = [("everyday", "mode"), ("mode", mode)];
        let page = browser.post("/apps/shop/mode", &form).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
        let title = format!("<h1>{title}</h1>");
        browser.get(page.location()).await.has(&title);
    }
    let page = browser
        .post("/apps/shop/restart", &[("everyday", "restart")])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let page = browser
        .post("/apps/shop/mode", &[("mode", "upside-down")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = browser.post("/apps/ghost/restart", &[]).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);

    // What the page offers follows from what the app is meant to do.
    for (mode, there, gone) in [
        (RunMode::Stopped, ">Start</button>", "id=\"restart\""),
        (RunMode::Asleep, ">Start</button>", "id=\"restart\""),
        (
            RunMode::Maintenance,
            ">End maintenance</button>",
            "id=\"restart\"",
        ),
        (RunMode::Running, "id=\"restart\"", ">Start</button>"),
    ] {
        stand
            .store
            .set_mode(&app.app, &production, mode)
            .await
            .unwrap();
        let page = browser.get("/apps/shop").await;
        page.has(there).lacks(gone);
        // What does not run cannot be scaled.
        assert_eq!(page.html.contains("scale_to"), mode.has_replicas());
    }
}

#[tokio::test]
async fn a_release_that_stands_by_and_one_that_is_watched_are_announced() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    for image in ["shop:v1", "shop:v2"] {
        stand
            .deployment(&app, image, Duration::hours(1), End::Success)
            .await;
    }
    let latest = stand
        .deployment(&app, "shop:v3", Duration::minutes(1), End::Success)
        .await;
    let soon = stand.px.now() + Duration::minutes(9);
    let switch = Switch {
        active: Some(ReleaseNo(3)),
        standby: Some(Standby {
            release: ReleaseNo(2),
            until: soon,
        }),
        probation: Some(Probation {
            release: ReleaseNo(3),
            deployment: latest.id.clone(),
            until: soon,
            former_errors_permille: None,
        }),
    };
    stand
        .store
        .switch_release(&app.app, &EnvironmentName::production(), &switch)
        .await
        .unwrap();
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get("/apps/shop")
        .await
        .has("Release 2 stands by until ")
        .has("going back to it takes no time")
        .has("Release 3 is watched on real traffic until ")
        .has("Roll back to release 2");
    let page = browser
        .post("/apps/shop/rollback", &[("release", "2")])
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    browser.get(page.location()).await.has("back to release 2");
}
