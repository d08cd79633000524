//! `flukedeploy ingress`.

use std::process::ExitCode;

use anyhow::Context as _;
use flukedeploy_ingress::{ControlToken, IngressConfig};

use crate::cli::Ingress;

pub fn run(args: Ingress) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("info");
    let token = std::fs::read_to_string(&args.token_file).with_context(|| {
        format!(
            "the token file {} cannot be read",
            args.token_file.display()
        )
    })?;
    let mut config = IngressConfig::new(args.listen, ControlToken::new(token.trim())?, args.id);
    config.control_urls = args.control_urls;
    config.node = args.node;
    config.snapshot_path = args.snapshot;
    flukedeploy_ingress::run(config)?;
    Ok(ExitCode::SUCCESS)
}
