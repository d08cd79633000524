//! `flukedeploy` as a client at a terminal: what is typed unseen, what is redrawn, and what happens when
//! somebody or something stops it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::source_files::Scratch;
use flukedeploy_end2end::wait;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::bed::Bed;

const PATIENCE: Duration = Duration::from_mins(2);

/// A program at a terminal of its own.
struct Session {
    terminal: File,
    child: Child,
    shown: JoinHandle<String>,
}

impl Session {
    fn start(mut command: Command) -> Result<Self> {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?;
        let inner = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let child = command
            .env("TERM", "xterm")
            .stdin(Stdio::from(inner.try_clone()?))
            .stdout(Stdio::from(inner.try_clone()?))
            .stderr(Stdio::from(inner))
            .spawn()?;
        // It holds the inner side too: the end would never be seen.
        drop(command);
        let terminal = File::from(terminal);
        let mut screen = terminal.try_clone()?;
        let shown = tokio::task::spawn_blocking(move || {
            let mut shown = Vec::new();
            let mut piece = [0; 4096];
            // The end of a terminal is an error.
            while let Ok(read @ 1..) = screen.read(&mut piece) {
                shown.extend_from_slice(&piece[..read]);
            }
            String::from_utf8_lossy(&shown).into_owned()
        });
        Ok(Self {
            terminal,
            child,
            shown,
        })
    }

    async fn hides_what_is_typed(&self) -> Result<()> {
        wait::until("the terminal stops to show", PATIENCE, async || {
            let modes = tcgetattr(&self.terminal)?.local_modes;
            Ok((!modes.contains(LocalModes::ECHO)).then_some(()))
        })
        .await
    }

    fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.terminal.write_all(text.as_bytes())?)
    }

    /// How it ended, and everything that was on the terminal.
    async fn end(mut self) -> Result<(Option<i32>, String)> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        let shown = tokio::time::timeout(PATIENCE, self.shown).await??;
        Ok((status.code(), shown))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_hides_the_token_and_redraws_the_five_phases() -> Result<()> {
    let bed = Bed::start("clientt", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let home = Scratch::new("home")?;
    let config = home.path().join("config.toml");
    let command = |args: &[&str]| -> Result<Command> {
        let mut command = bed.instance.command(args[0])?;
        command
            .args(&args[1..])
            .env_remove("FLUKEDEPLOY_URL")
            .env_remove("FLUKEDEPLOY_API_TOKEN")
            .env_remove("NO_COLOR")
            .env("FLUKEDEPLOY_CONFIG", &config);
        Ok(command)
    };
    let mut login = Session::start(command(&["login", &bed.instance.url()])?)?;
    login.hides_what_is_typed().await?;
    login.types(&format!("{}\n", bed.instance.token))?;
    let (code, shown) = login.end().await?;
    ensure!(code == Some(0) && shown.contains("logged in"), "{shown}");
    ensure!(!shown.contains(&bed.instance.token), "the token shows");

    let slow = bed
        .image(Sample::version("v1").starts_after_ms(1_500))
        .await?;
    let deploy = ["deploy", &slow, "--app", "shop"];
    let (code, shown) = Session::start(command(&deploy)?)?.end().await?;
    ensure!(code == Some(0), "{shown}");
    ensure!(
        shown.contains("\u{1b}[6A"),
        "nothing was redrawn: {shown:?}"
    );
    let last = shown.rsplit("\u{1b}[6A").next().unwrap_or_default();
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        let good = format!("\u{1b}[32m+ {phase} ");
        ensure!(last.contains(&good), "{phase} did not end well: {last:?}");
    }

    let mut plain = command(&deploy)?;
    plain.env("NO_COLOR", "1");
    let (code, shown) = Session::start(plain)?.end().await?;
    ensure!(code == Some(0) && !shown.contains("\u{1b}[3"), "{shown:?}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_outlives_a_crash_of_the_server_and_can_be_stopped() -> Result<()> {
    let mut bed = Bed::start("clientf", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let slow = bed
        .image(Sample::version("v1").starts_after_ms(4_000))
        .await?;
    let deploy = ["--app", "shop", slow.as_str()];

    // Out of time: it says so, and how to go on.
    let brief = bed
        .instance
        .command("deploy")?
        .args(deploy)
        .args(["--timeout", "1"])
        .output()
        .await?;
    let told = String::from_utf8_lossy(&brief.stderr).into_owned();
    ensure!(brief.status.code() == Some(9), "{brief:?}");
    ensure!(
        told.contains("the deployment goes on: flukedeploy status dep-"),
        "{told}"
    );

    let mut following = bed
        .instance
        .command("status")?
        .args(["shop", "--watch"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(following.stderr.take().context("no errors")?).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
    ensure!(
        first.is_some_and(|line| line.starts_with("shop")),
        "it follows nothing"
    );
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    let ended = tokio::time::timeout(PATIENCE, following.wait_with_output()).await??;
    ensure!(ended.status.code() == Some(0), "{ended:?}");

    // Stopped by hand.
    let mut stopped = bed.instance.command("deploy")?;
    let mut stopped = stopped.args(deploy).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(stopped.stderr.take().context("no errors")?).lines();
    tokio::time::timeout(PATIENCE, lines.next_line()).await??;
    let pid = Pid::from_raw(i32::try_from(stopped.id().context("it runs")?)?);
    kill_process(pid.context("a process has a number")?, Signal::INT)?;
    let status = tokio::time::timeout(PATIENCE, stopped.wait()).await??;
    ensure!(status.code() == Some(130), "{status}");
    let mut told = String::new();
    while let Some(line) = lines.next_line().await? {
        told = line;
    }
    ensure!(told.starts_with("the deployment goes on"), "{told}");
    let id = bed.api.history("shop").await?["deployments"][0]["deployment_id"].clone();
    let ended = bed.api.wait_final(id.as_str().context("an id")?).await?;
    ensure!(
        ended["status"] == "success",
        "it was stopped with the client: {ended:#}"
    );
    bed.finish().await
}
