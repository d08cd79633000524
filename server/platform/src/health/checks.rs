//! The contract's checks, from what was seen last.

use std::time::Instant;

use flukedeploy_domain::issue::Severity;
use flukedeploy_domain::timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::findings::{DISK, LOAD_PER_CORE, MEMORY, mb, rounded};
use super::sample::Sample;
use super::views::memory_percent;
use crate::platform::Platform;
use crate::ports::{DiskFacts, EngineFacts, MachineFacts, Reach};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    Pass,
    Warning,
    Fail,
}

use ReportStatus::{Fail, Pass, Warning};

impl ReportStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warning => "warning",
            Self::Fail => "fail",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct ReportCheck {
    pub name: &'static str,
    pub category: &'static str,
    pub status: ReportStatus,
    pub message: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ReportSummary {
    pub total: usize,
    pub passed: usize,
    pub warnings: usize,
    pub failed: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    pub overall_status: ReportStatus,
    pub duration_ms: u64,
    pub checks: Vec<ReportCheck>,
    pub recommendations: Vec<&'static str>,
    pub summary: ReportSummary,
}

fn check(
    name: &'static str,
    category: &'static str,
    status: ReportStatus,
    message: impl Into<String>,
    details: Value,
    suggestion: &'static str,
) -> ReportCheck {
    ReportCheck {
        name,
        category,
        status,
        message: message.into(),
        details,
        suggestion: (status != Pass && !suggestion.is_empty()).then_some(suggestion),
    }
}

pub(super) fn report(px: &Platform, quick: bool) -> Report {
    let began = Instant::now();
    let sample = px.parts().watch.sample();
    let sample = sample.as_deref();
    let mut checks = of_machine(
        sample.and_then(|sample| sample.machine.as_ref().ok()),
        quick,
    );
    checks.extend(of_engine(sample));
    if !quick {
        checks.extend(of_the_rest(px, sample));
    }
    let mut recommendations: Vec<&'static str> = Vec::new();
    for suggestion in checks.iter().filter_map(|check| check.suggestion) {
        if !recommendations.contains(&suggestion) {
            recommendations.push(suggestion);
        }
    }
    let count = |status| checks.iter().filter(|one| one.status == status).count();
    Report {
        timestamp: px.now(),
        overall_status: checks.iter().map(|one| one.status).max().unwrap_or(Fail),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        summary: ReportSummary {
            total: checks.len(),
            passed: count(Pass),
            warnings: count(Warning),
            failed: count(Fail),
        },
        recommendations,
        checks,
    }
}

fn graded(severity: Option<Severity>) -> ReportStatus {
    match severity {
        None => Pass,
        Some(Severity::Warning) => Warning,
        Some(Severity::Critical) => Fail,
    }
}

fn of_machine(machine: Option<&MachineFacts>, quick: bool) -> Vec<ReportCheck> {
    const ROOM: &str =
        "remove images that nothing needs and the build cache, or make the disk larger";
    const MORE: &str = "give apps memory limits, scale down, or add memory";
    let Some(machine) = machine else {
        let unseen = "the machine was not looked at";
        return ["disk_space", "memory"]
            .map(|name| {
                check(
                    name,
                    "system",
                    Warning,
                    unseen,
                    Value::Null,
                    "ask again in a moment",
                )
            })
            .into();
    };
    let disk = machine.fullest_disk().map_or(0.0, DiskFacts::used_percent);
    let memory = machine.memory_percent();
    let used = machine
        .memory_total
        .saturating_sub(machine.memory_available);
    let mut checks = vec![
        check(
            "disk_space",
            "system",
            graded(DISK.of(disk)),
            format!("{} % of the disk is in use", rounded(disk)),
            json!({"usage_percent": rounded(disk)}),
            ROOM,
        ),
        check(
            "memory",
            "system",
            graded(MEMORY.of(memory)),
            format!("{} % of the memory is in use", rounded(memory)),
            json!({
                "usage_percent": rounded(memory), "used_mb": mb(used),
                "total_mb": mb(machine.memory_total)
            }),
            MORE,
        ),
    ];
    if !quick {
        let [one, five, fifteen] = machine.load.map(|load| format!("{load:.2}"));
        let is_high = machine.load[2] > LOAD_PER_CORE * f64::from(machine.cores.max(1));
        checks.push(check(
            "cpu",
            "system",
            Pass,
            format!("{} cores", machine.cores),
            json!({"cores": machine.cores, "model": machine.model}),
            "",
        ));
        checks.push(check(
            "system_load",
            "system",
            if is_high { Warning } else { Pass },
            format!("load {one}, {five}, {fifteen}"),
            json!({
                "load_1min": one, "load_5min": five, "load_15min": fifteen, "cores": machine.cores
            }),
            "look which app takes the processor, and give it a limit",
        ));
    }
    checks
}

fn engine(sample: Option<&Sample>) -> Option<&EngineFacts> {
    sample?.engine.as_ref().ok()
}

fn of_engine(sample: Option<&Sample>) -> Vec<ReportCheck> {
    let facts = engine(sample);
    let manager = facts.is_some_and(|facts| facts.info.swarm_active && facts.info.is_manager);
    let answers = match (facts, sample) {
        (Some(facts), _) => format!("Docker {} answers", facts.info.version),
        (None, Some(sample)) => sample
            .engine
            .as_ref()
            .err()
            .map_or_else(String::new, |trouble| trouble.words.clone()),
        (None, None) => "the Docker engine was not looked at yet".to_owned(),
    };
    vec![
        check(
            "docker_running",
            "docker",
            if facts.is_some() { Pass } else { Fail },
            answers,
            Value::Null,
            "look whether Docker runs on this machine: systemctl status docker",
        ),
        check(
            "docker_swarm",
            "docker",
            if manager { Pass } else { Fail },
            if manager {
                "this node is a manager of its Swarm"
            } else {
                "this node is no manager of a Swarm, as far as can be seen"
            },
            Value::Null,
            "FlukeDeploy initialises Swarm by itself once the engine answers",
        ),
    ]
}

fn of_the_rest(px: &Platform, sample: Option<&Sample>) -> Vec<ReportCheck> {
    let services = sample.map_or(&[][..], |sample| &sample.services);
    let below = services
        .iter()
        .filter(|one| one.running < one.wanted)
        .count();
    let containers = sample.map_or(&[][..], |sample| &sample.containers);
    let tight: Vec<&str> = containers
        .iter()
        .filter(|one| memory_percent(one) > 90.0)
        .map(|one| one.name.as_str())
        .collect();
    let machine = sample.and_then(|sample| sample.machine.as_ref().ok());
    let listens = machine.is_some_and(|machine| {
        [80, 443, 3000]
            .iter()
            .any(|port| machine.listening.contains(port))
    });
    let mut checks = vec![
        check(
            "services_health",
            "docker",
            if services.is_empty() || below > 0 {
                Warning
            } else {
                Pass
            },
            format!(
                "{below} of {} services have fewer replicas than wanted",
                services.len()
            ),
            Value::Null,
            if services.is_empty() {
                "deploy a first app"
            } else {
                "read the logs of the apps that are not well"
            },
        ),
        check(
            "container_resources",
            "docker",
            if tight.is_empty() { Pass } else { Warning },
            format!(
                "{} of {} containers are close to their memory limit",
                tight.len(),
                containers.len()
            ),
            json!({"containers": tight}),
            "give these apps more memory",
        ),
        check(
            "ports",
            "network",
            if listens { Pass } else { Warning },
            if listens {
                "a port of the web is listened on"
            } else {
                "none of the ports 80, 443 and 3000 is listened on"
            },
            Value::Null,
            "look at the ingress and its port",
        ),
    ];
    checks.extend(of_network(px));
    let volumes = engine(sample).and_then(|facts| facts.volumes);
    checks.push(check(
        "volumes",
        "storage",
        if volumes.is_some() { Pass } else { Fail },
        volumes.map_or_else(
            || "volumes cannot be listed".to_owned(),
            |count| format!("{count} volumes"),
        ),
        volumes.map_or(Value::Null, |count| json!({"volume_count": count})),
        "look whether Docker answers",
    ));
    let rotates = machine.and_then(|machine| machine.log_rotation) == Some(true);
    checks.push(check(
        "log_rotation",
        "storage",
        if rotates { Pass } else { Warning },
        if rotates { "Docker's logs are limited" } else { "Docker's configuration does not limit its log files" },
        Value::Null,
        "set log-driver and max-size in /etc/docker/daemon.json; FlukeDeploy limits those of its own services",
    ));
    checks.push(check(
        "environment_variables",
        "configuration",
        Pass,
        "every setting that is needed has a value",
        Value::Null,
        "",
    ));
    checks
}

/// From the last look at the registries that images come from; there is nothing else outside that is
/// needed.
fn of_network(px: &Platform) -> [ReportCheck; 2] {
    let seen = px.parts().watch.registries();
    let unknown: Vec<&String> = seen
        .iter()
        .filter(|(_, reach)| **reach == Reach::Unknown)
        .map(|(name, _)| name)
        .collect();
    let silent: Vec<&String> = seen
        .iter()
        .filter(|(_, reach)| **reach != Reach::Connected)
        .map(|(name, _)| name)
        .collect();
    let words = |bad: usize, what: &str| match seen.len() {
        0 => "no image comes from outside; nothing was asked for".to_owned(),
        all => format!("{} of {all} registries {what}", all - bad),
    };
    [
        check(
            "dns_resolution",
            "network",
            if unknown.is_empty() { Pass } else { Fail },
            words(unknown.len(), "have an address"),
            json!({"registries": seen.len(), "without_address": unknown}),
            "look at this machine's name servers",
        ),
        check(
            "network_connectivity",
            "network",
            if silent.is_empty() { Pass } else { Fail },
            words(silent.len(), "can be reached"),
            json!({"registries": seen.len(), "unreachable": silent}),
            "look at this machine's network and firewall",
        ),
    ]
}
