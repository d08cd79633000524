//! A disk that is soon full: a file system in memory, mounted for one test.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const BALLAST: &str = "ballast";

/// Unmounted when it is dropped, also by a panic. Needs root.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Makes the directory and mounts a disk of this size there.
    pub fn mount(directory: &Path, megabytes: u64) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let options = std::ffi::CString::new(format!("size={megabytes}m,mode=0700"))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount(
            "flukedeploy-end2end",
            directory,
            "tmpfs",
            flags,
            options.as_c_str(),
        )
        .with_context(|| format!("mounting a small disk at {} (as root)", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Bytes that are free.
    pub fn free(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.directory)?;
        Ok(found.f_bavail * found.f_frsize)
    }

    /// Takes space until so many bytes are left; with 0 until nothing can be written any more.
    pub fn fill_to(&self, left: u64) -> Result<()> {
        let path = self.directory.join(BALLAST);
        let mut ballast = OpenOptions::new().create(true).append(true).open(path)?;
        loop {
            let more = self.free()?.saturating_sub(left).min(1 << 20);
            if more == 0 {
                return Ok(());
            }
            match write(&mut ballast, usize::try_from(more)?) {
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }

    /// Gives back what was taken.
    pub fn clear(&self) -> Result<()> {
        std::fs::remove_file(self.directory.join(BALLAST)).context("removing the ballast")
    }
}

fn write(ballast: &mut File, bytes: usize) -> std::io::Result<()> {
    ballast.write_all(&vec![1; bytes])
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        release(&self.directory);
    }
}

/// What a killed test left mounted there, if anything.
pub(crate) fn release(directory: &Path) {
    let _ = unmount(directory, UnmountFlags::DETACH);
}
