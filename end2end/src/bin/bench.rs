//! Measures, and prints each figure with its goal: `bench [PART...]`, all parts by default.

use anyhow::Result;
use flukedeploy_end2end::figures;

#[tokio::main]
async fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    figures::run(&names).await
}
