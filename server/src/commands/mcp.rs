//! `flukedeploy mcp`: the MCP door on standard input and output.

use std::process::ExitCode;

use crate::cli::Mcp;
use crate::client::config::Server;

pub fn run(args: &Mcp) -> anyhow::Result<ExitCode> {
    // Standard output belongs to the protocol.
    crate::telemetry::start("warn");
    let server = Server::of(&args.client)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bridge = crate::doors::mcp::stdio::run_stdio_bridge(server.url, server.token);
    runtime.block_on(bridge)?;
    // A blocked read of standard input must not keep the program.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
