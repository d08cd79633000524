//! The harness of the black-box tests and benchmarks. It knows the product only through the wire:
//! HTTP, WebSocket, MCP and the Docker API. It must never depend on one of the product's crates.

pub mod api;
pub mod cluster;
pub mod engine_proxy;
pub mod figures;
pub mod git_server;
pub mod images;
pub mod instance;
pub mod lease;
pub mod load;
pub mod mcp;
pub mod registry;
pub mod signing;
pub mod small_disk;
pub mod soak;
pub mod source_files;
pub mod ssh_server;
pub mod stream;
pub mod sweep;
pub mod wait;
pub mod workbench;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bollard::Docker;

/// Connects to the engine under test: `DOCKER_HOST`, or the default socket.
pub async fn docker() -> Result<Docker> {
    Docker::connect_with_defaults()
        .context("connecting to the Docker engine")?
        .negotiate_version()
        .await
        .context("asking the Docker engine for its version; is one running?")
}

/// The program under test: `FLUKEDEPLOY_BIN`, or what `cargo build` left beside the tests.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("FLUKEDEPLOY_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_directory()?.join("flukedeploy"),
    };
    anyhow::ensure!(
        path.is_file(),
        "no program at {}: run `cargo build -p flukedeploy` first, or set FLUKEDEPLOY_BIN",
        path.display()
    );
    Ok(path)
}

/// `target/debug` or `target/release`: two levels above a test, one above a program.
fn profile_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the running program")?;
    let directory = own
        .parent()
        .context("the running program has no directory")?;
    Ok(if directory.ends_with("deps") {
        directory
            .parent()
            .context("deps/ has no parent")?
            .to_owned()
    } else {
        directory.to_owned()
    })
}

/// A random number below `limit`, for moments in time.
///
/// # Panics
/// On a system without random numbers.
pub fn random_below(limit: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    u64::from_le_bytes(bytes) % limit.max(1)
}

/// `length` characters of `[a-z2-7]`, unpredictable.
///
/// # Panics
/// On a system without random numbers.
pub fn random_name(length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0_u8; length];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect()
}
