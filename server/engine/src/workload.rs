//! What a replica needs from its node, in Docker's words. Pure. What is not wished for is absent,
//! so that the engine's own defaults stay.

use std::collections::HashMap;

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum,
    HealthConfig, Limit, Mount, MountType, MountVolumeOptions, ResourceObject, TaskSpecPlacement,
    TaskSpecResources,
};
use flukedeploy_domain::app::{PlacementRule, Protocol, PublishedPort, Resources};
use flukedeploy_platform::ports::{HealthCommand, VolumeMount};

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;
/// Nano-processors in a thousandth of one.
const MILLI: i64 = 1_000_000;
const MEBIBYTE: i64 = 1024 * 1024;
/// Soon enough to start a release without delay.
const HEALTH_INTERVAL: i64 = SECOND;
/// How often in a row the check fails until Docker ends the replica.
const HEALTH_RETRIES: i64 = 3;

pub(crate) fn resources(wanted: &Resources) -> Option<TaskSpecResources> {
    let cpus = |milli: Option<u32>| milli.filter(|it| *it > 0).map(|it| i64::from(it) * MILLI);
    let bytes = |mb: Option<u32>| mb.filter(|it| *it > 0).map(|it| i64::from(it) * MEBIBYTE);
    let limits = Limit {
        nano_cpus: cpus(wanted.cpu_limit_milli),
        memory_bytes: bytes(wanted.memory_limit_mb),
        ..Limit::default()
    };
    let reservations = ResourceObject {
        nano_cpus: cpus(wanted.cpu_reservation_milli),
        memory_bytes: bytes(wanted.memory_reservation_mb),
        ..ResourceObject::default()
    };
    let limits = Some(limits).filter(|it| *it != Limit::default());
    let reservations = Some(reservations).filter(|it| *it != ResourceObject::default());
    (limits.is_some() || reservations.is_some()).then(|| TaskSpecResources {
        limits,
        reservations,
        ..TaskSpecResources::default()
    })
}

pub(crate) fn placement(rules: &[PlacementRule]) -> Option<TaskSpecPlacement> {
    (!rules.is_empty()).then(|| TaskSpecPlacement {
        constraints: Some(rules.iter().map(ToString::to_string).collect()),
        ..TaskSpecPlacement::default()
    })
}

/// `owner`: the labels of a volume that is made for this, by which it is found again.
pub(crate) fn mounts(
    wanted: &[VolumeMount],
    owner: &HashMap<String, String>,
) -> Option<Vec<Mount>> {
    (!wanted.is_empty()).then(|| {
        wanted
            .iter()
            .map(|mount| volume(&mount.volume, &mount.path, owner))
            .collect()
    })
}

/// One volume of this instance at `path`.
pub(crate) fn volume(name: &str, path: &str, owner: &HashMap<String, String>) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        source: Some(name.to_owned()),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            labels: Some(owner.clone()),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

pub(crate) fn ports(wanted: &[PublishedPort]) -> Vec<EndpointPortConfig> {
    wanted
        .iter()
        .map(|port| {
            let protocol = match port.protocol {
                Protocol::Tcp => EndpointPortConfigProtocolEnum::TCP,
                Protocol::Udp => EndpointPortConfigProtocolEnum::UDP,
            };
            host_port(port.published, port.target, protocol)
        })
        .collect()
}

/// A port of the node itself. The other way, through Swarm's routing mesh, needs a virtual address
/// and with it IPVS (see [`crate::spec`]), and hides who calls.
pub(crate) fn host_port(
    published: u16,
    target: u16,
    protocol: EndpointPortConfigProtocolEnum,
) -> EndpointPortConfig {
    EndpointPortConfig {
        protocol: Some(protocol),
        target_port: Some(i64::from(target)),
        published_port: Some(i64::from(published)),
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        ..EndpointPortConfig::default()
    }
}

/// `CMD`: the arguments as they are, no shell.
pub(crate) fn health_check(wanted: &HealthCommand) -> HealthConfig {
    let word = std::iter::once("CMD".to_owned());
    let timeout = i64::try_from(wanted.timeout_ms).unwrap_or(i64::MAX);
    HealthConfig {
        test: Some(word.chain(wanted.command.iter().cloned()).collect()),
        interval: Some(HEALTH_INTERVAL),
        timeout: Some(timeout.saturating_mul(MILLISECOND)),
        retries: Some(HEALTH_RETRIES),
        start_period: Some(i64::from(wanted.start_grace_seconds) * SECOND),
        ..HealthConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value<T: serde::Serialize>(part: T) -> Value {
        serde_json::to_value(part).unwrap()
    }

    #[test]
    fn resources_are_nano_processors_and_bytes() {
        let all = Resources {
            cpu_limit_milli: Some(1_500),
            memory_limit_mb: Some(64),
            cpu_reservation_milli: Some(250),
            memory_reservation_mb: Some(32),
        };
        assert_eq!(
            value(resources(&all)),
            json!({
                "Limits": {"NanoCPUs": 1_500_000_000_i64, "MemoryBytes": 67_108_864},
                "Reservations": {"NanoCPUs": 250_000_000, "MemoryBytes": 33_554_432},
            })
        );
        let largest = Resources {
            cpu_limit_milli: Some(u32::MAX),
            memory_limit_mb: Some(u32::MAX),
            ..Resources::default()
        };
        let limits = &value(resources(&largest))["Limits"];
        assert_eq!(limits["NanoCPUs"], 4_294_967_295_000_000_i64);
        assert_eq!(limits["MemoryBytes"], 4_503_599_626_321_920_i64);
    }

    #[test]
    fn only_what_is_wished_for_is_said() {
        assert_eq!(resources(&Resources::default()), None);
        let nothing = Resources {
            cpu_reservation_milli: Some(0),
            ..Resources::default()
        };
        assert_eq!(resources(&nothing), None);
        let one = Resources {
            memory_limit_mb: Some(6),
            ..Resources::default()
        };
        assert_eq!(
            value(resources(&one)),
            json!({"Limits": {"MemoryBytes": 6_291_456}})
        );
        assert_eq!(placement(&[]), None);
        assert_eq!(mounts(&[], &HashMap::new()), None);
        assert!(ports(&[]).is_empty());
    }

    #[test]
    fn rules_volumes_and_ports_are_dockers() {
        let rules = ["node.labels.disk==ssd", "node.role != manager"];
        let rules: Vec<PlacementRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        assert_eq!(
            value(placement(&rules)),
            json!({"Constraints": ["node.labels.disk == ssd", "node.role != manager"]})
        );
        let owner = HashMap::from([("com.flukedeploy.instance".to_owned(), "main".to_owned())]);
        let data = VolumeMount {
            volume: "fd-main-shop-production-data".to_owned(),
            path: "/var/data".to_owned(),
        };
        assert_eq!(
            value(mounts(&[data], &owner)),
            json!([{
                "Type": "volume", "Source": "fd-main-shop-production-data", "Target": "/var/data",
                "VolumeOptions": {"Labels": {"com.flukedeploy.instance": "main"}},
            }])
        );
        let dns = PublishedPort {
            published: 53,
            target: 5353,
            protocol: Protocol::Udp,
        };
        assert_eq!(
            value(ports(&[dns])),
            json!([{
                "Protocol": "udp", "PublishedPort": 53, "TargetPort": 5353, "PublishMode": "host",
            }])
        );
    }

    #[test]
    fn a_health_command_knows_no_shell() {
        let command = HealthCommand {
            command: vec!["/bin/check".to_owned(), "$HOME; true".to_owned()],
            timeout_ms: 1_500,
            start_grace_seconds: 20,
        };
        assert_eq!(
            value(health_check(&command)),
            json!({
                "Test": ["CMD", "/bin/check", "$HOME; true"],
                "Interval": 1_000_000_000, "Timeout": 1_500_000_000, "Retries": 3,
                "StartPeriod": 20_000_000_000_i64,
            })
        );
        let endless = HealthCommand {
            timeout_ms: u64::MAX,
            ..command
        };
        assert_eq!(health_check(&endless).timeout, Some(i64::MAX));
    }
}
