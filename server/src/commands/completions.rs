//! `flukedeploy completions`: what shells complete.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, Completions};
use crate::client::exit::Exit;

pub(crate) fn run(args: &Completions) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    let shell: Shell = args.shell.into();
    generate(shell, &mut Cli::command(), "flukedeploy", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}
