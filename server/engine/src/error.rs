//! The one place where bollard's errors become ours.

use std::time::Duration;

use bollard::errors::Error;
use flukedeploy_platform::ports::EngineError;

/// Longest piece of the engine's own words we pass on, in characters.
const MAX_MESSAGE: usize = 500;

/// The engine's words, cut to a length that can be shown.
pub(crate) fn cut(message: &str) -> String {
    let message = message.trim();
    let mut short: String = message.chars().take(MAX_MESSAGE).collect();
    if message.chars().nth(MAX_MESSAGE).is_some() {
        short.push('…');
    }
    short
}

/// What happened, told with what we were doing.
pub(crate) fn engine_error(doing: &str, limit: Duration, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => refusal(doing, status_code, &message),
        Error::DockerStreamError { error } => EngineError::Refused {
            doing: doing.to_owned(),
            message: cut(&error),
        },
        Error::RequestTimeoutError => timed_out(doing, limit),
        Error::UnsupportedURISchemeError { uri: message } => EngineError::Refused {
            doing: doing.to_owned(),
            message,
        },
        error @ (Error::JsonDataError { .. } | Error::JsonSerdeError { .. }) => {
            EngineError::Refused {
                doing: doing.to_owned(),
                message: format!(
                    "its answer could not be understood: {}",
                    cut(&error.to_string())
                ),
            }
        }
        other => EngineError::Unreachable {
            doing: doing.to_owned(),
            source: Box::new(other),
        },
    }
}

pub(crate) fn timed_out(doing: &str, limit: Duration) -> EngineError {
    EngineError::TimedOut {
        doing: doing.to_owned(),
        seconds: limit.as_secs(),
    }
}

fn refusal(doing: &str, status: u16, message: &str) -> EngineError {
    let words = message.to_ascii_lowercase();
    let no_quorum = [
        "not a swarm manager",
        "does not have a leader",
        "deadlineexceeded",
        "context deadline exceeded",
        "lost quorum",
        "swarm is encrypted and needs to be unlocked",
    ];
    let doing = doing.to_owned();
    if no_quorum.iter().any(|phrase| words.contains(phrase)) {
        return EngineError::NoQuorum {
            doing,
            message: cut(message),
        };
    }
    match status {
        404 if message.is_empty() => EngineError::NotFound { doing },
        404 => EngineError::NotFound {
            doing: format!("{doing} ({})", cut(message)),
        },
        _ => EngineError::Refused {
            doing,
            message: if message.is_empty() {
                format!("status {status}")
            } else {
                cut(message)
            },
        },
    }
}

/// Someone changed the object after we had read its version: read again and repeat.
pub(crate) fn is_out_of_sequence(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { message, .. } if message.contains("update out of sequence"))
}

/// An object of that name exists already.
pub(crate) fn is_conflict(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { message, .. }
        if message.contains("already exists") || message.contains("name conflicts"))
}

/// Takes "it is not there" for the answer it is.
pub(crate) fn absent_is_none<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> EngineError {
        let error = Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        };
        engine_error("testing", Duration::from_secs(10), error)
    }

    #[test]
    fn the_engines_answers_are_told_apart() {
        assert!(matches!(
            answer(404, "service x not found"),
            EngineError::NotFound { .. }
        ));
        let not_manager = "This node is not a swarm manager. Use \"docker swarm init\"";
        assert!(matches!(
            answer(503, not_manager),
            EngineError::NoQuorum { .. }
        ));
        let no_leader = "rpc error: code = Unknown desc = The swarm does not have a leader";
        assert!(matches!(
            answer(500, no_leader),
            EngineError::NoQuorum { .. }
        ));
        assert!(is_out_of_sequence(&answer(
            500,
            "rpc error: code = Unknown desc = update out of sequence"
        )));
        assert!(is_conflict(&answer(
            409,
            "rpc error: code = AlreadyExists desc = name conflicts with an existing object"
        )));
        assert!(
            matches!(answer(400, ""), EngineError::Refused { message, .. } if message == "status 400")
        );
        let late = engine_error(
            "testing",
            Duration::from_secs(10),
            Error::RequestTimeoutError,
        );
        assert!(matches!(late, EngineError::TimedOut { seconds: 10, .. }));
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let gone = engine_error("testing", Duration::from_secs(10), gone.into());
        assert!(gone.is_transient());
        assert!(matches!(gone, EngineError::Unreachable { .. }));
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(cut(&"ä".repeat(600)).chars().count(), 501);
        assert_eq!(cut(" short\n"), "short");
    }
}
