//! A `FlukeBase` that is slow, broken or malicious: every call ends in time with an error of ours.

use std::time::{Duration, Instant};

use flukedeploy_domain::flukebase::RemoteEnvironment;
use flukedeploy_platform::ports::{Flukebase as _, FlukebaseError};

use crate::stand_in::{Mood, StandIn, TOKEN};
use crate::{access, client, project};

async fn lied(mood: Mood) -> (FlukebaseError, Duration) {
    let there = StandIn::start(0).await;
    there.will("variables", mood, 1);
    let begun = Instant::now();
    let found = client()
        .variables(&access(&there), project(), RemoteEnvironment::Production)
        .await;
    let error = found.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
    (error, begun.elapsed())
}

#[tokio::test]
async fn who_hangs_is_left_after_ten_seconds() {
    let (error, took) = lied(Mood::Hangs).await;
    assert!(matches!(error, FlukebaseError::NotNow { .. }), "{error:?}");
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(14),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let (error, took) = lied(Mood::Endless).await;
    assert!(matches!(error, FlukebaseError::Faulty { .. }), "{error:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn what_is_no_json_or_of_another_form_is_a_fault_of_theirs() {
    let deep = "[".repeat(100_000);
    for text in [
        "<html>",
        "[]",
        "null",
        "{}",
        "{\"variables\":7}",
        "\u{0}",
        &deep,
    ] {
        let (error, _) = lied(Mood::Answers(text.to_owned())).await;
        assert!(
            matches!(error, FlukebaseError::Faulty { .. }),
            "{text}: {error:?}"
        );
    }
}

#[tokio::test]
async fn failing_servers_and_busy_ones_are_told_apart() {
    for status in [500, 501] {
        let (error, _) = lied(Mood::Html(status)).await;
        assert!(
            matches!(error, FlukebaseError::Faulty { .. }),
            "{status}: {error:?}"
        );
    }
    for status in [502, 503, 504] {
        let (error, _) = lied(Mood::Html(status)).await;
        assert!(
            matches!(error, FlukebaseError::NotNow { wait: None, .. }),
            "{status}: {error:?}"
        );
    }
    let (error, _) = lied(Mood::Busy(17)).await;
    let wish = Some(Duration::from_secs(17));
    assert!(
        matches!(error, FlukebaseError::NotNow { wait, .. } if wait == wish),
        "{error:?}"
    );
}

#[tokio::test]
async fn hanging_up_in_the_middle_is_no_answer() {
    let (error, _) = lied(Mood::HangsUp).await;
    assert!(matches!(error, FlukebaseError::NotNow { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_not_now() {
    let there = StandIn::start(0).await;
    let access = access(&there);
    drop(there);
    tokio::task::yield_now().await;
    let found = client().validate(&access).await;
    assert!(
        matches!(found, Err(FlukebaseError::NotNow { .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_redirect_leads_nowhere_and_the_token_stays_here() {
    let elsewhere = StandIn::start(0).await;
    for to in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("{}/flukebase_connect/auth/validate", elsewhere.url()),
    ] {
        let (error, took) = lied(Mood::Redirects(to)).await;
        assert!(
            error.to_string().contains("redirects are not followed"),
            "{error}"
        );
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn another_task_than_the_one_asked_for_is_not_believed() {
    let there = StandIn::start(0).await;
    let other = r#"{"task":{"task_id":"DEPLOY-dep-2","status":"completed","version":1}}"#;
    there.will("wedo_tasks", Mood::Answers(other.to_owned()), 1);
    let found = client()
        .task(&access(&there), project(), "DEPLOY-dep-1")
        .await;
    assert!(
        matches!(found, Err(FlukebaseError::Faulty { .. })),
        "{found:?}"
    );
}
