//! Short ways to say what went wrong.

use flukedeploy_platform::ports::SourceError;

pub(crate) fn refused(message: impl Into<String>, next: impl Into<String>) -> SourceError {
    SourceError::Refused {
        message: message.into(),
        next: next.into(),
    }
}

pub(crate) fn not_found(message: impl Into<String>, next: impl Into<String>) -> SourceError {
    SourceError::NotFound {
        message: message.into(),
        next: next.into(),
    }
}

pub(crate) fn denied(message: impl Into<String>, next: impl Into<String>) -> SourceError {
    SourceError::Denied {
        message: message.into(),
        next: next.into(),
    }
}

pub(crate) fn failed(
    doing: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SourceError {
    SourceError::Failed {
        doing: doing.into(),
        source: source.into(),
    }
}

/// For `map_err`: an I/O error while `doing` something.
pub(crate) fn while_doing<E>(doing: &'static str) -> impl FnOnce(E) -> SourceError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |error| failed(doing, error)
}

/// Runs what blocks where it may block.
pub(crate) async fn blocking<T, F>(doing: &'static str, work: F) -> Result<T, SourceError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, SourceError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(while_doing(doing))?
}
