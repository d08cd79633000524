//! The settings that a form keeps folded away: how traffic moves, what the app promises, what a
//! replica needs.

use std::str::FromStr;

use flukedeploy_domain::app::{
    MAX_HOLD_SECONDS, MAX_RETAIN_DAYS, MAX_RETAIN_MB, MAX_SLOW_MS, MAX_WARM_SECONDS, PlacementRule,
    Protocol, PublishedPort, Quantity, Volume,
};
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::names::{Invalid, quoted};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::parse::Reader;

/// Hidden field of a form that has these: an empty checkbox sends nothing.
pub(crate) const PARTS: &str = "parts";

impl Reader<'_> {
    /// What was typed, as a change of the settings. An emptied field brings its default back.
    pub(super) fn parts(&mut self) -> Map<String, Value> {
        let mut parts = Map::new();
        if !self.has(PARTS, "all") {
            return parts;
        }
        parts.insert("rollout".to_owned(), self.rollout());
        let objective = json!({
            "max_errors_permille": self.number::<u32>("objective_errors", 0, 1_000),
            "max_p95_ms": self.number::<u32>("objective_p95", 1, 600_000),
            "probation_seconds": self.number::<u32>("probation_seconds", 0, 86_400),
            "min_requests": self.number::<u32>("objective_min_requests", 1, 1_000_000),
        });
        parts.insert("objective".to_owned(), objective);
        let resources = json!({
            "cpu_limit_milli": self.cpus("cpu_limit", 10),
            "cpu_reservation_milli": self.cpus("cpu_reservation", 0),
            "memory_limit_mb": self.number::<u32>("memory_limit", 6, 16_777_216),
            "memory_reservation_mb": self.number::<u32>("memory_reservation", 0, 16_777_216),
        });
        parts.insert("resources".to_owned(), resources);
        let placement = self.each_line("placement", |line, _| line.parse::<PlacementRule>());
        parts.insert("placement".to_owned(), placement);
        parts.insert("volumes".to_owned(), self.each_line("volumes", volume));
        let published = self.each_line("published_ports", published_port);
        parts.insert("published_ports".to_owned(), published);
        let serves_http = self.has("expose_http", "true");
        parts.insert("expose_http".to_owned(), Value::Bool(serves_http));
        self.building(&mut parts);
        let enabled = self.one_of("access_log", &["on", "off"]);
        let access = json!({
            "enabled": enabled.map(|word| word == "on"),
            "sample_permille": self.number::<u32>("access_sample", 0, 1_000),
            "slow_ms": self.number::<u32>("access_slow_ms", 0, MAX_SLOW_MS),
        });
        let logs = json!({
            "access": access,
            "retain_days": self.number::<u32>("log_retain_days", 1, MAX_RETAIN_DAYS),
            "retain_mb": self.number::<u32>("log_retain_mb", 1, MAX_RETAIN_MB),
        });
        parts.insert("logs".to_owned(), logs);
        parts
    }

    fn rollout(&mut self) -> Value {
        json!({
            "max_surge": self.optional::<Quantity>("max_surge"),
            "max_unavailable": self.optional::<Quantity>("max_unavailable"),
            "warm_seconds": self.number::<u32>("warm_seconds", 0, MAX_WARM_SECONDS),
            "drain_seconds": self.number::<u32>("drain_seconds", 0, 3_600),
            "hold_seconds": self.number::<u32>("hold_seconds", 0, MAX_HOLD_SECONDS),
            "canary": {
                "steps": self.percentages("canary_steps"),
                "step_seconds": self.number::<u32>("canary_step_seconds", 1, 86_400),
                "min_requests": self.number::<u32>("canary_min_requests", 1, 1_000_000),
                "max_extra_errors_permille": self.number::<u32>("canary_extra_errors", 0, 1_000),
                "max_latency_percent": self.number::<u32>("canary_latency", 100, 10_000),
                "when_quiet": self.one_of("canary_when_quiet", &["wait", "pause", "promote"]),
                "testers": self.testers(),
            },
        })
    }

    fn testers(&mut self) -> Value {
        let Some(kind) = self.one_of("tester_kind", &["header", "cookie"]) else {
            return Value::Null;
        };
        let name = self.text("tester_name").map(ToOwned::to_owned);
        if name.is_none() {
            self.fault("tester_name", "must be given");
        }
        json!({"kind": kind, "name": name.unwrap_or_default(), "value": self.text("tester_value")})
    }

    fn one_of(&mut self, field: &str, words: &[&'static str]) -> Option<&'static str> {
        let typed = self.text(field)?;
        let found = words.iter().find(|word| **word == typed).copied();
        if found.is_none() {
            self.fault(field, format!("must be {}", words.join(", ")));
        }
        found
    }

    /// "5, 25, 50": separated by commas or spaces, with or without percent signs.
    fn percentages(&mut self, field: &str) -> Option<Vec<u32>> {
        let text = self.text(field)?.to_owned();
        let mut steps = Vec::new();
        for part in text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|part| !part.is_empty())
        {
            if let Ok(step) = part.trim_end_matches('%').parse() {
                steps.push(step);
            } else {
                self.fault(
                    field,
                    format!(
                        "must be percentages such as 5, 25, 50, 100, not {}",
                        quoted(part)
                    ),
                );
                return None;
            }
        }
        Some(steps)
    }

    /// Processors, "0.5" or "2", as thousandths.
    pub(super) fn cpus(&mut self, field: &str, least: u32) -> Option<u32> {
        let text = self.text(field)?.replace(',', ".");
        let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let milli = match (whole.parse::<u32>(), format!("{part:0<3}").parse::<u32>()) {
            (Ok(whole), Ok(part_milli)) if part.len() <= 3 && digits(part) => whole
                .checked_mul(1_000)
                .and_then(|whole| whole.checked_add(part_milli)),
            _ => None,
        };
        let milli = milli.filter(|milli| (least..=1_024_000).contains(milli));
        if milli.is_none() {
            let least = match least {
                0 => "0",
                1..100 => "0.01",
                _ => "0.1",
            };
            self.fault(
                field,
                format!(
                    "must be {least} to 1024 processors, such as 0.5, not {}",
                    quoted(&text)
                ),
            );
        }
        milli
    }

    /// One value a line; each fault says in which.
    fn each_line<T: Serialize>(
        &mut self,
        field: &str,
        read: impl Fn(&str, &str) -> Result<T, Invalid>,
    ) -> Value {
        let text = self.get(field).unwrap_or_default().to_owned();
        let mut values = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() {
                continue;
            }
            match read(line, field) {
                Ok(value) => values.push(serde_json::to_value(value).unwrap_or_default()),
                Err(fault) => self.fault(field, format!("{} (line {number})", fault.problem)),
            }
        }
        Value::Array(values)
    }

    /// The health command: a program, then one argument a line.
    pub(super) fn command(&mut self) -> HealthProbe {
        let text = self.get("health_command").unwrap_or_default();
        let command: Vec<String> = text
            .lines()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .filter(|line| !line.trim().is_empty())
            .collect();
        HealthProbe::Command { command }
    }
}

fn volume(line: &str, field: &str) -> Result<Volume, Invalid> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, path, shared) = match words.as_slice() {
        [name, path] => (name, path, false),
        [name, path, "shared"] => (name, path, true),
        _ => {
            return Err(Invalid::new(
                field,
                format!(
                    "must be a name, a path and, if so, the word shared, not {}",
                    quoted(line)
                ),
            ));
        }
    };
    Ok(Volume {
        name: (*name).to_owned(),
        path: (*path).to_owned(),
        shared,
    })
}

fn published_port(line: &str, field: &str) -> Result<PublishedPort, Invalid> {
    let (ports, protocol) = match line.rsplit_once('/') {
        None => (line, Some(Protocol::Tcp)),
        Some((ports, "tcp")) => (ports, Some(Protocol::Tcp)),
        Some((ports, "udp")) => (ports, Some(Protocol::Udp)),
        Some((ports, _)) => (ports, None),
    };
    let port = |text: &str| u16::from_str(text.trim()).ok().filter(|port| *port > 0);
    let pair = ports
        .split_once(':')
        .and_then(|(published, target)| Some((port(published)?, port(target)?)));
    match (pair, protocol) {
        (Some((published, target)), Some(protocol)) => Ok(PublishedPort {
            published,
            target,
            protocol,
        }),
        _ => Err(Invalid::new(
            field,
            format!(
                "must look like 5432:5432 or 53:53/udp, not {}",
                quoted(line)
            ),
        )),
    }
}
