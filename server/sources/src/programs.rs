//! Finding the programs that are called.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use flukedeploy_platform::ports::SourceError;

use crate::fault::failed;

const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where programs are looked for.
pub(crate) fn search_path() -> OsString {
    std::env::var_os("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| USUAL.into())
}

/// The whole path of a program.
///
/// # Errors
/// [`SourceError::Failed`] that names the package to install.
pub(crate) fn find(name: &str, package: &str) -> Result<PathBuf, SourceError> {
    std::env::split_paths(&search_path())
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| {
            path.metadata()
                .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| {
            failed(
                format!("looking for the program '{name}': install the package {package} on this machine"),
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        })
}
