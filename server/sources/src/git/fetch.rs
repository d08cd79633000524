//! From a repository's address to the tree of one commit.

use std::fs::File;
use std::path::{Path, PathBuf};

use flukedeploy_domain::build::{GitReference, GitSource, RelativePath, RepositoryUrl, Transport};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_platform::ports::SourceError;
use tokio::time::Instant;

use super::failure::{Context, basic, explain};
use super::run::{Git, Outcome, too_slow, words_of};
use super::{ssh, submodules};
use crate::archive;
use crate::fault::{blocking, denied, failed, not_found, while_doing};
use crate::reach::{self, Target};
use crate::tree::TreeWriter;
use crate::workshop::SourcesConfig;

/// Where the commit is noted in the bare repository.
const SOURCE: &str = "refs/flukedeploy/source";
/// How far back a commit is looked for that the server does not hand out by itself.
const DEPTHS: [u32; 2] = [100, 5_000];

/// Fetches for one deployment; everything it writes is below one directory that goes afterwards.
pub(crate) struct Fetcher<'a> {
    pub(crate) config: &'a SourcesConfig,
    pub(crate) resolver: &'a reach::Resolver,
    pub(crate) git: PathBuf,
    pub(crate) directory: PathBuf,
    /// For the host it names, and for no other.
    pub(crate) credential: Option<&'a Credential>,
    /// At which the source's own repository is reached.
    pub(crate) port: u16,
    pub(crate) progress: &'a (dyn Fn(String) + Send + Sync),
    pub(crate) deadline: Instant,
}

/// A commit whose objects are here.
pub(crate) struct Checkout<'a> {
    pub(super) git: Git<'a>,
    pub(super) repository: RepositoryUrl,
    /// Hex.
    pub(crate) commit: String,
    /// The tree to take: of the commit, or of its subfolder.
    pub(super) tree: String,
}

impl Fetcher<'_> {
    /// Fetches the source and writes its files, with its submodules if they are asked for.
    /// Returns the commit.
    pub(crate) async fn write(
        &self,
        source: &GitSource,
        writer: TreeWriter,
    ) -> Result<(TreeWriter, String), SourceError> {
        let checkout = self
            .fetch(
                &source.repository,
                source.reference.as_ref(),
                source.subfolder.as_ref(),
                0,
            )
            .await?;
        (self.progress)(format!("Unpacking commit {}", checkout.commit));
        let mut writer = checkout.unpack(b"".to_vec(), writer).await?;
        if source.submodules {
            writer = submodules::write(self, &checkout, source.subfolder.as_ref(), writer).await?;
        }
        Ok((writer, checkout.commit))
    }

    /// Fetches one commit, with as little history as there can be. `number` tells the repositories
    /// of one source apart.
    pub(super) async fn fetch(
        &self,
        repository: &RepositoryUrl,
        reference: Option<&GitReference>,
        subfolder: Option<&RelativePath>,
        number: usize,
    ) -> Result<Checkout<'_>, SourceError> {
        let target = reach::target(repository, &self.config.allowed, self.resolver).await?;
        let credential = self
            .credential
            .filter(|credential| self.opens(credential, repository, &target));
        let place = self.directory.join(number.to_string());
        let git = self.prepare(&place, repository, &target, credential)?;
        let context = Context {
            host: &target.host,
            transport: repository.transport(),
            credential,
            repository: repository.as_str(),
        };
        let sha256 = reference.is_some_and(|name| name.is_commit() && name.as_str().len() == 64);
        init(&git, sha256).await?;
        match reference {
            Some(commit) if commit.is_commit() => {
                fetch_commit(&git, repository, commit.as_str(), context).await?;
            }
            _ => {
                (self.progress)(format!("Asking {} for its branches and tags", target.host));
                let name = full_name(&git, repository, reference, context).await?;
                let refspec = format!("+{name}:{SOURCE}");
                let depth = "--depth=1";
                let mut outcome = fetch(&git, repository, depth, &[&refspec]).await?;
                if outcome.words.contains("mismatched algorithms") {
                    tokio::fs::remove_dir_all(&git.directory)
                        .await
                        .map_err(while_doing("making a repository"))?;
                    init(&git, true).await?;
                    outcome = fetch(&git, repository, depth, &[&refspec]).await?;
                }
                well(&outcome, context)?;
            }
        }
        let commit = revision(&git, &format!("{SOURCE}^{{commit}}"))
            .await?
            .ok_or_else(|| {
                not_found(
                    "what was asked for is no commit",
                    "name a branch, a tag or a commit",
                )
            })?;
        let tree = match subfolder
            .map(plain_folder)
            .filter(|folder| !folder.is_empty())
        {
            None => revision(&git, &format!("{commit}^{{tree}}")).await?,
            Some(folder) => {
                let found = revision(&git, &format!("{commit}:{folder}")).await?;
                match found {
                    Some(object) => revision(&git, &format!("{object}^{{tree}}")).await?,
                    None => None,
                }
            }
        };
        let tree = tree.ok_or_else(|| {
            not_found(
                format!(
                    "commit {commit} has no folder {}",
                    subfolder.map_or("", RelativePath::as_str)
                ),
                "check the subfolder's name; it is relative to the repository's top",
            )
        })?;
        Ok(Checkout {
            git,
            repository: repository.clone(),
            commit,
            tree,
        })
    }

    /// A credential is for its own host only, for its own way of transport, and for the port that it
    /// names, or else that of the source itself: a submodule must not carry it elsewhere.
    fn opens(&self, credential: &Credential, repository: &RepositoryUrl, target: &Target) -> bool {
        let kind = match repository.transport() {
            Transport::Ssh => CredentialKind::GitKey,
            Transport::Https | Transport::Http => CredentialKind::GitToken,
        };
        let Target { host, port, .. } = target;
        credential.kind == kind
            && ((credential.host == *host && *port == self.port)
                || credential.host == format!("{host}:{port}"))
    }

    fn prepare(
        &self,
        place: &Path,
        repository: &RepositoryUrl,
        target: &Target,
        credential: Option<&Credential>,
    ) -> Result<Git<'_>, SourceError> {
        let home = place.join("home");
        crate::places::private_dir(&home).map_err(while_doing("making a folder for git"))?;
        let mut configuration = common();
        let mut environment = Vec::new();
        let mut set =
            |key: &str, value: &str| configuration.push((key.to_owned(), value.to_owned()));
        if repository.transport() == Transport::Ssh {
            let Some(key) = credential else {
                return Err(denied(
                    format!("no key is stored for {}, and ssh needs one", target.host),
                    format!(
                        "store a credential of kind git_key for {} with the host's known_hosts",
                        target.host
                    ),
                ));
            };
            crate::programs::find("ssh", "openssh-client")?;
            set("protocol.ssh.allow", "always");
            environment.push((
                ssh::CONFIGURATION,
                ssh::configure(place, target, key)?.into(),
            ));
            environment.push(("GIT_SSH", self.config.ssh_program.clone().into()));
            environment.push(("GIT_SSH_VARIANT", "ssh".into()));
            environment.push(("GIT_ALLOW_PROTOCOL", "ssh".into()));
        } else {
            let scheme = match repository.transport() {
                Transport::Http => "http",
                _ => "https",
            };
            set(&format!("protocol.{scheme}.allow"), "always");
            environment.push(("GIT_ALLOW_PROTOCOL", scheme.into()));
            let addresses: Vec<String> = target
                .addresses
                .iter()
                .map(|address| match address {
                    std::net::IpAddr::V4(address) => address.to_string(),
                    std::net::IpAddr::V6(address) => format!("[{address}]"),
                })
                .collect();
            let Target { host, port, .. } = target;
            set(
                "http.curloptResolve",
                &format!("{host}:{port}:{}", addresses.join(",")),
            );
            if let Some(credential) = credential {
                let header = format!("Authorization: Basic {}", basic(credential));
                let with_port = repository
                    .port()
                    .map_or_else(String::new, |port| format!(":{port}"));
                set(
                    &format!("http.{scheme}://{host}{with_port}/.extraHeader"),
                    &header,
                );
            }
        }
        Ok(Git {
            program: &self.git,
            directory: place.join("repository.git"),
            home,
            configuration,
            environment,
            deadline: self.deadline,
            limit_bytes: self.config.max_tree_bytes,
        })
    }
}

/// Of every run. What a repository says about itself cannot change these: they come last.
fn common() -> Vec<(String, String)> {
    [
        ("protocol.allow", "never"),
        ("protocol.ext.allow", "never"),
        ("protocol.file.allow", "never"),
        ("protocol.git.allow", "never"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "60"),
        ("http.emptyAuth", "false"),
        ("credential.helper", ""),
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.bigFileThreshold", "16m"),
        ("core.attributesFile", "/dev/null"),
        ("transfer.fsckObjects", "true"),
        ("fetch.fsckObjects", "true"),
        // Old repositories have these everywhere, and they harm nobody.
        ("fetch.fsck.zeroPaddedFilemode", "ignore"),
        ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
        ("fetch.fsck.badTimezone", "ignore"),
        ("fetch.unpackLimit", "1"),
        ("fetch.recurseSubmodules", "false"),
        ("fetch.writeCommitGraph", "false"),
        ("submodule.recurse", "false"),
        ("transfer.bundleURI", "false"),
        ("pack.threads", "1"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("init.defaultBranch", "main"),
        ("advice.detachedHead", "false"),
        ("safe.bareRepository", "all"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// `./a/b/` as git wants it after `commit:`, where `./` would mean something else.
fn plain_folder(folder: &RelativePath) -> String {
    let parts: Vec<&str> = folder
        .as_str()
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

async fn init(git: &Git<'_>, sha256: bool) -> Result<(), SourceError> {
    crate::places::private_dir(&git.directory).map_err(while_doing("making a folder for git"))?;
    let format = if sha256 {
        "--object-format=sha256"
    } else {
        "--object-format=sha1"
    };
    let made = git
        .run(&["init", "--quiet", "--bare", "--template=", format])
        .await?;
    if !made.status.success() {
        return Err(failed(
            "making a repository with git",
            flukedeploy_domain::diagnosis::tame(&made.words, 300),
        ));
    }
    // `git archive` would leave out and rewrite files; this has the last word on attributes.
    let info = git.directory.join("info");
    std::fs::create_dir_all(&info)
        .and_then(|()| std::fs::write(info.join("attributes"), "* -export-ignore -export-subst\n"))
        .map_err(while_doing("making a repository with git"))
}

async fn fetch(
    git: &Git<'_>,
    repository: &RepositoryUrl,
    depth: &str,
    refspecs: &[&str],
) -> Result<Outcome, SourceError> {
    let mut arguments = vec![
        "fetch",
        "--quiet",
        depth,
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--",
        repository.as_str(),
    ];
    arguments.extend(refspecs);
    git.run(&arguments).await
}

fn well(outcome: &Outcome, context: Context<'_>) -> Result<(), SourceError> {
    if outcome.status.success() {
        Ok(())
    } else {
        Err(explain(&outcome.words, context))
    }
}

/// A commit by its digits: by itself if the server lets it go, else among recent history.
async fn fetch_commit(
    git: &Git<'_>,
    repository: &RepositoryUrl,
    commit: &str,
    context: Context<'_>,
) -> Result<(), SourceError> {
    let refspec = format!("+{commit}:{SOURCE}");
    let direct = fetch(git, repository, "--depth=1", &[&refspec]).await?;
    if direct.status.success() {
        return Ok(());
    }
    let error = explain(&direct.words, context);
    let not_by_itself = direct.words.contains("not our ref")
        || direct.words.contains("unadvertised object")
        || direct.words.contains("couldn't find remote ref");
    if !not_by_itself {
        return Err(error);
    }
    for depth in DEPTHS {
        let outcome = fetch(
            git,
            repository,
            &format!("--depth={depth}"),
            &[
                "+refs/heads/*:refs/flukedeploy/heads/*",
                "+refs/tags/*:refs/flukedeploy/tags/*",
            ],
        )
        .await?;
        well(&outcome, context)?;
        if revision(git, &format!("{commit}^{{commit}}"))
            .await?
            .is_some()
        {
            let noted = git.run(&["update-ref", SOURCE, commit]).await?;
            return well(&noted, context);
        }
    }
    Err(not_found(
        format!(
            "{repository} has no commit {commit} among the last {} of any branch or tag",
            DEPTHS[1]
        ),
        "check the commit, and that it was pushed",
    ))
}

/// The full name of a branch or tag on the other side; a branch wins, as in `git clone`.
async fn full_name(
    git: &Git<'_>,
    repository: &RepositoryUrl,
    reference: Option<&GitReference>,
    context: Context<'_>,
) -> Result<String, SourceError> {
    let wanted = match reference {
        None => vec!["HEAD".to_owned()],
        Some(name) if name.as_str().starts_with("refs/") => vec![name.to_string()],
        Some(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
    };
    let mut arguments = vec!["ls-remote", "--quiet", "--", repository.as_str()];
    arguments.extend(wanted.iter().map(String::as_str));
    let outcome = git.run(&arguments).await?;
    well(&outcome, context)?;
    let answer = String::from_utf8_lossy(&outcome.answer).into_owned();
    let there: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(_, name)| name)
        .collect();
    wanted
        .into_iter()
        .find(|name| there.contains(&name.as_str()))
        .ok_or_else(|| match reference {
            None => not_found(
                format!("{repository} is empty, or has no default branch"),
                "push a commit to it, or name a branch",
            ),
            Some(name) => not_found(
                format!("{repository} has no branch and no tag {name}"),
                "check its name, and that it was pushed; a commit must be given with all its digits",
            ),
        })
}

/// The object that an expression names, if it is here.
pub(super) async fn revision(
    git: &Git<'_>,
    expression: &str,
) -> Result<Option<String>, SourceError> {
    let outcome = git
        .run(&[
            "rev-parse",
            "--quiet",
            "--verify",
            "--end-of-options",
            expression,
        ])
        .await?;
    let object = outcome.line();
    let known = outcome.status.success()
        && matches!(object.len(), 40 | 64)
        && object.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(known.then_some(object))
}

impl Checkout<'_> {
    /// Writes the files below the folder `below` (empty: the top).
    pub(super) async fn unpack(
        &self,
        below: Vec<u8>,
        writer: TreeWriter,
    ) -> Result<TreeWriter, SourceError> {
        let left = self.git.deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, self.unpack_all(below, writer))
            .await
            .map_err(|_| too_slow())?
    }

    async fn unpack_all(
        &self,
        below: Vec<u8>,
        mut writer: TreeWriter,
    ) -> Result<TreeWriter, SourceError> {
        // Dropped when the time is over, which ends git and so the stream.
        // Without `--worktree-attributes` (there is no work tree) it would first take the whole tree
        // into an index, and a few objects can be a tree of any size.
        let mut process = self.git.start(&[
            "archive",
            "--format=tar",
            "--worktree-attributes",
            &self.tree,
        ])?;
        let words = words_of(&mut process);
        let Some(stream) = process.child.stdout.take() else {
            return Err(failed("reading what git packs", "there is no output"));
        };
        let stream = stream
            .into_owned_fd()
            .map_err(while_doing("reading what git packs"))?;
        let empty = self.is_empty_tree();
        let (writer, unpacked) = blocking("unpacking a commit", move || {
            let unpacked = if empty {
                Ok(())
            } else {
                archive::unpack(File::from(stream), &below, &mut writer)
            };
            Ok((writer, unpacked))
        })
        .await?;
        // A refusal leaves git writing to nobody: it is ended by the drop.
        unpacked?;
        let status = process
            .child
            .wait()
            .await
            .map_err(while_doing("waiting for git"))?;
        process.ended = true;
        if status.success() {
            return Ok(writer);
        }
        let words = words
            .await
            .map_err(while_doing("waiting for git"))?
            .unwrap_or_default();
        Err(failed(
            "packing a commit with git",
            flukedeploy_domain::diagnosis::tame(&String::from_utf8_lossy(&words), 300),
        ))
    }

    /// git's own well-known names for a tree without anything in it (SHA-1 and SHA-256).
    fn is_empty_tree(&self) -> bool {
        self.tree == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
            || self.tree == "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
    }
}
