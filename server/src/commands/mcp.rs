//! `flukedeploy mcp`: the MCP door on standard input and output.

use std::process::ExitCode;

use crate::cli::Mcp;
use crate::commands::token;

pub fn run(args: &Mcp) -> anyhow::Result<ExitCode> {
    // Standard output belongs to the protocol.
    crate::telemetry::start("warn");
    let token = token::of(args.client.token_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bridge = crate::doors::mcp::stdio::run_stdio_bridge(args.client.url.clone(), token);
    runtime.block_on(bridge)?;
    // A blocked read of standard input must not keep the program.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
