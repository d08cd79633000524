//! What an answer means.

use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::flukebase::Capability;
use flukedeploy_platform::ports::{FlukebaseError, OutgoingError};
use serde_json::Value;

use crate::read;

/// Longest text of the other side that is shown, in characters.
const SHOWN: usize = 200;
/// The longest pause that is believed.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Answer {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429 | 502..=504)
    }

    fn not_now(&self) -> FlukebaseError {
        FlukebaseError::NotNow {
            why: format!("it answered {}", self.status),
            wait: self.retry_after,
        }
    }

    /// Of a route that is there today.
    pub(crate) fn understood(self) -> Result<Value, FlukebaseError> {
        if self.is_transient() {
            return Err(self.not_now());
        }
        let status = self.status;
        let json = self.json();
        let faulty = |why: String| Err(FlukebaseError::Faulty { why });
        if (200..300).contains(&status) {
            return match json {
                Some(value) if value.is_object() => Ok(value),
                _ => faulty(format!(
                    "it answered {status} with something that is no JSON object"
                )),
            };
        }
        if status == 401 {
            return Err(FlukebaseError::TokenRefused);
        }
        let Some(json) = json.filter(|json| json.get("error").is_some()) else {
            return faulty(match status {
                300..400 => format!("it answered {status}, a redirect; redirects are not followed"),
                _ => format!("it answered {status} without saying why in JSON"),
            });
        };
        let why = why(&json);
        match status {
            403 => Err(FlukebaseError::Forbidden { why }),
            404 => Err(FlukebaseError::NotFound),
            409 => match json.get("server_task").and_then(read::task) {
                Some(task) => Err(FlukebaseError::Conflict(Box::new(task))),
                None => faulty("it answered 409 without the task it has".to_owned()),
            },
            400..500 => Err(FlukebaseError::Refused { status, why }),
            _ => faulty(format!("it answered {status}: {why}")),
        }
    }

    /// Of a route that is only planned. A 401 is said of it by servers that lack it.
    pub(crate) fn capability(&self) -> Result<Capability, FlukebaseError> {
        if self.is_transient() {
            return Err(self.not_now());
        }
        let json = self.json();
        let says_why = json.is_some_and(|json| {
            json.get("error").is_some_and(Value::is_string)
                && json.get("message").is_some_and(Value::is_string)
        });
        Ok(match self.status {
            200..300 => Capability::Present,
            400 | 403 | 404 | 409 | 422 if says_why => Capability::Present,
            _ => Capability::Absent,
        })
    }
}

fn why(json: &Value) -> String {
    let message = json.get("message").and_then(Value::as_str);
    let mut text = message.unwrap_or("no reason given").to_owned();
    let more = json.get("errors").and_then(Value::as_array);
    for one in more.into_iter().flatten().filter_map(Value::as_str).take(5) {
        text.push_str("; ");
        text.push_str(one);
    }
    tame(&text, SHOWN).replace(['\n', '\r'], " ")
}

/// Seconds, as far as they are believed. Dates are not read: nobody there sends them.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let wait = Duration::from_secs(value.trim().parse().ok()?);
    Some(wait.min(LONGEST_WAIT))
}

/// Whether it was ever reached.
pub(crate) fn unreached(error: &OutgoingError) -> FlukebaseError {
    match error {
        OutgoingError::TooLong { .. } => FlukebaseError::Faulty {
            why: error.to_string(),
        },
        _ => FlukebaseError::NotNow {
            why: error.to_string(),
            wait: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    const SAID: &str = r#"{"error":"error","message":"no such thing"}"#;

    #[test]
    fn a_planned_route_is_there_if_it_says_so_in_json() {
        for (status, body, there) in [
            (200, "", Capability::Present),
            (201, "{}", Capability::Present),
            (400, SAID, Capability::Present),
            (403, SAID, Capability::Present),
            (404, SAID, Capability::Present),
            (422, SAID, Capability::Present),
            (404, "{}", Capability::Absent),
            (404, "<html>", Capability::Absent),
            (405, SAID, Capability::Absent),
            (302, "", Capability::Absent),
            (401, SAID, Capability::Absent),
            (500, "oh no", Capability::Absent),
        ] {
            let found = answer(status, body).capability().unwrap();
            assert_eq!(found, there, "{status} {body}");
        }
        for status in [429, 502, 503, 504] {
            assert!(answer(status, SAID).capability().is_err(), "{status}");
        }
    }

    #[test]
    fn what_they_say_is_shortened_and_has_no_escapes() {
        let body = format!(
            r#"{{"error":"error","message":"\u001b[31m{}","errors":["name\nis taken"]}}"#,
            "x".repeat(10_000)
        );
        let Err(FlukebaseError::Refused { status: 422, why }) = answer(422, &body).understood()
        else {
            panic!("a refusal")
        };
        assert!(why.len() < 300 && !why.contains('\u{1b}') && !why.contains('\n'));
    }

    #[test]
    fn nobody_is_believed_a_pause_of_days() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(retry_after("soon"), None);
    }
}
