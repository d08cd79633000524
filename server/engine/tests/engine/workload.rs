//! What a replica needs from its node: memory, a place, volumes, ports, a check of its own.

use std::net::TcpListener;
use std::time::Duration;

use bollard::models::HostConfig;
use bollard::query_parameters::{
    InspectContainerOptions, InspectServiceOptions, RemoveContainerOptions,
};
use flukedeploy_domain::app::{Protocol, PublishedPort, Resources};
use flukedeploy_platform::ports::{
    Engine, HealthCommand, ServiceSpec, Task, TaskState, VolumeMount, VolumeUser,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Bed, eventually};

const SERVE: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";
/// Takes a hundred million bytes into memory. Not in the first moment, when the engine does not
/// watch for it yet.
const GREEDY: &str = "sleep 1; tail -c 100000000 /dev/zero";

fn running(task: &Task) -> bool {
    task.state == TaskState::Running && task.wanted
}

fn failed(task: &Task) -> bool {
    task.state == TaskState::Failed
}

fn memory_limit(mb: u32) -> Resources {
    Resources {
        memory_limit_mb: Some(mb),
        ..Resources::default()
    }
}

async fn host_config(bed: &Bed, task: &Task) -> HostConfig {
    let id = task.container_id.as_deref().unwrap();
    let found = bed
        .docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await;
    found.unwrap().host_config.unwrap()
}

/// Swarm's words about a task that is not getting anywhere.
async fn complaint(bed: &Bed, service: &str) -> String {
    eventually("a complaint", || async {
        let tasks = bed.engine.tasks(service).await.unwrap();
        tasks.into_iter().find_map(|task| task.message)
    })
    .await
}

/// A port of this machine that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn published(port: u16) -> PublishedPort {
    PublishedPort {
        published: port,
        target: 8080,
        protocol: Protocol::Tcp,
    }
}

#[tokio::test]
async fn limits_are_applied_and_taken_away() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let mut spec = bed.service("web", image);
    spec.resources = Resources {
        cpu_limit_milli: Some(500),
        memory_limit_mb: Some(32),
        cpu_reservation_milli: Some(10),
        memory_reservation_mb: Some(6),
    };
    bed.engine.ensure_service(&spec).await.unwrap();
    let limited = bed.task(&spec.name, running).await;
    let config = host_config(&bed, &limited).await;
    assert_eq!(config.memory, Some(32 * 1024 * 1024));
    assert_eq!(config.nano_cpus, Some(500_000_000));

    let version = bed.version(&spec.name).await;
    bed.engine.ensure_service(&spec).await.unwrap();
    assert_eq!(bed.version(&spec.name).await, version, "as wanted already");

    spec.resources.memory_limit_mb = None;
    bed.engine.ensure_service(&spec).await.unwrap();
    let free = bed
        .task(&spec.name, |task| running(task) && task.id != limited.id)
        .await;
    let config = host_config(&bed, &free).await;
    assert_eq!(config.memory, Some(0));
    assert_eq!(config.nano_cpus, Some(500_000_000));
}

#[tokio::test]
async fn a_replica_that_ran_out_of_memory_is_told_from_one_that_was_killed() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("greedy", &format!("{GREEDY}; exit $?")).await;
    let mut greedy = bed.service("greedy", image);
    greedy.resources = memory_limit(8);
    // Nobody's memory: it only ends as if.
    let image = bed.pinned("killed", "sleep 1; exit 137").await;
    let mut killed = bed.service("killed", image);
    killed.resources = memory_limit(8);
    bed.engine.ensure_service(&greedy).await.unwrap();
    bed.engine.ensure_service(&killed).await.unwrap();

    let task = bed.task(&greedy.name, failed).await;
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!(
        (failure.exit_code, failure.oom_killed),
        (Some(137), true),
        "{task:?} {failure:?}"
    );
    // Swarm removes old containers. What happened to them is known for a while.
    let options = RemoveContainerOptions {
        force: true,
        ..RemoveContainerOptions::default()
    };
    let id = task.container_id.clone().unwrap();
    bed.docker
        .remove_container(&id, Some(options))
        .await
        .unwrap();
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!((failure.exit_code, failure.oom_killed), (Some(137), true));

    // Nor is it news of another replica that ended like this one.
    let sibling = Task {
        container_id: Some("0".repeat(64)),
        ..task
    };
    let failure = bed.engine.examine(&sibling).await.unwrap();
    assert!(failure.oom_killed, "{failure:?}");

    let task = bed.task(&killed.name, failed).await;
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!((failure.exit_code, failure.oom_killed), (Some(137), false));
}

#[tokio::test]
async fn a_worker_that_ran_out_of_memory_shows_though_its_replica_runs() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("pool", &format!("{GREEDY}; {SERVE}")).await;
    let mut spec = bed.service("pool", image);
    spec.resources = memory_limit(8);
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed.task(&spec.name, running).await;
    let failure = eventually("the end of the worker", || async {
        let failure = bed.engine.examine(&task).await.unwrap();
        failure.oom_killed.then_some(failure)
    })
    .await;
    assert_eq!(failure.exit_code, None);
}

#[tokio::test]
async fn what_fits_on_no_node_waits_and_says_why() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let mut elsewhere = bed.service("elsewhere", image.clone());
    elsewhere.placement = vec!["node.labels.disk == of-glass".parse().unwrap()];
    let mut huge = bed.service("huge", image.clone());
    huge.resources.memory_reservation_mb = Some(16_777_216);
    let mut here = bed.service("here", image);
    here.placement = vec!["node.role == manager".parse().unwrap()];
    for spec in [&elsewhere, &huge, &here] {
        bed.engine.ensure_service(spec).await.unwrap();
    }
    let told = complaint(&bed, &elsewhere.name).await;
    assert!(told.contains("no suitable node"), "{told}");
    assert!(
        told.contains("scheduling constraints not satisfied"),
        "{told}"
    );
    let told = complaint(&bed, &huge.name).await;
    assert!(told.contains("no suitable node"), "{told}");
    assert!(told.contains("insufficient resources"), "{told}");
    bed.task(&here.name, running).await;
    for spec in [&elsewhere, &huge] {
        let tasks = bed.engine.tasks(&spec.name).await.unwrap();
        assert!(tasks.iter().all(|task| task.state == TaskState::Waiting));
    }
}

fn with_data(bed: &Bed, mut spec: ServiceSpec) -> ServiceSpec {
    spec.mounts = vec![VolumeMount {
        volume: format!("fd-{}-web-production-data", bed.instance),
        path: "/data".to_owned(),
    }];
    spec
}

async fn gone(bed: &Bed, service: &str) {
    bed.engine.remove_service(service).await.unwrap();
    eventually("the end of all tasks", || async {
        let tasks = bed.engine.tasks(service).await.unwrap();
        tasks
            .iter()
            .all(|task| task.state != TaskState::Running)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_outlives_its_service_but_not_its_instance() {
    let Some(bed) = Bed::new().await else { return };
    let script = format!(
        "if test -e /data/mark; then cat /data/mark; else echo new; echo kept > /data/mark; fi; {SERVE}"
    );
    let image = bed.pinned("web", &script).await;
    let spec = with_data(&bed, bed.service("web", image));
    for expected in ["new", "kept"] {
        bed.engine.ensure_service(&spec).await.unwrap();
        let task = bed.task(&spec.name, running).await;
        eventually(expected, || async {
            let failure = bed.engine.examine(&task).await.unwrap();
            // Whatever the server says besides.
            failure
                .last_lines
                .iter()
                .any(|line| line == expected)
                .then_some(())
        })
        .await;
        let version = bed.version(&spec.name).await;
        bed.engine.ensure_service(&spec).await.unwrap();
        assert_eq!(bed.version(&spec.name).await, version);
        gone(&bed, &spec.name).await;
    }
    let volume = &spec.mounts[0].volume;
    let found = bed.docker.inspect_volume(volume).await.unwrap();
    assert_eq!(
        found.labels["com.flukedeploy.instance"], bed.instance,
        "or nobody would know whose it is"
    );
    bed.engine.purge().await.unwrap();
    assert!(bed.docker.inspect_volume(volume).await.is_err());
}

#[tokio::test]
async fn the_users_of_a_volume_are_named() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let spec = with_data(&bed, bed.service("web", image.clone()));
    let other = bed.service("other", image);
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.engine.ensure_service(&other).await.unwrap();
    let task = bed.task(&spec.name, running).await;
    bed.task(&other.name, running).await;
    let volume = spec.mounts[0].volume.clone();
    let volumes = [volume.clone(), "fd-nobody-has-this".to_owned()];
    let users = bed.engine.volume_users(&volumes).await.unwrap();
    let expected = VolumeUser {
        volume,
        container: format!("{}.1.{}", spec.name, task.id),
        service: Some(spec.name.clone()),
    };
    assert_eq!(users, [expected]);
    assert!(bed.engine.volume_users(&[]).await.unwrap().is_empty());
    let path = ["/data".to_owned()];
    let by_path = bed.engine.volume_users(&path).await.unwrap();
    assert!(by_path.is_empty(), "a path is no volume: {by_path:?}");

    gone(&bed, &spec.name).await;
    eventually("a free volume", || async {
        let users = bed.engine.volume_users(&volumes).await.unwrap();
        users.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_port_of_the_node_leads_to_the_replica_and_belongs_to_one() {
    let Some(bed) = Bed::new().await else { return };
    let script = format!("httpd -f -p 8080 & {SERVE}");
    let image = bed.pinned("web", &script).await;
    let port = free_port();
    let mut spec = bed.service("web", image.clone());
    spec.ports = vec![published(port)];
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.task(&spec.name, running).await;
    let answer = eventually("an answer", || async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream
            .write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            .await
            .ok()?;
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(5), reading).await.ok()?.ok()?;
        (!answer.is_empty()).then_some(answer)
    })
    .await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    let version = bed.version(&spec.name).await;
    bed.engine.ensure_service(&spec).await.unwrap();
    assert_eq!(bed.version(&spec.name).await, version);

    let mut second = bed.service("second", image);
    second.ports = spec.ports.clone();
    bed.engine.ensure_service(&second).await.unwrap();
    let told = complaint(&bed, &second.name).await;
    assert!(
        told.contains("host-mode port already in use"),
        "Swarm knows of the other: {told}"
    );
}

#[tokio::test]
async fn a_port_that_another_program_has_is_told() {
    let Some(bed) = Bed::new().await else { return };
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let image = bed.pinned("web", SERVE).await;
    let mut spec = bed.service("web", image);
    spec.ports = vec![published(taken.local_addr().unwrap().port())];
    bed.engine.ensure_service(&spec).await.unwrap();
    let task = bed.task(&spec.name, failed).await;
    let told = task.message.unwrap();
    assert!(told.contains("address already in use"), "{told}");
}

fn check(program: &[&str]) -> HealthCommand {
    HealthCommand {
        command: program.iter().map(|word| (*word).to_owned()).collect(),
        timeout_ms: 2_000,
        start_grace_seconds: 0,
    }
}

#[tokio::test]
async fn a_replica_runs_only_when_its_check_says_so() {
    let Some(bed) = Bed::new().await else { return };
    let script = format!("sleep 2; echo yes > /ready; {SERVE}");
    let image = bed.pinned("slow", &script).await;
    let mut spec = bed.service("slow", image);
    let mut ready = check(&["/bin/cat", "/ready"]);
    ready.start_grace_seconds = 30;
    spec.health_command = Some(ready);
    bed.engine.ensure_service(&spec).await.unwrap();
    let starting = bed
        .task(&spec.name, |task| {
            task.state == TaskState::Starting && task.container_id.is_some()
        })
        .await;
    let task = bed.task(&spec.name, running).await;
    assert_eq!(task.id, starting.id, "early failures were forgiven");
    let id = task.container_id.as_deref().unwrap();
    let found = bed
        .docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .unwrap();
    let health = found.state.unwrap().health.unwrap();
    let log = health.log.unwrap();
    assert!(
        log.iter()
            .any(|entry| entry.output.as_deref() == Some("yes\n")),
        "it ran only after the file was there: {log:?}"
    );
    let version = bed.version(&spec.name).await;
    bed.engine.ensure_service(&spec).await.unwrap();
    assert_eq!(bed.version(&spec.name).await, version);
}

#[tokio::test]
async fn a_replica_whose_check_never_passes_never_runs() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("stubborn", "while true; do sleep 1; done").await;
    let mut stubborn = bed.service("stubborn", image);
    let image = bed.pinned("polite", SERVE).await;
    let mut polite = bed.service("polite", image);
    for spec in [&mut stubborn, &mut polite] {
        // Were a shell involved, this would succeed.
        spec.health_command = Some(check(&["/bin/cat", "/never; true"]));
        bed.engine.ensure_service(spec).await.unwrap();
    }
    let ended = |task: &Task| {
        assert!(!running(task), "{task:?}");
        matches!(task.state, TaskState::Failed | TaskState::Completed)
    };
    let task = bed.task(&stubborn.name, ended).await;
    assert_eq!(
        task.message.as_deref(),
        Some("task: non-zero exit (137): dockerexec: unhealthy container")
    );
    let failure = bed.engine.examine(&task).await.unwrap();
    assert_eq!((failure.exit_code, failure.oom_killed), (Some(137), false));
    // Who ends well when Docker asks has ended well, in Swarm's eyes.
    let task = bed.task(&polite.name, ended).await;
    assert_eq!(
        (task.state, task.exit_code, task.message),
        (TaskState::Completed, Some(0), None)
    );
}

#[tokio::test]
async fn differences_are_told_before_anything_is_changed() {
    let Some(bed) = Bed::new().await else { return };
    let image = bed.pinned("web", SERVE).await;
    let mut spec = with_data(&bed, bed.service("web", image));
    spec.resources = memory_limit(32);
    spec.health_command = Some(check(&["/bin/true"]));
    assert_eq!(bed.engine.differences(&spec).await.unwrap(), None);
    bed.engine.ensure_service(&spec).await.unwrap();
    let same = bed.engine.differences(&spec).await.unwrap();
    assert_eq!(same, Some(Vec::new()));

    let mut other = spec.clone();
    other.image.pinned = format!("sha256:{}", "0".repeat(64));
    other.env.0.clear();
    other.replicas = 2;
    other.resources = Resources::default();
    other.placement = vec!["node.role == manager".parse().unwrap()];
    other.mounts.clear();
    other.ports = vec![published(18_080)];
    other.health_command = None;
    other.labels.clear();
    other
        .labels
        .insert("com.flukedeploy.app".to_owned(), "x".to_owned());
    other.aliases.clear();
    other.stop_grace_seconds = 2;
    let version = bed.version(&spec.name).await;
    let words = bed.engine.differences(&other).await.unwrap().unwrap();
    assert_eq!(
        words,
        [
            "image",
            "env",
            "replicas",
            "resources",
            "placement",
            "mounts",
            "ports",
            "health check",
            "labels",
            "networks",
            "other"
        ]
    );
    assert_eq!(bed.version(&spec.name).await, version, "asking is free");
    let found = bed
        .docker
        .inspect_service(&spec.name, None::<InspectServiceOptions>)
        .await;
    assert!(found.is_ok());
}
