//! Requests through the real ingress, as the log tells of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};

use crate::bed::Bed;

const SOON: Duration = Duration::from_secs(30);

impl Bed {
    async fn ask(&self, path: &str, times: u64, status: u16) -> Result<()> {
        for _ in 0..times {
            let (answered, body) = self.instance.get_app("shop", path).await?;
            ensure!(answered == status, "{path} answers {answered}: {body}");
        }
        Ok(())
    }

    async fn told(&self) -> Result<Vec<Value>> {
        let answer = self
            .api
            .logs("app_name=shop&stream=access&limit=1000")
            .await?;
        Ok(answer["logs"].as_array().context("a list")?.clone())
    }

    /// Waits until so many requests are told.
    async fn until_told(&self, count: usize) -> Result<Vec<Value>> {
        wait::until(&format!("{count} requests are told"), SOON, || async {
            let told = self.told().await?;
            Ok((told.len() >= count).then_some(told))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_told_as_configured_and_a_change_holds_at_once() -> Result<()> {
    let bed = Bed::start("access", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let image = bed.image(Sample::version("v1")).await?;
    let body = json!({"app_name": "shop", "image": image,
                      "env_vars": {"SAMPLE_ERROR_PERCENT": "100"}});
    let id = bed.api.deploy_with(&body).await?;
    let done = bed.api.wait_final(&id).await?;
    ensure!(done["status"] == "success", "{done:#}");

    // What fails is told by itself, and nothing else.
    bed.ask("/", 20, 200).await?;
    bed.ask("/version?token=s3cret-in-a-query", 3, 500).await?;
    let told = bed.until_told(3).await?;
    ensure!(told.len() == 3, "{told:#?}");
    let text = Value::from(told.clone()).to_string();
    ensure!(!text.contains("s3cret"), "{text}");
    for entry in &told {
        let metadata = &entry["flukedeploy_metadata"];
        let fields = &metadata["fields"];
        ensure!(
            entry["level"] == "warn"
                && entry["tags"] == json!(["access"])
                && entry["source"]["type"] == "system"
                && entry["source"]["task_id"].is_string()
                && metadata["release"] == 1
                && metadata["environment"] == "production"
                && fields["status"] == 500
                && fields["path"] == "/version"
                && fields["client"].is_string(),
            "{entry:#}"
        );
        let message = entry["message"].as_str().unwrap_or_default();
        ensure!(message.starts_with("GET /version 500 in "), "{message}");
    }

    // All of them, from this moment on.
    let all = json!({"logs": {"access": {"sample_permille": 1000}}});
    let shown = bed.change("shop", all).await?;
    ensure!(
        shown["logs"]["access"]["sample_permille"] == 1000,
        "{shown:#}"
    );
    bed.ask("/", 100, 200).await?;
    let told = bed.until_told(103).await?;
    ensure!(told.len() == 103, "{} are told", told.len());
    let well = told.iter().filter(|entry| entry["level"] == "info");
    ensure!(well.count() == 100, "{told:#?}");

    // About half of them.
    bed.change(
        "shop",
        json!({"logs": {"access": {"sample_permille": 500}}}),
    )
    .await?;
    bed.ask("/", 200, 200).await?;
    // Comes after all that were chosen.
    bed.ask("/version", 1, 500).await?;
    let is_last = |entry: &Value| entry["level"] == "warn";
    let told = wait::until("the last is told", SOON, || async {
        let told = bed.told().await?;
        let last = told.iter().filter(|entry| is_last(entry)).count() == 4;
        Ok(last.then_some(told))
    })
    .await?;
    let chosen = told.len() - 104;
    ensure!((50..=150).contains(&chosen), "{chosen} of 200 are told");

    // None at all, not even what fails; and failures again.
    bed.change("shop", json!({"logs": {"access": {"enabled": false}}}))
        .await?;
    bed.ask("/version", 20, 500).await?;
    let again = json!({"logs": {"access": {"enabled": true, "sample_permille": null}}});
    bed.change("shop", again).await?;
    bed.ask("/version", 1, 500).await?;
    let before = told.len();
    let told = bed.until_told(before + 1).await?;
    ensure!(told.len() == before + 1, "{} are told", told.len());

    // What the ingress had to answer by itself says why.
    bed.act("shop", "stop", &json!({})).await?;
    bed.ask("/", 1, 503).await?;
    let told = bed.until_told(before + 2).await?;
    let stopped = told
        .iter()
        .find(|entry| entry["flukedeploy_metadata"]["error_code"] == "app_stopped");
    ensure!(stopped.is_some(), "{told:#?}");
    bed.finish().await
}
