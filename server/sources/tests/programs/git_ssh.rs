//! Stands in for the product's executable where git wants a program to call as ssh.

use std::process::ExitCode;

fn main() -> ExitCode {
    match flukedeploy_sources::ssh_wrapper() {
        Some(error) => eprintln!("git-ssh: {error}"),
        None => eprintln!("git-ssh: called without a configuration"),
    }
    ExitCode::FAILURE
}
