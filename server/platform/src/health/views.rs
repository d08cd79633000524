//! What was seen last, in the shapes of the contract.

use flukedeploy_domain::issue::{Finding, Issue, IssueKind, Severity};
use flukedeploy_domain::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

use super::findings::{gb, mb, rounded, short};
use super::sample::Sample;
use crate::platform::Platform;
use crate::ports::{ContainerFacts, EngineFacts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    Healthy,
    /// Something needs a look.
    Degraded,
    /// Something does not work.
    Unhealthy,
}

impl HealthStatus {
    pub(super) fn of(issues: &[Issue]) -> Self {
        match issues.iter().map(|issue| issue.severity).max() {
            Some(Severity::Critical) => Self::Unhealthy,
            Some(Severity::Warning) => Self::Degraded,
            None => Self::Healthy,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Everything at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    pub status: HealthStatus,
    pub uptime_seconds: i64,
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    pub version: String,
    pub system: SystemSummary,
    pub docker: DockerSummary,
    pub flukedeploy: PlatformSummary,
    pub issues: Vec<Issue>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SystemSummary {
    pub cpu_usage_percent: u64,
    pub memory_used_percent: u64,
    pub memory_used_mb: u64,
    pub memory_total_mb: u64,
    pub disk_used_percent: u64,
    pub disk_used_gb: u64,
    pub disk_total_gb: u64,
    pub load_average: [f64; 3],
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct DockerSummary {
    pub swarm_healthy: bool,
    pub manager_node: bool,
    pub services_count: usize,
    pub containers_running: u64,
    pub networks_count: u64,
    pub engine_answers: bool,
    pub engine_version: Option<String>,
    pub api_version: Option<String>,
    pub nodes_count: u32,
}

#[derive(Debug, Clone, Serialize)]
pub struct PlatformSummary {
    pub apps_deployed: u64,
    pub root_domain: String,
    pub deployments_active: u64,
    pub websocket_clients: u64,
    /// Entries that wait for live readers to take them; nothing is buffered beyond the store.
    pub log_buffer_size: u64,
    pub instance: String,
    pub ingresses: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct IssueList {
    pub total: usize,
    pub critical: usize,
    pub warnings: usize,
    pub issues: Vec<Issue>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct MachineView {
    pub cpu: CpuView,
    pub memory: MemoryView,
    pub disk: DiskView,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct CpuView {
    pub usage_percent: u64,
    pub cores: u32,
    pub load_average: [f64; 3],
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct MemoryView {
    pub total_mb: u64,
    pub used_mb: u64,
    pub free_mb: u64,
    pub usage_percent: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct DiskView {
    pub total_gb: u64,
    pub used_gb: u64,
    pub free_gb: u64,
    pub usage_percent: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct DockerView {
    pub swarm: SwarmView,
    pub services: ServicesView,
    pub containers: ContainerCounts,
    pub networks: NetworkCounts,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SwarmView {
    pub initialized: bool,
    pub manager: bool,
    pub node_id: Option<String>,
    pub node_hostname: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ServicesView {
    pub total: usize,
    pub running: usize,
    pub failed: usize,
    pub list: Vec<ServiceView>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ServiceView {
    pub name: String,
    /// "1/2".
    pub replicas: String,
    pub image: String,
    /// `running`, `degraded` or `failed`.
    pub status: &'static str,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ContainerCounts {
    pub total: u64,
    pub running: u64,
    pub exited: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct NetworkCounts {
    pub total: u64,
    pub overlay: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ContainersView {
    pub total: usize,
    pub healthy: usize,
    pub unhealthy: usize,
    pub starting: usize,
    pub containers: Vec<ContainerView>,
    pub cached: bool,
    pub cache_age_seconds: i64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ContainerView {
    pub id: String,
    pub name: String,
    pub image: String,
    pub status: String,
    pub health_status: String,
    pub cpu_percent: f64,
    pub memory_usage_mb: u64,
    pub memory_limit_mb: u64,
    pub memory_percent: f64,
    pub network_rx_mb: u64,
    pub network_tx_mb: u64,
    pub block_read_mb: u64,
    pub block_write_mb: u64,
    pub pids: u64,
    pub uptime_seconds: i64,
}

pub(super) fn memory_percent(one: &ContainerFacts) -> f64 {
    if one.memory_limit == 0 {
        return 0.0;
    }
    let permille = one.memory.saturating_mul(1_000) / one.memory_limit;
    f64::from(u32::try_from(permille).unwrap_or(u32::MAX)) / 10.0
}

/// Before the first look there is one thing to tell.
pub(super) fn issues_now(px: &Platform) -> Vec<Issue> {
    if px.parts().watch.sample().is_some() {
        return px.parts().watch.issues().as_ref().clone();
    }
    let now = px.now();
    let finding = Finding {
        kind: IssueKind::EngineUnreachable,
        severity: Severity::Critical,
        subject: String::new(),
        message: "the Docker engine was not looked at yet".to_owned(),
        evidence: flukedeploy_domain::issue::Facts::new(),
        suggested_action: "ask again in a moment".to_owned(),
        repair: None,
    };
    vec![Issue::new(finding, px.parts().started_at, now)]
}

pub(super) fn health(px: &Platform) -> Health {
    let sample = px.parts().watch.sample();
    let issues = issues_now(px);
    let machine = machine(px);
    let engine = engine(sample.as_deref());
    let config = px.config();
    let docker = DockerSummary {
        swarm_healthy: engine.is_some_and(|facts| facts.info.swarm_active && facts.info.is_manager),
        manager_node: engine.is_some_and(|facts| facts.info.is_manager),
        services_count: sample.as_ref().map_or(0, |sample| sample.services.len()),
        containers_running: engine.map_or(0, |facts| facts.containers_running),
        networks_count: engine.map_or(0, |facts| facts.networks),
        engine_answers: engine.is_some(),
        engine_version: engine.map(|facts| facts.info.version.clone()),
        api_version: engine.map(|facts| facts.info.api_version.clone()),
        nodes_count: engine.map_or(0, |facts| facts.info.nodes),
    };
    Health {
        status: HealthStatus::of(&issues),
        uptime_seconds: (px.now() - px.parts().started_at).whole_seconds(),
        timestamp: px.now(),
        version: config.version.to_owned(),
        system: SystemSummary {
            cpu_usage_percent: machine.cpu.usage_percent,
            memory_used_percent: machine.memory.usage_percent,
            memory_used_mb: machine.memory.used_mb,
            memory_total_mb: machine.memory.total_mb,
            disk_used_percent: machine.disk.usage_percent,
            disk_used_gb: machine.disk.used_gb,
            disk_total_gb: machine.disk.total_gb,
            load_average: machine.cpu.load_average,
        },
        docker,
        flukedeploy: PlatformSummary {
            apps_deployed: sample.as_ref().map_or(0, |sample| sample.apps),
            root_domain: config.root_domain.to_string(),
            deployments_active: sample
                .as_ref()
                .map_or(0, |sample| sample.deployments_active),
            websocket_clients: 0,
            log_buffer_size: 0,
            instance: config.instance.to_string(),
            ingresses: px.parts().traffic.connected(),
        },
        issues,
    }
}

fn engine(sample: Option<&Sample>) -> Option<&EngineFacts> {
    sample?.engine.as_ref().ok()
}

pub(super) fn machine(px: &Platform) -> MachineView {
    let Some(sample) = px.parts().watch.sample() else {
        return MachineView::default();
    };
    let Ok(facts) = &sample.machine else {
        return MachineView::default();
    };
    let disk = facts.fullest_disk().cloned().unwrap_or_default();
    let used = facts.memory_total.saturating_sub(facts.memory_available);
    MachineView {
        cpu: CpuView {
            usage_percent: rounded(facts.cpu_percent),
            cores: facts.cores,
            load_average: facts.load.map(short),
        },
        memory: MemoryView {
            total_mb: mb(facts.memory_total),
            used_mb: mb(used),
            free_mb: mb(facts.memory_available),
            usage_percent: rounded(facts.memory_percent()),
        },
        disk: DiskView {
            total_gb: gb(disk.total),
            used_gb: gb(disk.total.saturating_sub(disk.free)),
            free_gb: gb(disk.free),
            usage_percent: rounded(disk.used_percent()),
        },
    }
}

pub(super) fn docker(px: &Platform) -> DockerView {
    let sample = px.parts().watch.sample();
    let Some((sample, facts)) = sample
        .as_deref()
        .and_then(|sample| Some((sample, sample.engine.as_ref().ok()?)))
    else {
        return DockerView::default();
    };
    let list: Vec<ServiceView> = sample
        .services
        .iter()
        .map(|service| ServiceView {
            name: service.name.clone(),
            replicas: format!("{}/{}", service.running, service.wanted),
            image: service.image.clone(),
            status: match (service.running, service.wanted) {
                (running, wanted) if running >= wanted => "running",
                (0, _) => "failed",
                _ => "degraded",
            },
        })
        .collect();
    let count = |status| list.iter().filter(|one| one.status == status).count();
    DockerView {
        swarm: SwarmView {
            initialized: facts.info.swarm_active,
            manager: facts.info.is_manager,
            node_id: facts.info.node_id.clone(),
            node_hostname: facts.info.node_name.clone(),
        },
        services: ServicesView {
            total: list.len(),
            running: count("running"),
            failed: count("failed"),
            list,
        },
        containers: ContainerCounts {
            total: facts.containers,
            running: facts.containers_running,
            exited: facts.containers.saturating_sub(facts.containers_running),
        },
        networks: NetworkCounts {
            total: facts.networks,
            overlay: facts.overlay_networks,
        },
    }
}

pub(super) fn containers(px: &Platform, detailed: bool, asked_anew: bool) -> ContainersView {
    let (sample, now) = (px.parts().watch.containers(), px.now());
    let seconds = |since: OffsetDateTime| (now - since).whole_seconds().max(0);
    let age = sample.as_ref().map_or(0, |sample| seconds(sample.at));
    let found = sample.as_ref().map_or(&[][..], |sample| &sample.containers);
    let containers: Vec<ContainerView> = found
        .iter()
        .map(|one| {
            let detail = |bytes: u64| if detailed { mb(bytes) } else { 0 };
            ContainerView {
                id: one.id.chars().take(12).collect(),
                name: one.name.clone(),
                image: one.image.clone(),
                status: one.status.clone(),
                health_status: one.health.clone(),
                cpu_percent: short(one.cpu_percent),
                memory_usage_mb: mb(one.memory),
                memory_limit_mb: mb(one.memory_limit),
                memory_percent: memory_percent(one),
                network_rx_mb: detail(one.network_in),
                network_tx_mb: detail(one.network_out),
                block_read_mb: detail(one.read),
                block_write_mb: detail(one.written),
                pids: one.processes,
                uptime_seconds: one.started_at.map_or(0, seconds),
            }
        })
        .collect();
    let count = |health: &str| {
        let is_so = |one: &&ContainerView| one.health_status == health;
        containers.iter().filter(is_so).count()
    };
    ContainersView {
        total: containers.len(),
        healthy: count("healthy"),
        unhealthy: count("unhealthy"),
        starting: count("starting"),
        cached: !(asked_anew && age == 0),
        cache_age_seconds: age,
        containers,
    }
}
