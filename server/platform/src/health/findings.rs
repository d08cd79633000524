//! What a look means: the rules that make issues of it. Pure, so that every rule can be tried out.

use flukedeploy_domain::issue::{Facts, Finding, IssueKind, Severity};
use flukedeploy_domain::repair::RepairAction;
use flukedeploy_domain::timestamp;
use serde_json::{Value, json};

use super::sample::{Sample, ServiceSample};
use crate::ports::{EngineFacts, MachineFacts, Reach};

pub(super) const DISK: Limits = Limits::new(80.0, 90.0);
pub(super) const MEMORY: Limits = Limits::new(85.0, 95.0);
/// Of the load over 15 minutes, for each core.
pub(super) const LOAD_PER_CORE: f64 = 2.0;
/// Clocks that differ by more make times in logs and certificates wrong.
const MAX_SKEW_MS: i64 = 5_000;
/// Replicas that ended by themselves within ten minutes.
const LOOP: u32 = 3;
/// Names that are told at most.
const MAX_NAMES: usize = 20;

/// Above which something is told, in percent.
pub(super) struct Limits {
    pub(super) warning: f64,
    pub(super) critical: f64,
}

impl Limits {
    const fn new(warning: f64, critical: f64) -> Self {
        Self { warning, critical }
    }

    pub(super) fn of(&self, percent: f64) -> Option<Severity> {
        if percent > self.critical {
            Some(Severity::Critical)
        } else if percent > self.warning {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

/// In whole numbers, as people read it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, and never negative"
)]
pub(super) fn rounded(number: f64) -> u64 {
    number.round().max(0.0) as u64
}

/// Rounded to two decimals.
pub(super) fn short(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

pub(super) fn mb(bytes: u64) -> u64 {
    bytes >> 20
}

pub(super) fn gb(bytes: u64) -> u64 {
    bytes >> 30
}

fn finding(
    kind: IssueKind,
    severity: Severity,
    subject: &str,
    message: String,
    facts: Value,
    suggested: &str,
) -> Finding {
    Finding {
        kind,
        severity,
        subject: subject.to_owned(),
        message,
        evidence: named(facts),
        suggested_action: suggested.to_owned(),
        repair: None,
    }
}

/// Only names that are in the list below: evidence is read by machines.
fn named(facts: Value) -> Facts {
    const NAMES: [&str; 33] = [
        "place",
        "used_percent",
        "free_gb",
        "total_gb",
        "used_mb",
        "total_mb",
        "load",
        "cores",
        "ahead_ms",
        "error",
        "node",
        "nodes_ready",
        "managers",
        "reachable",
        "service",
        "app",
        "environment",
        "running",
        "wanted",
        "ended",
        "exit_code",
        "since",
        "deployment_id",
        "phase",
        "image",
        "ingresses",
        "volumes",
        "registry",
        "webhook_id",
        "failed",
        "attempts",
        "last_status",
        "forwarder_id",
    ];
    let Value::Object(mut facts) = facts else {
        return Facts::new();
    };
    NAMES
        .into_iter()
        .filter_map(|name| Some((name, facts.remove(name)?)))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn with_repair(mut finding: Finding, repair: RepairAction) -> Finding {
    finding.repair = Some(repair);
    finding
}

pub(super) fn all(sample: &Sample) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Ok(machine) = &sample.machine {
        of_machine(machine, &mut found);
    }
    match &sample.engine {
        Ok(facts) => of_engine(facts, sample, &mut found),
        Err(trouble) if trouble.no_quorum => found.push(finding(
            IssueKind::ManagerQuorum,
            Severity::Critical,
            "",
            "the Swarm's managers have no quorum: nothing can be changed".to_owned(),
            json!({"error": trouble.words}),
            "bring managers back; what runs goes on running meanwhile",
        )),
        Err(trouble) => found.push(finding(
            IssueKind::EngineUnreachable,
            Severity::Critical,
            "",
            format!("the Docker engine does not answer: {}", trouble.words),
            json!({"error": trouble.words}),
            "look whether Docker runs on this machine: systemctl status docker",
        )),
    }
    for service in &sample.services {
        of_service(service, &mut found);
    }
    of_traffic(sample, &mut found);
    of_storage(sample, &mut found);
    of_others(sample, &mut found);
    of_deployments(sample, &mut found);
    found
}

fn of_machine(machine: &MachineFacts, found: &mut Vec<Finding>) {
    for disk in &machine.disks {
        let percent = disk.used_percent();
        let Some(severity) = DISK.of(percent) else {
            continue;
        };
        let one = finding(
            IssueKind::DiskFull,
            severity,
            &disk.place,
            format!("the disk of {} is {} % full", disk.place, rounded(percent)),
            json!({
                "place": disk.place, "used_percent": rounded(percent), "free_gb": gb(disk.free),
                "total_gb": gb(disk.total)
            }),
            "remove images that nothing needs and the build cache, or make the disk larger",
        );
        found.push(with_repair(one, RepairAction::PruneImages));
    }
    let percent = machine.memory_percent();
    if let Some(severity) = MEMORY.of(percent) {
        let used = machine
            .memory_total
            .saturating_sub(machine.memory_available);
        found.push(finding(
            IssueKind::MemoryHigh,
            severity,
            "",
            format!("{} % of the memory is in use", rounded(percent)),
            json!({
                "used_percent": rounded(percent), "used_mb": mb(used),
                "total_mb": mb(machine.memory_total)
            }),
            "give apps memory limits, scale down, or add memory",
        ));
    }
    let cores = f64::from(machine.cores.max(1));
    if machine.load[2] > LOAD_PER_CORE * cores {
        found.push(finding(
            IssueKind::LoadHigh,
            Severity::Warning,
            "",
            format!(
                "the load over 15 minutes is {:.1} on {} cores",
                machine.load[2], machine.cores
            ),
            json!({"load": machine.load.map(short), "cores": machine.cores}),
            "look which app takes the processor, and give it a limit",
        ));
    }
}

fn of_engine(facts: &EngineFacts, sample: &Sample, found: &mut Vec<Finding>) {
    let info = &facts.info;
    if !info.swarm_active || !info.is_manager {
        let what = if info.swarm_active {
            "this node is no manager of its Swarm"
        } else {
            "Swarm is not initialised on this engine"
        };
        found.push(finding(
            IssueKind::SwarmInactive,
            Severity::Critical,
            "",
            what.to_owned(),
            json!({"node": info.node_name}),
            "FlukeDeploy initialises Swarm by itself; a node of another Swarm must be a manager of it",
        ));
    }
    let majority = facts.managers / 2 + 1;
    if facts.reachable_managers < facts.managers {
        let lost = facts.reachable_managers < majority;
        let severity = if lost {
            Severity::Critical
        } else {
            Severity::Warning
        };
        found.push(finding(
            IssueKind::ManagerQuorum,
            severity,
            "",
            format!(
                "{} of {} managers of the Swarm can be reached; {majority} are needed",
                facts.reachable_managers, facts.managers
            ),
            json!({"managers": facts.managers, "reachable": facts.reachable_managers}),
            "bring the missing managers back, or remove them from the Swarm",
        ));
    }
    for node in &info.down_nodes {
        found.push(finding(
            IssueKind::NodeDown,
            Severity::Warning,
            node,
            format!("node {node} is not ready: its replicas are started elsewhere"),
            json!({"node": node, "nodes_ready": info.nodes}),
            "look at the node, or remove it from the Swarm",
        ));
    }
    if let Some(ahead) = sample.clock_ahead_ms
        && ahead.abs() > MAX_SKEW_MS
    {
        found.push(finding(
            IssueKind::ClockSkew,
            Severity::Warning,
            "",
            format!(
                "the engine's clock differs from ours by {} s",
                ahead.abs() / 1_000
            ),
            json!({"ahead_ms": ahead}),
            "let both machines keep their time with NTP",
        ));
    }
}

fn of_service(service: &ServiceSample, found: &mut Vec<Finding>) {
    let about = |more: Value| {
        let mut facts = json!({
            "service": service.name, "app": service.app, "environment": service.environment,
        });
        if let (Value::Object(facts), Value::Object(more)) = (&mut facts, more) {
            facts.extend(more);
        }
        facts
    };
    if service.orphaned {
        let one = finding(
            IssueKind::OrphanedService,
            Severity::Warning,
            &service.name,
            format!(
                "the service {} belongs to no release and is older than the data directory",
                service.name
            ),
            about(json!({"running": service.running, "wanted": service.wanted})),
            "remove it, if no other control plane uses it",
        );
        found.push(with_repair(one, RepairAction::RemoveOrphanedServices));
        return;
    }
    // A deployment decides itself what is to run, and says what is wrong with it.
    if service.busy {
        return;
    }
    if service.running < service.wanted {
        let severity = if service.running == 0 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let one = finding(
            IssueKind::ServiceBelowWanted,
            severity,
            &service.name,
            format!(
                "{} runs {} of {} replicas",
                service.app, service.running, service.wanted
            ),
            about(json!({"running": service.running, "wanted": service.wanted})),
            "read the app's log; restart it, or go back to the release before",
        );
        found.push(with_repair(one, RepairAction::RestartUnhealthyServices));
    }
    if service.ended >= LOOP {
        found.push(finding(
            IssueKind::CrashLoop,
            Severity::Warning,
            &service.name,
            format!(
                "replicas of {} ended {} times by themselves within ten minutes",
                service.app, service.ended
            ),
            about(json!({
                "ended": service.ended, "exit_code": service.exit_code,
                "since": service.ended_since.map(timestamp::to_wire)
            })),
            "read the app's log, or go back to the release before",
        ));
    }
    if let Some(why) = &service.pull_failure {
        found.push(finding(
            IssueKind::ImagePullFailing,
            Severity::Warning,
            &service.name,
            format!("a node cannot get hold of the image of {}", service.app),
            about(json!({"image": service.image, "error": why})),
            "look at the registry and its credentials, and that the image is still there",
        ));
    }
}

fn of_traffic(sample: &Sample, found: &mut Vec<Finding>) {
    if sample.ingresses == 0 {
        let one = finding(
            IssueKind::IngressDisconnected,
            Severity::Warning,
            "",
            "no ingress is connected: routes cannot be changed now".to_owned(),
            json!({"ingresses": 0}),
            "it comes back by itself where its service runs; look at the service of the ingress",
        );
        found.push(one);
    } else if let Some((since, why)) = &sample.routes_unconfirmed {
        let one = finding(
            IssueKind::IngressSnapshotOld,
            Severity::Warning,
            "",
            format!("an ingress has not confirmed the newest routes: {why}"),
            json!({
                "ingresses": sample.ingresses, "since": timestamp::to_wire(*since), "error": why
            }),
            "send the routes again",
        );
        found.push(with_repair(one, RepairAction::PushRoutes));
    }
    for (registry, reach) in &sample.registries {
        let why = match reach {
            Reach::Unknown => "its name has no address",
            Reach::Silent | Reach::Connected => "nobody takes the connection",
        };
        found.push(finding(
            IssueKind::RegistryUnreachable,
            Severity::Warning,
            registry,
            format!("the registry {registry} cannot be reached: {why}"),
            json!({"registry": registry, "error": why}),
            "what runs goes on running; deployments from it fail until it is back",
        ));
    }
}

fn of_storage(sample: &Sample, found: &mut Vec<Finding>) {
    if let Some(trouble) = &sample.log_trouble {
        let one = finding(
            IssueKind::LogStoragePaused,
            Severity::Critical,
            "",
            format!("log entries cannot be stored now, and are tried again: {trouble}"),
            json!({"error": trouble}),
            "make room on the disk; old entries can be removed now",
        );
        found.push(with_repair(one, RepairAction::CleanLogs));
    }
    if let Some(trouble) = &sample.store_trouble {
        found.push(finding(
            IssueKind::DatabaseFailing,
            Severity::Critical,
            "",
            format!("the database cannot be read: {trouble}"),
            json!({"error": trouble}),
            "look at the data directory and its disk",
        ));
    }
    if !sample.leftover_volumes.is_empty() {
        let names: Vec<&String> = sample.leftover_volumes.iter().take(MAX_NAMES).collect();
        found.push(finding(
            IssueKind::LeftoverVolumes,
            Severity::Warning,
            "",
            format!(
                "{} volumes of environments that are gone are still in use",
                sample.leftover_volumes.len()
            ),
            json!({"volumes": names}),
            "stop what uses them; they are removed by themselves then",
        ));
    }
}

fn of_others(sample: &Sample, found: &mut Vec<Finding>) {
    for words in &sample.drift {
        // The words begin with the app's name.
        let app = words.split_whitespace().nth(1).unwrap_or_default();
        found.push(finding(
            IssueKind::ServiceChanged,
            Severity::Warning,
            app,
            words.clone(),
            json!({"app": app}),
            "restart the app to put it right",
        ));
    }
    for webhook in &sample.webhooks {
        let why = match (&webhook.last_error, webhook.last_status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => format!("it answers {status}"),
            (None, None) => "it does not answer".to_owned(),
        };
        let one = finding(
            IssueKind::WebhookFailing,
            Severity::Warning,
            &webhook.id,
            format!(
                "the receiver of webhook {} does not take deliveries",
                webhook.id
            ),
            json!({
                "webhook_id": webhook.id, "failed": webhook.failed, "attempts": webhook.attempts,
                "since": timestamp::to_wire(webhook.since), "last_status": webhook.last_status,
                "error": why
            }),
            "put its receiver right and send the deliveries again, or turn it off",
        );
        let has_failed = webhook.failed > 0;
        found.push(if has_failed {
            with_repair(one, RepairAction::RetryWebhooks)
        } else {
            one
        });
    }
    for forwarder in &sample.forwarders {
        found.push(finding(
            IssueKind::LogForwarderFailing,
            Severity::Warning,
            &forwarder.id,
            format!("the log forwarder {} cannot send", forwarder.id),
            json!({
                "forwarder_id": forwarder.id, "error": forwarder.why,
                "attempts": forwarder.failures, "since": forwarder.since.map(timestamp::to_wire)
            }),
            "look at its receiver; it goes on from where it is",
        ));
    }
}

fn of_deployments(sample: &Sample, found: &mut Vec<Finding>) {
    for one in &sample.deployments {
        if sample.at - one.since <= one.limit {
            continue;
        }
        let minutes = (sample.at - one.since).whole_minutes();
        let phase = one.phase.map_or("pending", |phase| phase.as_str());
        found.push(finding(
            IssueKind::DeploymentStuck,
            Severity::Warning,
            &one.id,
            format!(
                "the deployment {} of {} is in {phase} for {minutes} min",
                one.id, one.app
            ),
            json!({
                "deployment_id": one.id, "app": one.app, "phase": phase,
                "since": timestamp::to_wire(one.since)
            }),
            "read its log; cancel it if nothing moves",
        ));
    }
}
