//! The file with the keys that values in the database are sealed with: beside the database, readable
//! by its owner alone, and no part of any query, log or answer.
//!
//! It holds one key, and two only while the key is changed (see `rotation`). It is written as a whole
//! and under the database's write lock, so that nobody meets half of it.

use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::Zeroizing;

/// The name of the file.
pub(crate) const FILE: &str = "secret.key";
/// The first line of the file.
const HEAD: &str = "# FlukeDeploy seals secrets in its database with this key. Without it they are \
                    lost: keep a copy, apart from copies of the database.";
/// A file of ours has some hundred bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Why there is no key.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    #[error(
        "the key file {} is missing, and the database holds values that are sealed with the key \
         '{key}': put the file back from where you keep its copy (mode 0600), or restore database and \
         key file together", path.display()
    )]
    Missing { path: PathBuf, key: String },
    #[error(
        "the key file {} does not hold the key '{key}' that the database is sealed with: it belongs to \
         another database, or to another time of this one; put the right one in its place", path.display()
    )]
    Other { path: PathBuf, key: String },
    #[error(
        "the key file {} holds a key named '{key}' that does not open what is sealed with that name: \
         it was changed; put the right one in its place", path.display()
    )]
    Wrong { path: PathBuf, key: String },
    #[error(
        "the key file {} cannot be understood in line {line}: put the right one in its place", path.display()
    )]
    Malformed { path: PathBuf, line: usize },
    #[error("the key file {} is no plain file", path.display())]
    NoFile { path: PathBuf },
    #[error("the key file {} cannot be {doing}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the operating system has no randomness for a key")]
    NoRandomness,
}

/// 256 bits and what they are called.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    pub(crate) fn random() -> Result<Self, KeyError> {
        let mut name = [0; 6];
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut name)
            .and_then(|()| getrandom::fill(bytes.as_mut()))
            .map_err(|_| KeyError::NoRandomness)?;
        let id = crate::audit::hex(&name);
        Ok(Self { id, bytes })
    }

    fn line(&self) -> Zeroizing<String> {
        let code = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.bytes.as_ref()));
        Zeroizing::new(format!("{} {}\n", self.id, code.as_str()))
    }

    fn read(line: &str) -> Option<Self> {
        let (id, code) = line.split_once(' ')?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(code.trim()).ok()?);
        let is_name = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(Self {
            id: is_name.then(|| id.to_owned())?,
            bytes: Zeroizing::new(decoded.as_slice().try_into().ok()?),
        })
    }
}

/// The key file of a database.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn beside(database: &Path) -> Self {
        Self(database.with_file_name(FILE))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The keys in the file, oldest first; `None` if there is no file. One that others can read is
    /// closed to them, and the log says so.
    pub(crate) fn read(&self) -> Result<Option<Vec<Key>>, KeyError> {
        let found = match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| self.failed("read", error))?,
        };
        if !found.is_file() || found.len() > MAX_FILE_BYTES {
            return Err(KeyError::NoFile {
                path: self.0.clone(),
            });
        }
        if found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&self.0, Permissions::from_mode(0o600))
                .map_err(|error| self.failed("closed to other users", error))?;
            tracing::warn!(
                file = %self.0.display(),
                "the key file could be read by other users and was closed to them; if anybody may have \
                 read it, change the key with 'flukedeploy secrets rotate'"
            );
        }
        let text = fs::read_to_string(&self.0).map(Zeroizing::new);
        let text = text.map_err(|error| self.failed("read", error))?;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::read(line).ok_or_else(|| KeyError::Malformed {
                path: self.0.clone(),
                line: index + 1,
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyError::Malformed {
                path: self.0.clone(),
                line: 1,
            });
        }
        Ok(Some(keys))
    }

    /// Makes the file with a new key. There must be none.
    pub(crate) fn create(&self) -> Result<Key, KeyError> {
        let key = Key::random()?;
        let beside = self.write_beside(std::slice::from_ref(&key))?;
        // Unlike a rename, a link never replaces a file that is there.
        let linked = fs::hard_link(&beside, &self.0).and_then(|()| self.sync_directory());
        let _ = fs::remove_file(&beside);
        linked.map_err(|error| self.failed("made", error))?;
        Ok(key)
    }

    /// Replaces the keys as a whole.
    pub(crate) fn replace(&self, keys: &[Key]) -> Result<(), KeyError> {
        let beside = self.write_beside(keys)?;
        fs::rename(&beside, &self.0)
            .and_then(|()| self.sync_directory())
            .map_err(|error| self.failed("written", error))
    }

    fn write_beside(&self, keys: &[Key]) -> Result<PathBuf, KeyError> {
        let beside = self.0.with_extension("key.new");
        let write = || -> io::Result<()> {
            // A leftover of a crash may have other rights.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            writeln!(file, "{HEAD}")?;
            for key in keys {
                file.write_all(key.line().as_bytes())?;
            }
            file.sync_all()
        };
        write().map_err(|error| self.failed("written", error))?;
        Ok(beside)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = match self.0.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::File::open(directory)?.sync_all()
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> KeyError {
        KeyError::Io {
            path: self.0.clone(),
            doing,
            source,
        }
    }
}
