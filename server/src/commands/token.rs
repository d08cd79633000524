//! The token of a command that talks to a control plane: from a file or the environment, never
//! from the command line, where every process could read it.

use std::path::Path;

use anyhow::Context as _;
use flukedeploy_platform::secret::Secret;

/// # Errors
/// There is none, or its file cannot be read.
pub(crate) fn of(file: Option<&Path>) -> anyhow::Result<Secret> {
    let token = match (file, std::env::var("FLUKEDEPLOY_API_TOKEN")) {
        (Some(file), _) => std::fs::read_to_string(file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?,
        (None, Ok(token)) => token,
        (None, Err(_)) => {
            anyhow::bail!("no token: set FLUKEDEPLOY_API_TOKEN, or name a file with --token-file")
        }
    };
    let token = token
        .trim()
        .trim_start_matches("Authorization:")
        .trim_start();
    Ok(Secret::new(
        token.strip_prefix("Bearer ").unwrap_or(token).trim(),
    ))
}
