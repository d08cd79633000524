//! The directories of the workshop, all of them for their owner alone.
//!
//! ```text
//! uploads/<upload id>          an archive as it came in; `.part` while it comes
//! trees/<deployment id>/       files/ and opened.json, moved here as a whole when ready
//! contexts/<deployment id>/    build contexts
//! work/                        whatever is not ready; emptied at each start
//! ```

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flukedeploy_domain::build::UploadId;
use flukedeploy_domain::deployment::DeploymentId;

#[derive(Debug, Clone)]
pub(crate) struct Places {
    top: PathBuf,
}

impl Places {
    /// Makes the directories, and removes what a crash left half-done.
    pub(crate) fn new(top: &Path) -> io::Result<Self> {
        let places = Self {
            top: std::path::absolute(top)?,
        };
        private_dir(&places.top)?;
        absent_is_fine(fs::remove_dir_all(places.work()))?;
        for directory in [
            places.uploads(),
            places.trees(),
            places.contexts(),
            places.work(),
        ] {
            private_dir(&directory)?;
        }
        for entry in fs::read_dir(places.uploads())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "part") {
                absent_is_fine(fs::remove_file(path))?;
            }
        }
        Ok(places)
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.top.join("uploads")
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.top.join("trees")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.top.join("contexts")
    }

    fn work(&self) -> PathBuf {
        self.top.join("work")
    }

    /// Ids hold no `/` and are never `..`: they were checked when they were parsed.
    pub(crate) fn upload(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(id.as_str())
    }

    pub(crate) fn tree(&self, deployment: &DeploymentId) -> PathBuf {
        self.trees().join(deployment.as_str())
    }

    pub(crate) fn context(&self, deployment: &DeploymentId) -> PathBuf {
        self.contexts().join(deployment.as_str())
    }

    /// A new directory that goes when its guard goes.
    pub(crate) fn scratch(&self) -> io::Result<Scratch> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = self
            .work()
            .join(format!("{:016x}", u64::from_be_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch { path })
    }
}

/// A directory that is removed with everything in it, whatever happens; keys live here.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = absent_is_fine(fs::remove_dir_all(&self.path)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a working directory was not removed; the next start removes it"
            );
        }
    }
}

pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
