//! A throwaway OpenSSH server on loopback, with a host key and one deploy key of its own. Who has that
//! key may read repositories below one folder.

use std::path::Path;
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::lease::Port;
use crate::source_files::{Repository, Scratch};

/// A running server; it ends, and everything of it goes, when this is dropped.
pub struct SshServer {
    port: Port,
    scratch: Scratch,
    user: String,
    process: Child,
}

impl SshServer {
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new("ssh")?;
        let at = |name: &str| scratch.path().join(name).display().to_string();
        for key in ["host_key", "deploy_key", "other_key"] {
            make_key(&scratch.path().join(key))?;
        }
        std::fs::create_dir_all(scratch.path().join("repositories"))?;
        let allowed = std::fs::read_to_string(scratch.path().join("deploy_key.pub"))?;
        std::fs::write(
            scratch.path().join("authorized_keys"),
            format!("restrict {allowed}"),
        )?;
        let user = output_of("id", &["-un"])?;
        let port = Port::free()?;
        let config = [
            format!("Port {}", port.number),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("HostKey {}", at("host_key")),
            format!("AuthorizedKeysFile {}", at("authorized_keys")),
            "PidFile none".to_owned(),
            "UsePAM no".to_owned(),
            // The folder above is everybody's to write to, with the sticky bit.
            "StrictModes no".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            "LogLevel VERBOSE".to_owned(),
        ];
        std::fs::write(scratch.path().join("config"), config.join("\n") + "\n")?;
        // Where it locks up the part that talks to strangers; only a service manager makes it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let log = std::fs::File::create(scratch.path().join("log"))?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting sshd; is openssh-server installed?")?;
        let mut server = Self {
            port,
            scratch,
            user,
            process,
        };
        server.wait_until_it_listens().await?;
        Ok(server)
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let address = ("127.0.0.1", self.port.number);
        let ready = crate::wait::until("sshd listens", Duration::from_secs(20), || async {
            Ok(TcpStream::connect(address).await.ok().map(drop))
        });
        let log = self.scratch.path().join("log");
        ready
            .await
            .with_context(|| std::fs::read_to_string(log).unwrap_or_default())?;
        ensure!(self.process.try_wait()?.is_none(), "sshd ended at once");
        Ok(())
    }

    pub fn repository(&self, name: &str) -> Result<Repository> {
        Repository::new(&self.scratch.path().join("repositories"), name)
    }

    pub fn url(&self, repository: &str) -> String {
        let path = self.scratch.path().join("repositories").join(repository);
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            self.user,
            self.port.number,
            path.display()
        )
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// The private key that opens the repositories.
    pub fn deploy_key(&self) -> Result<String> {
        self.read("deploy_key")
    }

    /// A private key that opens nothing.
    pub fn other_key(&self) -> Result<String> {
        self.read("other_key")
    }

    /// This server's host key as a line of a `known_hosts` file.
    pub fn known_hosts(&self) -> Result<String> {
        self.as_known_host("host_key.pub")
    }

    /// A line for this server with a key that it does not have.
    pub fn wrong_known_hosts(&self) -> Result<String> {
        self.as_known_host("other_key.pub")
    }

    fn as_known_host(&self, key: &str) -> Result<String> {
        let key = self.read(key)?;
        let mut words = key.split(' ');
        let kind = words.next().context("a public key names its kind")?;
        let key = words.next().context("a public key has a key")?;
        Ok(format!("[127.0.0.1]:{} {kind} {key}\n", self.port.number))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.scratch.path().join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// What sshd wrote.
    pub fn log(&self) -> Result<String> {
        self.read("log")
    }
}

fn make_key(path: &Path) -> Result<()> {
    let status = StdCommand::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .context("running ssh-keygen; is openssh-client installed?")?;
    ensure!(status.success(), "ssh-keygen failed: {status}");
    Ok(())
}

fn output_of(program: &str, arguments: &[&str]) -> Result<String> {
    let output = StdCommand::new(program).args(arguments).output()?;
    ensure!(output.status.success(), "{program} failed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone(server: &SshServer, key: &str, known_hosts: &str) -> std::process::Output {
        let scratch = Scratch::new("sshc").unwrap();
        let hosts = scratch.path().join("hosts");
        std::fs::write(&hosts, known_hosts).unwrap();
        let ssh = format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i {} -o UserKnownHostsFile={} \
             -o StrictHostKeyChecking=yes",
            server.scratch.path().join(key).display(),
            hosts.display()
        );
        StdCommand::new("git")
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["clone", "--quiet", &server.url("shop")])
            .arg(scratch.path().join("tree"))
            .output()
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn opens_for_the_deploy_key_alone_and_is_known_by_its_host_key() {
        let server = SshServer::start().await.unwrap();
        let shop = server.repository("shop").unwrap();
        shop.commit(&[("a", "1")]).unwrap();
        let known = server.known_hosts().unwrap();
        let good = clone(&server, "deploy_key", &known);
        let says = String::from_utf8_lossy(&good.stderr);
        assert!(good.status.success(), "{says}\n{}", server.log().unwrap());
        assert!(!clone(&server, "other_key", &known).status.success());
        let wrong = server.wrong_known_hosts().unwrap();
        assert!(!clone(&server, "deploy_key", &wrong).status.success());
    }
}
