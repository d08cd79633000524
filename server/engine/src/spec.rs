//! What we want, in Docker's words. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointSpec, EndpointSpecModeEnum,
    NetworkAttachmentConfig, ServiceSpec as DockerService, ServiceSpecMode,
    ServiceSpecModeReplicated, ServiceSpecUpdateConfig, ServiceSpecUpdateConfigFailureActionEnum,
    ServiceSpecUpdateConfigOrderEnum, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecFile,
    TaskSpecContainerSpecSecrets, TaskSpecPlacement, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum,
};
use flukedeploy_domain::app::EnvVars;
use flukedeploy_platform::ports::{IngressSpec, JobSpec, SecretMount, ServiceSpec};

use crate::labels::{INGRESS, INSTANCE, JOB, Names, RELEASE, ROLE, SERVICE};
use crate::workload;

const SECOND: i64 = 1_000_000_000;
/// A crashed replica comes back soon, a crash loop does not keep the node busy. Whether it is a
/// loop, and what follows, is the control plane's judgement.
const RESTART_DELAY: i64 = SECOND;

/// Nobody; owns nothing but the ingress's volume.
pub(crate) const NOBODY: u32 = 65534;
pub(crate) const INGRESS_LISTEN_PORT: u16 = 8080;
pub(crate) const INGRESS_STATE: &str = "/var/lib/flukedeploy-ingress";
const INGRESS_TOKEN: &str = "flukedeploy-ingress-token";

/// The service of a release. `secrets`: ids by name.
pub(crate) fn release(
    names: &Names,
    network_id: &str,
    secrets: &HashMap<String, String>,
    spec: &ServiceSpec,
) -> DockerService {
    let labels = labels(names, RELEASE, &spec.name, &spec.labels);
    let container = TaskSpecContainerSpec {
        image: Some(spec.image.pinned.clone()),
        labels: Some(labels.clone()),
        env: Some(env(&spec.env)),
        stop_grace_period: Some(i64::from(spec.stop_grace_seconds) * SECOND),
        health_check: spec.health_command.as_ref().map(workload::health_check),
        mounts: workload::mounts(&spec.mounts, &names.owner()),
        secrets: self::secrets(secrets, &spec.secrets),
        init: Some(false),
        ..TaskSpecContainerSpec::default()
    };
    DockerService {
        name: Some(spec.name.clone()),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            resources: workload::resources(&spec.resources),
            restart_policy: Some(restart(RESTART_DELAY)),
            placement: workload::placement(&spec.placement),
            networks: Some(vec![attachment(network_id, spec.aliases.clone())]),
            ..TaskSpec::default()
        }),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated {
                replicas: Some(i64::from(spec.replicas)),
            }),
            ..ServiceSpecMode::default()
        }),
        endpoint_spec: Some(endpoint(workload::ports(&spec.ports))),
        ..DockerService::default()
    }
}

/// The service of a command that runs once: one replica that is never restarted.
///
/// Not in Swarm's own mode for this (`ReplicatedJob`): when such a service is removed, Swarm does
/// not stop its tasks, nor forget those that ended, for ever (moby#42789, moby#44312; seen on
/// 20.10). Of the usual mode everything goes.
pub(crate) fn job(
    names: &Names,
    network_id: &str,
    secrets: &HashMap<String, String>,
    spec: &JobSpec,
) -> DockerService {
    let labels = labels(names, JOB, &spec.name, &spec.labels);
    let container = TaskSpecContainerSpec {
        image: Some(spec.image.pinned.clone()),
        labels: Some(labels.clone()),
        command: Some(spec.command.clone()),
        env: Some(env(&spec.env)),
        mounts: workload::mounts(&spec.mounts, &names.owner()),
        secrets: self::secrets(secrets, &spec.secrets),
        init: Some(false),
        ..TaskSpecContainerSpec::default()
    };
    DockerService {
        name: Some(spec.name.clone()),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            resources: workload::resources(&spec.resources),
            restart_policy: Some(TaskSpecRestartPolicy {
                condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
                // Makes Swarm remember the one task, however little history it is set to keep: a
                // slot without any would get a new one.
                max_attempts: Some(1),
                ..TaskSpecRestartPolicy::default()
            }),
            placement: workload::placement(&spec.placement),
            networks: Some(vec![attachment(network_id, Vec::new())]),
            ..TaskSpec::default()
        }),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
            ..ServiceSpecMode::default()
        }),
        endpoint_spec: Some(endpoint(Vec::new())),
        ..DockerService::default()
    }
}

/// What the ingress's service needs beside its specification.
pub(crate) struct IngressParts<'a> {
    pub(crate) network_id: &'a str,
    pub(crate) image: &'a str,
    pub(crate) secret_id: &'a str,
    pub(crate) secret_name: &'a str,
    /// Its image exists on this node alone.
    pub(crate) only_node: Option<&'a str>,
}

/// The ingress: global, host-mode port, nothing it may do but serve.
#[expect(
    clippy::zero_sized_map_values,
    reason = "bollard's type for an empty object"
)]
pub(crate) fn ingress(
    names: &Names,
    parts: &IngressParts<'_>,
    spec: &IngressSpec,
) -> DockerService {
    let name = names.ingress();
    let labels = labels(names, INGRESS, &name, &BTreeMap::new());
    let env = [
        (
            "FLUKEDEPLOY_INGRESS_CONTROL_URLS",
            spec.control_urls.join(","),
        ),
        (
            "FLUKEDEPLOY_INGRESS_LISTEN",
            format!("0.0.0.0:{INGRESS_LISTEN_PORT}"),
        ),
        (
            "FLUKEDEPLOY_INGRESS_TOKEN_FILE",
            format!("/run/secrets/{INGRESS_TOKEN}"),
        ),
        (
            "FLUKEDEPLOY_INGRESS_SNAPSHOT",
            format!("{INGRESS_STATE}/snapshot.json"),
        ),
        ("FLUKEDEPLOY_INGRESS_NODE", "{{.Node.Hostname}}".to_owned()),
        ("FLUKEDEPLOY_INGRESS_ID", "{{.Task.ID}}".to_owned()),
    ];
    let container = TaskSpecContainerSpec {
        image: Some(parts.image.to_owned()),
        labels: Some(labels.clone()),
        args: Some(vec!["ingress".to_owned()]),
        env: Some(
            env.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        user: Some(format!("{NOBODY}:{NOBODY}")),
        read_only: Some(true),
        mounts: Some(vec![workload::volume(
            &names.ingress(),
            INGRESS_STATE,
            &names.owner(),
        )]),
        stop_grace_period: Some(30 * SECOND),
        secrets: Some(vec![secret(
            parts.secret_id,
            parts.secret_name,
            INGRESS_TOKEN,
            (NOBODY, NOBODY),
        )]),
        init: Some(false),
        capability_drop: Some(vec!["ALL".to_owned()]),
        ..TaskSpecContainerSpec::default()
    };
    let constraints = parts.only_node.map(|node| vec![format!("node.id=={node}")]);
    DockerService {
        name: Some(name),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            restart_policy: Some(restart(0)),
            placement: Some(TaskSpecPlacement {
                constraints: Some(constraints.unwrap_or_default()),
                ..TaskSpecPlacement::default()
            }),
            networks: Some(vec![attachment(parts.network_id, Vec::new())]),
            ..TaskSpec::default()
        }),
        mode: Some(ServiceSpecMode {
            global: Some(HashMap::default()),
            ..ServiceSpecMode::default()
        }),
        // A host port has room for one: the old task must go before the new one can start.
        update_config: Some(ServiceSpecUpdateConfig {
            parallelism: Some(1),
            failure_action: Some(ServiceSpecUpdateConfigFailureActionEnum::CONTINUE),
            order: Some(ServiceSpecUpdateConfigOrderEnum::STOP_FIRST),
            ..ServiceSpecUpdateConfig::default()
        }),
        endpoint_spec: Some(endpoint(vec![workload::host_port(
            spec.http_port,
            INGRESS_LISTEN_PORT,
            EndpointPortConfigProtocolEnum::TCP,
        )])),
        ..DockerService::default()
    }
}

/// Without an id the engine refuses the service, and says which secret it misses.
fn secrets(
    ids: &HashMap<String, String>,
    wanted: &[SecretMount],
) -> Option<Vec<TaskSpecContainerSpecSecrets>> {
    let mount = |one: &SecretMount| {
        let id = ids.get(&one.secret).map_or("", String::as_str);
        secret(id, &one.secret, &one.file, (one.uid, one.gid))
    };
    (!wanted.is_empty()).then(|| wanted.iter().map(mount).collect())
}

/// A file in `/run/secrets` that only its owner may read.
fn secret(
    id: &str,
    name: &str,
    file: &str,
    (uid, gid): (u32, u32),
) -> TaskSpecContainerSpecSecrets {
    TaskSpecContainerSpecSecrets {
        file: Some(TaskSpecContainerSpecFile {
            name: Some(file.to_owned()),
            uid: Some(uid.to_string()),
            gid: Some(gid.to_string()),
            mode: Some(0o400),
        }),
        secret_id: Some(id.to_owned()),
        secret_name: Some(name.to_owned()),
    }
}

fn env(variables: &EnvVars) -> Vec<String> {
    let pairs = variables.0.iter();
    pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn labels(
    names: &Names,
    role: &str,
    service: &str,
    more: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = more
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    labels.insert(INSTANCE.to_owned(), names.instance.to_string());
    labels.insert(ROLE.to_owned(), role.to_owned());
    labels.insert(SERVICE.to_owned(), service.to_owned());
    labels
}

fn restart(delay: i64) -> TaskSpecRestartPolicy {
    TaskSpecRestartPolicy {
        condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
        delay: Some(delay),
        ..TaskSpecRestartPolicy::default()
    }
}

fn attachment(network_id: &str, aliases: Vec<String>) -> NetworkAttachmentConfig {
    NetworkAttachmentConfig {
        target: Some(network_id.to_owned()),
        aliases: Some(aliases),
        ..NetworkAttachmentConfig::default()
    }
}

/// `dnsrr` always: the ingress balances over task addresses itself, and a virtual address needs
/// IPVS, which not every kernel has; without it everything looks well and nothing connects.
fn endpoint(ports: Vec<EndpointPortConfig>) -> EndpointSpec {
    EndpointSpec {
        mode: Some(EndpointSpecModeEnum::DNSRR),
        ports: Some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::app::{Protocol, PublishedPort, Resources};
    use flukedeploy_domain::image::PinnedImage;
    use flukedeploy_platform::ports::{HealthCommand, VolumeMount};
    use serde_json::{Value, json};

    fn names() -> Names {
        Names {
            instance: "main".parse().unwrap(),
        }
    }

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "fd-main-shop-production-r3".to_owned(),
            image: PinnedImage {
                requested: "shop:v1".parse().unwrap(),
                pinned: format!("sha256:{}", "a".repeat(64)),
                local_only: true,
                architecture: None,
                exposed_ports: Vec::new(),
                has_healthcheck: false,
                user: String::new(),
            },
            replicas: 2,
            env: EnvVars(BTreeMap::from([
                ("B".to_owned(), "x=y z".to_owned()),
                ("A".to_owned(), String::new()),
            ])),
            aliases: vec!["shop".to_owned()],
            labels: BTreeMap::from([("com.flukedeploy.app".to_owned(), "shop".to_owned())]),
            stop_grace_seconds: 7,
            resources: Resources::default(),
            placement: Vec::new(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            ports: Vec::new(),
            health_command: None,
        }
    }

    #[test]
    fn a_release_becomes_a_service() {
        let spec = spec();
        let labels = json!({
            "com.flukedeploy.app": "shop",
            "com.flukedeploy.instance": "main",
            "com.flukedeploy.role": "release",
            "com.flukedeploy.service": "fd-main-shop-production-r3",
        });
        assert_eq!(
            serde_json::to_value(release(&names(), "net1", &HashMap::new(), &spec)).unwrap(),
            json!({
                "Name": "fd-main-shop-production-r3",
                "Labels": labels,
                "TaskTemplate": {
                    "ContainerSpec": {
                        "Image": format!("sha256:{}", "a".repeat(64)),
                        "Labels": labels,
                        "Env": ["A=", "B=x=y z"],
                        "StopGracePeriod": 7_000_000_000_i64,
                        "Init": false,
                    },
                    "RestartPolicy": {"Condition": "any", "Delay": 1_000_000_000},
                    "Networks": [{"Target": "net1", "Aliases": ["shop"]}],
                },
                "Mode": {"Replicated": {"Replicas": 2}},
                "EndpointSpec": {"Mode": "dnsrr", "Ports": []},
            })
        );
    }

    #[test]
    fn a_job_runs_once_and_is_no_release() {
        let release = spec();
        let job = job(
            &names(),
            "net1",
            &HashMap::new(),
            &JobSpec {
                name: "fd-main-shop-job-1".to_owned(),
                image: release.image,
                command: vec!["/bin/migrate".to_owned(), "--all now".to_owned()],
                env: release.env,
                labels: BTreeMap::from([("com.flukedeploy.job".to_owned(), "1".to_owned())]),
                resources: Resources::default(),
                placement: Vec::new(),
                mounts: Vec::new(),
                secrets: Vec::new(),
            },
        );
        let value = serde_json::to_value(job).unwrap();
        assert_eq!(value["Labels"]["com.flukedeploy.role"], "job");
        assert_eq!(value["Labels"]["com.flukedeploy.job"], "1");
        assert_eq!(value["Mode"], json!({"Replicated": {"Replicas": 1}}));
        let task = &value["TaskTemplate"];
        assert_eq!(
            task["RestartPolicy"],
            json!({"Condition": "none", "MaxAttempts": 1})
        );
        assert_eq!(
            task["ContainerSpec"]["Command"],
            json!(["/bin/migrate", "--all now"])
        );
        assert_eq!(task["ContainerSpec"]["Labels"], value["Labels"]);
    }

    #[test]
    fn what_a_release_needs_of_its_node_is_said_where_docker_looks_for_it() {
        let spec = ServiceSpec {
            resources: Resources {
                memory_limit_mb: Some(64),
                ..Resources::default()
            },
            placement: vec!["node.role == worker".parse().unwrap()],
            mounts: vec![VolumeMount {
                volume: "fd-main-shop-production-data".to_owned(),
                path: "/data".to_owned(),
            }],
            ports: vec![PublishedPort {
                published: 5432,
                target: 5433,
                protocol: Protocol::Tcp,
            }],
            health_command: Some(HealthCommand {
                command: vec!["/bin/true".to_owned()],
                timeout_ms: 500,
                start_grace_seconds: 0,
            }),
            ..spec()
        };
        let value =
            serde_json::to_value(release(&names(), "net1", &HashMap::new(), &spec)).unwrap();
        let task = &value["TaskTemplate"];
        assert_eq!(
            task["Resources"],
            json!({"Limits": {"MemoryBytes": 67_108_864}})
        );
        assert_eq!(
            task["Placement"],
            json!({"Constraints": ["node.role == worker"]})
        );
        let mount = &task["ContainerSpec"]["Mounts"][0];
        assert_eq!(mount["Target"], "/data");
        assert_eq!(
            mount["VolumeOptions"]["Labels"],
            json!({"com.flukedeploy.instance": "main"}),
            "or a purge would not find it"
        );
        assert_eq!(
            task["ContainerSpec"]["HealthCheck"]["Test"],
            json!(["CMD", "/bin/true"])
        );
        assert_eq!(value["EndpointSpec"]["Mode"], "dnsrr");
        assert_eq!(value["EndpointSpec"]["Ports"][0]["PublishMode"], "host");
    }

    #[test]
    fn a_secret_is_a_file_of_its_owner_and_its_value_is_not_in_the_service() {
        let spec = ServiceSpec {
            secrets: vec![SecretMount {
                secret: "fd-main-shop-production-s-01".to_owned(),
                file: "tls.key".to_owned(),
                uid: 1000,
                gid: 1001,
                value: "hunter2".to_owned(),
                labels: BTreeMap::new(),
            }],
            ..spec()
        };
        assert!(!format!("{spec:?}").contains("hunter2"));
        let ids = HashMap::from([("fd-main-shop-production-s-01".to_owned(), "id1".to_owned())]);
        let value = serde_json::to_value(release(&names(), "net1", &ids, &spec)).unwrap();
        assert!(!value.to_string().contains("hunter2"));
        assert_eq!(
            value["TaskTemplate"]["ContainerSpec"]["Secrets"],
            json!([{
                "SecretID": "id1",
                "SecretName": "fd-main-shop-production-s-01",
                "File": {"Name": "tls.key", "UID": "1000", "GID": "1001", "Mode": 0o400},
            }])
        );
    }

    #[test]
    fn the_ingress_may_do_nothing_but_serve() {
        let spec = IngressSpec {
            http_port: 80,
            control_urls: vec!["ws://a:1".to_owned(), "ws://b:1".to_owned()],
            token: "never-in-the-service".to_owned(),
        };
        let parts = IngressParts {
            network_id: "net1",
            image: "fd-main/flukedeploy:0123",
            secret_id: "s1",
            secret_name: "fd-main-ingress-01234567",
            only_node: Some("node1"),
        };
        let value = serde_json::to_value(ingress(&names(), &parts, &spec)).unwrap();
        assert!(!value.to_string().contains("never-in-the-service"));
        let container = &value["TaskTemplate"]["ContainerSpec"];
        assert_eq!(container["ReadOnly"], true);
        assert_eq!(container["User"], "65534:65534");
        assert_eq!(container["CapabilityDrop"], json!(["ALL"]));
        assert_eq!(container["Args"], json!(["ingress"]));
        assert_eq!(
            container["Env"][0],
            "FLUKEDEPLOY_INGRESS_CONTROL_URLS=ws://a:1,ws://b:1"
        );
        assert_eq!(container["Secrets"][0]["File"]["Mode"], 0o400);
        assert_eq!(
            value["TaskTemplate"]["Placement"]["Constraints"],
            json!(["node.id==node1"])
        );
        assert_eq!(value["TaskTemplate"]["RestartPolicy"]["Delay"], 0);
        assert_eq!(value["Mode"], json!({"Global": {}}));
        assert_eq!(value["UpdateConfig"]["Order"], "stop-first");
        let port: &Value = &value["EndpointSpec"]["Ports"][0];
        assert_eq!(port["PublishedPort"], 80);
        assert_eq!(port["TargetPort"], 8080);
        assert_eq!(port["PublishMode"], "host");
    }
}
