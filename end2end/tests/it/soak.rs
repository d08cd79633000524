//! `kill -9` of the control plane at random moments over a set of deployments, the short way; the
//! long one is part of the benchmark.

use anyhow::Result;
use flukedeploy_end2end::soak;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_random_moments_cost_nothing_and_every_record_is_true() -> Result<()> {
    let report = soak::run(8).await?;
    eprintln!("{report}");
    report.expect_sound()
}
