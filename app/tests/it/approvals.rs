//! The inbox of approvals, a deployment that waits, and who sets the rules, without a script.

use flukedeploy_domain::access::{Action, Actor, Subject};
use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::approval::{
    APPROVAL_LASTS, Approval, ApprovalId, ApprovalPlan, ApprovalState,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{Deployment, PhaseName, SettingsChange};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::ports::{Approvals as _, Store as _};
use http::StatusCode;

use crate::browser::Browser;
use crate::support::{End, Stand, settings};

/// A deployment that waits for somebody's word, and the question; `family` are those who may not
/// answer.
async fn waiting(stand: &Stand, family: Vec<Subject>) -> (Deployment, Approval) {
    let shop = stand.app("shop-web", settings(1)).await;
    let ago = time::Duration::minutes(3);
    let deployment = stand
        .deployment(&shop, "shop:v2", ago, End::In(PhaseName::PreDeploy))
        .await;
    let now = stand.px.now();
    let approval = Approval {
        id: ApprovalId::new(now, 7),
        deployment: deployment.id.clone(),
        app: shop.app.clone(),
        environment: shop.name.clone(),
        asked_by: Actor {
            name: "ci <b>agent</b>".to_owned(),
            persona: Some("OPERATOR".to_owned()),
            kind: flukedeploy_domain::access::ActorKind::Token,
            id: "abcdef".to_owned(),
            ..Actor::system()
        },
        maker_may_answer: false,
        family,
        intent: Some("Fixes the checkout".to_owned()),
        plan: ApprovalPlan {
            act: "deploy".to_owned(),
            image: "shop:v2".to_owned(),
            pinned_image: "shop@sha256:4f4f".to_owned(),
            version: Some("v2".to_owned()),
            strategy: deployment.strategy,
            replicas: 1,
            from_release: Some(ReleaseNo(1)),
            release: Some(ReleaseNo(2)),
            mode: RunMode::Running,
            settings_version: 1,
            changes: vec![SettingsChange {
                name: "env_vars.DATABASE_URL".to_owned(),
                before: None,
                after: None,
            }],
            risks: vec!["the variable LEGACY would be missing".to_owned()],
            jobs: vec!["release: ./manage migrate".to_owned()],
        },
        digest: "ab".repeat(32),
        asked_at: now,
        expires_at: now + APPROVAL_LASTS,
        state: ApprovalState::Waiting,
        decision: None,
    };
    let asker = &approval.asked_by;
    let audit = AuditEntry::new(now, asker, Action::Deploy, "app:shop-web", "asks");
    assert!(stand.store.ask_approval(&approval, &audit).await.unwrap());
    (deployment, approval)
}

#[tokio::test]
async fn a_question_shows_its_plan_and_is_answered_on_the_page() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get("/approvals")
        .await
        .has("Nothing waits for an approval");
    let (deployment, approval) = waiting(&stand, Vec::new()).await;
    let page = browser.get("/approvals").await;
    for part in [
        "Waiting for approval",
        "ci &lt;b&gt;agent&lt;/b&gt; (agent, OPERATOR)",
        "Fixes the checkout",
        "1 → 2",
        "shop@sha256:4f4f",
        "LEGACY would be missing",
        "./manage migrate",
        "Variable DATABASE_URL",
        "class=\"nav-count\"",
    ] {
        page.has(part);
    }
    let at = format!("/deployments/{}", deployment.id);
    browser
        .get(&at)
        .await
        .has("Waits for an approval")
        .has("value=\"approve\"");
    browser
        .get("/deployments")
        .await
        .has("Waiting for approval");

    let decide = format!("/approvals/{}/decide", approval.id);
    let page = browser.post(&decide, &[("answer", "perhaps")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("must be approve or reject").has("1 → 2");
    let answer = [("answer", "reject"), ("reason", "not on a Friday")];
    let page = browser.post(&decide, &answer).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, at.as_str())
    );
    browser
        .get("/approvals")
        .await
        .has("Rejected")
        .has("not on a Friday");
    let page = browser.post(&decide, &answer).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("is rejected already");
    assert_eq!(browser.get(&decide).await.location(), "/approvals");
}

#[tokio::test]
async fn who_asked_is_offered_no_answer() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let account = stand.store.account_by_name("admin").await.unwrap().unwrap();
    let (_, approval) = waiting(&stand, vec![Subject::Account(account.id)]).await;
    let page = browser.get("/approvals").await;
    page.has("but not who asks");
    assert!(!page.html.contains("value=\"approve\"") && !page.html.contains("nav-count"));
    let decide = format!("/approvals/{}/decide", approval.id);
    let page = browser.post(&decide, &[("answer", "approve")]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    page.has("cannot answer it");
    let kept = stand.store.approval(&approval.id).await.unwrap().unwrap();
    assert_eq!(kept.state, ApprovalState::Waiting);
}

#[tokio::test]
async fn an_administrator_sets_the_rules_on_the_apps_page() {
    let stand = Stand::new().await;
    stand.app("shop-web", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    browser.get("/apps/shop-web").await.has("id=\"approvals\"");
    let rules = [("approval_person", "allow"), ("approval_agent", "approve")];
    let page = browser.post("/apps/shop-web/approvals", &rules).await;
    assert_eq!(page.location(), "/apps/shop-web#approvals");
    browser
        .get("/apps/shop-web")
        .await
        .has("Tokens need somebody else");
    let wrong = [("approval_person", "deny"), ("approval_agent", "allow")];
    let page = browser.post("/apps/shop-web/approvals", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("as strict as the rule for people");
}
