//! Approvals over REST and MCP: who is told what, and who decides.

use axum::http::StatusCode;
use flukedeploy_domain::access::{Actor, Tier};
use flukedeploy_platform::tokens::{self, CreateToken};
use serde_json::{Value, json};

use super::House;
use super::matrix::furnished;
use super::mcp::tool;

const POLICY: &str = "/api/v1/apps/shop/environments/production/approvals";

async fn admin(house: &House) -> String {
    let cmd = CreateToken {
        name: "second pair of eyes".to_owned(),
        persona: None,
        tier: Tier::Admin,
        expires_at: None,
        only: None,
        limits: flukedeploy_domain::access::Limits::default(),
    };
    let made = tokens::create_token(&house.px, &Actor::system(), cmd).await;
    made.unwrap().secret.expose().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_shown_and_answered_once() {
    let (house, deployment) = furnished().await;
    let listed = house.call("GET", "/api/v1/approvals", None).await;
    assert_eq!(listed.status, StatusCode::OK);
    assert_eq!(
        (&listed.body["total"], &listed.body["to_decide"]),
        (&json!(1), &json!(1))
    );
    let one = &listed.body["approvals"][0];
    assert_eq!(
        (&one["state"], &one["may_decide"]),
        (&json!("waiting"), &json!(true))
    );
    assert_eq!(one["deployment_id"], deployment);
    let id = one["approval_id"].as_str().unwrap();

    let status = format!("/api/v1/deployments/{deployment}");
    let shown = house.call("GET", &status, None).await;
    assert_eq!(shown.body["approval"]["approval_id"], id);
    assert_eq!(shown.body["approval"]["state"], "waiting");
    let list = house.call("GET", "/api/v1/deployments", None).await;
    assert_eq!(list.body["deployments"][0]["approval"]["state"], "waiting");

    // An agent sees it and is told to leave it to people.
    let agent = house.token(Tier::Advanced).await;
    let approve = format!("/api/v1/approvals/{id}/approve");
    let refused = house
        .call_as(&agent, "POST", &approve, Some(&json!({})))
        .await;
    assert_eq!(refused.problem(403), "forbidden");
    let seen = tool(&house, &agent, "flukedeploy_approvals", json!({})).await;
    let seen = &seen["result"]["structuredContent"]["approvals"][0];
    assert_eq!(
        (&seen["approval_id"], &seen["may_decide"]),
        (&json!(id), &Value::Null)
    );
    let arguments = json!({"deployment_id": deployment});
    let told = tool(&house, &agent, "deploy_status", arguments).await;
    let approval = &told["result"]["structuredContent"]["approval"];
    assert_eq!(approval["code"], "pending_approval");
    assert_eq!(
        approval["url"],
        format!("http://127.0.0.1:3000/approvals#{id}")
    );
    let text = told["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("cannot approve"), "{text}");

    let answer = json!({"reason": "looked at it"});
    let decided = house
        .call_as(&admin(&house).await, "POST", &approve, Some(&answer))
        .await;
    assert_eq!(decided.status, StatusCode::OK, "{decided:?}");
    assert_eq!(decided.body["state"], "approved");
    assert_eq!(decided.body["decided_by"], "second pair of eyes");
    let again = house
        .call(
            "POST",
            &format!("/api/v1/approvals/{id}/reject"),
            Some(&json!({})),
        )
        .await;
    assert_eq!(again.problem(409), "approval_closed");
    let unknown = house
        .call("GET", "/api/v1/approvals/apr-1-00000000", None)
        .await;
    assert_eq!(unknown.problem(404), "approval_not_found");
    let nonsense = house
        .call("GET", "/api/v1/approvals/what%20is%20it", None)
        .await;
    assert_eq!(nonsense.problem(404), "approval_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_set_whole_and_no_token_loosens_them() {
    let (house, _) = furnished().await;
    let rules = |person: &str, agent: &str| json!({"person": person, "agent": agent});
    let put = async |body: Value| house.call("PUT", POLICY, Some(&body)).await;
    assert_eq!(
        house.call("GET", POLICY, None).await.body,
        rules("allow", "allow")
    );
    assert_eq!(
        put(rules("allow", "deny")).await.body,
        rules("allow", "deny")
    );
    assert_eq!(
        house.call("GET", POLICY, None).await.body,
        rules("allow", "deny")
    );
    assert_eq!(
        put(rules("allow", "approve")).await.problem(403),
        "policy_binds"
    );
    for bad in [
        rules("deny", "approve"),
        rules("maybe", "deny"),
        json!({"person": "allow"}),
    ] {
        assert_eq!(put(bad.clone()).await.status, 422, "{bad}");
    }
    let deploy = json!({"app_name": "shop", "image": "shop:v2"});
    let denied = house
        .call("POST", "/api/v1/deployments", Some(&deploy))
        .await;
    assert_eq!(denied.problem(403), "denied_by_policy");
    assert!(denied.body["next"].is_string());
    let dry = json!({"app_name": "shop", "image": "shop:v2", "dry_run": true});
    let denied = house.call("POST", "/api/v1/deployments", Some(&dry)).await;
    assert_eq!(denied.problem(403), "denied_by_policy");
    let agent = house.token(Tier::Advanced).await;
    let over_mcp = tool(&house, &agent, "deploy_app", deploy).await;
    let content = &over_mcp["result"]["structuredContent"];
    assert_eq!(content["code"], "denied_by_policy", "{over_mcp}");
}
