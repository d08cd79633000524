//! ssh as git's transport, without a shell in between.
//!
//! git calls the program in `GIT_SSH` with the host and a command. That program is this executable
//! itself, which sees [`CONFIGURATION`] in its environment and becomes `ssh -F <that file>`: so no
//! option has to be put into a command line that a shell would read (`GIT_SSH_COMMAND`).

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flukedeploy_domain::credential::Credential;
use flukedeploy_platform::ports::SourceError;

use crate::fault::{failed, while_doing};
use crate::reach::Target;

/// Names the configuration file for ssh; set for git's children only.
pub(super) const CONFIGURATION: &str = "FLUKEDEPLOY_GIT_SSH";
const CONNECT_SECONDS: u32 = 20;

/// Becomes ssh if this process was started by git to be it; else returns `None` at once. To be
/// called first of all in `main`.
///
/// # Errors
/// The error is returned if ssh could not be started; it does not return otherwise.
pub fn ssh_wrapper() -> Option<io::Error> {
    let configuration = std::env::var_os(CONFIGURATION)?;
    Some(
        Command::new("ssh")
            .arg("-F")
            .arg(configuration)
            .args(std::env::args_os().skip(1))
            .env_remove(CONFIGURATION)
            .exec(),
    )
}

/// Writes key, known hosts and configuration into `directory` (which is removed afterwards), and
/// returns the configuration's path.
pub(super) fn configure(
    directory: &Path,
    target: &Target,
    credential: &Credential,
) -> Result<PathBuf, SourceError> {
    let doing = || while_doing("writing the files that ssh needs");
    let key = directory.join("key");
    let known_hosts = directory.join("known_hosts");
    let configuration = directory.join("ssh_config");
    // ssh insists on a line's end after the key, and on Unix line ends.
    private(&key, &unix_lines(&credential.secret)).map_err(doing())?;
    let hosts = credential.known_hosts.as_deref().unwrap_or_default();
    private(&known_hosts, &unix_lines(hosts)).map_err(doing())?;
    let (Some(key), Some(known_hosts)) = (quoted_path(&key), quoted_path(&known_hosts)) else {
        return Err(failed(
            "writing the files that ssh needs",
            "the data directory's path holds quotes, '$' or control characters",
        ));
    };
    let Some(address) = target.addresses.first() else {
        return Err(failed("configuring ssh", "no address was checked"));
    };
    // Under this name the host's keys are looked up, since the address is given instead of it.
    let known_as = match target.port {
        22 => target.host.clone(),
        port => format!("[{}]:{port}", target.host),
    };
    let mut text = String::from("Host *\n");
    for (name, value) in [
        ("HostName", address.to_string().as_str()),
        ("HostKeyAlias", &known_as),
        ("IdentityFile", &key),
        ("UserKnownHostsFile", &known_hosts),
        ("ConnectTimeout", &CONNECT_SECONDS.to_string()),
        ("User", "git"),
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("StrictHostKeyChecking", "yes"),
        ("CheckHostIP", "no"),
        ("UpdateHostKeys", "no"),
        ("VerifyHostKeyDNS", "no"),
        ("CanonicalizeHostname", "no"),
        ("BatchMode", "yes"),
        ("PreferredAuthentications", "publickey"),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("HostbasedAuthentication", "no"),
        ("ProxyCommand", "none"),
        ("PermitLocalCommand", "no"),
        ("ControlMaster", "no"),
        ("ControlPath", "none"),
        ("ClearAllForwardings", "yes"),
        ("ForwardAgent", "no"),
        ("ForwardX11", "no"),
        ("AddKeysToAgent", "no"),
        ("Tunnel", "no"),
        ("RequestTTY", "no"),
        ("EscapeChar", "none"),
        ("ConnectionAttempts", "1"),
        ("ServerAliveInterval", "15"),
        ("ServerAliveCountMax", "4"),
        ("LogLevel", "ERROR"),
    ] {
        let _ = writeln!(text, "  {name} {value}");
    }
    private(&configuration, &text).map_err(doing())?;
    Ok(configuration)
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

fn unix_lines(text: &str) -> String {
    let mut lines = text.replace("\r\n", "\n");
    if !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines
}

/// ssh reads `%` as a token and `$` as a variable in these.
fn quoted_path(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    if text.contains(['"', '$', '\\']) || text.chars().any(char::is_control) {
        return None;
    }
    Some(format!("\"{}\"", text.replace('%', "%%")))
}
