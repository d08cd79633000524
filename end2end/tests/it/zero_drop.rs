//! No request fails while releases come, fail and go back. The app dies at once on SIGTERM, so whatever
//! the product stops too early shows as a failed request.

use anyhow::{Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;

use crate::bed::{Bed, LEAST_LOAD, expect_diagnosis, expect_ended_truthfully};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_across_deploy_failed_deploy_and_rollback() -> Result<()> {
    let bed = Bed::shop_for_load("zero", Options::default(), 2).await?;
    let v2 = bed.image(Sample::version("v2")).await?;
    let crashing = bed.image(Sample::version("v3").exits_with(3)).await?;

    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;

    let deployed = bed.api.deploy_and_wait("shop", &v2).await?;
    expect_ended_truthfully(&deployed)?;
    bed.load_sees(&load, "v2").await?;

    let failed = bed.api.deploy("shop", &crashing).await?;
    let failed = bed.api.wait_final(&failed).await?;
    ensure!(
        failed["status"] != "success",
        "v3 exits at once: {failed:#}"
    );
    expect_diagnosis(&failed, Some(&["exited_with_code"]))?;
    expect_ended_truthfully(&failed)?;
    bed.load_sees(&load, "v2").await?;

    let back = bed.api.rollback("shop").await?;
    let back = bed.api.wait_final(&back).await?;
    ensure!(
        back["status"] == "success",
        "the rollback ended otherwise: {back:#}"
    );
    bed.load_sees(&load, "v1").await?;

    let report = load.stop().await?;
    eprintln!("zero drops: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    let versions: Vec<&str> = report.by_version.keys().map(String::as_str).collect();
    ensure!(versions == ["v1", "v2"], "unexpected answers: {report}");
    bed.expect_serving("shop", "v1").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_in_quick_succession_drop_nothing_either() -> Result<()> {
    let bed = Bed::shop_for_load("quick", Options::default(), 1).await?;
    let mut images = Vec::new();
    for version in ["v2", "v3", "v4"] {
        images.push(bed.image(Sample::version(version)).await?);
    }
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    let mut ids = Vec::new();
    for image in &images {
        ids.push(bed.api.deploy("shop", image).await?);
    }
    // Which of the first two get their turn is up to the product; each ends, and the last one wins.
    for id in &ids {
        expect_ended_truthfully(&bed.api.wait_final(id).await?)?;
    }
    bed.load_sees(&load, "v4").await?;
    let report = load.stop().await?;
    report.expect_no_failure(LEAST_LOAD)?;
    bed.expect_serving("shop", "v4").await?;
    bed.finish().await
}
