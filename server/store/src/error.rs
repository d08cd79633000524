//! From sqlx's errors to the port's.

use flukedeploy_platform::ports::StoreError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Says what we were doing when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<Source>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Failed {
            doing,
            source: error.into(),
        })
    }
}

pub(crate) fn corrupt(
    table: &'static str,
    id: impl Into<String>,
    source: impl Into<Source>,
) -> StoreError {
    StoreError::Corrupt {
        table,
        id: id.into(),
        source: source.into(),
    }
}

pub(crate) fn missing(what: impl Into<String>) -> StoreError {
    StoreError::Missing { what: what.into() }
}

pub(crate) fn exists(what: impl Into<String>) -> StoreError {
    StoreError::Exists { what: what.into() }
}
