//! Lifecycle webhooks: who is told about what, what is said, and when it is tried again.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::approval::{Approval, ApprovalState, ApprovalView};
use crate::deployment::{Deployment, DeploymentSummary, State};
use crate::diagnosis::{Cause, Diagnosis};
use crate::names::{AppName, EnvironmentName, Invalid, quoted};
use crate::release::ReleaseNo;
use crate::timestamp;

/// Webhooks of one instance at most.
pub const MAX_WEBHOOKS: usize = 100;
/// Deliveries of one webhook that may wait; what comes on top is dropped, and shown as that.
pub const MAX_WAITING: u32 = 10_000;
/// The first pause after a failed attempt.
const FIRST_PAUSE: Duration = Duration::seconds(5);
/// The longest pause before jitter; with it, 15 minutes.
const LONGEST_PAUSE: Duration = Duration::minutes(12);
/// The longest pause, and the one after an answer that time hardly cures.
const SLOW_PAUSE: Duration = Duration::minutes(15);
/// How long a delivery is tried.
const GIVE_UP_AFTER: Duration = Duration::days(3);

/// `wh-<16 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WebhookId(String);

/// `<webhook>-<number>`: the same for every attempt and every resend, so that a receiver can tell
/// what it has had before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DeliveryId(String);

macro_rules! id {
    ($name:ident, $what:literal) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                if text.starts_with("wh-") && text.len() <= 64 && text.bytes().all(plain) {
                    return Ok(Self(text.to_owned()));
                }
                Err(Invalid::new(
                    $what,
                    format!("must begin with 'wh-', not {}", quoted(text)),
                ))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(WebhookId, "webhook");
id!(DeliveryId, "delivery");

impl WebhookId {
    pub fn new(random: u64) -> Self {
        Self(format!("wh-{random:016x}"))
    }
}

impl DeliveryId {
    pub fn new(webhook: &WebhookId, number: i64) -> Self {
        Self(format!("{webhook}-{number}"))
    }
}

/// Where to: `http://` or `https://`, without user, password and fragment. It may hold a secret in
/// its path, so `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port as they were written.
    pub fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}…)", self.authority())
    }
}

impl FromStr for WebhookUrl {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |problem: &str| Err(Invalid::new("url", problem));
        let Some(rest) = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
        else {
            return fault("must begin with https:// or http://");
        };
        if text.len() > 2_000 {
            return fault("must have at most 2000 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '#', '"', '<', '>'])
        {
            return fault("must be a plain address, without spaces, quotes and '#'");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return fault("must not hold a user or a password");
        }
        if !is_host_and_port(authority) {
            return fault("must name a host, and a port at most");
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for WebhookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((inside, after)) if inside.parse::<std::net::Ipv6Addr>().is_ok() => {
                match (after, after.strip_prefix(':')) {
                    ("", _) => return true,
                    (_, Some(port)) => ("v6", Some(port)),
                    _ => return false,
                }
            }
            _ => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    !host.is_empty()
        && host.len() <= 253
        && !host.starts_with(['-', '.'])
        && host.bytes().all(plain)
        && port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebhookEvent {
    DeploymentStarted,
    DeploymentSucceeded,
    DeploymentFailed,
    DeploymentRolledBack,
    DeploymentCancelled,
    AppCreated,
    AppDeleted,
    EnvironmentCreated,
    EnvironmentDeleted,
    ReleaseWithdrawn,
    ApprovalRequested,
    ApprovalApproved,
    ApprovalRejected,
    ApprovalExpired,
    /// Asked for by a person; sent whatever the webhook listens to.
    Test,
}

impl WebhookEvent {
    pub const ALL: [Self; 15] = [
        Self::DeploymentStarted,
        Self::DeploymentSucceeded,
        Self::DeploymentFailed,
        Self::DeploymentRolledBack,
        Self::DeploymentCancelled,
        Self::AppCreated,
        Self::AppDeleted,
        Self::EnvironmentCreated,
        Self::EnvironmentDeleted,
        Self::ReleaseWithdrawn,
        Self::ApprovalRequested,
        Self::ApprovalApproved,
        Self::ApprovalRejected,
        Self::ApprovalExpired,
        Self::Test,
    ];

    /// As it is named on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentStarted => "deployment.started",
            Self::DeploymentSucceeded => "deployment.succeeded",
            Self::DeploymentFailed => "deployment.failed",
            Self::DeploymentRolledBack => "deployment.rolled_back",
            Self::DeploymentCancelled => "deployment.cancelled",
            Self::AppCreated => "app.created",
            Self::AppDeleted => "app.deleted",
            Self::EnvironmentCreated => "environment.created",
            Self::EnvironmentDeleted => "environment.deleted",
            Self::ReleaseWithdrawn => "release.withdrawn",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalApproved => "approval.approved",
            Self::ApprovalRejected => "approval.rejected",
            Self::ApprovalExpired => "approval.expired",
            Self::Test => "webhook.test",
        }
    }

    /// Those a webhook can listen to.
    pub fn choosable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|event| *event != Self::Test)
    }

    /// What an approval in this state is to the outside. That one was withdrawn shows in the end of
    /// its deployment.
    pub fn of_approval(state: ApprovalState) -> Option<Self> {
        match state {
            ApprovalState::Waiting => Some(Self::ApprovalRequested),
            ApprovalState::Approved => Some(Self::ApprovalApproved),
            ApprovalState::Rejected => Some(Self::ApprovalRejected),
            ApprovalState::Expired => Some(Self::ApprovalExpired),
            ApprovalState::Withdrawn => None,
        }
    }

    /// What a step of a deployment is to the outside: its start, once, and its end. A cancelled
    /// one is that, wherever it got to.
    pub fn of_step(before: &State, after: &State) -> Option<Self> {
        if before.is_final() {
            return None;
        }
        let stopped = after.diagnosis().is_some_and(|diagnosis| {
            matches!(diagnosis.code, Cause::Cancelled | Cause::Superseded)
        });
        match after {
            State::Failed { .. } | State::RolledBack { .. } if stopped => {
                Some(Self::DeploymentCancelled)
            }
            State::Success => Some(Self::DeploymentSucceeded),
            State::Failed { .. } => Some(Self::DeploymentFailed),
            State::RolledBack { .. } => Some(Self::DeploymentRolledBack),
            State::Running { .. } | State::Returning { .. } => {
                (*before == State::Pending).then_some(Self::DeploymentStarted)
            }
            State::Pending => None,
        }
    }
}

impl FromStr for WebhookEvent {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|event| event.as_str() == text)
            .ok_or_else(|| {
                Invalid::new(
                    "events",
                    format!("must be names of events, not {}", quoted(text)),
                )
            })
    }
}

impl Serialize for WebhookEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for WebhookEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a webhook listens to: a list of names on the wire, `["*"]` for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Events {
    /// Those to come included.
    #[default]
    All,
    Only(BTreeSet<WebhookEvent>),
}

impl Events {
    /// # Errors
    /// An unknown name, or none at all.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let mut events = BTreeSet::new();
        for name in names {
            if name == "*" {
                return Ok(Self::All);
            }
            events.insert(name.parse::<WebhookEvent>()?);
        }
        events.remove(&WebhookEvent::Test);
        if events.is_empty() {
            return Err(Invalid::new(
                "events",
                "must name one event at least, or '*'",
            ));
        }
        Ok(Self::Only(events))
    }

    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(events) => events.iter().map(|event| event.as_str()).collect(),
        }
    }

    pub fn holds(&self, event: WebhookEvent) -> bool {
        match self {
            Self::All => true,
            Self::Only(events) => event == WebhookEvent::Test || events.contains(&event),
        }
    }
}

impl Serialize for Events {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Self::of_names(names.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}

/// Somebody outside who is told. `Debug` shows everything but the secret; no door shows that again.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub id: WebhookId,
    pub url: WebhookUrl,
    /// Key of the signatures.
    pub secret: String,
    pub events: Events,
    /// Only what is about this app. It may be gone: its end is told too.
    pub app: Option<AppName>,
    pub active: bool,
    pub created_at: OffsetDateTime,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("app", &self.app)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// Whether it is told about this.
    pub fn wants(&self, event: WebhookEvent, app: &AppName) -> bool {
        self.active && self.events.holds(event) && self.app.as_ref().is_none_or(|only| only == app)
    }
}

/// A webhook as doors show it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookView {
    pub id: WebhookId,
    pub url: WebhookUrl,
    pub events: Events,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<AppName>,
    pub active: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

impl From<&Webhook> for WebhookView {
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.clone(),
            url: webhook.url.clone(),
            events: webhook.events.clone(),
            app_name: webhook.app.clone(),
            active: webhook.active,
            created_at: webhook.created_at,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its turn or its next attempt.
    Pending,
    Delivered,
    /// Given up; it can be sent again.
    Failed,
    /// Never sent: the webhook was turned off, or too many waited.
    Dropped,
}

impl DeliveryStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    /// Its place among the webhook's; the next is sent when this one is delivered or given up.
    pub sequence: i64,
    pub event: WebhookEvent,
    pub status: DeliveryStatus,
    /// Since it was queued.
    pub attempts: u32,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// What the last attempt was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    /// When it was made, or asked for again.
    #[serde(with = "timestamp")]
    pub queued_at: OffsetDateTime,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "timestamp::option"
    )]
    pub delivered_at: Option<OffsetDateTime>,
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Any 2xx.
    Accepted { status: u16 },
    Failed {
        status: Option<u16>,
        /// One sentence of ours.
        why: String,
        /// Trying again soon would not help.
        hopeless: bool,
    },
}

impl Delivery {
    /// Notes an attempt that ended at `now`. `random` spreads the next ones.
    pub fn tried(&mut self, attempt: Attempt, now: OffsetDateTime, random: u64) {
        self.attempts = self.attempts.saturating_add(1);
        self.next_attempt_at = None;
        match attempt {
            Attempt::Accepted { status } => {
                self.status = DeliveryStatus::Delivered;
                self.last_status = Some(status);
                self.last_error = None;
                self.delivered_at = Some(now);
            }
            Attempt::Failed {
                status,
                why,
                hopeless,
            } => {
                self.last_status = status;
                self.last_error = Some(why);
                if now - self.queued_at >= GIVE_UP_AFTER {
                    self.status = DeliveryStatus::Failed;
                } else {
                    let pause = if hopeless {
                        SLOW_PAUSE
                    } else {
                        pause_after(self.attempts, random)
                    };
                    self.next_attempt_at = Some(now + pause);
                }
            }
        }
    }
}

/// 5 s, doubled with every failed attempt, 15 minutes at most; up to a quarter of it is chance.
pub fn pause_after(attempts: u32, random: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE * 2_i32.pow(doublings)).min(LONGEST_PAUSE);
    let chance = i32::try_from(random % 251).unwrap_or(0);
    pause + pause * chance / 1_000
}

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    Deployment(&'a Deployment),
    App,
    Environment(&'a EnvironmentName),
    Withdrawn {
        environment: &'a EnvironmentName,
        release: ReleaseNo,
        why: &'a str,
    },
    Approval(&'a Approval),
    Test,
}

impl Told<'_> {
    /// The part `data` of the body. Values of variables and what programs printed stay here.
    pub fn data(&self, app: Option<&AppName>) -> Value {
        match self {
            Self::Deployment(deployment) => outside(deployment),
            Self::App => json!({ "app_name": app }),
            Self::Environment(environment) => {
                json!({ "app_name": app, "environment": environment })
            }
            Self::Withdrawn {
                environment,
                release,
                why,
            } => json!({
                "app_name": app, "environment": environment, "release": release, "reason": why,
            }),
            Self::Approval(approval) => {
                let mut view = ApprovalView::from(*approval);
                // Commands and values of settings may be nobody else's business.
                view.plan.jobs.clear();
                for change in &mut view.plan.changes {
                    (change.before, change.after) = (None, None);
                }
                json!(view)
            }
            Self::Test => json!({ "message": "This is a test. Nothing happened." }),
        }
    }
}

/// The whole body of one delivery; what is signed.
pub fn body(
    event: WebhookEvent,
    at: OffsetDateTime,
    delivery: &DeliveryId,
    data: &Value,
) -> String {
    json!({
        "event": event,
        "timestamp": timestamp::to_wire(at),
        "delivery_id": delivery,
        "data": data,
    })
    .to_string()
}

/// A deployment for people outside: what a replica, the engine or a command said is left out, and of
/// settings that changed only the names are told.
fn outside(deployment: &Deployment) -> Value {
    let quiet = |diagnosis: &mut Diagnosis| {
        let evidence = &mut diagnosis.evidence;
        evidence.engine_message = None;
        evidence.health_answer = None;
        evidence.untrusted_output.clear();
    };
    let mut summary = DeploymentSummary::from(deployment);
    summary.diagnosis.iter_mut().for_each(quiet);
    summary.because.iter_mut().for_each(quiet);
    for job in &mut summary.preparation.jobs {
        job.command.clear();
        job.note = None;
    }
    for change in summary
        .receipt
        .iter_mut()
        .flat_map(|receipt| &mut receipt.changes)
    {
        change.before = None;
        change.after = None;
    }
    serde_json::to_value(summary).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::PhaseName;
    use crate::diagnosis::Evidence;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-02-04 10:13:20.123 UTC);

    fn delivery() -> Delivery {
        let webhook = WebhookId::new(7);
        Delivery {
            id: DeliveryId::new(&webhook, 1),
            webhook,
            sequence: 1,
            event: WebhookEvent::Test,
            status: DeliveryStatus::Pending,
            attempts: 0,
            next_attempt_at: Some(NOW),
            last_status: None,
            last_error: None,
            created_at: NOW,
            queued_at: NOW,
            delivered_at: None,
        }
    }

    fn failed() -> Attempt {
        Attempt::Failed {
            status: Some(500),
            why: "it answered 500".to_owned(),
            hopeless: false,
        }
    }

    #[test]
    fn addresses_are_plain_and_hold_no_password() {
        for good in [
            "https://hooks.example.com/a/b?c=d",
            "http://127.0.0.1:9000",
            "https://[2001:db8::1]:8443/x",
            "http://[::1]",
        ] {
            assert!(good.parse::<WebhookUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "hooks.example.com",
            "ftp://hooks.example.com",
            "HTTPS://hooks.example.com",
            "https://",
            "https:///path",
            "https://user:pw@hooks.example.com/",
            "https://hooks.example.com:0/",
            "https://hooks.example.com:+80/",
            "https://hooks.example.com:99999/",
            "https://[::1/",
            "https://[nonsense]/",
            "https://hooks.example.com/#x",
            "https://hooks.example.com/a b",
            "https://hooks.example.com/\r\nHost: x",
            "https://hooks.example.com\\@evil",
            "https://-x.example.com",
        ] {
            assert!(bad.parse::<WebhookUrl>().is_err(), "{bad}");
        }
        let url: WebhookUrl = "https://hooks.example.com:1/s3cret?x".parse().unwrap();
        assert_eq!(url.authority(), "hooks.example.com:1");
        assert!(!format!("{url:?}").contains("s3cret"));
    }

    #[test]
    fn events_are_chosen_by_name() {
        let some = Events::of_names(["app.created", "deployment.failed"]).unwrap();
        assert!(some.holds(WebhookEvent::AppCreated) && some.holds(WebhookEvent::Test));
        assert!(!some.holds(WebhookEvent::AppDeleted));
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(text, r#"["deployment.failed","app.created"]"#);
        assert_eq!(serde_json::from_str::<Events>(&text).unwrap(), some);
        assert_eq!(Events::of_names(["*"]).unwrap(), Events::All);
        for bad in [&[][..], &["deployment"], &["webhook.test"]] {
            assert!(Events::of_names(bad.iter().copied()).is_err(), "{bad:?}");
        }
        for event in WebhookEvent::ALL {
            assert_eq!(event.as_str().parse::<WebhookEvent>().unwrap(), event);
        }
    }

    #[test]
    fn pauses_grow_from_five_seconds_to_fifteen_minutes() {
        assert_eq!(pause_after(1, 0), Duration::seconds(5));
        assert_eq!(pause_after(2, 0), Duration::seconds(10));
        for attempts in 1..200 {
            let (least, most) = (pause_after(attempts, 0), pause_after(attempts, 250));
            assert!(least >= FIRST_PAUSE && most <= SLOW_PAUSE && least < most);
        }
        assert_eq!(pause_after(u32::MAX, 250), SLOW_PAUSE);
    }

    #[test]
    fn a_delivery_is_tried_for_three_days_and_then_given_up() {
        let mut delivery = delivery();
        let mut now = NOW;
        while let Some(at) = delivery.next_attempt_at {
            assert_eq!(delivery.status, DeliveryStatus::Pending);
            now = at;
            delivery.tried(failed(), now, 0);
        }
        assert_eq!(delivery.status, DeliveryStatus::Failed);
        assert!(now - NOW >= GIVE_UP_AFTER && now - NOW < GIVE_UP_AFTER + SLOW_PAUSE);
        assert_eq!(
            (delivery.attempts > 300, delivery.last_status),
            (true, Some(500))
        );
        // Even one that had waited so long behind others is tried once.
        delivery.tried(Attempt::Accepted { status: 204 }, now, 0);
        assert_eq!(delivery.status, DeliveryStatus::Delivered);
        assert_eq!(
            (delivery.last_error, delivery.delivered_at),
            (None, Some(now))
        );
    }

    #[test]
    fn a_deployment_is_told_at_its_start_and_its_end() {
        let running = |phase| State::Running { phase };
        let diagnosis = |code| Diagnosis {
            code,
            phase: PhaseName::Deploy,
            message: "it failed".to_owned(),
            evidence: Evidence::default(),
            next: Vec::new(),
        };
        let failed = |code| State::Failed {
            diagnosis: diagnosis(code),
        };
        let back = |code| State::RolledBack {
            diagnosis: diagnosis(code),
            to: ReleaseNo(1),
        };
        let (pending, build) = (State::Pending, running(PhaseName::Build));
        let of = WebhookEvent::of_step;
        assert_eq!(of(&pending, &pending), None);
        assert_eq!(
            of(&pending, &running(PhaseName::PreBuild)),
            Some(WebhookEvent::DeploymentStarted)
        );
        assert_eq!(of(&running(PhaseName::PreBuild), &build), None);
        assert_eq!(
            of(&build, &State::Success),
            Some(WebhookEvent::DeploymentSucceeded)
        );
        assert_eq!(
            of(&build, &failed(Cause::BuildFailed)),
            Some(WebhookEvent::DeploymentFailed)
        );
        assert_eq!(
            of(&pending, &failed(Cause::Superseded)),
            Some(WebhookEvent::DeploymentCancelled)
        );
        assert_eq!(
            of(&build, &back(Cause::Cancelled)),
            Some(WebhookEvent::DeploymentCancelled)
        );
        assert_eq!(
            of(&build, &back(Cause::CrashLoop)),
            Some(WebhookEvent::DeploymentRolledBack)
        );
        assert_eq!(of(&State::Success, &State::Success), None);
    }

    #[test]
    fn a_secret_does_not_show() {
        let webhook = Webhook {
            id: WebhookId::new(1),
            url: "https://x.example/".parse().unwrap(),
            secret: "hunter2hunter2".to_owned(),
            events: Events::All,
            app: Some("shop".parse().unwrap()),
            active: true,
            created_at: NOW,
        };
        assert!(!format!("{webhook:?}").contains("hunter2"));
        let view = serde_json::to_string(&WebhookView::from(&webhook)).unwrap();
        assert!(!view.contains("hunter2") && view.contains(r#""events":["*"]"#));
        assert!(webhook.wants(WebhookEvent::AppDeleted, &"shop".parse().unwrap()));
        assert!(!webhook.wants(WebhookEvent::AppDeleted, &"other".parse().unwrap()));
    }
}
