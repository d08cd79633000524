//! Finding and stopping the control plane that runs in the background.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The process of the pid file, if it lives and is one of ours.
pub(super) fn running(pid_file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file).ok()?;
    let raw: i32 = text.trim().parse().ok()?;
    let pid = Pid::from_raw(raw)?;
    // Process ids are used again: the command line tells whether it is still ours.
    let command = fs::read(format!("/proc/{raw}/cmdline")).ok()?;
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next()?;
    let is_ours = program.ends_with(b"flukedeploy") && words.next() == Some(b"serve");
    (is_ours && !is_zombie(raw)).then_some(pid)
}

/// Asks it to end and waits. False if it is still there after `patience`.
pub(super) fn stop(pid: Pid, patience: Duration) -> std::io::Result<bool> {
    kill_process(pid, Signal::TERM)?;
    let end = Instant::now() + patience;
    let raw = pid.as_raw_nonzero();
    while Path::new(&format!("/proc/{raw}")).exists() && !is_zombie(raw.get()) {
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// Whether the running program is the very file we are.
pub(super) fn is_this_program(pid: Pid) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let theirs = fs::metadata(format!("/proc/{}/exe", pid.as_raw_nonzero()));
    let ours = fs::metadata("/proc/self/exe");
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

fn is_zombie(pid: i32) -> bool {
    // The state follows the name, which is in brackets and may hold anything.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
}
