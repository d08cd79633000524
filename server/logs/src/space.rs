//! The space that is left to others: logs stop before they fill a disk that they share.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::{Doing, Error};
use crate::retention::Removed;
use crate::store::LogStore;

/// Of a small disk no more than this part is kept free.
const PART: u64 = 20;

/// What a disk has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

impl Space {
    /// For everybody: what only root may still write to is not counted.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(directory)?;
        Ok(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    /// How much of it is left to others.
    pub(crate) fn reserve(self, wanted: u64) -> u64 {
        wanted.min(self.total / PART)
    }
}

impl LogStore {
    /// Whether lines may be stored: nothing is, once the disk has less left than
    /// [`Options::min_free_bytes`](crate::Options::min_free_bytes).
    ///
    /// # Errors
    /// [`Error::Full`] with how much is left.
    pub fn check_space(&self) -> Result<(), Error> {
        let wanted = self.shared.options.min_free_bytes;
        if wanted == 0 {
            return Ok(());
        }
        let space = Space::of(&self.shared.root).doing("asking how much space is left")?;
        let reserve = space.reserve(wanted);
        // A little more than where it stopped, so that it does not stop again at once.
        let enough = if self.is_short.load(Ordering::Relaxed) {
            reserve + reserve / 8
        } else {
            reserve
        };
        let is_short = space.free < enough;
        self.is_short.store(is_short, Ordering::Relaxed);
        if !is_short {
            return Ok(());
        }
        let text = format!(
            "{} MiB are free, and {} MiB of this disk are left to others",
            space.free >> 20,
            reserve >> 20
        );
        let cause = io::Error::new(io::ErrorKind::StorageFull, text);
        Err(Error::io("storing log lines", cause))
    }

    /// Where less than twice the reserve is free, removes the oldest segment of the app that takes
    /// most, again and again, until that much is free or every app is down to its newest segment.
    ///
    /// # Errors
    /// A file cannot be removed; the disk cannot be asked.
    pub fn make_room(&self) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        let wanted = self.shared.options.min_free_bytes;
        if wanted == 0 {
            return Ok(removed);
        }
        loop {
            let space = Space::of(&self.shared.root).doing("asking how much space is left")?;
            if space.free >= space.reserve(wanted).saturating_mul(2) {
                return Ok(removed);
            }
            let largest = self
                .usage()
                .into_iter()
                .filter(|usage| usage.segments > 1)
                .max_by_key(|usage| usage.bytes);
            let Some(largest) = largest else {
                return Ok(removed);
            };
            let most = largest.bytes.saturating_sub(1);
            let more = self.retain(&largest.app, None, Some(most))?;
            if more.bytes == 0 {
                return Ok(removed);
            }
            tracing::warn!(
                app.name = largest.app,
                lines = more.lines,
                "the disk gets full: the oldest log lines were removed"
            );
            removed += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_not_all_reserve() {
        let space = |total| Space { free: 0, total };
        assert_eq!(space(16 << 20).reserve(512 << 20), (16 << 20) / 20);
        assert_eq!(space(1 << 40).reserve(512 << 20), 512 << 20);
        assert!(Space::of(Path::new("/tmp")).unwrap().total > 0);
    }
}
