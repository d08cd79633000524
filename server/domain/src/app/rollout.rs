//! How an environment moves from one release to the next, and what it promises its users.

use serde::{Deserialize, Serialize};

use crate::names::{Invalid, quoted};

/// Most steps of a canary.
pub const MAX_CANARY_STEPS: usize = 20;
/// Longest time a former release is kept running, in seconds.
pub const MAX_WARM_SECONDS: u32 = 86_400;
/// Longest time the ingress holds a request for an app that cannot answer, in seconds.
pub const MAX_HOLD_SECONDS: u32 = 300;

/// A number of replicas: so many, or so many percent of the wanted ones (rounded up).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "QuantityForm", into = "QuantityForm")]
pub enum Quantity {
    Count(u32),
    Percent(u32),
}

impl Quantity {
    /// How many replicas that is of `wanted`.
    pub fn of(self, wanted: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let part = u64::from(wanted) * u64::from(percent);
                u32::try_from(part.div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }

    fn is_within_limits(self) -> bool {
        match self {
            Self::Count(count) => count <= super::MAX_REPLICAS,
            Self::Percent(percent) => percent <= 100,
        }
    }
}

/// On the wire: `3` or `"25%"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum QuantityForm {
    Count(u32),
    Text(String),
}

impl TryFrom<QuantityForm> for Quantity {
    type Error = Invalid;
    fn try_from(form: QuantityForm) -> Result<Self, Invalid> {
        match form {
            QuantityForm::Count(count) => Ok(Self::Count(count)),
            QuantityForm::Text(text) => text.parse(),
        }
    }
}

impl From<Quantity> for QuantityForm {
    fn from(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Count(count) => Self::Count(count),
            Quantity::Percent(percent) => Self::Text(format!("{percent}%")),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = |digits: &str| digits.trim().parse::<u32>().ok();
        let parsed = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(Self::Percent),
            None => number(text).map(Self::Count),
        };
        parsed.ok_or_else(|| {
            Invalid::new(
                "quantity",
                format!(
                    "must be a number such as 2 or a share such as '25%', not {}",
                    quoted(text)
                ),
            )
        })
    }
}

/// Everything about moving traffic that a strategy may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutSettings {
    /// `rolling`: how many replicas may run above the wanted number.
    pub max_surge: Quantity,
    /// `rolling`: how many of the wanted replicas may be missing on the way.
    pub max_unavailable: Quantity,
    /// How long the former release keeps running without traffic, so that going back takes
    /// no time; `None`: as the strategy has it (see [`RolloutSettings::warm_seconds_for`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_seconds: Option<u32>,
    /// How long open requests and `WebSockets` of a release that stops may take, in seconds.
    pub drain_seconds: u32,
    /// How long the ingress holds a request while nothing can answer it, in seconds.
    pub hold_seconds: u32,
    pub canary: CanarySettings,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            max_surge: Quantity::Percent(100),
            max_unavailable: Quantity::Count(0),
            warm_seconds: None,
            drain_seconds: 30,
            hold_seconds: 60,
            canary: CanarySettings::default(),
        }
    }
}

impl RolloutSettings {
    /// The time a former release stays warm: what was set, else what the strategy has.
    pub fn warm_seconds_for(&self, strategy: crate::deployment::Strategy) -> u32 {
        use crate::deployment::Strategy;
        match (self.warm_seconds, strategy) {
            // It must not run beside the new one.
            (_, Strategy::Recreate) => 0,
            (Some(seconds), _) => seconds,
            (None, Strategy::BlueGreen | Strategy::Canary) => 600,
            (None, Strategy::Rolling) => 120,
        }
    }

    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        for (name, quantity) in [
            ("rollout.max_surge", self.max_surge),
            ("rollout.max_unavailable", self.max_unavailable),
        ] {
            if !quantity.is_within_limits() {
                faults.push(Invalid::new(
                    name,
                    format!("must be at most {} or 100%", super::MAX_REPLICAS),
                ));
            }
        }
        if self.max_surge.of(100) == 0 && self.max_unavailable.of(100) == 0 {
            faults.push(Invalid::new(
                "rollout.max_surge",
                "must be above 0 where max_unavailable is 0: nothing could ever move",
            ));
        }
        let mut range = |name: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                faults.push(Invalid::new(
                    name,
                    format!("must be {low} to {high}, not {value}"),
                ));
            }
        };
        if let Some(seconds) = self.warm_seconds {
            range("rollout.warm_seconds", seconds, 0, MAX_WARM_SECONDS);
        }
        range("rollout.drain_seconds", self.drain_seconds, 0, 3_600);
        range(
            "rollout.hold_seconds",
            self.hold_seconds,
            0,
            MAX_HOLD_SECONDS,
        );
        faults.extend(self.canary.validate().err().into_iter().flatten());
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// What to do when too few requests came to judge a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenQuiet {
    /// Keep the share and go on watching.
    #[default]
    Wait,
    /// Stop here until somebody promotes or aborts.
    Pause,
    /// Take the silence for consent.
    Promote,
}

/// A canary: shares of the traffic, each judged against the former release over the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CanarySettings {
    /// Percent of new requests at each step, rising; 100 may be left out at the end.
    pub steps: Vec<u32>,
    /// How long each step is watched, in seconds.
    pub step_seconds: u32,
    /// Fewer requests to the canary than this in a window are too few to judge.
    pub min_requests: u32,
    /// How many failed requests in a thousand the canary may have more than the former release.
    pub max_extra_errors_permille: u32,
    /// How slow the canary's 95th percentile may be, in percent of the former release's.
    pub max_latency_percent: u32,
    pub when_quiet: WhenQuiet,
    /// Requests that always meet the canary, whatever its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub testers: Option<TesterRule>,
}

impl Default for CanarySettings {
    fn default() -> Self {
        Self {
            steps: vec![5, 25, 50, 100],
            step_seconds: 60,
            min_requests: 50,
            max_extra_errors_permille: 10,
            max_latency_percent: 200,
            when_quiet: WhenQuiet::default(),
            testers: None,
        }
    }
}

impl CanarySettings {
    fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let rising = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        let within = self.steps.iter().all(|step| (1..=100).contains(step));
        if self.steps.is_empty() || self.steps.len() > MAX_CANARY_STEPS || !rising || !within {
            faults.push(Invalid::new(
                "rollout.canary.steps",
                format!(
                    "must be 1 to {MAX_CANARY_STEPS} rising percentages, such as [5, 25, 50, 100]"
                ),
            ));
        }
        let mut range = |name: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                faults.push(Invalid::new(
                    format!("rollout.canary.{name}"),
                    format!("must be {low} to {high}, not {value}"),
                ));
            }
        };
        range("step_seconds", self.step_seconds, 1, 86_400);
        range("min_requests", self.min_requests, 1, 1_000_000);
        range(
            "max_extra_errors_permille",
            self.max_extra_errors_permille,
            0,
            1_000,
        );
        range("max_latency_percent", self.max_latency_percent, 100, 10_000);
        faults.extend(self.testers.as_ref().and_then(|rule| rule.validate().err()));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// Where a tester's mark stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TesterMark {
    Header,
    Cookie,
}

/// Requests with this header or cookie meet the release under test.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TesterRule {
    pub kind: TesterMark,
    /// Header names are compared without case (RFC 9110, 5.1), cookie names as they are.
    pub name: String,
    /// Any value will do if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl TesterRule {
    fn validate(&self) -> Result<(), Invalid> {
        // RFC 9110, 5.6.2: a token; cookie names are the same (RFC 6265, 4.1.1).
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(token) {
            return Err(Invalid::new(
                "rollout.canary.testers.name",
                "must be the name of a header or cookie, at most 64 characters",
            ));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'"' | b'\\');
        if let Some(value) = &self.value
            && (value.is_empty() || value.len() > 256 || !value.bytes().all(plain))
        {
            return Err(Invalid::new(
                "rollout.canary.testers.value",
                "must have 1 to 256 visible characters without ; , \" and \\",
            ));
        }
        Ok(())
    }
}

/// What an app promises its users; watched for a while after each deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Objective {
    /// How many requests in a thousand may fail (answers 5xx, or none at all).
    pub max_errors_permille: u32,
    /// What 95 of 100 requests must be quicker than, in milliseconds, if that is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_p95_ms: Option<u32>,
    /// How long a new release is on probation, in seconds; 0: not at all.
    pub probation_seconds: u32,
    /// Fewer requests than this prove nothing.
    pub min_requests: u32,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            max_errors_permille: 50,
            max_p95_ms: None,
            probation_seconds: 120,
            min_requests: 50,
        }
    }
}

impl Objective {
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut range = |name: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                faults.push(Invalid::new(
                    format!("objective.{name}"),
                    format!("must be {low} to {high}, not {value}"),
                ));
            }
        };
        range("max_errors_permille", self.max_errors_permille, 0, 1_000);
        range("probation_seconds", self.probation_seconds, 0, 86_400);
        range("min_requests", self.min_requests, 1, 1_000_000);
        if let Some(ms) = self.max_p95_ms {
            range("max_p95_ms", ms, 1, 600_000);
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers_or_shares() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json);
        assert_eq!(read("3").unwrap(), Quantity::Count(3));
        assert_eq!(read("\"25%\"").unwrap(), Quantity::Percent(25));
        assert!(read("\"many\"").is_err());
        assert_eq!(Quantity::Percent(25).of(3), 1);
        assert_eq!(Quantity::Percent(100).of(7), 7);
        assert_eq!(
            serde_json::to_string(&Quantity::Percent(25)).unwrap(),
            "\"25%\""
        );
    }

    #[test]
    fn a_rollout_that_could_never_move_is_refused() {
        let stuck = RolloutSettings {
            max_surge: Quantity::Count(0),
            ..RolloutSettings::default()
        };
        assert_eq!(stuck.validate().unwrap_err().len(), 1);
        let falling = RolloutSettings {
            canary: CanarySettings {
                steps: vec![50, 25],
                ..CanarySettings::default()
            },
            ..RolloutSettings::default()
        };
        assert_eq!(falling.validate().unwrap_err().len(), 1);
        RolloutSettings::default().validate().unwrap();
        Objective::default().validate().unwrap();
    }
}
