//! The port itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::addresses::AllowedAddresses;
use flukedeploy_domain::build::{Origin, RelativePath, Transport, UploadId};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_platform::ports::{
    ContextDockerfile, OpenedSource as Opened, Received, SourceError, Workshop,
};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::fault::{blocking, failed, not_found, refused, while_doing};
use crate::git::Fetcher;
use crate::places::{Places, Scratch, absent_is_fine, private_dir};
use crate::reach::{Resolver, system_resolver};
use crate::tree::{TreeLimits, TreeWriter, locate, shown};
use crate::{archive, pack, programs, uploads};

/// Most names at the top that are told.
const MAX_TOP: usize = 1_000;

/// What a workshop may use.
#[derive(Debug, Clone)]
pub struct SourcesConfig {
    /// Its own directory; made if it is not there.
    pub directory: PathBuf,
    /// Of one archive as it comes in.
    pub max_upload_bytes: u64,
    /// Of one source when unpacked, and of what git fetches for it.
    pub max_tree_bytes: u64,
    /// Files, folders and links of one source.
    pub max_files: u64,
    /// For everything that git does for one source.
    pub git_timeout: Duration,
    /// Besides public addresses with TLS.
    pub allowed: AllowedAddresses,
    /// What git calls as ssh: a program whose `main` begins with [`ssh_wrapper`](crate::ssh_wrapper).
    pub ssh_program: PathBuf,
}

/// Sources in a directory of this machine.
pub struct SourceWorkshop {
    config: SourcesConfig,
    places: Places,
    resolver: Resolver,
}

/// `opened.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    commit: Option<String>,
    files: u64,
    bytes: u64,
}

impl From<Note> for Opened {
    fn from(note: Note) -> Self {
        Self {
            commit: note.commit,
            files: note.files,
            bytes: note.bytes,
        }
    }
}

/// Tells the thread that unpacks that nobody waits any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SourceWorkshop {
    /// Makes the directories, and removes what a crash left half-done.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn new(config: SourcesConfig) -> std::io::Result<Self> {
        Self::with_resolver(config, system_resolver())
    }

    /// As [`SourceWorkshop::new`], with another way to find the addresses of hosts.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn with_resolver(config: SourcesConfig, resolver: Resolver) -> std::io::Result<Self> {
        Ok(Self {
            places: Places::new(&config.directory)?,
            config,
            resolver,
        })
    }

    fn limits(&self) -> TreeLimits {
        TreeLimits {
            bytes: self.config.max_tree_bytes,
            entries: self.config.max_files,
        }
    }

    fn scratch(&self) -> Result<Scratch, SourceError> {
        self.places
            .scratch()
            .map_err(while_doing("making a working directory"))
    }

    async fn fill(
        &self,
        origin: &Origin,
        credential: Option<&Credential>,
        progress: &(dyn Fn(String) + Send + Sync),
        mut writer: TreeWriter,
    ) -> Result<(TreeWriter, Option<String>), SourceError> {
        match origin {
            Origin::Nothing => Ok((writer, None)),
            Origin::Upload { id } => {
                let path = self.places.upload(id);
                if !path.is_file() {
                    return Err(not_found(
                        format!("there is no upload {id} (any more)"),
                        "send the archive again, and deploy with the id that is answered",
                    ));
                }
                progress("Unpacking the upload".to_owned());
                let limits = self.limits();
                let writer = blocking("unpacking an upload", move || {
                    archive::unpack_file(&path, &mut writer, limits)?;
                    Ok(writer)
                })
                .await?;
                Ok((writer, None))
            }
            Origin::Git(source) => {
                let git = programs::find("git", "git")?;
                let scratch = self.scratch()?;
                let fetcher = Fetcher {
                    config: &self.config,
                    resolver: &self.resolver,
                    git,
                    directory: scratch.path().to_owned(),
                    credential,
                    port: source
                        .repository
                        .port()
                        .unwrap_or(match source.repository.transport() {
                            Transport::Https => 443,
                            Transport::Http => 80,
                            Transport::Ssh => 22,
                        }),
                    progress,
                    deadline: Instant::now() + self.config.git_timeout,
                };
                let (writer, commit) = fetcher.write(source, writer).await?;
                Ok((writer, Some(commit)))
            }
        }
    }

    /// The files of an opened tree.
    fn files(&self, deployment: &DeploymentId) -> Option<PathBuf> {
        let files = self.places.tree(deployment).join("files");
        files.is_dir().then_some(files)
    }

    fn opened_files(&self, deployment: &DeploymentId) -> Result<PathBuf, SourceError> {
        self.files(deployment).ok_or_else(|| {
            not_found(
                format!("the source of {deployment} is not here (any more)"),
                "deploy again",
            )
        })
    }
}

fn noted(tree: &Path) -> Result<Option<Opened>, SourceError> {
    match fs::read(tree.join("opened.json")) {
        Ok(text) => Ok(serde_json::from_slice::<Note>(&text).ok().map(Opened::from)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading about an opened source", error)),
    }
}

#[async_trait]
impl Workshop for SourceWorkshop {
    async fn receive(
        &self,
        id: &UploadId,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Received, SourceError> {
        uploads::receive(&self.places, id, archive, self.config.max_upload_bytes).await
    }

    async fn open(
        &self,
        deployment: &DeploymentId,
        origin: &Origin,
        credential: Option<&Credential>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Opened, SourceError> {
        let ready = self.places.tree(deployment);
        if let Some(opened) = noted(&ready)? {
            return Ok(opened);
        }
        let scratch = Arc::new(self.scratch()?);
        let cancel = Cancel(Arc::new(AtomicBool::new(false)));
        let whole = Arc::clone(&scratch);
        let writer = TreeWriter::new(&scratch, self.limits(), Arc::clone(&cancel.0))?;
        let (writer, commit) = match self.fill(origin, credential, progress, writer).await {
            Ok(filled) => filled,
            Err(error) => {
                // Many files take a while to go.
                blocking("removing what was unpacked", move || {
                    drop((scratch, whole));
                    Ok(())
                })
                .await?;
                return Err(error);
            }
        };
        let opened = blocking("finishing the source", move || {
            let mut opened = writer.finish()?;
            opened.commit = commit;
            let note = serde_json::to_vec(&Note {
                commit: opened.commit.clone(),
                files: opened.files,
                bytes: opened.bytes,
            });
            note.map_err(std::io::Error::from)
                .and_then(|note| fs::write(whole.path().join("opened.json"), note))
                .map_err(while_doing("noting what was opened"))?;
            Ok(opened)
        })
        .await?;
        // A tree without a note is of no use; there is none unless somebody else made it.
        absent_is_fine(fs::remove_dir_all(&ready))
            .and_then(|()| fs::rename(scratch.path(), &ready))
            .map_err(while_doing("moving the source to its place"))?;
        Ok(opened)
    }

    async fn read(
        &self,
        deployment: &DeploymentId,
        path: &RelativePath,
        limit: usize,
    ) -> Result<Option<String>, SourceError> {
        let files = self.opened_files(deployment)?;
        let path = path.clone();
        blocking("reading a file of the source", move || {
            read_text(&files, &path, limit)
        })
        .await
    }

    async fn top(&self, deployment: &DeploymentId) -> Result<Vec<String>, SourceError> {
        let files = self.opened_files(deployment)?;
        blocking("listing the source", move || {
            let mut names = Vec::new();
            for entry in fs::read_dir(files).map_err(while_doing("listing the source"))? {
                let entry = entry.map_err(while_doing("listing the source"))?;
                let mut name = entry.file_name().to_string_lossy().into_owned();
                if name == ".git" {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    name.push('/');
                }
                names.push(name);
            }
            names.sort();
            names.truncate(MAX_TOP);
            Ok(names)
        })
        .await
    }

    async fn pack(
        &self,
        deployment: &DeploymentId,
        folder: Option<&RelativePath>,
        dockerfile: &ContextDockerfile,
    ) -> Result<PathBuf, SourceError> {
        let files = match self.files(deployment) {
            Some(files) => Some(files),
            // A Dockerfile that comes with the request needs no other file.
            None if dockerfile.text.is_some() && folder.is_none() => None,
            None => return Err(self.opened_files(deployment).err().unwrap_or_else(gone)),
        };
        let contexts = self.places.context(deployment);
        let scratch = self.scratch()?;
        let folder = folder.cloned();
        let dockerfile = dockerfile.clone();
        blocking("packing the build context", move || {
            let top = if let Some(files) = &files {
                context_folder(files, folder.as_ref())?
            } else {
                let empty = scratch.path().join("empty");
                fs::create_dir(&empty).map_err(while_doing("packing the build context"))?;
                empty
            };
            let digest = Sha256::digest(
                serde_json::to_vec(&(folder.as_ref().map(RelativePath::as_str), &dockerfile))
                    .map_err(while_doing("packing the build context"))?,
            );
            let name = format!("{}.tar", uploads::hex(&digest[..12]));
            let part = scratch.path().join(&name);
            pack::pack(&top, &dockerfile, &part)?;
            let whole = contexts.join(name);
            private_dir(&contexts)
                .and_then(|()| fs::rename(&part, &whole))
                .map_err(while_doing("packing the build context"))?;
            Ok(whole)
        })
        .await
    }

    async fn discard(&self, deployment: &DeploymentId) -> Result<(), SourceError> {
        let all = [
            self.places.tree(deployment),
            self.places.context(deployment),
        ];
        blocking("removing a source", move || {
            for directory in all {
                absent_is_fine(fs::remove_dir_all(directory))
                    .map_err(while_doing("removing a source"))?;
            }
            Ok(())
        })
        .await
    }

    async fn tidy(
        &self,
        before: OffsetDateTime,
        unfinished: &[DeploymentId],
    ) -> Result<(), SourceError> {
        let places = self.places.clone();
        let keep: Vec<String> = unfinished.iter().map(ToString::to_string).collect();
        blocking("tidying the sources", move || {
            tidy(&places, before.into(), &keep).map_err(while_doing("tidying the sources"))
        })
        .await
    }
}

fn gone() -> SourceError {
    not_found("the source is not here (any more)", "deploy again")
}

/// A tree so young may belong to a deployment that began after it was asked which are unfinished.
const YOUNG: Duration = Duration::from_mins(1);

fn tidy(places: &Places, before: SystemTime, keep: &[String]) -> std::io::Result<()> {
    let young = SystemTime::now() - YOUNG;
    for entry in fs::read_dir(places.uploads())? {
        let entry = entry?;
        let came_in = entry.metadata().and_then(|about| about.modified());
        if came_in.is_ok_and(|at| at < before) {
            absent_is_fine(fs::remove_file(entry.path()))?;
        }
    }
    for directory in [places.trees(), places.contexts()] {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let changed = entry.metadata().and_then(|about| about.modified());
            let is_young = changed.is_ok_and(|at| at > young);
            if !is_young && !keep.iter().any(|id| name == id.as_str()) {
                absent_is_fine(fs::remove_dir_all(entry.path()))?;
            }
        }
    }
    Ok(())
}

fn read_text(
    files: &Path,
    path: &RelativePath,
    limit: usize,
) -> Result<Option<String>, SourceError> {
    use std::io::Read as _;
    let Some(found) = locate(files, path.as_str())? else {
        return Ok(None);
    };
    if !found.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    fs::File::open(found)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut text))
        .map_err(while_doing("reading a file of the source"))?;
    let name = shown(path.as_str().as_bytes());
    if text.len() > limit {
        return Err(refused(
            format!("the source's file {name} has more than {limit} bytes"),
            "make it smaller",
        ));
    }
    String::from_utf8(text).map(Some).map_err(|_| {
        refused(
            format!("the source's file {name} is no text in UTF-8"),
            "save it as UTF-8",
        )
    })
}

fn context_folder(files: &Path, folder: Option<&RelativePath>) -> Result<PathBuf, SourceError> {
    let Some(folder) = folder else {
        return Ok(files.to_owned());
    };
    locate(files, folder.as_str())?
        .filter(|path| path.is_dir())
        .ok_or_else(|| {
            not_found(
                format!(
                    "the source has no folder {}",
                    shown(folder.as_str().as_bytes())
                ),
                "check the folder's name; it is relative to the source's top",
            )
        })
}
