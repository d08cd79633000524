//! `kill -9` of the control plane in each phase: the app serves on, and after a restart the deployment
//! ends with a status that is true.

use anyhow::{Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;

use crate::bed::{Bed, LEAST_LOAD, expect_ended_truthfully};

const PHASES: [&str; 5] = ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_any_phase_costs_no_request_and_ends_truthfully() -> Result<()> {
    let mut bed = Bed::shop_for_load("crash", Options::default(), 1).await?;
    let mut images = Vec::new();
    for phase in PHASES {
        images.push(bed.image(Sample::version(phase)).await?);
    }
    let mut serving = "v1";
    let load = bed.load_on("shop");
    bed.load_sees(&load, serving).await?;

    for (phase, image) in PHASES.into_iter().zip(&images) {
        bed.instance.stop().await?;
        bed.instance.options.hold_in_phase = Some(phase.to_owned());
        bed.instance.restart().await?;
        let id = bed.api.deploy("shop", image).await?;
        bed.api.wait_running(&id, phase).await?;
        bed.instance.kill_9().await?;
        bed.load_sees(
            &load,
            if phase == "post_deploy" {
                phase
            } else {
                serving
            },
        )
        .await?;

        bed.instance.options.hold_in_phase = None;
        bed.instance.restart().await?;
        let summary = bed.api.wait_final(&id).await?;
        expect_ended_truthfully(&summary)?;
        // Finishing what was begun and undoing it are both fine; saying one and doing the other is not.
        if summary["status"] == "success" {
            serving = phase;
        }
        bed.expect_serving("shop", serving).await?;
        bed.load_sees(&load, serving).await?;
        ensure!(
            load.failures() == 0,
            "requests failed around the crash in {phase}: {}",
            load.stop().await?
        );
    }

    let report = load.stop().await?;
    eprintln!("crash in each phase: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    bed.finish().await
}
