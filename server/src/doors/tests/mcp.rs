use axum::body::Body;
use axum::http::Request;
use flukedeploy_domain::access::Tier;
use flukedeploy_platform::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex, split};

use super::{ADMIN, Answer, House};
use crate::doors::mcp::stdio::{Server, bridge};

/// The revisions at both ends: with `initialize` first, and with everything in each request.
const ERAS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

async fn ask(house: &House, token: &str, era: &str, method: &str, mut params: Value) -> Answer {
    if era == "2026-07-28" {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        });
    }
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json");
    if method != "initialize" {
        request = request.header("mcp-protocol-version", era);
    }
    if era == "2026-07-28" {
        request = request.header("mcp-method", method);
        if let Some(name) = params["name"].as_str() {
            request = request.header("mcp-name", name);
        }
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    house
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

pub(super) async fn tool(house: &House, token: &str, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let answer = ask(house, token, "2025-11-25", "tools/call", params).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn every_era_is_served() {
    let house = House::new().await;
    for era in ERAS {
        let hello = if era == "2026-07-28" {
            ask(&house, ADMIN, era, "server/discover", json!({})).await
        } else {
            let params = json!({
                "protocolVersion": era, "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            });
            let hello = ask(&house, ADMIN, era, "initialize", params).await;
            assert_eq!(hello.body["result"]["protocolVersion"], era);
            hello
        };
        let instructions = hello.body["result"]["instructions"].as_str();
        assert!(
            instructions.is_some_and(|text| text.contains("OPERATOR")),
            "{hello:?}"
        );
        let list = ask(&house, ADMIN, era, "tools/list", json!({})).await;
        let tools = list.body["result"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), 16, "{era}");
        assert!(
            list.body.to_string().len() <= 28_000,
            "{}",
            list.body.to_string().len()
        );
        let params = json!({"name": "flukedeploy_list_apps", "arguments": {}});
        let apps = ask(&house, ADMIN, era, "tools/call", params).await;
        assert_eq!(
            apps.body["result"]["structuredContent"]["total"], 0,
            "{apps:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_deploys_reads_and_rolls_back() {
    let house = House::new().await;
    let token = house.token(Tier::Advanced).await;
    let arguments = json!({"app_name": "shop", "image": "shop:1", "create": true});
    let deployed = tool(&house, &token, "deploy_app", arguments).await;
    let content = &deployed["result"]["structuredContent"];
    assert_eq!(content["status"], "pending", "{deployed}");
    let id = content["deployment_id"].as_str().unwrap();
    let text = deployed["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(id) && text.len() < 400, "{text}");
    let status = tool(
        &house,
        &token,
        "deploy_status",
        json!({"deployment_id": id}),
    )
    .await;
    assert_eq!(status["result"]["structuredContent"]["app_name"], "shop");
    assert_eq!(
        status["result"]["structuredContent"]["initiated_by"],
        "agent"
    );
    let logs = json!({"app_name": "shop", "follow": true});
    let logs = tool(&house, &token, "deploy_logs", logs).await;
    let stream = &logs["result"]["structuredContent"]["stream_url"];
    assert_eq!(stream, "ws://127.0.0.1:8767/?app_name=shop");
    let summary = json!({"app_name": "shop", "summary": true});
    let summary = tool(&house, &token, "deploy_logs", summary).await;
    let content = &summary["result"]["structuredContent"];
    assert_eq!(content["logs"], json!([]));
    let patterns = content["summary"]["patterns"].as_array().unwrap();
    let counted: u64 = patterns.iter().map(|p| p["count"].as_u64().unwrap()).sum();
    assert_eq!(content["total"], counted, "{content}");
    let history = tool(
        &house,
        &token,
        "deploy_history",
        json!({"app_name": "shop"}),
    )
    .await;
    assert_eq!(history["result"]["structuredContent"]["total"], 1);
    let validated = tool(
        &house,
        &token,
        "deploy_validate",
        json!({"app_name": "shop"}),
    )
    .await;
    assert_eq!(validated["result"]["structuredContent"]["app_name"], "shop");
    let back = tool(
        &house,
        &token,
        "deploy_rollback",
        json!({"app_name": "shop"}),
    )
    .await;
    assert_eq!(back["result"]["isError"], true);
    assert_eq!(
        back["result"]["structuredContent"]["code"],
        "release_not_found"
    );
}

#[tokio::test]
async fn an_agent_promotes_by_the_environments_name() {
    let house = House::new().await;
    let token = house.token(Tier::Advanced).await;
    let call = async |arguments: Value| {
        let answer = tool(&house, &token, "deploy_app", arguments).await;
        answer["result"]["structuredContent"].clone()
    };
    call(json!({"app_name": "shop", "image": "shop:1", "create": true})).await;
    // Nothing was made and nothing serves: both are told, and by the arguments' own names.
    let missing = call(json!({"app_name": "shop", "promote_from": "staging"})).await;
    assert_eq!(missing["code"], "environment_not_found", "{missing}");
    let wrong = call(json!({"app_name": "shop", "promote_from": "No Name"})).await;
    assert_eq!(wrong["fields"][0]["field"], "promote_from", "{wrong}");
    let both = json!({"app_name": "shop", "promote_from": "staging", "image": "shop:2"});
    let both = call(both).await;
    assert_eq!(both["fields"][0]["field"], "image", "{both}");
    let alone = call(json!({"app_name": "shop", "image": "shop:2", "release": 1})).await;
    assert_eq!(alone["fields"][0]["field"], "release", "{alone}");
}

#[tokio::test]
async fn refusals_are_results_that_an_agent_can_act_on() {
    let house = House::new().await;
    let reader = house.token(Tier::Extended).await;
    let list = ask(&house, &reader, "2025-11-25", "tools/list", json!({})).await;
    assert!(
        !list.body.to_string().contains("\"deploy_app\""),
        "{list:?}"
    );
    let arguments = json!({"app_name": "shop", "image": "shop:1", "create": true});
    let refused = tool(&house, &reader, "deploy_app", arguments).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(refused["result"]["structuredContent"]["code"], "forbidden");

    tool(
        &house,
        ADMIN,
        "deploy_app",
        json!({"app_name": "shop", "image": "a:1", "create": true}),
    )
    .await;
    let typo = tool(&house, ADMIN, "deploy_history", json!({"app_name": "shpo"})).await;
    let problem = &typo["result"]["structuredContent"];
    assert_eq!(problem["did_you_mean"], json!(["shop"]));
    assert_eq!(problem["retryable"], false);
    let wrong = json!({"app_nam": "shop", "replicas": 0, "queue": "jump"});
    let wrong = tool(&house, ADMIN, "deploy_app", wrong).await;
    let fields = wrong["result"]["structuredContent"]["fields"]
        .as_array()
        .unwrap();
    assert_eq!(fields.len(), 5, "{fields:?}");
    let unknown = tool(&house, ADMIN, "deploy_ap", json!({})).await;
    assert!(
        unknown["error"]["message"]
            .as_str()
            .unwrap()
            .contains("deploy_app"),
        "{unknown}"
    );
}

#[tokio::test]
async fn strangers_and_foreign_pages_stay_outside() {
    let house = House::new().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let send = |token: Option<&str>, host: &str, origin: Option<&str>| {
        let mut request = Request::post("/mcp")
            .header("host", host)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        house.send(request.body(Body::from(list.to_string())).unwrap())
    };
    let nobody = send(None, "localhost", None).await;
    assert_eq!(nobody.problem(401), "unauthorized");
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    assert_eq!(
        send(Some(ADMIN), "evil.example.com", None).await.status,
        403
    );
    assert_eq!(
        send(Some(ADMIN), "localhost", Some("http://evil.example.com"))
            .await
            .status,
        403
    );
    let own = send(Some(ADMIN), "localhost", Some("http://127.0.0.1:3000")).await;
    assert_eq!(own.status, 200, "{own:?}");
}

#[tokio::test]
async fn the_bridge_speaks_for_clients_of_both_eras() {
    let house = House::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = Server::new(&url, &Secret::new(ADMIN)).unwrap();
    let (client, ours) = duplex(64 * 1024);
    let (input, output) = split(ours);
    tokio::spawn(bridge(server, BufReader::new(input), output));
    let (answers, mut questions) = split(client);
    let mut answers = BufReader::new(answers).lines();

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let call = json!({"name": "flukedeploy_list_apps", "arguments": {}});
    let mut stateless = call.clone();
    stateless["_meta"] = meta;
    for (method, params) in [
        ("initialize", hello),
        ("tools/call", call),
        ("tools/call", stateless),
    ] {
        let question = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
        questions
            .write_all(format!("{question}\n").as_bytes())
            .await
            .unwrap();
        let answer = answers.next_line().await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["id"], method);
        assert!(answer["result"].is_object(), "{answer}");
    }
}
