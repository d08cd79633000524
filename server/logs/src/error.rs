//! Why the store could not do what it was asked.

use std::io;

use thiserror::Error;

/// What was stored before a failure stays stored; what the failed call brought is not stored.
#[derive(Debug, Error)]
pub enum Error {
    #[error("no space left while {doing}")]
    Full {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    /// More than the store takes at once; the text says of what.
    #[error("{0}")]
    TooLarge(String),
    #[error("log directory is in use by another process")]
    InUse,
    #[error("log store was closed")]
    Closed,
    /// Blocks are written more slowly than lines come, or cannot be written for the reason given.
    #[error("log store cannot take more lines now: {0}")]
    Behind(String),
}

impl Error {
    /// The disk or its quota is full: the call succeeds again once there is space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// A second value for the same fault: the sealing thread's is told to every writer.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { doing, source }
            }
            _ => Self::Io { doing, source },
        }
    }
}

pub(crate) trait Doing<T> {
    fn doing(self, doing: &str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &str) -> Result<T, Error> {
        self.map_err(|source| Error::io(doing, source))
    }
}
