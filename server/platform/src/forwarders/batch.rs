//! One batch of entries to one receiver, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::forwarder::{ForwardKind, Forwarder, Target};
use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_domain::timestamp;
use flukedeploy_domain::webhook::WebhookUrl;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{otlp, syslog};
use crate::platform::Platform;
use crate::ports::{LogAnswer, LogPost, OutgoingError};
use crate::webhooks::signature;

/// Longer than an attempt may take: an adapter that hangs must not stop a forwarder for good.
const ATTEMPT: Duration = Duration::from_secs(30);

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it. Some of it, it said, it will never take.
    Arrived { refused: u64, why: Option<String> },
    /// It takes no batch like this: a smaller one may do.
    Unfit { status: u16, why: String },
    /// The same is to be tried again, and not before this long, if the receiver said so.
    Failed {
        why: String,
        wish: Option<time::Duration>,
        too_slow: bool,
    },
}

/// `name` tells deliveries of a webhook apart; the same batch has the same.
pub(super) async fn send(
    px: &Platform,
    forwarder: &Forwarder,
    entries: &[&LogEntry],
    name: &str,
) -> Outcome {
    let sent = tokio::time::timeout(ATTEMPT, attempt(px, forwarder, entries, name)).await;
    let sent = sent.unwrap_or(Err(OutgoingError::TimedOut(ATTEMPT)));
    match sent {
        Ok(None) => Outcome::Arrived {
            refused: 0,
            why: None,
        },
        Ok(Some(answer)) => judge(forwarder.target.kind(), &answer, px.now()),
        Err(error) => Outcome::Failed {
            too_slow: matches!(error, OutgoingError::TimedOut(_)),
            why: error.to_string(),
            wish: None,
        },
    }
}

async fn attempt(
    px: &Platform,
    forwarder: &Forwarder,
    entries: &[&LogEntry],
    name: &str,
) -> Result<Option<LogAnswer>, OutgoingError> {
    let receivers = &px.parts().log_receivers;
    let post = match &forwarder.target {
        Target::Syslog(address) => {
            let instance = px.config().instance.as_str();
            let messages: Vec<Bytes> = entries
                .iter()
                .map(|entry| syslog::message(entry, instance))
                .collect();
            receivers.syslog(address, &messages).await?;
            return Ok(None);
        }
        Target::Otlp(url) => LogPost {
            url: url.clone(),
            content_type: "application/json",
            headers: headers(px, forwarder),
            body: otlp::request(entries, px.now(), px.config().version),
        },
        Target::Webhook(url) => webhook(px, forwarder, url, entries, name),
    };
    receivers.post(&post).await.map(Some)
}

fn headers(px: &Platform, forwarder: &Forwarder) -> Vec<(String, String)> {
    let own = forwarder.secrets.headers.clone();
    let names_itself = own
        .keys()
        .any(|name| name.eq_ignore_ascii_case("user-agent"));
    let mut headers: Vec<(String, String)> = own.into_iter().collect();
    if !names_itself {
        let agent = format!("FlukeDeploy-Logs/{}", px.config().version);
        headers.push(("User-Agent".to_owned(), agent));
    }
    headers
}

fn webhook(
    px: &Platform,
    forwarder: &Forwarder,
    url: &WebhookUrl,
    entries: &[&LogEntry],
    name: &str,
) -> LogPost {
    let mut body = Vec::new();
    for entry in entries {
        // Keys are strings and numbers are finite, so that this cannot fail.
        body.extend(serde_json::to_vec(entry).unwrap_or_default());
        body.push(b'\n');
    }
    let mut headers = headers(px, forwarder);
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    add("X-FlukeDeploy-Event", "logs.forwarded".to_owned());
    add("X-FlukeDeploy-Delivery-ID", name.to_owned());
    add("X-FlukeDeploy-Timestamp", timestamp::to_wire(px.now()));
    if let Some(secret) = &forwarder.secrets.signing {
        add("X-FlukeDeploy-Signature", signature(secret, &body));
    }
    LogPost {
        url: url.clone(),
        content_type: "application/x-ndjson",
        headers,
        body: body.into(),
    }
}

fn judge(kind: ForwardKind, answer: &LogAnswer, now: OffsetDateTime) -> Outcome {
    let status = answer.status;
    match status {
        200..300 => {
            let (refused, why) = match kind {
                ForwardKind::Otlp => otlp::refused(&answer.body),
                ForwardKind::Syslog | ForwardKind::Webhook => (0, None),
            };
            Outcome::Arrived { refused, why }
        }
        413 => Outcome::Unfit {
            status,
            why: "it answered 413, too large".to_owned(),
        },
        400 if kind == ForwardKind::Otlp => Outcome::Unfit {
            status,
            why: "it answered 400, not as it should be".to_owned(),
        },
        300..400 => Outcome::Failed {
            why: format!("it answered {status}, a redirect; redirects are not followed"),
            wish: None,
            too_slow: false,
        },
        _ => Outcome::Failed {
            why: format!("it answered {status}"),
            wish: answer
                .retry_after
                .as_deref()
                .and_then(|text| retry_after(text, now)),
            too_slow: false,
        },
    }
}

/// Seconds, or a date.
fn retry_after(text: &str, now: OffsetDateTime) -> Option<time::Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(time::Duration::seconds(i64::from(seconds)));
    }
    let at = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
    Some(at - now).filter(|wait| wait.is_positive())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-02-04 10:00 UTC);

    fn answer(status: u16) -> LogAnswer {
        LogAnswer {
            status,
            ..LogAnswer::default()
        }
    }

    #[test]
    fn an_answer_is_a_success_a_refusal_or_tried_again() {
        let of = |kind, status| judge(kind, &answer(status), NOW);
        for kind in [ForwardKind::Otlp, ForwardKind::Webhook] {
            assert!(matches!(of(kind, 204), Outcome::Arrived { refused: 0, .. }));
            assert!(matches!(of(kind, 413), Outcome::Unfit { .. }));
            for status in [302, 401, 403, 404, 408, 429, 500, 503] {
                assert!(
                    matches!(of(kind, status), Outcome::Failed { .. }),
                    "{status}"
                );
            }
        }
        assert!(matches!(of(ForwardKind::Otlp, 400), Outcome::Unfit { .. }));
        assert!(matches!(
            of(ForwardKind::Webhook, 400),
            Outcome::Failed { .. }
        ));
    }

    #[test]
    fn a_receiver_says_when_it_wants_to_be_asked_again() {
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 04 Feb 2026 10:01:30 GMT", Some(90)),
            ("Wed, 04 Feb 2026 09:00:00 GMT", None),
            ("soon", None),
            ("-5", None),
        ] {
            let expected = seconds.map(time::Duration::seconds);
            assert_eq!(retry_after(text, NOW), expected, "{text}");
        }
        let busy = LogAnswer {
            retry_after: Some("7".to_owned()),
            ..answer(429)
        };
        let Outcome::Failed { wish, .. } = judge(ForwardKind::Otlp, &busy, NOW) else {
            panic!("busy is no success")
        };
        assert_eq!(wish, Some(time::Duration::seconds(7)));
    }
}
