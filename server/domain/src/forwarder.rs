//! Bringing log entries to somebody else: to whom, which, and how far it has got.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use time::{Duration, OffsetDateTime};

use crate::log_entry::{Level, LogFilter};
use crate::names::{AppName, EnvironmentName, Invalid, quoted};
use crate::timestamp;
use crate::webhook::WebhookUrl;

/// Forwarders of one instance at most: each reads the whole log.
pub const MAX_FORWARDERS: usize = 20;
/// Headers of one forwarder at most.
pub const MAX_HEADERS: usize = 20;
/// Longest value of a header, in bytes.
pub const MAX_HEADER_BYTES: usize = 4096;
/// The first pause after a failed attempt.
const FIRST_PAUSE: Duration = Duration::seconds(1);
/// The longest pause before jitter: who is back is served within this.
const LONGEST_PAUSE: Duration = Duration::minutes(2);
/// The longest pause that a receiver can ask for.
const LONGEST_WISH: Duration = Duration::hours(1);

/// `lf-<16 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ForwarderId(String);

impl ForwarderId {
    pub fn new(random: u64) -> Self {
        Self(format!("lf-{random:016x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForwarderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ForwarderId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        match text.strip_prefix("lf-") {
            Some(rest) if rest.len() == 16 && rest.bytes().all(plain) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new(
                "forwarder",
                format!("must begin with 'lf-', not {}", quoted(text)),
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ForwarderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How entries are written and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardKind {
    /// RFC 5424 over TCP, TLS or UDP.
    Syslog,
    /// OTLP logs over HTTP, in JSON.
    Otlp,
    /// Signed `POST`s of one JSON object a line.
    Webhook,
}

impl ForwardKind {
    pub const ALL: [Self; 3] = [Self::Syslog, Self::Otlp, Self::Webhook];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::Otlp => "otlp",
            Self::Webhook => "webhook",
        }
    }
}

impl FromStr for ForwardKind {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Invalid::new("kind", "must be syslog, otlp or webhook"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyslogTransport {
    /// Octet counting, RFC 6587.
    Tcp,
    /// RFC 5425.
    Tls,
    /// RFC 5426. What gets lost on the way is lost.
    Udp,
}

/// `tcp://host[:port]`, `tls://…` or `udp://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogAddress {
    pub transport: SyslogTransport,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl SyslogAddress {
    fn scheme(&self) -> &'static str {
        match self.transport {
            SyslogTransport::Tcp => "tcp",
            SyslogTransport::Tls => "tls",
            SyslogTransport::Udp => "udp",
        }
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

impl FromStr for SyslogAddress {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |problem: &str| Invalid::new("url", problem);
        let (transport, usual_port, rest) = match text.split_once("://") {
            Some(("tcp", rest)) => (SyslogTransport::Tcp, 514, rest),
            Some(("tls", rest)) => (SyslogTransport::Tls, 6514, rest),
            Some(("udp", rest)) => (SyslogTransport::Udp, 514, rest),
            _ => return Err(fault("must begin with tcp://, tls:// or udp://")),
        };
        if rest.contains(['/', '?']) {
            return Err(fault("must end with the host or its port"));
        }
        // The same rules for host and port as everywhere.
        let checked: WebhookUrl = format!("http://{rest}/").parse()?;
        let authority = checked.authority();
        let bare = |host: &str| host.trim_matches(['[', ']']).to_owned();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port
                    .parse()
                    .map_err(|_| fault("must name a host, and a port at most"))?;
                (bare(host), port)
            }
            _ => (bare(authority), usual_port),
        };
        Ok(Self {
            transport,
            host,
            port,
        })
    }
}

/// To whom, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Syslog(SyslogAddress),
    /// The whole address of the receiver's `/v1/logs`.
    Otlp(WebhookUrl),
    Webhook(WebhookUrl),
}

impl Target {
    /// An OTLP address without a path is the base that `/v1/logs` follows.
    ///
    /// # Errors
    /// The address does not fit the kind.
    pub fn new(kind: ForwardKind, url: &str) -> Result<Self, Invalid> {
        Ok(match kind {
            ForwardKind::Syslog => Self::Syslog(url.parse()?),
            ForwardKind::Webhook => Self::Webhook(url.parse()?),
            ForwardKind::Otlp => {
                let base: WebhookUrl = url.parse()?;
                let text = base.as_str();
                let is_base = text
                    .split_once("://")
                    .is_some_and(|(_, rest)| rest.trim_end_matches('/') == base.authority());
                Self::Otlp(if is_base {
                    format!("{}/v1/logs", text.trim_end_matches('/')).parse()?
                } else {
                    base
                })
            }
        })
    }

    pub fn kind(&self) -> ForwardKind {
        match self {
            Self::Syslog(_) => ForwardKind::Syslog,
            Self::Otlp(_) => ForwardKind::Otlp,
            Self::Webhook(_) => ForwardKind::Webhook,
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Syslog(address) => address.to_string(),
            Self::Otlp(url) | Self::Webhook(url) => url.as_str().to_owned(),
        }
    }

    /// Host and port: what may be told and logged, since a path can be a secret.
    pub fn authority(&self) -> String {
        match self {
            Self::Syslog(address) => address.authority(),
            Self::Otlp(url) | Self::Webhook(url) => url.authority().to_owned(),
        }
    }
}

/// What a forwarder shows the receiver. Never shown again, by no door; `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSecrets {
    /// Key of a webhook's signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<String>,
    /// Headers of OTLP and webhook requests, `Authorization` for one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for ForwardSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardSecrets")
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// Headers that belong to the connection or to us.
const OUR_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// # Errors
/// One [`Invalid`] a header; values are never quoted.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Vec<Invalid>> {
    let mut faults = Vec::new();
    if headers.len() > MAX_HEADERS {
        let problem = format!("must be at most {MAX_HEADERS}, not {}", headers.len());
        faults.push(Invalid::new("headers", problem));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let field = format!("headers.{}", quoted(name));
        if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
            let problem = "must have a name of letters, digits and - _ .";
            faults.push(Invalid::new(field, problem));
        } else if OUR_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-flukedeploy-") {
            faults.push(Invalid::new(field, "is set by FlukeDeploy itself"));
        } else if value.len() > MAX_HEADER_BYTES
            || !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        {
            let problem = format!("must be at most {MAX_HEADER_BYTES} plain characters");
            faults.push(Invalid::new(field, problem));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Which entries go; all parts must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardFilter {
    /// It may be gone: what it said last is forwarded too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<AppName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// This level or worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_level: Option<Level>,
}

impl ForwardFilter {
    pub fn of_log(&self) -> LogFilter {
        LogFilter {
            app_name: self.app_name.as_ref().map(ToString::to_string),
            environment: self.environment.as_ref().map(ToString::to_string),
            min_level: self.min_level,
            ..LogFilter::default()
        }
    }
}

/// Somebody who gets log entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarder {
    pub id: ForwarderId,
    pub target: Target,
    pub secrets: ForwardSecrets,
    pub filter: ForwardFilter,
    /// Turned off, it stays where it is and goes on from there.
    pub active: bool,
    pub created_at: OffsetDateTime,
    pub progress: ForwardProgress,
}

/// How far a forwarder has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardProgress {
    /// Everything up to this line of the log store is through.
    pub cursor: u64,
    /// Entries that the receiver took.
    pub sent: u64,
    /// Entries that retention removed before they could be sent.
    pub missed: u64,
    /// Entries that the receiver took the batch of and refused, or that are too large for it.
    pub refused: u64,
    pub last_success_at: Option<OffsetDateTime>,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    pub next_try_at: Option<OffsetDateTime>,
}

impl ForwardProgress {
    /// A batch got through: what is behind it comes next.
    pub fn arrived(&mut self, entries: u64, refused: u64, cursor: u64, now: OffsetDateTime) {
        self.cursor = cursor;
        self.sent += entries.saturating_sub(refused);
        self.refused += refused;
        self.last_success_at = Some(now);
        self.recovered();
    }

    /// One entry that the receiver will never take is passed by.
    pub fn passed_by(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.refused += 1;
        self.recovered();
    }

    fn recovered(&mut self) {
        self.last_error = None;
        self.failures = 0;
        self.next_try_at = None;
    }

    /// The same is tried again: after a pause that doubles, with jitter between half of it and all
    /// of it, or when the receiver asked for.
    pub fn failed(
        &mut self,
        why: String,
        wish: Option<Duration>,
        now: OffsetDateTime,
        random: u64,
    ) {
        self.failures = self.failures.saturating_add(1);
        let doubled = FIRST_PAUSE * 2_i32.saturating_pow(self.failures.min(20) - 1);
        let longest = doubled.min(LONGEST_PAUSE);
        let share = i32::try_from(random % 1000).unwrap_or(0);
        let pause = longest / 2 + longest / 2000 * share;
        let pause = wish.map_or(pause, |wish| wish.min(LONGEST_WISH).max(pause));
        self.last_error = Some(why);
        self.next_try_at = Some(now + pause);
    }
}

/// A forwarder as doors show it: without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwarderView {
    pub id: ForwarderId,
    pub kind: ForwardKind,
    pub url: String,
    /// Names only.
    pub headers: Vec<String>,
    /// Whether requests are signed.
    pub signed: bool,
    #[serde(flatten)]
    pub filter: ForwardFilter,
    pub active: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    pub state: ForwardState,
    /// About how many entries wait.
    pub entries_behind: u64,
    pub entries_sent: u64,
    /// Removed by retention before they could be sent; at most so many.
    pub entries_missed: u64,
    pub entries_refused: u64,
    #[serde(with = "timestamp::option")]
    pub last_success_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub failures: u32,
    #[serde(with = "timestamp::option")]
    pub next_try_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardState {
    Forwarding,
    /// The last attempt failed; it is tried again.
    Failing,
    Paused,
}

impl ForwarderView {
    pub fn new(forwarder: &Forwarder, entries_behind: u64) -> Self {
        let progress = &forwarder.progress;
        Self {
            id: forwarder.id.clone(),
            kind: forwarder.target.kind(),
            url: forwarder.target.url(),
            headers: forwarder.secrets.headers.keys().cloned().collect(),
            signed: forwarder.secrets.signing.is_some(),
            filter: forwarder.filter.clone(),
            active: forwarder.active,
            created_at: forwarder.created_at,
            state: match (forwarder.active, &progress.last_error) {
                (false, _) => ForwardState::Paused,
                (true, Some(_)) => ForwardState::Failing,
                (true, None) => ForwardState::Forwarding,
            },
            entries_behind,
            entries_sent: progress.sent,
            entries_missed: progress.missed,
            entries_refused: progress.refused,
            last_success_at: progress.last_success_at,
            last_error: progress.last_error.clone(),
            failures: progress.failures,
            next_try_at: progress.next_try_at,
        }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-02-04 10:00 UTC);

    #[test]
    fn addresses_fit_their_kind() {
        let url = |kind, text: &str| Target::new(kind, text).map(|target| target.url());
        for (typed, meant) in [
            ("tcp://logs.example", "tcp://logs.example:514"),
            ("tls://logs.example", "tls://logs.example:6514"),
            ("udp://[2001:db8::1]:5514", "udp://[2001:db8::1]:5514"),
            ("tcp://[2001:db8::1]", "tcp://[2001:db8::1]:514"),
        ] {
            assert_eq!(url(ForwardKind::Syslog, typed), Ok(meant.to_owned()));
        }
        for wrong in [
            "logs.example",
            "http://logs.example",
            "tcp://",
            "tcp://user@logs.example",
            "tcp://logs.example/path",
            "tcp://logs.example:0",
            "tcp://logs.example:70000",
            "tcp://a b",
        ] {
            assert_eq!(url(ForwardKind::Syslog, wrong).unwrap_err().field, "url");
        }
        for (typed, meant) in [
            ("https://otel.example", "https://otel.example/v1/logs"),
            (
                "https://otel.example:4318/",
                "https://otel.example:4318/v1/logs",
            ),
            (
                "https://otel.example/otlp/v1/logs",
                "https://otel.example/otlp/v1/logs",
            ),
        ] {
            assert_eq!(url(ForwardKind::Otlp, typed), Ok(meant.to_owned()));
        }
        assert!(Target::new(ForwardKind::Webhook, "tcp://x.example").is_err());
    }

    #[test]
    fn headers_cannot_change_the_request_and_values_do_not_show() {
        let headers =
            |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(
            check_headers(&headers("Authorization", "Bearer x y")),
            Ok(())
        );
        for (name, value) in [
            ("", "x"),
            ("Host", "x"),
            ("Transfer-Encoding", "x"),
            ("X-FlukeDeploy-Signature", "x"),
            ("a b", "x"),
            ("X-A", "hunter2\r\nX-B: y"),
            ("X-A", "hünter2"),
        ] {
            let faults = check_headers(&headers(name, value)).unwrap_err();
            assert!(!format!("{faults:?}").contains("nter2"), "{name}");
        }
        let secrets = ForwardSecrets {
            signing: Some("hunter2".to_owned()),
            headers: headers("Authorization", "hunter2"),
        };
        let shown = format!("{secrets:?}");
        assert!(shown.contains("Authorization") && !shown.contains("hunter2"));
    }

    #[test]
    fn pauses_grow_have_an_end_and_heed_the_receiver() {
        let mut progress = ForwardProgress::default();
        let mut longest = Duration::ZERO;
        for failures in 1..40 {
            progress.failed("down".to_owned(), None, NOW, 999);
            let pause = progress.next_try_at.unwrap() - NOW;
            assert!(pause >= longest || failures > 8, "{failures} {pause}");
            longest = longest.max(pause);
        }
        assert!(longest <= LONGEST_PAUSE && longest >= LONGEST_PAUSE / 2);
        progress.arrived(10, 3, 77, NOW);
        assert_eq!(
            (progress.cursor, progress.sent, progress.refused),
            (77, 7, 3)
        );
        assert_eq!((progress.failures, &progress.next_try_at), (0, &None));
        progress.failed("busy".to_owned(), Some(Duration::minutes(5)), NOW, 0);
        assert_eq!(progress.next_try_at, Some(NOW + Duration::minutes(5)));
        progress.failed("busy".to_owned(), Some(Duration::days(9)), NOW, 0);
        assert_eq!(progress.next_try_at, Some(NOW + LONGEST_WISH));
    }
}
