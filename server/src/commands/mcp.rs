//! `flukedeploy mcp`: the MCP door on standard input and output.

use std::process::ExitCode;

use anyhow::Context as _;
use flukedeploy_platform::secret::Secret;

use crate::cli::Mcp;

pub fn run(args: &Mcp) -> anyhow::Result<ExitCode> {
    // Standard output belongs to the protocol.
    crate::telemetry::start("warn");
    let token = match (&args.token_file, std::env::var("FLUKEDEPLOY_API_TOKEN")) {
        (Some(file), _) => std::fs::read_to_string(file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?,
        (None, Ok(token)) => token,
        (None, Err(_)) => {
            anyhow::bail!("no token: set FLUKEDEPLOY_API_TOKEN, or name a file with --token-file")
        }
    };
    let token = token
        .trim()
        .trim_start_matches("Authorization:")
        .trim_start();
    let token = Secret::new(token.strip_prefix("Bearer ").unwrap_or(token).trim());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bridge = crate::doors::mcp::stdio::run_stdio_bridge(args.url.clone(), token);
    runtime.block_on(bridge)?;
    // A blocked read of standard input must not keep the program.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
