//! Wakes readers of files when something is written, so that what is silent costs nothing.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

/// Who waits for a directory, by the kernel's number for it.
type Waiting = Mutex<HashMap<i32, Vec<Weak<Notify>>>>;

/// The kernel's watch over directories, one for the whole process: a user may have few of them.
#[derive(Default)]
pub(crate) struct Watch {
    /// `None`: the kernel has no more to give. Readers look by themselves then.
    open: OnceLock<Option<Open>>,
}

struct Open {
    kernel: Arc<OwnedFd>,
    waiting: Arc<Waiting>,
}

impl Watch {
    /// Wakes `reader` once when something happens in the directory from now on. One time only: a
    /// reader that is busy looks by itself, and who writes much pays nothing for being watched.
    /// `false`: it will not.
    pub(super) fn once(&self, directory: &Path, reader: &Arc<Notify>) -> bool {
        let open = self.open.get_or_init(|| {
            Open::new()
                .inspect_err(|error| tracing::warn!(%error, "log files cannot be watched"))
                .ok()
        });
        let Some(open) = open else { return false };
        let what = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::ONESHOT;
        // Locked before, so that what happens at once finds its reader.
        let mut waiting = lock(&open.waiting);
        match inotify::add_watch(&open.kernel, directory, what) {
            Ok(number) => {
                let readers = waiting.entry(number).or_default();
                let reader = Arc::downgrade(reader);
                readers.retain(|one| one.strong_count() > 0 && !one.ptr_eq(&reader));
                readers.push(reader);
                true
            }
            Err(error) => {
                tracing::debug!(%error, directory = %directory.display(), "cannot be watched");
                false
            }
        }
    }
}

impl Open {
    fn new() -> std::io::Result<Self> {
        let kernel = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let waiting = Arc::<Waiting>::default();
        let (own_kernel, own_waiting) = (Arc::clone(&kernel), Arc::clone(&waiting));
        // It sleeps in the kernel nearly always, and ends with the process.
        std::thread::Builder::new()
            .name("log-watch".to_owned())
            .spawn(move || wake(&own_kernel, &own_waiting))?;
        Ok(Self { kernel, waiting })
    }
}

fn wake(kernel: &OwnedFd, waiting: &Waiting) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(kernel, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                // Some were lost: everybody looks.
                lock(waiting).drain().for_each(|(_, readers)| all(readers));
            }
            Ok(event) => {
                if let Some(readers) = lock(waiting).remove(&event.wd()) {
                    all(readers);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                // Readers look by themselves now and then.
                tracing::warn!(%error, "log files are not watched any more");
                return;
            }
        }
    }
}

fn all(readers: Vec<Weak<Notify>>) {
    for reader in readers {
        if let Some(reader) = reader.upgrade() {
            reader.notify_one();
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<i32, Vec<Weak<Notify>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::tests::Dir;
    use super::*;

    #[tokio::test]
    async fn a_reader_is_woken_by_what_is_written() {
        let dir = Dir::new("watch");
        let file = dir.path().join("log");
        fs::write(&file, "").unwrap();
        let watch = Watch::default();
        let readers: [Arc<Notify>; 2] = Default::default();
        for _ in 0..3 {
            for reader in &readers {
                assert!(watch.once(dir.path(), reader));
            }
            let silent = timeout(Duration::from_millis(20), readers[0].notified()).await;
            assert!(silent.is_err());
            fs::write(&file, "more").unwrap();
            for reader in &readers {
                let woken = timeout(Duration::from_secs(10), reader.notified()).await;
                assert!(woken.is_ok());
            }
        }
        assert!(watch.once(dir.path(), &readers[0]));
        fs::remove_dir_all(dir.path()).unwrap();
        let woken = timeout(Duration::from_secs(10), readers[0].notified()).await;
        assert!(woken.is_ok(), "when the directory goes");
        assert!(!watch.once(dir.path(), &readers[0]), "there is none");
    }
}
