//! What people do with their apps day by day, besides deploying the next version.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::registry::Registry;
use flukedeploy_end2end::wait;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::bed::{Bed, expect_diagnosis};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_answers_at_its_own_domains_and_gives_them_up() -> Result<()> {
    let bed = Bed::start("domain", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let domains = json!({"domains": ["shop.example.com", "www.shop.example.com"]});
    bed.api.patch("/apps/shop", &domains).await?.ok()?;
    for host in ["shop.example.com", "www.shop.example.com"] {
        let (status, body) = bed.instance.get_host(host, "/version").await?;
        ensure!(
            (status, body.as_str()) == (200, "v1"),
            "{host}: {status} {body}"
        );
    }
    let other =
        json!({"app_name": "other", "container_port": 8080, "domains": ["shop.example.com"]});
    let taken = bed.api.post("/apps", &other).await?;
    ensure!(
        taken.status == 409,
        "a host of another app: {} {}",
        taken.status,
        taken.body
    );
    let under_root = json!({"domains": ["other.localhost"]});
    let refused = bed.api.patch("/apps/shop", &under_root).await?;
    ensure!(
        refused.status == 422,
        "another app's address: {} {}",
        refused.status,
        refused.body
    );
    bed.api
        .patch("/apps/shop", &json!({"domains": []}))
        .await?
        .ok()?;
    let (status, _) = bed
        .instance
        .get_host("shop.example.com", "/version")
        .await?;
    ensure!(status == 404, "a host that was given up: {status}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_pass_through_and_survive_another_apps_deployment() -> Result<()> {
    let bed = Bed::start("socket", Options::default()).await?;
    bed.app_on_v1("chat", 1).await?;
    let mut request = format!("ws://{}/ws", bed.instance.http_address()).into_client_request()?;
    request
        .headers_mut()
        .insert("host", "chat.localhost".parse()?);
    let stream = tokio::net::TcpStream::connect(bed.instance.http_address()).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let mut echo = async |text: &str| -> Result<()> {
        socket.send(Message::text(text)).await?;
        let answer = socket.next().await.context("the socket was closed")??;
        ensure!(answer.to_text()? == text, "not an echo: {answer}");
        Ok(())
    };
    echo("before").await?;
    bed.app_on_v1("shop", 1).await?;
    echo("after").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_never_runs_two_releases_and_comes_back_after_a_failure() -> Result<()> {
    let bed = Bed::start("recre", Options::default()).await?;
    let app = json!({
        "app_name": "store", "container_port": 8080, "replicas": 1, "strategy": "recreate",
        "health": {"path": "/health", "deadline_seconds": 20},
    });
    bed.api.post("/apps", &app).await?.ok()?;
    let v1 = bed.image(Sample::version("v1")).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let broken = bed.image(Sample::version("v3").exits_with(4)).await?;
    bed.api.deploy_and_wait("store", &v1).await?;
    bed.api.deploy_and_wait("store", &v2).await?;
    bed.expect_serving("store", "v2").await?;
    let failed = bed.api.deploy("store", &broken).await?;
    let failed = bed.api.wait_final(&failed).await?;
    ensure!(
        failed["status"] == "rolled_back",
        "the old release was stopped and came back: {failed:#}"
    );
    ensure!(failed["returned_to"] == 2, "to release 2: {failed:#}");
    expect_diagnosis(&failed, Some(&["exited_with_code"]))?;
    bed.expect_serving("store", "v2").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_reach_the_app_and_nobody_else_and_go_back_with_it() -> Result<()> {
    let bed = Bed::start("vars", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let image = bed.image(Sample::version("from-the-image")).await?;
    let secret = "canary-f3a9-value";
    let mut deploy = json!({
        "app_name": "shop", "image": image,
        "env_vars": {"SAMPLE_VERSION": "one", "API_KEY": secret},
    });
    let first = bed.api.deploy_with(&deploy).await?;
    ensure!(bed.api.wait_final(&first).await?["status"] == "success");
    bed.expect_serving("shop", "one").await?;
    // What a deployment brought along stays; the array form is understood as well.
    deploy["env_vars"] = json!([{"key": "SAMPLE_VERSION", "value": "two"}]);
    let second = bed.api.deploy_with(&deploy).await?;
    ensure!(bed.api.wait_final(&second).await?["status"] == "success");
    bed.expect_serving("shop", "two").await?;
    let app = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(
        app["env_var_names"] == json!(["API_KEY", "SAMPLE_VERSION"]),
        "{app:#}"
    );
    let back = bed.api.rollback("shop").await?;
    ensure!(bed.api.wait_final(&back).await?["status"] == "success");
    bed.expect_serving("shop", "one").await?;
    for path in [
        "/apps",
        "/apps/shop",
        "/apps/shop/releases",
        "/apps/shop/deployments",
        "/audit",
        "/logs",
        &format!("/deployments/{second}"),
        &format!("/deployments/{second}/logs"),
    ] {
        let body = bed.api.get(path).await?.ok()?.to_string();
        ensure!(!body.contains(secret), "{path} shows a variable's value");
    }
    ensure!(
        !bed.instance.log()?.contains(secret),
        "the log shows a variable's value"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_registrys_image_is_pulled_with_credentials_and_pinned() -> Result<()> {
    let registry = Registry::start(true).await?;
    let without = tempfile_with(&json!({"auths": {}}), "none")?;
    let with = tempfile_with(
        &json!({"auths": {registry.address(): {"auth": Registry::auth()}}}),
        "auth",
    )?;
    let options = |file: &std::path::Path| Options {
        arguments: vec![
            "--registry-auth-file".to_owned(),
            file.display().to_string(),
        ],
        ..Options::default()
    };

    let bed = Bed::start("denied", options(&without)).await?;
    let local = bed.image(Sample::version("private")).await?;
    let image = registry
        .push(&bed.instance.docker, &local, "team/shop", "2.4.0")
        .await?;
    bed.api.create_app("shop", 1).await?;
    let denied = bed.api.deploy("shop", &image).await?;
    expect_diagnosis(
        &bed.api.wait_final(&denied).await?,
        Some(&["registry_refused"]),
    )?;
    let missing = bed
        .api
        .deploy("shop", &format!("{}/team/none:1", registry.address()))
        .await?;
    expect_diagnosis(
        &bed.api.wait_final(&missing).await?,
        Some(&["image_not_found", "registry_refused"]),
    )?;
    bed.finish().await?;

    let bed = Bed::start("creds", options(&with)).await?;
    bed.api.create_app("shop", 1).await?;
    let deployed = bed.api.deploy_and_wait("shop", &image).await?;
    let pinned = deployed["pinned_image"].as_str().unwrap_or_default();
    ensure!(
        pinned.contains("/team/shop@sha256:"),
        "pinned by digest: {deployed:#}"
    );
    ensure!(deployed["version"] == "2.4.0", "{deployed:#}");
    bed.expect_serving("shop", "private").await?;
    ensure!(
        !bed.instance.log()?.contains(&Registry::auth()),
        "credentials in the log"
    );
    for file in [without, with] {
        std::fs::remove_file(file)?;
    }
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_deployment_leaves_what_served() -> Result<()> {
    let bed = Bed::start("cancel", Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let slow = bed.image(Sample::version("v2").hanging_health()).await?;
    let id = bed.api.deploy("shop", &slow).await?;
    bed.api.wait_running(&id, "deploy").await?;
    bed.api
        .post(&format!("/deployments/{id}/cancel"), &json!({}))
        .await?
        .ok()?;
    let ended = bed.api.wait_final(&id).await?;
    ensure!(ended["status"] == "failed", "{ended:#}");
    expect_diagnosis(&ended, Some(&["cancelled"]))?;
    bed.expect_serving("shop", "v1").await?;
    let again = bed
        .api
        .post(&format!("/deployments/{id}/cancel"), &json!({}))
        .await?;
    ensure!(
        again.status == 409 && again.problem()? == "already_ended",
        "{}",
        again.body
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_app_prints_is_stored_and_found() -> Result<()> {
    let bed = Bed::start("prints", Options::default()).await?;
    bed.api.create_app("shop", 2).await?;
    let image = bed.image(Sample::version("v1").logs_lines(50)).await?;
    bed.api.deploy_and_wait("shop", &image).await?;
    // 50 numbered lines of each of 2 replicas, none missing, none twice.
    wait::until("all lines are stored", SOON, || async {
        let found = bed.api.logs("app_name=shop&q=of%2050&limit=1000").await?;
        Ok((found["total"] == 100).then_some(()))
    })
    .await?;
    let found = bed
        .api
        .logs("app_name=shop&q=line%2050%20of&limit=10")
        .await?;
    let entry = &found["logs"][0];
    ensure!(
        entry["@type"] == "UnifiedLogEntry"
            && entry["source"]["type"] == "container"
            && entry["source"]["container_name"] == "shop"
            && entry["level"] == "info",
        "{entry:#}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_app_leaves_nothing_behind() -> Result<()> {
    let bed = Bed::start("delete", Options::default()).await?;
    bed.app_on_v1("shop", 2).await?;
    let answer = bed.api.delete("/apps/shop").await?;
    ensure!(
        answer.status == 204 || answer.status == 200,
        "{} {}",
        answer.status,
        answer.body
    );
    let (status, _) = bed.instance.get_app("shop", "/version").await?;
    ensure!(status == 404, "a deleted app answers {status}");
    wait::until(
        "its containers are gone",
        Duration::from_secs(40),
        || async {
            let label = format!("com.flukedeploy.instance={}", bed.instance.name);
            let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
                .filters(&std::collections::HashMap::from([(
                    "label",
                    vec![label.as_str()],
                )]))
                .build();
            let left = bed.instance.docker.list_containers(Some(options)).await?;
            let apps = left.iter().filter(|container| {
                container
                    .names
                    .iter()
                    .flatten()
                    .any(|name| name.contains("-shop-"))
            });
            Ok((apps.count() == 0).then_some(()))
        },
    )
    .await?;
    // The name is free again, and begins anew.
    bed.app_on_v1("shop", 1).await?;
    bed.finish().await
}

fn tempfile_with(content: &serde_json::Value, hint: &str) -> Result<std::path::PathBuf> {
    let name = format!(
        "flukedeploy-{hint}-{}.json",
        flukedeploy_end2end::random_name(8)
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content.to_string())?;
    Ok(path)
}
