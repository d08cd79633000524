//! Claims on things that several test processes share. A claim is a locked file: the kernel lets go of
//! it when its process dies, however it dies, so that nobody has to guess whether an owner still lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the tests of this machine keep claims, data directories and logs of failed instances.
pub fn directory() -> PathBuf {
    std::env::temp_dir().join("flukedeploy-end2end")
}

/// A held claim; dropping it lets go.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    file: File,
}

impl Lease {
    /// `None` when another process, or another part of this one, holds it.
    pub fn try_take(name: &str) -> Result<Option<Self>> {
        let lease = Self::open(name)?;
        match lease.file.try_lock() {
            Ok(()) => Ok(Some(lease)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", lease.path.display()))
            }
        }
    }

    /// Waits until nobody else holds it.
    pub async fn take(name: &str) -> Result<Self> {
        let lease = Self::open(name)?;
        tokio::task::spawn_blocking(move || {
            lease.file.lock().context("waiting for a lock")?;
            Ok(lease)
        })
        .await
        .context("waiting for a lock")?
    }

    fn open(name: &str) -> Result<Self> {
        let directory = directory();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let path = directory.join(format!("{name}.lease"));
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Leaves a note for whoever finds the claim orphaned.
    pub fn note(&mut self, text: &str) -> Result<()> {
        self.file.set_len(0)?;
        std::io::Seek::rewind(&mut self.file)?;
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }

    pub fn read_note(&mut self) -> Result<String> {
        let mut text = String::new();
        std::io::Seek::rewind(&mut self.file)?;
        self.file.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Lets go and removes the file. Only for names that are used once.
    pub fn forget(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Names of claims, held or orphaned, that begin with `prefix`.
pub fn names(prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let path: &Path = &entry.path();
            (path.extension()? == "lease")
                .then(|| path.file_stem()?.to_str().map(str::to_owned))
                .flatten()
        })
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// A TCP port that is free now, and that no other test takes while this is held.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _lease: Lease,
}

impl Port {
    /// Below the range the kernel gives to outgoing connections: those would collide with a server
    /// that is started a moment later.
    pub fn free() -> Result<Self> {
        for _ in 0..200 {
            let mut bytes = [0_u8; 2];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
            let number = 20_000 + u16::from_le_bytes(bytes) % 10_000;
            let Some(lease) = Lease::try_take(&format!("port-{number}"))? else {
                continue;
            };
            if TcpListener::bind(("0.0.0.0", number)).is_ok() {
                return Ok(Self {
                    number,
                    _lease: lease,
                });
            }
        }
        bail!("found no free port between 20000 and 29999")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_exclusive_until_it_is_dropped() {
        let name = format!("claim-{}", crate::random_name(8));
        let mut held = Lease::try_take(&name).unwrap().unwrap();
        assert!(Lease::try_take(&name).unwrap().is_none());
        held.note("first").unwrap();
        held.note("2nd").unwrap();
        assert_eq!(held.read_note().unwrap(), "2nd");
        assert!(names("claim-").contains(&name));
        drop(held);
        let again = Lease::try_take(&name).unwrap().unwrap();
        again.forget();
        assert!(!names("claim-").contains(&name));
    }

    #[test]
    fn ports_are_free_and_differ() {
        let ports: Vec<Port> = (0..20).map(|_| Port::free().unwrap()).collect();
        let numbers: std::collections::BTreeSet<u16> =
            ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), 20);
        for number in numbers {
            TcpListener::bind(("127.0.0.1", number)).unwrap();
        }
    }
}
