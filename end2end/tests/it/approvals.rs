//! An agent's release waits for a person's word, and not one request fails meanwhile or after it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::{Era, Mcp};
use serde_json::json;

use crate::bed::{Bed, LEAST_LOAD, expect_diagnosis, expect_ended_truthfully};

const PASSWORD: &str = "correct horse battery";
const RULES: &str = "/apps/shop/environments/production/approvals";

/// A person in a browser without scripts.
struct Person {
    url: String,
    client: reqwest::Client,
    cookie: String,
}

impl Person {
    async fn signed_in(bed: &Bed) -> Result<Self> {
        let url = bed.instance.url();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let answer = client
            .post(format!("{url}/sign-in"))
            .header("Origin", &url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!(
                "name=admin&password={}",
                PASSWORD.replace(' ', "+")
            ))
            .send()
            .await?;
        let cookie = session_cookie(answer.headers())?;
        Ok(Self {
            url,
            client,
            cookie,
        })
    }

    async fn page(&self, path: &str) -> Result<String> {
        let request = self.client.get(format!("{}{path}", self.url));
        let answer = request.header("Cookie", &self.cookie).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The first question of the inbox.
    async fn decide(&self, answer: &str) -> Result<()> {
        let page = self.page("/approvals").await?;
        let (_, rest) = page
            .split_once("action=\"/approvals/")
            .context("the inbox offers an answer")?;
        let (id, _) = rest.split_once("/decide\"").context("it has an address")?;
        let sent = self
            .client
            .post(format!("{}/approvals/{id}/decide", self.url))
            .header("Origin", &self.url)
            .header("Cookie", &self.cookie)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("answer={answer}&reason=seen"))
            .send()
            .await?;
        ensure!(sent.status() == 303, "the answer: {}", sent.status());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_waits_for_a_persons_word_and_no_request_fails() -> Result<()> {
    let options = Options {
        admin_password: Some(PASSWORD.to_owned()),
        ..Options::default()
    };
    let mut bed = Bed::shop_for_load("approve", options, 2).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let v3 = bed.image(Sample::version("v3")).await?;
    let rules = json!({"person": "allow", "agent": "approve"});
    let set = bed.api.request(reqwest::Method::PUT, RULES).json(&rules);
    bed.api.send(set).await?.ok()?;
    let token = bed
        .token("advanced", json!({"persona": "OPERATOR"}))
        .await?;
    let address = format!("{}/mcp", bed.instance.url());
    let mut agent = Mcp::http(&address, &token, Era::Handshake).await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;

    let wanted = json!({"app_name": "shop", "image": v2, "wait_seconds": 50, "reason": "faster"});
    let began = Instant::now();
    let told = agent.call_ok("deploy_app", wanted).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(45),
        "it is told as soon as it waits, not after {:?}",
        began.elapsed()
    );
    let approval = &told["approval"];
    ensure!(
        approval["code"] == "pending_approval" && told["status"] == "deploying",
        "{told:#}"
    );
    let id = told["deployment_id"].as_str().context("an id")?.to_owned();
    bed.expect_serving("shop", "v1").await?;

    // What waits outlives the control plane.
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    let person = Person::signed_in(&bed).await?;
    let page = person.page("/approvals").await?;
    for part in ["Waiting for approval", "faster", "1 → a new one"] {
        ensure!(page.contains(part), "the inbox lacks {part}: {page}");
    }
    let address = format!("{}/mcp", bed.instance.url());
    let mut agent_again = Mcp::http(&address, &token, Era::Handshake).await?;
    let waits = json!({"deployment_id": id, "wait_seconds": 50});
    let waiting = tokio::spawn(async move { agent_again.call_ok("deploy_status", waits).await });
    person.decide("approve").await?;
    let decided = waiting.await??;
    ensure!(decided["approval"]["state"] == "approved", "{decided:#}");
    let done = bed.api.wait_final(&id).await?;
    ensure!(done["status"] == "success", "{done:#}");
    expect_ended_truthfully(&done)?;
    bed.load_sees(&load, "v2").await?;

    let mut agent = Mcp::http(&address, &token, Era::Handshake).await?;
    let wanted = json!({"app_name": "shop", "image": v3, "wait_seconds": 50});
    let told = agent.call_ok("deploy_app", wanted).await?;
    let id = told["deployment_id"].as_str().context("an id")?.to_owned();
    person.decide("reject").await?;
    let rejected = bed.api.wait_final(&id).await?;
    expect_diagnosis(&rejected, Some(&["approval_rejected"]))?;
    bed.expect_serving("shop", "v2").await?;

    let report = load.stop().await?;
    eprintln!("approvals: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    let versions: Vec<&str> = report.by_version.keys().map(String::as_str).collect();
    ensure!(versions == ["v1", "v2"], "unexpected answers: {report}");
    bed.finish().await
}
