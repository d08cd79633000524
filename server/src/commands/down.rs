//! `flukedeploy down`: stops what `up` started; with `--purge`, removes it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flukedeploy_platform::ports::Engine as _;

use super::{process, serve};
use crate::cli::Down;
use crate::config::Config;
use crate::files;

#[expect(clippy::print_stdout, reason = "this command's answer")]
pub fn run(args: &Down) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("warn");
    let config = Config::new(&args.settings, &|name| std::env::var(name).ok())?;
    match process::running(&config.pid_file()) {
        Some(pid) => {
            println!("Stopping the control plane …");
            if !process::stop(pid, Duration::from_secs(30))? {
                bail!(
                    "process {} does not end; stop it and try again",
                    pid.as_raw_nonzero()
                );
            }
        }
        None => println!("The control plane is not running."),
    }
    files::remove(&config.pid_file())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = serve::engine(&config)?;
        if args.purge {
            println!(
                "Removing everything of the instance '{}' from Docker …",
                config.instance
            );
            engine.purge().await?;
        } else {
            println!("Stopping the apps and the ingress …");
            engine.stop_all().await?;
        }
        anyhow::Ok(())
    })?;
    if args.purge {
        remove_data(&config)?;
        println!("Nothing of it is left.");
    } else {
        println!(
            "Stopped. Data stays in {}; 'up' starts everything again.",
            config.data_dir.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what we put into the data directory, and the directory if nothing else is in it.
fn remove_data(config: &Config) -> anyhow::Result<()> {
    let ours = [
        "control.db",
        "control.db-wal",
        "control.db-shm",
        "secret.key",
        "secret.key.new",
        "lock",
        "set-up-token",
        "agent.header",
        "flukedeploy.pid",
        "flukedeploy.log",
    ];
    for name in ours {
        let path = config.data_dir.join(name);
        files::remove(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    for name in ["logs", "sources"] {
        let path = config.data_dir.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
            }
            _ => {}
        }
    }
    match std::fs::remove_dir(&config.data_dir) {
        Err(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(error).with_context(|| format!("{} cannot be removed", config.data_dir.display()))
        }
        _ => Ok(()),
    }
}
