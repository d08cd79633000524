//! Staging, promotion and previews, on the real engine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{ListServicesOptions, ListVolumesOptions};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait::until;
use serde_json::{Value, json};

use crate::bed::Bed;

/// Deploys to an environment, to its end.
async fn deploy_to(bed: &Bed, environment: &str, image: &str) -> Result<Value> {
    let body = json!({"app_name": "shop", "environment": environment, "image": image});
    let id = bed.api.deploy_with(&body).await?;
    let done = bed.api.wait_final(&id).await?;
    ensure!(done["status"] == "success", "{done:#}");
    Ok(done)
}

/// The Docker services of the app's environment, and its volumes.
async fn docker_has(bed: &Bed, environment: &str) -> Result<(usize, usize)> {
    let part = format!("-shop-{environment}-");
    let docker = &bed.instance.docker;
    let services = docker.list_services(None::<ListServicesOptions>).await?;
    let names = services.into_iter().filter_map(|one| one.spec?.name);
    let own = bed.instance.name.clone();
    let fits = |name: &String| name.contains(&part) && name.contains(&own);
    let services = names.filter(fits).count();
    let volumes = docker
        .list_volumes(None::<ListVolumesOptions>)
        .await?
        .volumes
        .unwrap_or_default();
    let volumes = volumes.iter().filter(|one| fits(&one.name)).count();
    Ok((services, volumes))
}

async fn nothing_is_left(bed: &Bed, environment: &str) -> Result<()> {
    until("all of it gone", Duration::from_mins(1), || async {
        let path = format!("/apps/shop/environments/{environment}");
        let shown = bed.api.get(&path).await?;
        let left = docker_has(bed, environment).await?;
        Ok((shown.status == 404 && left == (0, 0)).then_some(()))
    })
    .await?;
    let host = format!("shop-{environment}.localhost");
    let (status, body) = bed.instance.get_host(&host, "/version").await?;
    ensure!(status == 404, "{status}: {body}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_tried_in_staging_is_what_runs_in_production() -> Result<()> {
    let bed = Bed::start("promote", Options::default()).await?;
    bed.app_on_v1("shop", 2).await?;
    let body = json!({"name": "staging", "replicas": 1, "env_vars": {"MODE": "trial"}});
    let made = bed.api.post("/apps/shop/environments", &body).await?;
    ensure!(made.status == 201, "{made:?}");
    let v2 = bed.image(Sample::version("v2")).await?;
    let staged = deploy_to(&bed, "staging", &v2).await?;
    let host = "shop-staging.localhost";
    let (_, body) = bed.instance.get_host(host, "/version").await?;
    ensure!(body.trim() == "v2", "{body}");
    bed.expect_serving("shop", "v1").await?;

    let plan = json!({"from": "staging", "dry_run": true});
    let plan = bed.api.post("/apps/shop/promote", &plan).await?.ok()?;
    ensure!(plan["image"] == staged["pinned_image"], "{plan:#}");
    let promoted = bed
        .act("shop", "promote", &json!({"from": "staging"}))
        .await?;
    ensure!(
        promoted["status"] == "success"
            && promoted["act"] == "promote"
            && promoted["pinned_image"] == staged["pinned_image"],
        "{promoted:#}"
    );
    bed.expect_serving("shop", "v2").await?;
    let shown = bed.api.get("/apps/shop").await?.ok()?;
    ensure!(
        shown["replicas"]["ready"] == 2 && shown["env_var_names"] == json!([]),
        "{shown:#}"
    );
    let gone = bed.api.delete("/apps/shop/environments/staging").await?;
    ensure!(gone.status == 204, "{gone:?}");
    nothing_is_left(&bed, "staging").await?;
    bed.expect_serving("shop", "v2").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_goes_with_all_it_had_also_while_nobody_looks() -> Result<()> {
    // Side by side: most of either is waiting for the minute that a preview lives at least.
    tokio::try_join!(
        a_preview_ends("prev", false),
        a_preview_ends("prevdn", true)
    )?;
    Ok(())
}

async fn a_preview_ends(hint: &str, is_down: bool) -> Result<()> {
    let mut bed = Bed::start(hint, Options::default()).await?;
    bed.app_on_v1("shop", 1).await?;
    let body = json!({
        "name": "pr-1", "ttl_seconds": 60,
        "volumes": [{"name": "data", "path": "/data"}],
    });
    let made = bed.api.post("/apps/shop/environments", &body).await?.ok()?;
    ensure!(made["expires_at"].is_string(), "{made:#}");
    let v2 = bed.image(Sample::version("v2")).await?;
    deploy_to(&bed, "pr-1", &v2).await?;
    let host = "shop-pr-1.localhost";
    let (status, body) = bed.instance.get_host(host, "/version").await?;
    ensure!(status == 200 && body.trim() == "v2", "{status}: {body}");
    let had = docker_has(&bed, "pr-1").await?;
    ensure!(had == (1, 1), "{had:?}");
    if is_down {
        bed.instance.kill_9().await?;
        tokio::time::sleep(Duration::from_secs(62)).await;
        // Nobody was there to end it.
        let (status, _) = bed.instance.get_host(host, "/version").await?;
        ensure!(status == 200, "{status}");
        bed.instance.restart().await?;
    } else {
        tokio::time::sleep(Duration::from_secs(55)).await;
    }
    nothing_is_left(&bed, "pr-1").await?;
    bed.expect_serving("shop", "v1").await?;
    let listed = bed.api.get("/apps/shop/environments").await?.ok()?;
    listed["total"].as_u64().context("a count")?;
    ensure!(listed["total"] == 1, "{listed:#}");
    bed.finish().await
}
