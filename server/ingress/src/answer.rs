//! The answers the ingress gives by itself.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};

use crate::body::ResponseBody;
use crate::headers::HostProblem;

/// Why a request got no answer from an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadHost(HostProblem),
    UnknownHost,
    ConnectUnsupported,
    Loop,
    /// No routing table has arrived yet.
    Starting,
    /// The app has no replica that passed its health gate.
    NoReplica,
    /// Its owner has stopped it.
    Stopped,
    InMaintenance,
    /// There is no place left to wait in for it.
    TooManyWaiting,
    /// Every replica refused the connection.
    Unreachable,
    /// The replica broke off, or spoke no HTTP.
    BadAnswer,
    /// The replica did not answer in time.
    TimedOut,
    /// The client did not finish its request in time, or garbled it.
    BadRequestBody,
}

struct Words {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    text: &'static str,
}

impl Refusal {
    fn words(self) -> Words {
        let words = |status, code, title, text| Words {
            status,
            code,
            title,
            text,
        };
        match self {
            Self::BadHost(problem) => words(
                StatusCode::BAD_REQUEST,
                "bad_host",
                "Bad request",
                match problem {
                    HostProblem::Missing => "The request does not say which host it is for.",
                    HostProblem::Ambiguous => "The request names more than one host.",
                    HostProblem::Malformed => "The host name of the request is not valid.",
                },
            ),
            Self::UnknownHost => words(
                StatusCode::NOT_FOUND,
                "unknown_host",
                "No app here",
                "No app answers for this host name. Check the address, or add the name to the \
                 domains of an app.",
            ),
            Self::ConnectUnsupported => words(
                StatusCode::METHOD_NOT_ALLOWED,
                "connect_unsupported",
                "Method not allowed",
                "This is not a forward proxy.",
            ),
            Self::Loop => words(
                StatusCode::LOOP_DETECTED,
                "loop_detected",
                "Loop detected",
                "The app sends its requests back to itself through the ingress.",
            ),
            Self::Starting => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "ingress_starting",
                "Starting",
                "The ingress has not received its routes yet. Try again in a moment.",
            ),
            Self::NoReplica => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_healthy_replica",
                "App not available",
                "No replica of this app is healthy right now. Try again in a moment.",
            ),
            Self::Stopped => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "app_stopped",
                "App stopped",
                "This app has been stopped by its owner.",
            ),
            Self::InMaintenance => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "app_in_maintenance",
                "Maintenance",
                "This app is being worked on and will be back. Try again in a while.",
            ),
            Self::TooManyWaiting => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_waiting",
                "App not available",
                "Too many requests are waiting for this app already. Try again in a moment.",
            ),
            Self::Unreachable => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "replicas_unreachable",
                "App not available",
                "No replica of this app accepts connections right now. Try again in a moment.",
            ),
            Self::BadAnswer => words(
                StatusCode::BAD_GATEWAY,
                "bad_answer",
                "Bad gateway",
                "The app closed the connection before it gave a complete answer.",
            ),
            Self::TimedOut => words(
                StatusCode::GATEWAY_TIMEOUT,
                "app_timed_out",
                "Gateway time-out",
                "The app did not answer in time.",
            ),
            Self::BadRequestBody => words(
                StatusCode::REQUEST_TIMEOUT,
                "request_incomplete",
                "Request incomplete",
                "The body of the request did not arrive.",
            ),
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        self.words().status
    }

    /// Stable name of the reason.
    pub(crate) fn code(self) -> &'static str {
        self.words().code
    }

    /// Whether an app is to blame, so that it counts as failed traffic.
    pub(crate) fn is_failure_of_app(self) -> bool {
        match self {
            Self::NoReplica
            | Self::TooManyWaiting
            | Self::Unreachable
            | Self::BadAnswer
            | Self::TimedOut => true,
            Self::BadHost(_)
            | Self::Stopped
            | Self::InMaintenance
            | Self::UnknownHost
            | Self::ConnectUnsupported
            | Self::Loop
            | Self::Starting
            | Self::BadRequestBody => false,
        }
    }

    /// A page, or problem+json (RFC 9457) where the client would rather have JSON. It holds
    /// nothing that the client sent.
    pub(crate) fn response(self, accept: Option<&HeaderValue>) -> Response<ResponseBody> {
        let words = self.words();
        let json = accept.is_some_and(prefers_json);
        let body = if json { problem(&words) } else { page(&words) };
        let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
        *response.status_mut() = words.status;
        let headers = response.headers_mut();
        set_headers(headers, json);
        match self {
            Self::Starting | Self::NoReplica | Self::TooManyWaiting | Self::Unreachable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            // Somebody has to act first.
            Self::Stopped | Self::InMaintenance => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
            }
            Self::ConnectUnsupported => {
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

fn set_headers(headers: &mut HeaderMap, json: bool) {
    let kind = if json {
        "application/problem+json"
    } else {
        "text/html; charset=utf-8"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !json {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
}

fn problem(words: &Words) -> String {
    serde_json::json!({
        "type": format!("/problems/{}", words.code),
        "title": words.title,
        "status": words.status.as_u16(),
        "detail": words.text,
        "error": words.code,
        "message": words.text,
    })
    .to_string()
}

fn page(words: &Words) -> String {
    let Words {
        status,
        title,
        text,
        ..
    } = words;
    let status = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;\
         max-width:34rem;margin:20vh auto;padding:0 1.5rem}}h1{{font-size:1.5rem;margin:0}}\
         p{{margin:.5rem 0}}.status{{opacity:.65;font-variant-numeric:tabular-nums}}</style>\n\
         </head>\n<body>\n<main>\n<p class=\"status\">{status}</p>\n<h1>{title}</h1>\n\
         <p>{text}</p>\n</main>\n</body>\n</html>\n"
    )
}

/// Whether `Accept` gives JSON a greater quality than HTML. `*/*` alone does not.
fn prefers_json(accept: &HeaderValue) -> bool {
    let (mut json, mut html) = (0u16, 0u16);
    for range in accept.as_bytes().split(|b| *b == b',') {
        let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let quality = parts.find_map(quality).unwrap_or(1000);
        if kind.eq_ignore_ascii_case(b"application/json")
            || kind.eq_ignore_ascii_case(b"application/problem+json")
        {
            json = json.max(quality);
        } else if kind.eq_ignore_ascii_case(b"text/html") {
            html = html.max(quality);
        }
    }
    json > html
}

/// `q=0.5` in thousandths.
fn quality(parameter: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(parameter).ok()?;
    let value = text
        .strip_prefix("q=")
        .or_else(|| text.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let mut thousandths = whole.parse::<u16>().ok()?.min(1) * 1000;
    for (digit, unit) in fraction.bytes().take(3).zip([100, 10, 1]) {
        thousandths += u16::from(digit.checked_sub(b'0').filter(|d| *d < 10)?) * unit;
    }
    Some(thousandths.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_only_where_it_is_preferred() {
        for (accept, json) in [
            ("application/json", true),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("text/html;q=0.5, application/json", true),
            ("application/json;q=0.4, text/html;q=0.45", false),
            ("application/json, text/html", false),
            ("", false),
        ] {
            assert_eq!(
                prefers_json(&HeaderValue::from_static(accept)),
                json,
                "{accept}"
            );
        }
    }

    #[test]
    fn refusals_say_when_to_come_back() {
        let response = Refusal::NoReplica.response(None);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert!(
            !Refusal::UnknownHost
                .response(None)
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }
}
