//! `flukedeploy` as a client of a control plane, here or elsewhere. The server decides everything: the
//! verbs in [`crate::commands`] send what was typed and show what was answered.

pub(crate) mod api;
pub(crate) mod config;
pub(crate) mod exit;
pub(crate) mod follow;
pub(crate) mod output;
pub(crate) mod prompt;
pub(crate) mod report;

use std::process::ExitCode;

use crate::cli::{ClientCommand, Remote};
use crate::commands;
use exit::Exit;

/// Does what was typed, and tells what went wrong.
pub fn run(command: ClientCommand) -> ExitCode {
    let json = wants_json(&command);
    let done = match command {
        ClientCommand::Completions(args) => commands::completions::run(&args),
        command => match runtime() {
            Ok(runtime) => {
                let done = runtime.block_on(until_stopped(command));
                // A read from the terminal that nobody waits for any more must not keep the program.
                runtime.shutdown_background();
                done
            }
            Err(error) => Err(error.into()),
        },
    };
    let exit = done.unwrap_or_else(|error| exit::tell(&error, json));
    ExitCode::from(exit.code())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn until_stopped(command: ClientCommand) -> anyhow::Result<Exit> {
    // That is how following the log ends.
    let when_stopped = if matches!(command, ClientCommand::Logs(_)) {
        Exit::Done
    } else {
        Exit::Stopped
    };
    tokio::select! {
        done = dispatch(command) => done,
        _ = tokio::signal::ctrl_c() => Ok(when_stopped),
    }
}

async fn dispatch(command: ClientCommand) -> anyhow::Result<Exit> {
    match command {
        ClientCommand::Login(args) => commands::login::run(args).await,
        ClientCommand::Logout(args) => commands::logout::run(&args),
        ClientCommand::Servers(args) => commands::servers::run(&args),
        ClientCommand::Apps(args) => commands::apps::run(&args).await,
        ClientCommand::Deploy(args) => commands::deploy::run(&args).await,
        ClientCommand::Status(args) => commands::status::run(&args).await,
        ClientCommand::Logs(args) => commands::logs::run(&args).await,
        ClientCommand::Rollback(args) => commands::rollback::run(&args).await,
        ClientCommand::Validate(args) => commands::validate::run(&args).await,
        ClientCommand::History(args) => commands::history::run(&args).await,
        ClientCommand::Env(args) => commands::env::run(&args).await,
        ClientCommand::Scale(args) => commands::scale::run(&args).await,
        ClientCommand::Open(args) => commands::open::run(&args).await,
        ClientCommand::Tokens(args) => commands::tokens::run(&args).await,
        ClientCommand::Completions(args) => commands::completions::run(&args),
    }
}

/// Whether a refusal is told as JSON on standard output. `logs --json` prints entries there and nothing
/// else.
fn wants_json(command: &ClientCommand) -> bool {
    let remote: &Remote = match command {
        ClientCommand::Login(args) => return args.json,
        ClientCommand::Logout(args) => return args.json,
        ClientCommand::Servers(args) => return args.json,
        ClientCommand::Logs(_) | ClientCommand::Completions(_) => return false,
        ClientCommand::Apps(args) => &args.remote,
        ClientCommand::Deploy(args) => &args.remote,
        ClientCommand::Status(args) => &args.remote,
        ClientCommand::Rollback(args) => &args.remote,
        ClientCommand::Validate(args) => &args.remote,
        ClientCommand::History(args) => &args.remote,
        ClientCommand::Env(args) => &args.remote,
        ClientCommand::Scale(args) => &args.remote,
        ClientCommand::Open(args) => &args.remote,
        ClientCommand::Tokens(args) => &args.remote,
    };
    remote.json
}
