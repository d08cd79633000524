//! Repositories over ssh, with a deploy key, from a throwaway sshd.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flukedeploy_domain::build::Origin;
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_platform::ports::Workshop as _;

use crate::repositories::{everything_below, holds};
use crate::support::{Bed, TempDir, deployment, from_git, in_source, knows, repository, told};

struct Sshd {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_key(path: &Path) {
    let status = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "canary-comment",
            "-f",
        ])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

fn public(path: &Path) -> String {
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

impl Sshd {
    /// One key may log in, and only to read repositories.
    fn start() -> Self {
        let directory = TempDir::new();
        let at = |name: &str| directory.0.join(name);
        make_key(&at("host"));
        make_key(&at("deploy"));
        make_key(&at("stranger"));
        let forced = "command=\"case \\\"$SSH_ORIGINAL_COMMAND\\\" in git-upload-pack*) git -c safe.directory='*' \
                      shell -c \\\"$SSH_ORIGINAL_COMMAND\\\";; esac\",restrict ";
        std::fs::write(
            at("authorized"),
            format!("{forced}{}", public(&at("deploy"))),
        )
        .unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        std::fs::write(
            at("config"),
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nPidFile none\nUsePAM no\n\
                 AuthorizedKeysFile {0}/authorized\nStrictModes no\nPasswordAuthentication no\n\
                 PermitRootLogin yes\nLogLevel ERROR\n",
                directory.0.display()
            ),
        )
        .unwrap();
        // sshd wants this folder of its package; on a machine that never ran it, it is not there.
        let _ = std::fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            directory,
            port,
            child,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    fn url(&self, host: &str, repository: &str) -> String {
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout);
        let user = user.unwrap();
        let path = self.at(repository);
        format!(
            "ssh://{}@{host}:{}{}",
            user.trim(),
            self.port,
            path.display()
        )
    }

    fn key(&self, name: &str, host: &str, host_key: &str) -> Credential {
        Credential {
            kind: CredentialKind::GitKey,
            host: host.to_owned(),
            username: String::new(),
            secret: std::fs::read_to_string(self.at(name))
                .unwrap()
                .trim_end()
                .replace('\n', "\r\n"),
            known_hosts: Some(format!(
                "[{host}]:{} {}",
                self.port,
                public(&self.at(host_key))
            )),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        }
    }
}

#[tokio::test]
async fn a_deploy_key_fetches_and_leaves_nothing_of_itself() {
    let sshd = Sshd::start();
    let bed = Bed::new();
    let commit = repository(&sshd.at("shop"), &[("Dockerfile", "FROM scratch\n")]);
    let origin = Origin::Git(from_git(&sshd.url("127.0.0.1", "shop"), Some("main")));
    let key = sshd.key("deploy", "127.0.0.1", "host");
    let opened = bed.open("ssh", &origin, Some(&key)).await.unwrap();
    assert_eq!(opened.commit, Some(commit.clone()));
    bed.workshop
        .pack(&deployment("ssh"), None, &in_source("Dockerfile"))
        .await
        .unwrap();
    let mut all = everything_below(&bed.directory.0);
    all.extend(bed.progress.lock().unwrap().join("\n").into_bytes());
    assert!(holds(&all, "FROM scratch"));
    assert!(!holds(&all, "PRIVATE KEY"));
    let body = key.secret.lines().nth(1).unwrap();
    assert!(body.len() > 20 && !holds(&all, body));
    // A commit by its digits: this server hands out only what branches and tags name (protocol 0),
    // so it is found among their history.
    let first = commit;
    crate::support::commit(&sshd.at("shop"), &[("more", "x")]);
    let origin = Origin::Git(from_git(&sshd.url("127.0.0.1", "shop"), Some(&first)));
    let opened = bed.open("commit", &origin, Some(&key)).await.unwrap();
    assert_eq!(opened.commit, Some(first));
    assert_eq!(opened.files, 1);
    assert_eq!(std::fs::read_dir(bed.place("work")).unwrap().count(), 0);
}

#[tokio::test]
async fn ssh_goes_to_the_address_that_was_checked_and_knows_the_host_by_name() {
    let sshd = Sshd::start();
    let resolver = knows("git.pinned.invalid", "127.0.0.1");
    let bed = Bed::with(&["git.pinned.invalid"], resolver, Duration::from_secs(20));
    repository(&sshd.at("shop"), &[("x", "y")]);
    let origin = Origin::Git(from_git(&sshd.url("git.pinned.invalid", "shop"), None));
    let key = sshd.key("deploy", "git.pinned.invalid", "host");
    assert_eq!(
        bed.open("name", &origin, Some(&key)).await.unwrap().files,
        1
    );
}

#[tokio::test]
async fn wrong_keys_and_unknown_hosts_are_told_apart() {
    let sshd = Sshd::start();
    let bed = Bed::new();
    repository(&sshd.at("shop"), &[("x", "y")]);
    let origin = Origin::Git(from_git(&sshd.url("127.0.0.1", "shop"), None));
    let text = told(bed.open("none", &origin, None).await);
    assert!(
        text.starts_with("Denied") && text.contains("git_key"),
        "{text}"
    );
    let stranger = sshd.key("stranger", "127.0.0.1", "host");
    let text = told(bed.open("stranger", &origin, Some(&stranger)).await);
    assert!(
        text.starts_with("Denied") && text.contains("refused the stored"),
        "{text}"
    );
    let mut unknown = sshd.key("deploy", "127.0.0.1", "host");
    unknown.known_hosts = Some("other.example ssh-ed25519 AAAA\n".to_owned());
    let changed = sshd.key("deploy", "127.0.0.1", "stranger");
    for (name, key) in [("unknown", unknown), ("changed", changed)] {
        let text = told(bed.open(name, &origin, Some(&key)).await);
        assert!(
            text.starts_with("Refused")
                && text.contains("host key")
                && text.contains("ssh-keyscan"),
            "{text}"
        );
        assert!(!text.contains("PRIVATE"), "{text}");
    }
    let mut broken = sshd.key("deploy", "127.0.0.1", "host");
    broken.secret =
        "-----BEGIN OPENSSH PRIVATE KEY-----\ncanarybroken\n-----END OPENSSH PRIVATE KEY-----"
            .to_owned();
    let text = told(bed.open("broken", &origin, Some(&broken)).await);
    assert!(
        text.starts_with("Denied") && text.contains("cannot be read"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    let absent = Origin::Git(from_git(&sshd.url("127.0.0.1", "absent"), None));
    let key = sshd.key("deploy", "127.0.0.1", "host");
    let text = told(bed.open("absent", &absent, Some(&key)).await);
    assert!(text.starts_with("NotFound"), "{text}");
    bed.assert_nothing_left();
}
