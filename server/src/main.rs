//! `flukedeploy`: the control plane, the ingress and their tools in one program.

use std::process::ExitCode;

use clap::Parser as _;
use flukedeploy::cli::{Cli, Command};
use flukedeploy::{client, commands};

fn main() -> ExitCode {
    // Started by git to be its ssh: nothing else may happen before.
    if let Some(error) = flukedeploy_sources::ssh_wrapper() {
        eprintln!("flukedeploy: ssh cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(settings) => commands::serve::run(&settings),
        Command::Up(args) => commands::up::run(&args),
        Command::Down(args) => commands::down::run(&args),
        Command::Doctor(settings) => commands::doctor::run(&settings),
        Command::Client(command) => return client::run(command),
        Command::Audit(args) => commands::audit::run(args.command),
        Command::Secrets(args) => commands::secrets::run(args.command),
        Command::Mcp(args) => commands::mcp::run(&args),
        Command::Ingress(args) => commands::ingress::run(args),
        Command::SampleApp => commands::sample_app::run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flukedeploy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
