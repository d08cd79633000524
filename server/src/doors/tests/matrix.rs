//! Every address and every tool, as everybody: what a role lets one do, and that what may not be
//! seen answers like what does not exist. The addresses and tools come from the router and the tool
//! list themselves: one without a rule here fails.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{Action, Actor, ActorKind, Limits, Role, Subject, Target, Tier};
use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::approval::{APPROVAL_LASTS, Approval, ApprovalPlan, ApprovalState};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_platform::ports::{Approvals as _, Store as _};
use flukedeploy_platform::tokens::{self, CreateToken, Only};
use serde_json::{Value, json};

use super::mcp::tool;
use super::{ADMIN, Answer, House};
use crate::doors::mcp::TOOLS;
use crate::doors::rest::{GUARDED, INSPECTION};

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Whoever is known; what may not be seen is left out.
    Anybody,
    /// Whoever is known, if the token may change something.
    Changer,
    /// With a role in production of the app.
    In(Role),
    /// With a role in the app as a whole.
    InAll(Role),
    /// With a role in any part of the app.
    InAny(Role),
    /// With the role of a maintainer there, and of tokens those of the tier admin.
    Approver,
    /// Whoever may act in the whole instance.
    Instance(Tier),
}

use Rule::{Anybody, Approver, Changer, In, InAll, InAny, Instance};

const VIEWER: Rule = In(Role::Viewer);
const DEPLOYER: Rule = In(Role::Deployer);
const MAINTAINER: Rule = In(Role::Maintainer);
const ADMINISTRATOR: Rule = Instance(Tier::Admin);

/// The rule of an address, and a body that is good for it. `None`: nobody has thought of it.
#[expect(clippy::match_same_arms, reason = "in the order of the router")]
fn rule_of(method: &str, path: &str) -> Option<(Rule, Value)> {
    let empty = json!({});
    let deploy = json!({"app_name": "shop", "image": "shop:v2"});
    Some(match (method, path) {
        ("get", "/deployments" | "/deployments/active" | "/deployments/stats" | "/apps") => {
            (Anybody, empty)
        }
        ("get", "/approvals") => (Anybody, empty),
        ("get", "/approvals/{id}") => (VIEWER, empty),
        ("post", "/approvals/{id}/approve" | "/approvals/{id}/reject") => (Approver, empty),
        ("get", "/apps/{name}/environments/{environment}/approvals") => (VIEWER, empty),
        ("put", "/apps/{name}/environments/{environment}/approvals") => (
            ADMINISTRATOR,
            json!({"person": "approve", "agent": "approve"}),
        ),
        ("get", "/logs" | "/logs/histogram" | "/logs/export" | "/logs/stream") => (Anybody, empty),
        // An app that may not be seen has no deployments, like one that does not exist.
        ("get", "/apps/{name}/deployments") => (Anybody, empty),
        ("post", "/deployments") => (DEPLOYER, deploy),
        ("get", "/deployments/{id}" | "/deployments/{id}/logs" | "/deployments/{id}/receipt") => {
            (VIEWER, empty)
        }
        (
            "post",
            "/deployments/{id}/cancel"
            | "/deployments/{id}/pause"
            | "/deployments/{id}/resume"
            | "/deployments/{id}/promote",
        ) => (DEPLOYER, empty),
        ("post", "/apps") => (Instance(Tier::Advanced), json!({"app_name": "fresh"})),
        ("get", "/apps/{name}" | "/apps/{name}/releases") => (VIEWER, empty),
        ("get", "/apps/{name}/environments") => (InAny(Role::Viewer), empty),
        ("get", "/apps/{name}/environments/{environment}") => (VIEWER, empty),
        ("post", "/apps/{name}/environments") => (MAINTAINER, json!({"name": "more"})),
        ("patch", "/apps/{name}" | "/apps/{name}/environments/{environment}") => {
            (MAINTAINER, json!({"replicas": 2}))
        }
        ("delete", "/apps/{name}") => (InAll(Role::Maintainer), empty),
        ("delete", "/apps/{name}/environments/{environment}") => (MAINTAINER, empty),
        ("post", "/apps/{name}/promote") => (DEPLOYER, json!({"from": "staging"})),
        ("post", "/apps/{name}/rollback" | "/apps/{name}/restart") => (DEPLOYER, empty),
        ("post", "/apps/{name}/scale") => (DEPLOYER, json!({"replicas": 2})),
        (
            "post",
            "/apps/{name}/stop"
            | "/apps/{name}/sleep"
            | "/apps/{name}/start"
            | "/apps/{name}/maintenance",
        ) => (DEPLOYER, empty),
        ("post", "/apps/{name}/validate") => (VIEWER, empty),
        ("post", "/apps/{name}/uploads") => (InAny(Role::Deployer), Value::Null),
        ("post", "/apps/{name}/source") => (DEPLOYER, Value::Null),
        ("get", "/apps/{name}/grants") => (InAll(Role::Maintainer), empty),
        ("put", "/apps/{name}/project") => (ADMINISTRATOR, json!({"project": "office"})),
        ("get", "/projects") => (Anybody, empty),
        ("get", "/projects/{name}") => (InAny(Role::Viewer), empty),
        ("patch" | "put", "/projects/{name}/variables") => (
            InAll(Role::Maintainer),
            json!({"secret_env_vars": {"A": "hunter2"}}),
        ),
        ("get", "/system") => (Instance(Tier::Extended), empty),
        (
            "get",
            "/health/system" | "/health/docker" | "/health/issues" | "/health/containers"
            | "/diagnose/quick",
        )
        | ("post", "/diagnose") => (Instance(Tier::Extended), empty),
        ("get", "/repair/actions") | ("post", "/repair/auto") => (ADMINISTRATOR, empty),
        ("post", "/repair") => (ADMINISTRATOR, json!({"action": "push_routes"})),
        ("get" | "post", "/tokens") => (Changer, json!({"name": "more"})),
        ("delete", "/tokens/{id}") | ("post", "/tokens/{id}/rotate") => (Changer, empty),
        ("get", "/grants") => (Instance(Tier::Advanced), empty),
        ("post", "/grants") => (
            ADMINISTRATOR,
            json!({"account": "nobody", "app": "shop", "role": "viewer"}),
        ),
        ("delete", "/grants/{id}") => (ADMINISTRATOR, empty),
        (
            "get",
            "/credentials" | "/webhooks" | "/webhooks/{id}/deliveries" | "/audit" | "/audit/export",
        ) => (ADMINISTRATOR, empty),
        ("get", "/flukebase") => (ADMINISTRATOR, empty),
        ("put", "/flukebase") => (ADMINISTRATOR, json!({"default_project": 7})),
        ("put", "/credentials") => (
            ADMINISTRATOR,
            json!({"kind": "git_token", "host": "git.example.com", "secret": "s"}),
        ),
        ("delete", "/credentials/{kind}/{host}") => (ADMINISTRATOR, empty),
        ("get", "/log-forwarders" | "/log-forwarders/{id}") => (ADMINISTRATOR, empty),
        ("post", "/log-forwarders") => (
            ADMINISTRATOR,
            json!({"kind": "webhook", "url": "https://logs.example.com/in"}),
        ),
        ("patch", "/log-forwarders/{id}") => (ADMINISTRATOR, json!({"active": false})),
        ("delete", "/log-forwarders/{id}") | ("post", "/log-forwarders/{id}/test") => {
            (ADMINISTRATOR, empty)
        }
        ("post", "/webhooks") => (
            ADMINISTRATOR,
            json!({"url": "https://hooks.example.com/in"}),
        ),
        ("patch", "/webhooks/{id}") => (ADMINISTRATOR, json!({"active": false})),
        ("delete", "/webhooks/{id}")
        | ("post", "/webhooks/{id}/test" | "/webhooks/deliveries/{id}/resend") => {
            (ADMINISTRATOR, empty)
        }
        ("get", "/users" | "/users/{id}" | "/invitations") => (ADMINISTRATOR, empty),
        ("patch", "/users/{id}") => (ADMINISTRATOR, json!({"disabled": true})),
        ("delete", "/users/{id}" | "/users/{id}/second-factor" | "/invitations/{id}") => {
            (ADMINISTRATOR, empty)
        }
        ("post", "/invitations") => (ADMINISTRATOR, json!({"is_administrator": true})),
        // A person's own; a token is told that it has none.
        ("get" | "patch", "/account")
        | ("get" | "delete", "/account/sessions")
        | ("delete", "/account/sessions/{id}") => (Anybody, json!({"display_name": "Ann"})),
        (
            "post",
            "/account/confirm" | "/account/second-factor" | "/account/second-factor/codes",
        )
        | ("put", "/account/password" | "/account/second-factor")
        | ("delete", "/account/second-factor") => {
            (Anybody, json!({"password": "violet kettle orbit"}))
        }
        _ => return None,
    })
}

#[expect(clippy::match_same_arms, reason = "in the order of the list")]
fn rule_of_tool(name: &str) -> Option<(Rule, Value)> {
    Some(match name {
        "flukedeploy_list_apps" => (Anybody, json!({})),
        "deploy_app" => (DEPLOYER, json!({"app_name": "shop", "image": "shop:v3"})),
        "deploy_status" => (VIEWER, json!({"deployment_id": "ID"})),
        "deploy_logs" => (InAny(Role::Viewer), json!({"app_name": "shop"})),
        "flukedeploy_approvals" => (Anybody, json!({})),
        "deploy_history" => (InAny(Role::Viewer), json!({"app_name": "shop"})),
        "deploy_rollback" => (DEPLOYER, json!({"app_name": "shop"})),
        "deploy_validate" => (VIEWER, json!({"app_name": "shop"})),
        "deploy_control" => (DEPLOYER, json!({"deployment_id": "ID", "action": "abort"})),
        "flukedeploy_scale" => (DEPLOYER, json!({"app_name": "shop", "replicas": 2})),
        "flukedeploy_restart" => (DEPLOYER, json!({"app_name": "shop"})),
        "flukedeploy_health" | "flukedeploy_diagnose" => (Instance(Tier::Extended), json!({})),
        "flukedeploy_repair" => (ADMINISTRATOR, json!({"action": "push_routes"})),
        "flukedeploy_auto_heal" => (ADMINISTRATOR, json!({})),
        "flukedeploy_set_mode" => (DEPLOYER, json!({"app_name": "shop", "mode": "stopped"})),
        _ => return None,
    })
}

/// Somebody, and what is to be expected of them.
pub(super) struct Somebody {
    pub(super) what: &'static str,
    pub(super) token: Option<String>,
    tier: Tier,
    pub(super) reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not known, or not any more.
    Nobody,
    /// Elsewhere.
    OtherApp,
    InShop(Role),
    /// A maintainer there.
    InStaging,
    Everywhere,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Allowed,
    Unauthorised,
    Forbidden,
    /// As if it did not exist.
    Hidden,
}

impl Somebody {
    fn expects(&self, rule: Rule) -> Expected {
        use Expected::{Allowed, Forbidden, Hidden, Unauthorised};
        let needed = match rule {
            Anybody | In(Role::Viewer) | InAny(Role::Viewer) => Tier::Extended,
            Approver => Tier::Admin,
            Changer | In(_) | InAll(_) | InAny(_) => Tier::Advanced,
            Instance(tier) => tier,
        };
        let if_so = |allowed| if allowed { Allowed } else { Forbidden };
        let has_tier = self.tier >= needed;
        match (self.reach, rule) {
            (Reach::Nobody, _) => Unauthorised,
            (_, Anybody | Changer) | (Reach::Everywhere, _) => if_so(has_tier),
            (_, Instance(_)) | (Reach::InStaging, InAll(_)) => Forbidden,
            (Reach::OtherApp, _) | (Reach::InStaging, In(_) | Approver) => Hidden,
            (Reach::InShop(own), In(least) | InAll(least) | InAny(least)) => {
                if_so(has_tier && own >= least)
            }
            (Reach::InShop(own), Approver) => if_so(has_tier && own >= Role::Maintainer),
            (Reach::InStaging, InAny(_)) => Allowed,
        }
    }
}

async fn token(house: &House, tier: Tier, only: Option<(&str, Role, Option<&str>)>) -> String {
    let only = only.map(|(app, role, environment)| Only {
        targets: vec![Target::App(app.parse().unwrap())],
        role,
        environments: environment.map(|name| BTreeSet::from([name.parse().unwrap()])),
    });
    let cmd = CreateToken {
        name: "test".to_owned(),
        persona: None,
        tier,
        expires_at: None,
        only,
        limits: Limits::default(),
    };
    let made = tokens::create_token(&house.px, &Actor::system(), cmd).await;
    made.unwrap().secret.expose().to_owned()
}

pub(super) async fn everybody(house: &House) -> Vec<Somebody> {
    let mut all = Vec::new();
    let mut add = |what, token, tier, reach| {
        all.push(Somebody {
            what,
            token,
            tier,
            reach,
        });
    };
    let (advanced, bank) = (Tier::Advanced, "bank");
    add("nobody", None, Tier::Extended, Reach::Nobody);
    let revoked = token(house, Tier::Admin, None).await;
    let id = revoked.split('_').nth(1).unwrap().to_owned();
    tokens::revoke_token(&house.px, &Actor::system(), &id)
        .await
        .unwrap();
    add("revoked", Some(revoked), Tier::Admin, Reach::Nobody);
    let ended = token(house, Tier::Admin, None).await;
    let id = ended.split('_').nth(1).unwrap().to_owned();
    tokens::rotate_token(&house.px, &Actor::system(), &id, 0)
        .await
        .unwrap();
    add("expired", Some(ended), Tier::Admin, Reach::Nobody);
    let viewer_elsewhere = token(house, advanced, Some((bank, Role::Viewer, None))).await;
    add(
        "viewer of another app",
        Some(viewer_elsewhere),
        advanced,
        Reach::OtherApp,
    );
    let elsewhere = token(house, Tier::Admin, Some((bank, Role::Maintainer, None))).await;
    add(
        "maintainer of another app",
        Some(elsewhere),
        Tier::Admin,
        Reach::OtherApp,
    );
    let staging = token(
        house,
        advanced,
        Some(("shop", Role::Maintainer, Some("staging"))),
    )
    .await;
    add(
        "narrowed to staging",
        Some(staging),
        advanced,
        Reach::InStaging,
    );
    let extended = token(house, Tier::Extended, None).await;
    add(
        "extended",
        Some(extended),
        Tier::Extended,
        Reach::Everywhere,
    );
    for role in Role::ALL {
        let its = token(house, advanced, Some(("shop", role, None))).await;
        add(role.as_str(), Some(its), advanced, Reach::InShop(role));
    }
    let everywhere = token(house, advanced, None).await;
    add("advanced", Some(everywhere), advanced, Reach::Everywhere);
    add(
        "administrator",
        Some(ADMIN.to_owned()),
        Tier::Admin,
        Reach::Everywhere,
    );
    all
}

/// Two apps, one with two environments and a deployment, whose id it returns.
pub(super) async fn furnished() -> (House, String) {
    let house = House::new().await;
    for app in ["shop", "bank"] {
        let made = house
            .call("POST", "/api/v1/apps", Some(&json!({"app_name": app})))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let staging = json!({"name": "staging"});
    let made = house
        .call("POST", "/api/v1/apps/shop/environments", Some(&staging))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    // A project with nothing else in it, of the same name: what is said of one holds for the other.
    let project = json!({"project": "shop"});
    let put = house
        .call("PUT", "/api/v1/apps/shop/project", Some(&project))
        .await;
    assert_eq!(put.status, 204, "{put:?}");
    let deploy = json!({"app_name": "shop", "image": "shop:v1"});
    let begun = house
        .call("POST", "/api/v1/deployments", Some(&deploy))
        .await;
    let id = begun.body["deployment_id"].as_str().unwrap().to_owned();
    asked(&house, &id).await;
    (house, id)
}

/// An address with everything that is variable in it filled in.
fn address(path: &str, app: &str, deployment: &str) -> String {
    let id = match path.split('/').nth(1) {
        Some("deployments") => deployment,
        // Of the deployment; see `furnished`.
        Some("approvals") => return approval_address(path, deployment),
        Some("log-forwarders") => "lf-0000000000000000",
        Some("webhooks") => "wh-0000000000000000-1",
        _ => "000000000000",
    };
    let filled = path
        .replace("{name}", app)
        .replace("{environment}", "production")
        .replace("{kind}", "git_token")
        .replace("{host}", "git.example.com")
        .replace("{id}", id);
    format!("/api/v1{filled}")
}

/// The approval that belongs to a deployment in this house has its number.
fn approval_address(path: &str, deployment: &str) -> String {
    let id = deployment.replace("dep-", "apr-");
    format!("/api/v1{}", path.replace("{id}", &id))
}

/// A question about the deployment of a [`furnished`] house: who asks is none of those who call.
async fn asked(house: &House, deployment: &str) {
    let record = house.store.deployment(&deployment.parse().unwrap()).await;
    let record = record.unwrap().unwrap();
    let approval = Approval {
        id: deployment.replace("dep-", "apr-").parse().unwrap(),
        deployment: record.id.clone(),
        app: record.app.clone(),
        environment: record.environment.clone(),
        asked_by: Actor {
            id: "somebody-else".to_owned(),
            kind: ActorKind::User,
            ..record.initiated_as.clone()
        },
        maker_may_answer: false,
        family: vec![Subject::Account("somebody-else".to_owned())],
        intent: None,
        plan: ApprovalPlan {
            act: "deploy".to_owned(),
            image: "shop:v1".to_owned(),
            pinned_image: "shop:v1".to_owned(),
            version: None,
            strategy: record.strategy,
            replicas: 1,
            from_release: None,
            release: None,
            mode: RunMode::Running,
            settings_version: 1,
            changes: Vec::new(),
            risks: Vec::new(),
            jobs: Vec::new(),
        },
        digest: "00".repeat(32),
        asked_at: record.initiated_at,
        expires_at: record.initiated_at + APPROVAL_LASTS,
        state: ApprovalState::Waiting,
        decision: None,
    };
    let audit = AuditEntry::new(
        record.initiated_at,
        &approval.asked_by,
        Action::Deploy,
        "app:shop",
        "asks",
    );
    assert!(house.store.ask_approval(&approval, &audit).await.unwrap());
}

async fn call(house: &House, who: &Somebody, method: &str, address: &str, body: &Value) -> Answer {
    let mut request = axum::http::Request::builder()
        .method(&*method.to_uppercase())
        .uri(address);
    if let Some(token) = &who.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    // What is no JSON is an archive.
    let (kind, text) = match body {
        Value::Null => ("application/gzip", "no archive".to_owned()),
        body => ("application/json", body.to_string()),
    };
    let text = if method == "get" { String::new() } else { text };
    let request = request.header("content-type", kind).body(text.into());
    house.send(request.unwrap()).await
}

const HIDDEN: [&str; 5] = [
    "approval_not_found",
    "project_not_found",
    "app_not_found",
    "environment_not_found",
    "deployment_not_found",
];

fn looks_hidden(answer: &Answer) -> bool {
    let code = answer.body["code"].as_str().unwrap_or_default();
    answer.status == 404 && HIDDEN.contains(&code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_is_open_to_those_it_is_for_and_to_nobody_else() {
    let mut asked = 0;
    for (method, path) in GUARDED.iter().chain(INSPECTION) {
        let Some((rule, body)) = rule_of(method, path) else {
            panic!("{method} {path} has no rule: who may use it?");
        };
        // It goes on for ever, and has a matrix of its own.
        if *path == "/logs/stream" {
            continue;
        }
        let (house, deployment) = furnished().await;
        let mut was_done = false;
        for who in everybody(&house).await {
            let what = format!("{} at {method} {path}", who.what);
            let shop = address(path, "shop", &deployment);
            let answer = call(&house, &who, method, &shop, &body).await;
            let code = answer.body["code"].as_str().unwrap_or_default();
            asked += 1;
            match who.expects(rule) {
                Expected::Unauthorised => assert_eq!(answer.problem(401), "unauthorized", "{what}"),
                Expected::Forbidden => assert_eq!(
                    (answer.status.as_u16(), code),
                    (403, "forbidden"),
                    "{what}: {answer:?}"
                ),
                Expected::Hidden => {
                    assert!(looks_hidden(&answer), "{what}: {answer:?}");
                    let nowhere = address(path, "nowhere", "dep-1770200000123-00000001");
                    let text = body.to_string().replace("\"shop\"", "\"nowhere\"");
                    let body = serde_json::from_str(&text).unwrap();
                    let other = call(&house, &who, method, &nowhere, &body).await;
                    let plain = |answer: &Answer, app: &str, id: &str| {
                        let text = answer.body.to_string();
                        // An approval has the number of its deployment.
                        let number = id.trim_start_matches("dep-");
                        text.replace(app, "APP").replace(number, "ID")
                    };
                    let is_environment = code == "environment_not_found";
                    if !is_environment {
                        assert_eq!(
                            plain(&answer, "shop", &deployment),
                            plain(&other, "nowhere", "dep-1770200000123-00000001"),
                            "{what}"
                        );
                    }
                }
                Expected::Allowed => {
                    let is_gone = was_done && *method == "delete" && answer.status == 404;
                    assert!(
                        answer.status != 401
                            && answer.status != 403
                            && (is_gone || !looks_hidden(&answer)),
                        "{what}: {answer:?}"
                    );
                    was_done = true;
                }
            }
            if who.reach == Reach::OtherApp && rule == Anybody && *path != "/logs/export" {
                let text = answer.body.to_string();
                // The name that was asked for comes back.
                let of_shop = if path.contains("{name}") {
                    "dep-"
                } else {
                    "shop"
                };
                assert!(!text.contains(of_shop), "{what}: {text}");
            }
        }
    }
    assert!(asked > 600, "only {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_is_open_to_those_it_is_for_and_to_nobody_else() {
    for spec in TOOLS {
        let Some((rule, arguments)) = rule_of_tool(spec.name) else {
            panic!("the tool {} has no rule: who may use it?", spec.name);
        };
        let (house, deployment) = furnished().await;
        let text = arguments
            .to_string()
            .replace("\"ID\"", &format!("\"{deployment}\""));
        let arguments: Value = serde_json::from_str(&text).unwrap();
        for who in everybody(&house).await {
            let (Some(token), true) = (&who.token, who.reach != Reach::Nobody) else {
                continue;
            };
            let what = format!("{} calls {}", who.what, spec.name);
            let body = tool(&house, token, spec.name, arguments.clone()).await;
            let code = body["result"]["structuredContent"]["code"].as_str();
            let code = code.unwrap_or_default();
            let is_refused = code == "forbidden" || body["error"].is_object();
            match who.expects(rule) {
                Expected::Allowed => {
                    assert!(!is_refused && !HIDDEN.contains(&code), "{what}: {body}");
                }
                Expected::Hidden => assert!(HIDDEN.contains(&code), "{what}: {body}"),
                Expected::Forbidden | Expected::Unauthorised => {
                    assert!(is_refused, "{what}: {body}");
                }
            }
            if who.reach == Reach::OtherApp && rule == Anybody {
                let shown = body["result"].to_string();
                assert!(!shown.contains("dep-"), "{what}: {shown}");
            }
        }
    }
}
