//! `flukedeploy secrets`: the key that secrets in the database are sealed with.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use flukedeploy_store::SqliteStore;

use super::serve::{DATABASE, lock_data_dir};
use crate::cli::{DataPlace, SecretsCommand};
use crate::config::data_dir;

pub fn run(command: SecretsCommand) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("warn");
    match command {
        SecretsCommand::Rotate(place) => rotate(place),
    }
}

/// Cut off at any moment, it has happened or not, and the next start puts the key file in order.
#[expect(clippy::print_stdout, reason = "this command's answer")]
fn rotate(place: DataPlace) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(place.data_dir, &place.instance)?;
    let database = data_dir.join(DATABASE);
    if !database.is_file() {
        bail!("there is no database in {}", data_dir.display());
    }
    let _only_one = lock_data_dir(&data_dir).context(
        "stop the control plane first (the apps go on serving), and start it again afterwards",
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rotated = runtime.block_on(SqliteStore::rotate_key(&database))?;
    println!(
        "The key of {} was changed: {} values are sealed with the new key '{}', and the old one is gone.\n\
         Copies of the database from before open only with the key file from before.",
        data_dir.display(),
        rotated.count,
        rotated.key
    );
    Ok(ExitCode::SUCCESS)
}
