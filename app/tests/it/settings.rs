//! The settings form with all its parts.

use flukedeploy_domain::app::{Quantity, TesterMark, WhenQuiet};
use flukedeploy_domain::deployment::Strategy;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_platform::apps::get_app;
use http::StatusCode;

use crate::browser::Browser;
use crate::support::{Stand, admin, settings};

/// What the form sends when nothing was touched, with `changes` in place of some of it.
pub(crate) fn form<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let untouched = [
        ("parts", "all"),
        ("container_port", "8080"),
        ("replicas", "1"),
        ("strategy", "rolling"),
        ("health_probe", "tcp"),
        ("deadline_seconds", "60"),
        ("max_surge", "100%"),
        ("max_unavailable", "0"),
        ("canary_steps", "5, 25, 50, 100"),
        ("expose_http", "true"),
    ];
    let kept = untouched
        .into_iter()
        .filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    kept.chain(changes.iter().copied())
        .filter(|(_, value)| *value != "(not sent)")
        .collect()
}

#[tokio::test]
async fn every_part_of_the_settings_is_kept_and_shown_again() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let wanted = form(&[
        ("strategy", "canary"),
        ("health_probe", "command"),
        ("health_command", "pg_isready\r\n--quiet"),
        ("min_healthy_seconds", "5"),
        ("progress_deadline_seconds", "90"),
        ("max_restarts", "0"),
        ("max_surge", "1"),
        ("warm_seconds", "30"),
        ("canary_steps", "10% 50"),
        ("canary_when_quiet", "pause"),
        ("tester_kind", "header"),
        ("tester_name", "x-tester"),
        ("objective_p95", "300"),
        ("cpu_limit", "0.5"),
        ("memory_limit", "64"),
        ("placement", "node.role==manager\n\nnode.labels.disk != hdd"),
        ("volumes", "cache /var/cache shared"),
        ("published_ports", "(not sent)"),
        ("expose_http", "(not sent)"),
        ("access_sample", "250"),
        ("access_slow_ms", "0"),
    ]);
    let page = browser.post("/apps/shop", &wanted).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);

    let app = get_app(&stand.px, &admin(), &"shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(app.strategy, Strategy::Canary);
    let command = ["pg_isready", "--quiet"].map(ToOwned::to_owned).to_vec();
    assert_eq!(app.health.probe, HealthProbe::Command { command });
    assert_eq!(app.health.min_healthy_seconds, 5);
    assert_eq!(app.health.progress_deadline_seconds, Some(90));
    assert_eq!(app.health.max_restarts, 0);
    assert_eq!(app.rollout.max_surge, Quantity::Count(1));
    assert_eq!(app.rollout.warm_seconds, Some(30));
    assert_eq!(app.rollout.canary.steps, [10, 50]);
    assert_eq!(app.rollout.canary.when_quiet, WhenQuiet::Pause);
    let testers = app.rollout.canary.testers.unwrap();
    assert_eq!(
        (testers.kind, testers.name.as_str()),
        (TesterMark::Header, "x-tester")
    );
    assert_eq!(app.objective.max_p95_ms, Some(300));
    assert_eq!(app.resources.cpu_limit_milli, Some(500));
    assert_eq!(app.resources.memory_limit_mb, Some(64));
    assert_eq!(app.placement[0].to_string(), "node.role == manager");
    assert_eq!(app.placement.len(), 2);
    assert!(app.volumes[0].shared);
    assert!(!app.expose_http);
    let access = app.logs.access;
    assert_eq!(
        (access.enabled, access.sample_permille, access.slow_ms),
        (true, 250, 0)
    );

    let page = browser.get("/apps/shop").await;
    for shown in [
        "value=\"10, 50\"",
        "value=\"0.5\"",
        "value=\"x-tester\"",
        "pg_isready\n--quiet",
        "node.labels.disk != hdd",
        "cache /var/cache shared",
        "at most 0.5 CPU, 64 MiB",
        "failed and slow requests, 250 in 1000 others",
    ] {
        page.has(shown);
    }

    // An emptied field brings the default back; no tester is none.
    let page = browser
        .post(
            "/apps/shop",
            &form(&[
                ("warm_seconds", ""),
                ("cpu_limit", " "),
                ("access_log", "off"),
            ]),
        )
        .await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
    let app = get_app(&stand.px, &admin(), &"shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(app.rollout.warm_seconds, None);
    assert_eq!(app.resources.cpu_limit_milli, None);
    assert!(app.rollout.canary.testers.is_none() && app.volumes.is_empty());
    assert!(app.expose_http);
    assert!(!app.logs.access.enabled && app.logs.access.slow_ms == 2_000);
}

#[tokio::test]
async fn faults_are_told_at_their_field_in_the_words_of_the_form() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let wrong = form(&[
        ("max_surge", "lots"),
        ("canary_steps", "5, ten"),
        ("tester_kind", "cookie"),
        ("cpu_limit", "half"),
        ("memory_limit", "1"),
        ("placement", "node.role == manager\ndisk = ssd"),
        ("volumes", "data"),
        ("published_ports", "53"),
        ("objective_errors", "2000"),
        ("access_sample", "1001"),
        ("expose_http", "(not sent)"),
    ]);
    let page = browser.post("/apps/shop", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in [
        "max_surge",
        "canary_steps",
        "tester_name",
        "cpu_limit",
        "memory_limit",
        "placement",
        "volumes",
        "published_ports",
        "objective_errors",
        "access_sample",
    ] {
        page.has(&format!("id=\"{field}-fault\""));
    }
    page.has("value=\"lots\"")
        .has("value=\"half\"")
        .has("disk = ssd")
        .has("(line 2)")
        .has("Memory limit in MiB must be 6 to 16777216")
        .has("id=\"part-canary\" open")
        .lacks("id=\"expose_http\" name=\"expose_http\" value=\"true\" checked");
    assert_eq!(page.html.matches("id=\"part-").count(), 11);

    // What only the settings as a whole can tell.
    let page = browser
        .post(
            "/apps/shop",
            &form(&[
                ("start_grace_seconds", "60"),
                ("cpu_limit", "0.5"),
                ("cpu_reservation", "1"),
            ]),
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Must be below the deadline (60), not 60.")
        .lacks("cpu_limit_milli")
        .lacks("deadline_seconds (60)");
    let page = browser
        .post(
            "/apps/shop",
            &form(&[("cpu_limit", "0.5"), ("cpu_reservation", "1")]),
        )
        .await;
    page.has("id=\"cpu_reservation-fault\"")
        .has("Must not be above the CPU limit.");
}
