//! What a deployment's page shows while traffic moves, and once it is over.

use flukedeploy_domain::access::Door;
use flukedeploy_domain::app::{RunMode, Settings};
use flukedeploy_domain::deployment::rollout::Share;
use flukedeploy_domain::deployment::{
    PhaseName, PhaseStatus, PhaseTime, Receipt, SettingsChange, Source, Status, Strategy,
    SwitchTraffic,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::deployments::get_deployment;
use flukedeploy_platform::ports::Store;
use http::StatusCode;
use time::Duration;

use crate::browser::Browser;
use crate::support::{End, Stand, admin, settings};

#[tokio::test]
async fn a_rollout_says_where_it_is_and_is_steered_by_buttons() {
    let stand = Stand::new().await;
    let canary = Settings {
        strategy: Strategy::Canary,
        ..settings(2)
    };
    let app = stand.app("shop", canary).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(1), End::Success)
        .await;
    let mut running = stand
        .deployment(
            &app,
            "shop:v2",
            Duration::seconds(9),
            End::In(PhaseName::Deploy),
        )
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    let path = format!("/deployments/{}", running.id);
    let steer = format!("{path}/steer");
    // Until the ingress has said so, the new release has nothing.
    browser
        .get(&path)
        .await
        .has("gets 5% of the new requests as soon as")
        .has("<strong>0%</strong>")
        .has("<strong>100%</strong>");
    running.progress.given = Some(Share { new: 1, of: 20 });
    stand.store.save_deployment(&running).await.unwrap();
    browser
        .get(&path)
        .await
        .has("Step 1 of 4")
        .has("gets 5% of the new requests, release 1 the rest")
        .has("<strong>5%</strong>")
        .has("<strong>95%</strong>")
        .has(">Pause<")
        .has(">Promote<")
        .has(">Abort<")
        .lacks("Paused");

    let page = browser.post(&steer, &[("how", "pause")]).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, path.as_str()),
        "{}",
        page.html
    );
    browser
        .get(&path)
        .await
        .has("Paused at step 1 of 4.")
        .has(">Resume<")
        .lacks(">Pause<");
    browser.post(&steer, &[("how", "resume")]).await;
    browser.get(&path).await.has(">Pause<").lacks("Paused");
    let page = browser.post(&steer, &[("how", "sideways")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Nothing was done yet").has("Step 1 of 4");

    browser.post(&format!("{path}/cancel"), &[]).await;
    let asked = stand.store.deployment(&running.id).await.unwrap().unwrap();
    assert!(asked.cancel_requested);
}

#[tokio::test]
async fn what_has_ended_leaves_a_receipt() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    let mut one = stand
        .deployment(&app, "shop:v1", Duration::minutes(2), End::Success)
        .await;
    let change = |name: &str, before: Option<&str>, after: Option<&str>| SettingsChange {
        name: name.to_owned(),
        before: before.map(ToOwned::to_owned),
        after: after.map(ToOwned::to_owned),
    };
    one.receipt = Some(Receipt {
        outcome: Status::Success,
        started_at: one.initiated_at,
        ended_at: one.initiated_at + Duration::milliseconds(6_500),
        by: "ci".to_owned(),
        persona: Some("release bot".to_owned()),
        door: Door::Mcp,
        old_release: Some(ReleaseNo(7)),
        new_release: Some(ReleaseNo(8)),
        pinned_image: Some(format!("shop@sha256:{}", "4f".repeat(32))),
        phases: vec![PhaseTime {
            phase: PhaseName::Deploy,
            status: PhaseStatus::Success,
            duration_ms: Some(4_200),
        }],
        requests: Some(SwitchTraffic {
            served: 240,
            failed: 0,
            by_new_release: 31,
        }),
        changes: vec![
            change("replicas", Some("1"), Some("3")),
            change("env_vars.API_KEY", None, Some("(set)")),
        ],
    });
    stand.store.save_deployment(&one).await.unwrap();
    let mut browser = Browser::signed_in(&stand).await;
    let page = browser.get(&format!("/deployments/{}", one.id)).await;
    page.has("Receipt")
        .has("ci (release bot) through MCP")
        .has("7 → 8")
        .has("240 served, 0 failed; 31 of them went to release 8.")
        .has("Deploy 4.2 s")
        .has(&format!("title=\"shop@sha256:{}\"", "4f".repeat(32)))
        .has(">replicas<")
        .has("Variable API_KEY")
        .lacks("data-live-status");
}

#[tokio::test]
async fn a_return_by_itself_says_so_and_why() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    for image in ["shop:v1", "shop:v2"] {
        stand
            .deployment(&app, image, Duration::hours(1), End::Success)
            .await;
    }
    let found = Diagnosis {
        code: Cause::ObjectiveBroken,
        phase: PhaseName::PostDeploy,
        message: "release 2 fails 212 of 1000 requests".to_owned(),
        evidence: Evidence {
            traffic: Some("53 of 250 requests failed in 20 s".to_owned()),
            ..Evidence::default()
        },
        next: vec!["look at the log of release 2".to_owned()],
    };
    let source = Source::Release {
        number: ReleaseNo(1),
        because: Some(Box::new(found)),
    };
    let back = stand
        .act(&app, "shop:v1", source, Duration::minutes(1), End::Success)
        .await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get(&format!("/deployments/{}", back.id))
        .await
        .has("FlukeDeploy went back by itself")
        .has("Release 2 did not keep what the app promises")
        .has("Release 2 fails 212 of 1000 requests.")
        .has("objective_broken")
        .has("53 of 250 requests failed in 20 s")
        .has("Look at the log of release 2.");
    browser
        .get("/")
        .await
        .has("Needs you")
        .has("FlukeDeploy went back to release 1 by itself.");
}

#[tokio::test]
async fn everyday_acts_are_told_in_their_own_words() {
    let stand = Stand::new().await;
    let app = stand.app("shop", settings(1)).await;
    stand
        .deployment(&app, "shop:v1", Duration::hours(1), End::Success)
        .await;
    let acts = [
        (Source::Scale { from: 1, to: 3 }, "Scale shop to 1 replica"),
        (Source::Restart { of: ReleaseNo(1) }, "Restart shop"),
        (
            Source::Mode {
                to: RunMode::Stopped,
            },
            "Stop shop",
        ),
        (
            Source::Mode {
                to: RunMode::Asleep,
            },
            "Put shop to sleep",
        ),
        (
            Source::Mode {
                to: RunMode::Running,
            },
            "Start shop",
        ),
        (
            Source::Mode {
                to: RunMode::Maintenance,
            },
            "Maintenance of shop",
        ),
    ];
    let mut browser = Browser::signed_in(&stand).await;
    for (at, (source, title)) in (1_i64..).zip(acts) {
        let ago = Duration::minutes(30 - at);
        let one = stand.act(&app, "shop:v1", source, ago, End::Success).await;
        let act = get_deployment(&stand.px, &admin(), &one.id).await.unwrap();
        let page = browser.get(&format!("/deployments/{}", one.id)).await;
        page.has(&format!("<h1>{title}</h1>"));
        if act.act == "stop" {
            page.has("No replica runs. Requests are answered with 503.");
        }
    }
    browser
        .get("/deployments")
        .await
        .has("Restart")
        .has("Put to sleep")
        .has("Scale to 1 replica");
}
