//! What the doors say is linked data: a standard processor, which loads its contexts from this very
//! server, makes triples of it and gives every document back as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};

use crate::bed::Bed;

const LOG_CONTEXT: &str = "https://flukebase.me/schemas/unified-log";
const DEPLOYMENT_CONTEXT: &str = "https://flukebase.me/schemas/deployment";
const SOON: Duration = Duration::from_secs(30);
/// Of every kind: what an entry is about, who said it, and how bad it is.
const EVENTS: [&str; 12] = [
    "pre_build",
    "build_start",
    "build_complete",
    "build_error",
    "pre_deploy",
    "deploy_start",
    "deploy_complete",
    "deploy_error",
    "post_deploy",
    "health_check",
    "scale_event",
    "config_change",
];

/// What a standard processor says of each document: what it does not give back as it was, and triples.
pub(crate) async fn process(bed: &Bed, documents: &[Value]) -> Result<Vec<Value>> {
    let mut contexts = BTreeMap::new();
    for (address, path) in [
        (LOG_CONTEXT, "/schemas/unified-log"),
        (DEPLOYMENT_CONTEXT, "/schemas/deployment.jsonld"),
    ] {
        let answer = reqwest::get(format!("{}{path}", bed.instance.url())).await?;
        ensure!(
            answer.headers()["content-type"] == "application/ld+json"
                && answer.headers()["access-control-allow-origin"] == "*",
            "{path} cannot be used as a context: {:?}",
            answer.headers()
        );
        contexts.insert(address, answer.json::<Value>().await?);
    }
    let directory = bed.instance.data_dir();
    let (contexts_file, documents_file) = (
        directory.join("test-contexts"),
        directory.join("test-documents"),
    );
    tokio::fs::write(&contexts_file, serde_json::to_vec(&contexts)?).await?;
    tokio::fs::write(&documents_file, serde_json::to_vec(documents)?).await?;
    let python = std::env::var("FLUKEDEPLOY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = tokio::process::Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("linked_data.py"))
        .args([&contexts_file, &documents_file])
        .output()
        .await
        .context("python3 is needed to process linked data")?;
    ensure!(
        output.status.success(),
        "the processor failed (it needs the packages of end2end/requirements.txt; \
         './flukedeploy test' installs them): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Requests as the ingress tells of them: one that the app answered, one that it failed, and one that
/// the ingress had to answer by itself.
async fn requests(bed: &Bed) -> Result<Vec<Value>> {
    let all = json!({"logs": {"access": {"sample_permille": 1000}}});
    bed.change("shop", all).await?;
    bed.instance.get_app("shop", "/version").await?;
    let failing = bed.image(Sample::version("v4").fails_percent(100)).await?;
    bed.api.deploy_and_wait("shop", &failing).await?;
    bed.instance.get_app("shop", "/version").await?;
    bed.act("shop", "stop", &json!({})).await?;
    bed.instance.get_app("shop", "/stopped").await?;
    let entries = wait::until("the requests to be told", SOON, || async {
        let told = bed
            .api
            .logs("app_name=shop&stream=access&limit=5000")
            .await?;
        let told = told["logs"].as_array().context("no entries")?.clone();
        let is_last = |entry: &Value| entry["flukedeploy_metadata"]["fields"]["path"] == "/stopped";
        Ok(told.iter().any(is_last).then_some(told))
    })
    .await?;
    for (what, status, level, code) in [
        ("answered", 200, "info", None),
        ("failed", 500, "warn", None),
        ("stopped", 503, "warn", Some("app_stopped")),
    ] {
        let found = entries.iter().find(|entry| {
            let metadata = &entry["flukedeploy_metadata"];
            metadata["fields"]["status"] == status && metadata["error_code"].as_str() == code
        });
        let entry = found.with_context(|| format!("no request that {what}: {entries:#?}"))?;
        expect_access(entry, level)?;
    }
    Ok(entries)
}

/// What every entry has to have, and what one about a request has besides.
fn expect_access(entry: &Value, level: &str) -> Result<()> {
    let (source, metadata) = (&entry["source"], &entry["flukedeploy_metadata"]);
    let fields = &metadata["fields"];
    let texts = [
        &entry["id"],
        &entry["timestamp"],
        &entry["message"],
        &source["container_name"],
        &metadata["event_type"],
        &fields["method"],
        &fields["path"],
        &fields["client"],
    ];
    ensure!(
        entry["@context"] == LOG_CONTEXT
            && !entry["@type"].is_null()
            && entry["level"] == level
            && entry["tags"] == json!(["access"])
            && source["type"] == "system"
            && source["stream"] == "access"
            && metadata["app_name"] == "shop"
            && texts
                .iter()
                .all(|text| text.as_str().is_some_and(|text| !text.is_empty())),
        "{entry:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_entry_means_something_to_a_standard_processor() -> Result<()> {
    let bed = Bed::start("linked", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let fine = bed.image(Sample::version("v2").logs_lines(3)).await?;
    let ended = bed.api.deploy_and_wait("shop", &fine).await?;
    let broken = bed.image(Sample::version("v3").exits_with(3)).await?;
    let failed = bed.api.deploy("shop", &broken).await?;
    bed.api.wait_final(&failed).await?;
    let missing = bed.api.deploy("shop", "nowhere/at-all:1").await?;
    bed.api.wait_final(&missing).await?;
    bed.change("shop", json!({"replicas": 2})).await?;
    let scaled = bed
        .api
        .post("/apps/shop/scale", &json!({"replicas": 2}))
        .await?
        .ok()?;
    let id = scaled["deployment_id"].as_str().context("no id")?;
    bed.api.wait_final(id).await?;

    let access = requests(&bed).await?;
    let logs = bed.api.logs("app_name=shop&limit=5000").await?;
    let mut documents = logs["logs"].as_array().context("no entries")?.clone();
    let is_there = |id: &Value| documents.iter().any(|entry| entry["id"] == *id);
    ensure!(access.iter().all(|entry| is_there(&entry["id"])));
    let seen: BTreeSet<&str> = documents
        .iter()
        .filter_map(|entry| entry["flukedeploy_metadata"]["event_type"].as_str())
        .collect();
    for event in EVENTS {
        ensure!(seen.contains(event), "no entry is a {event}: {seen:?}");
    }
    let sources: BTreeSet<&str> = documents
        .iter()
        .filter_map(|entry| entry["source"]["type"].as_str())
        .collect();
    ensure!(
        sources == BTreeSet::from(["container", "deployment", "system"]),
        "not every source: {sources:?}"
    );
    for id in [ended["deployment_id"].as_str().unwrap_or_default(), &failed] {
        let request = bed
            .api
            .request(http::Method::GET, &format!("/deployments/{id}"))
            .header("accept", "application/ld+json");
        let answer = bed.api.send(request).await?.ok()?;
        ensure!(answer["@context"] == DEPLOYMENT_CONTEXT, "{id}: {answer}");
        documents.push(answer);
    }

    let results = process(&bed, &documents).await?;
    ensure!(results.len() == documents.len());
    for (document, result) in documents.iter().zip(&results) {
        ensure!(
            result["faults"] == json!([]),
            "{document:#} comes back otherwise: {:#}",
            result["faults"]
        );
        let quads = result["quads"].to_string();
        let id = document["id"]
            .as_str()
            .or(document["deployment_id"].as_str());
        ensure!(
            id.is_some_and(|id| quads.contains(&format!("/{id}>")))
                && quads.contains("http://www.w3.org/ns/prov#"),
            "{document:#} says nothing: {quads}"
        );
    }
    bed.finish().await
}
