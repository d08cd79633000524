//! The token of a command that talks to a control plane: from a file, the environment or standard input,
//! never from the command line, where every process could read it.

use std::path::Path;

use anyhow::Context as _;
use flukedeploy_platform::secret::Secret;

/// # Errors
/// The file cannot be read.
pub(crate) fn read(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the token file {} cannot be read", file.display()))?;
    Ok(clean(&text))
}

/// Alone, or as an Authorization header.
pub(crate) fn clean(text: &str) -> Secret {
    let token = text
        .trim()
        .trim_start_matches("Authorization:")
        .trim_start();
    Secret::new(token.strip_prefix("Bearer ").unwrap_or(token).trim())
}
