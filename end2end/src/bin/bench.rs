//! Measures, and prints each figure with its goal: `bench [PART...] [--lines N]`, all parts by default.

use anyhow::Result;
use flukedeploy_end2end::figures::{self, Wanted};

#[tokio::main]
async fn main() -> Result<()> {
    figures::run(&Wanted::parse(std::env::args().skip(1))?).await
}
