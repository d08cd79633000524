//! Where a container's log files lie, and whether that may be believed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

/// How often the file that is written to is looked for, and when again.
const LOOKS: usize = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The directory of a container's log files, open: whatever is renamed above it, they are looked for
/// in there.
pub(super) struct Place {
    directory: OwnedFd,
    path: PathBuf,
    /// Of the file that is written to. Its predecessors have `.1`, `.2` … behind it, and `.gz`.
    name: String,
}

/// Device and inode: which file it is, as long as it is open.
pub(super) type Identity = (u64, u64);

impl Place {
    /// Opens the directory that the engine named. Its words are believed only if they lead to where
    /// an engine keeps a container's log: below `root`, its own directory, with no symbolic link on
    /// the way, in a file named after the container. Reads from the disk.
    ///
    /// # Errors
    /// It is not as it should be, or may not be read.
    pub(super) fn open(root: &Path, log_path: &Path, container: &str) -> io::Result<Self> {
        let odd = || io::Error::other("the engine keeps this log in an odd place");
        let inside = log_path.strip_prefix(root).map_err(|_| odd())?;
        let names: Option<Vec<&str>> = inside
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let names = names.ok_or_else(odd)?;
        let (name, parents) = names.split_last().ok_or_else(odd)?;
        let is_id = !container.is_empty() && container.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id || !root.is_absolute() || *name != format!("{container}-json.log") {
            return Err(odd());
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = openat(rustix::fs::CWD, root, flags, Mode::empty())?;
        for parent in parents {
            directory = openat(&directory, *parent, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let place = Self {
            directory,
            path: log_path.parent().ok_or_else(odd)?.to_owned(),
            name: (*name).to_owned(),
        };
        // While the engine puts a full file aside, there is none for a moment.
        for _ in 0..LOOKS {
            if place.open_file(0, false)?.is_some() {
                return Ok(place);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(odd())
    }

    /// Of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Which file is written to at present; `None`: there is none.
    pub(super) fn current(&self) -> io::Result<Option<Identity>> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The `age`th predecessor of the file that is written to, which itself is number 0.
    pub(super) fn open_file(
        &self,
        age: usize,
        packed: bool,
    ) -> io::Result<Option<(File, Identity)>> {
        let name = match (age, packed) {
            (0, _) => self.name.clone(),
            (age, false) => format!("{}.{age}", self.name),
            (age, true) => format!("{}.{age}.gz", self.name),
        };
        // Opening a named pipe that somebody put there would wait for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("a log file is no regular file"));
        }
        Ok(Some((File::from(file), (stat.st_dev, stat.st_ino))))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::tests::Dir;
    use super::*;

    #[test]
    fn only_a_containers_own_file_below_the_engines_directory_is_read() {
        let dir = Dir::new("place");
        let root = dir.path();
        let id = "ab12";
        let inside = root.join("containers").join(id);
        fs::create_dir_all(&inside).unwrap();
        let log = inside.join("ab12-json.log");
        assert!(Place::open(root, &log, id).is_err(), "there is none");
        fs::write(&log, "").unwrap();
        assert!(Place::open(root, &log, id).is_ok());

        for (log_path, id) in [
            (log.clone(), "cd34"),
            (log.clone(), ""),
            (inside.join("other.log"), id),
            (PathBuf::from("/etc/passwd"), id),
            (inside.join("../ab12/ab12-json.log"), id),
            (PathBuf::new(), id),
        ] {
            let opened = Place::open(root, &log_path, id);
            assert!(opened.is_err(), "{}", log_path.display());
        }
        assert!(Place::open(&root.join("elsewhere"), &log, id).is_err());

        // A link in the place of the file, or of a directory on the way.
        fs::write(root.join("secret"), "").unwrap();
        fs::remove_file(&log).unwrap();
        symlink(root.join("secret"), &log).unwrap();
        assert!(Place::open(root, &log, id).is_err());
        fs::remove_file(&log).unwrap();
        fs::create_dir(&log).unwrap();
        assert!(Place::open(root, &log, id).is_err());
        fs::rename(root.join("containers"), root.join("moved")).unwrap();
        symlink(root.join("moved"), root.join("containers")).unwrap();
        fs::remove_dir(root.join("moved/ab12/ab12-json.log")).unwrap();
        fs::write(&log, "").unwrap();
        assert!(Place::open(root, &log, id).is_err());
    }
}
