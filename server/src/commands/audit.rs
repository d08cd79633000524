//! `flukedeploy audit`: whether the audit trail is as it was written.

use std::process::ExitCode;

use anyhow::bail;
use flukedeploy_store::{AuditVerdict, SqliteStore};

use super::serve::DATABASE;
use crate::cli::{AuditCommand, DataPlace};
use crate::config::data_dir;

/// The trail was changed: another end than that of a command that could not do its work.
const TAMPERED: u8 = 2;

pub fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("warn");
    match command {
        AuditCommand::Verify(place) => verify(place),
    }
}

/// May run beside the control plane.
#[expect(clippy::print_stdout, reason = "this command's answer")]
fn verify(place: DataPlace) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(place.data_dir, &place.instance)?;
    let database = data_dir.join(DATABASE);
    if !database.is_file() {
        bail!("there is no database in {}", data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let verdict = runtime.block_on(async {
        let store = SqliteStore::open(&database).await?;
        let verdict = store.verify_audit().await;
        store.close().await;
        verdict
    })?;
    let (text, code) = words_of(&verdict);
    println!("{text}");
    Ok(code)
}

fn words_of(verdict: &AuditVerdict) -> (String, ExitCode) {
    match verdict {
        AuditVerdict::Intact { entries, head } => (
            format!(
                "The audit trail is intact: {entries} entries, each as it was written. Its newest hash, to \
                 be kept elsewhere: {head}"
            ),
            ExitCode::SUCCESS,
        ),
        AuditVerdict::Changed { sequence } => (
            format!(
                "The audit trail was tampered with: entry {sequence}, or its place in the order, is not as \
                 it was written"
            ),
            ExitCode::from(TAMPERED),
        ),
        AuditVerdict::Missing { sequence } => (
            format!("The audit trail was tampered with: entry {sequence} is missing"),
            ExitCode::from(TAMPERED),
        ),
    }
}
