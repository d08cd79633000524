//! The engine as something to be looked after.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{
    ListContainersOptions, ListNetworksOptions, ListVolumesOptions, RemoveImageOptions,
};
use flukedeploy_platform::ports::{
    ContainerFacts, EngineError, EngineFacts, EngineInfo, ImageHere, Upkeep,
};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::{Inner, SwarmEngine};

/// Removing layers and counting what they take is slow on a busy disk.
const SLOW: Duration = Duration::from_mins(2);
/// Containers that are asked for their figures at the same time.
const AT_ONCE: usize = 8;
/// Containers whose figures are asked for.
const MAX_CONTAINERS: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNode {
    manager_status: Option<RawManager>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawManager {
    #[serde(default)]
    reachability: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawDiskUse {
    #[serde(default)]
    build_cache: Option<Vec<RawCache>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawCache {
    #[serde(default)]
    in_use: bool,
    #[serde(default)]
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawPruned {
    #[serde(default)]
    space_reclaimed: u64,
}

#[async_trait]
impl Upkeep for SwarmEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.inner.facts().await
    }

    async fn containers(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.inner.container_facts().await
    }

    async fn images_here(&self, pinned: &[String]) -> Result<Vec<ImageHere>, EngineError> {
        let mut here = Vec::new();
        for pinned in pinned {
            if let Some(found) = self.inner.local_image(pinned).await? {
                here.push(ImageHere {
                    pinned: pinned.clone(),
                    id: found.id.unwrap_or_default(),
                    bytes: found
                        .size
                        .and_then(|size| size.try_into().ok())
                        .unwrap_or(0),
                });
            }
        }
        Ok(here)
    }

    async fn remove_image(&self, pinned: &str) -> Result<bool, EngineError> {
        let doing = format!("removing image {pinned}");
        // Never by force: the engine itself keeps what a container uses.
        let options = RemoveImageOptions::default();
        let client = &self.inner.client;
        let removal = client.docker().remove_image(pinned, Some(options), None);
        match client.call_within(SLOW, &doing, removal).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. } | EngineError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn build_cache(&self) -> Result<u64, EngineError> {
        let client = &self.inner.client;
        let asking = client.get::<RawDiskUse>("/system/df?type=build-cache");
        let found = client
            .call_within(SLOW, "measuring the build cache", asking)
            .await?;
        let unused = found.build_cache.unwrap_or_default();
        Ok(unused
            .iter()
            .filter(|part| !part.in_use)
            .map(|part| part.size)
            .sum())
    }

    async fn prune_build_cache(&self) -> Result<u64, EngineError> {
        let client = &self.inner.client;
        let pruning = client.post::<RawPruned>("/build/prune?all=true", &Value::Null, None);
        let pruned = client
            .call_within(SLOW, "emptying the build cache", pruning)
            .await?;
        Ok(pruned.space_reclaimed)
    }
}

impl Inner {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let doing = "asking the engine about itself";
        let client = &self.client;
        let raw = client.call(doing, client.docker().info()).await?;
        let time = raw
            .system_time
            .as_deref()
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let info: EngineInfo = self.info().await?;
        let managers: Vec<RawManager> = if info.is_manager {
            let asking = client.get::<Vec<RawNode>>("/nodes");
            let nodes = client.call("listing nodes", asking).await?;
            nodes
                .into_iter()
                .filter_map(|node| node.manager_status)
                .collect()
        } else {
            Vec::new()
        };
        let networks = client
            .call(
                "listing networks",
                client.docker().list_networks(None::<ListNetworksOptions>),
            )
            .await?;
        let volumes = client
            .call(
                "listing volumes",
                client.docker().list_volumes(None::<ListVolumesOptions>),
            )
            .await;
        let is_overlay =
            |driver: &Option<String>| driver.as_deref().is_some_and(|name| name == "overlay");
        let reachable = managers
            .iter()
            .filter(|one| one.reachability == "reachable");
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let of = |number: Option<i64>| {
            number
                .and_then(|number| number.try_into().ok())
                .unwrap_or(0)
        };
        Ok(EngineFacts {
            time,
            managers: count(managers.len()),
            reachable_managers: count(reachable.count()),
            containers: of(raw.containers),
            containers_running: of(raw.containers_running),
            overlay_networks: networks
                .iter()
                .filter(|network| is_overlay(&network.driver))
                .count() as u64,
            networks: networks.len() as u64,
            volumes: volumes
                .ok()
                .map(|found| found.volumes.unwrap_or_default().len() as u64),
            directory: raw.docker_root_dir.filter(|_| client.is_local()),
            info,
        })
    }

    async fn container_facts(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        let options = ListContainersOptions {
            filters: Some(self.names.owned()),
            ..ListContainersOptions::default()
        };
        let listing = self.client.docker().list_containers(Some(options));
        let found = self.client.call("listing containers", listing).await?;
        let facts = found
            .into_iter()
            .take(MAX_CONTAINERS)
            .map(|one| async move {
                let id = one.id.unwrap_or_default();
                let status = one.status.unwrap_or_default();
                let names = one.names.unwrap_or_default();
                let mut facts = ContainerFacts {
                    name: names
                        .first()
                        .map(|name| name.trim_start_matches('/').to_owned())
                        .unwrap_or_default(),
                    image: one.image.unwrap_or_default(),
                    health: health_in(&status).to_owned(),
                    status,
                    started_at: one
                        .created
                        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
                    id,
                    ..ContainerFacts::default()
                };
                let path = format!("/containers/{}/stats?stream=false", facts.id);
                let asking = self.client.get::<Value>(&path);
                // One that ended meanwhile has no figures.
                if let Ok(figures) = self.client.call("reading figures", asking).await {
                    read_figures(&figures, &mut facts);
                }
                facts
            });
        Ok(stream::iter(facts).buffered(AT_ONCE).collect().await)
    }
}

fn health_in(status: &str) -> &'static str {
    if status.contains("(healthy)") {
        "healthy"
    } else if status.contains("(unhealthy)") {
        "unhealthy"
    } else if status.contains("health: starting") {
        "starting"
    } else {
        "none"
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than a float holds"
)]
fn read_figures(figures: &Value, facts: &mut ContainerFacts) {
    let number = |path: &str| figures.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    // Pages that can be had back are not the app's.
    let cache = number("/memory_stats/stats/inactive_file")
        .max(number("/memory_stats/stats/total_inactive_file"));
    facts.memory = number("/memory_stats/usage").saturating_sub(cache);
    facts.memory_limit = number("/memory_stats/limit");
    facts.processes = number("/pids_stats/current");
    let used = number("/cpu_stats/cpu_usage/total_usage")
        .saturating_sub(number("/precpu_stats/cpu_usage/total_usage"));
    let all = number("/cpu_stats/system_cpu_usage")
        .saturating_sub(number("/precpu_stats/system_cpu_usage"));
    if all > 0 {
        let cores = number("/cpu_stats/online_cpus").max(1);
        facts.cpu_percent = used as f64 / all as f64 * cores as f64 * 100.0;
    }
    let networks: HashMap<String, Value> = figures
        .get("networks")
        .and_then(|found| serde_json::from_value(found.clone()).ok())
        .unwrap_or_default();
    let of = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    facts.network_in = networks.values().map(|one| of(one, "rx_bytes")).sum();
    facts.network_out = networks.values().map(|one| of(one, "tx_bytes")).sum();
    let blocks = figures.pointer("/blkio_stats/io_service_bytes_recursive");
    for part in blocks.and_then(Value::as_array).into_iter().flatten() {
        let bytes = of(part, "value");
        match part["op"].as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("read") => facts.read += bytes,
            Some("write") => facts.written += bytes,
            _ => {}
        }
    }
}
