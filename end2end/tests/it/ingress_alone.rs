//! The ingress serves on without its control plane.

use std::time::Duration;

use anyhow::{Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;

use crate::bed::{Bed, LEAST_LOAD};

const AWAY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_control_plane_is_away() -> Result<()> {
    let mut bed = Bed::shop_for_load("alone", Options::default(), 2).await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;

    let status = bed.instance.stop().await?;
    ensure!(
        status.success(),
        "SIGTERM should end it cleanly, not with {status}"
    );
    // Not a wait for a condition: being away for this long is the condition.
    tokio::time::sleep(AWAY).await;
    bed.load_sees(&load, "v1").await?;
    bed.instance.restart().await?;
    bed.load_sees(&load, "v1").await?;

    bed.instance.kill_9().await?;
    bed.load_sees(&load, "v1").await?;
    bed.instance.restart().await?;

    // Both sides found each other again: a change reaches the ingress.
    let v2 = bed.image(Sample::version("v2")).await?;
    bed.api.deploy_and_wait("shop", &v2).await?;
    bed.load_sees(&load, "v2").await?;

    let report = load.stop().await?;
    eprintln!("ingress alone: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    ensure!(report.lasted > AWAY, "{report}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_hosts_and_apps_without_a_release_get_a_page_that_says_so() -> Result<()> {
    let bed = Bed::start("pages", Options::default()).await?;
    let (status, _) = bed.instance.get_host("nobody.localhost", "/").await?;
    ensure!(status == 404, "a host without a route answers {status}");
    bed.api.create_app("empty", 1).await?;
    let (status, body) = bed.instance.get_app("empty", "/").await?;
    ensure!(
        status == 404 || status == 503,
        "an app without a release answers {status}: {body}"
    );
    bed.finish().await
}
