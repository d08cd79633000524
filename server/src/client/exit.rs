//! How a command ends: the exit codes that `flukedeploy help` lists, and what is told beside them.

use std::fmt;
use std::io;

use http::StatusCode;
use serde_json::{Value, json};

use super::output;

/// The exit codes. Stable: scripts compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The deployment failed, or the validation did.
    Failed,
    Usage,
    NotAllowed,
    NotFound,
    Conflict,
    Unreachable,
    TooMany,
    ServerFailed,
    StillGoingOn,
    /// With Ctrl-C.
    Stopped,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotAllowed => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Unreachable => 6,
            Self::TooMany => 7,
            Self::ServerFailed => 8,
            Self::StillGoingOn => 9,
            Self::Stopped => 130,
        }
    }

    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::NotAllowed,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            429 => Self::TooMany,
            502..=504 => Self::Unreachable,
            400..=499 => Self::Usage,
            _ => Self::ServerFailed,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    code: String,
    message: String,
    next: Option<String>,
    /// After how many seconds the server wants to be asked again.
    pub(crate) retry_after: Option<u64>,
    /// The API's own words, where they are its.
    body: Option<Box<Value>>,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message).next(next)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not_found", message)
    }

    fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            next: None,
            retry_after: None,
            body: None,
        }
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Nobody answered.
    pub(crate) fn unreachable(url: &str, error: &anyhow::Error) -> Self {
        let message = format!("{url} cannot be reached: {error:#}");
        Self::new(Exit::Unreachable, "server_unreachable", message)
            .next("check the address (--server, --url, FLUKEDEPLOY_URL) and that the server runs")
    }

    /// An answer that is no success.
    pub(crate) fn of_answer(status: StatusCode, body: &[u8], retry_after: Option<u64>) -> Self {
        let exit = Exit::of_status(status);
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(message) = problem["message"].as_str() else {
            let message = format!("the server answered {status}, and not as FlukeDeploy does");
            let exit = match exit {
                // Something else answers there: what it means by that is not known.
                Exit::Unreachable => exit,
                _ => Exit::ServerFailed,
            };
            return Self::new(exit, "not_flukedeploy", message)
                .next("check the address (--server, --url, FLUKEDEPLOY_URL)");
        };
        let mut failure = Self::new(exit, problem["code"].as_str().unwrap_or("refused"), message);
        failure.next = problem["next"].as_str().map(ToOwned::to_owned);
        failure.retry_after = retry_after;
        failure.body = Some(Box::new(problem));
        failure
    }

    /// A success that cannot be read.
    pub(crate) fn unreadable(what: impl Into<String>) -> Self {
        Self::new(Exit::ServerFailed, "not_flukedeploy", what)
            .next("check the address (--server, --url, FLUKEDEPLOY_URL)")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Failure {}

/// Tells what went wrong: as JSON on standard output if that was asked for, else to people.
pub(crate) fn tell(error: &anyhow::Error, json: bool) -> Exit {
    let broken_pipe = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    });
    if broken_pipe && error.downcast_ref::<Failure>().is_none() {
        // Whoever reads has seen enough.
        return Exit::Done;
    }
    let here;
    let failure = if let Some(failure) = error.downcast_ref::<Failure>() {
        failure
    } else {
        here = Failure::new(Exit::Usage, "failed_here", format!("{error:#}"));
        &here
    };
    if json {
        let body = failure.body.as_deref().cloned().unwrap_or_else(
            || json!({"code": failure.code, "message": failure.message, "next": failure.next}),
        );
        // Nothing is left to do when this fails too.
        let _ = output::json(&body);
    } else {
        output::note(&format!("flukedeploy: {failure}"));
        if let Some(next) = &failure.next {
            output::note(&format!("next: {next}"));
        }
    }
    failure.exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &Value) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::of_answer(status, body.to_string().as_bytes(), None)
    }

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        let refusal = json!({"message": "no", "code": "x"});
        for (status, code) in [
            (400, 2),
            (422, 2),
            (413, 2),
            (401, 3),
            (403, 3),
            (404, 4),
            (409, 5),
            (503, 6),
            (429, 7),
            (500, 8),
        ] {
            assert_eq!(of(status, &refusal).exit.code(), code, "{status}");
        }
    }

    #[test]
    fn the_apis_words_are_told_and_nothing_else() {
        let refusal = json!({"message": "there is no app 'shp'", "code": "app_not_found",
            "next": "list the apps", "status": 404});
        let failure = of(404, &refusal);
        assert_eq!(failure.to_string(), "there is no app 'shp' (app_not_found)");
        assert_eq!(failure.next.as_deref(), Some("list the apps"));
        assert_eq!(failure.body.as_deref(), Some(&refusal));
    }

    #[test]
    fn what_is_not_flukedeploy_is_not_taken_for_it() {
        for (status, code) in [(200, 8), (302, 8), (404, 8), (502, 6)] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::of_answer(status, b"<html>hello</html>", None);
            assert_eq!(failure.exit.code(), code, "{status}");
            assert!(!failure.to_string().contains("hello"));
        }
    }

    #[test]
    fn the_codes_are_the_ones_that_the_help_lists() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NotAllowed,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Unreachable,
            Exit::TooMany,
            Exit::ServerFailed,
            Exit::StillGoingOn,
            Exit::Stopped,
        ] {
            let line = format!("\n{:>3}  ", exit.code());
            assert!(crate::cli::NOTES.contains(&line), "{exit:?}");
        }
    }
}
