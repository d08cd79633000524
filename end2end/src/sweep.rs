//! Removes what an instance made in Docker, and what earlier test runs that died left behind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    ListConfigsOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListNetworksOptionsBuilder, ListSecretsOptionsBuilder, ListServicesOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};

use crate::lease::{self, Lease};

/// On everything the product makes in Docker.
pub const INSTANCE_LABEL: &str = "com.flukedeploy.instance";
const TASK_LABEL: &str = "com.docker.swarm.service.id";
const DEADLINE: Duration = Duration::from_mins(1);
const KEEP_LOGS_FOR: Duration = Duration::from_hours(24);

/// Removes every Docker object of one instance and waits until its containers are gone.
pub async fn instance(docker: &Docker, name: &str) -> Result<()> {
    let label = format!("{INSTANCE_LABEL}={name}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);

    let options = ListServicesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let services = in_swarm(docker.list_services(Some(options)).await)?;
    let mut service_ids = Vec::new();
    for id in services.into_iter().filter_map(|service| service.id) {
        tolerate(docker.delete_service(&id).await)?;
        service_ids.push(id);
    }
    containers(docker, &label, &service_ids).await?;

    let options = ListSecretsOptionsBuilder::default()
        .filters(&filters)
        .build();
    for secret in in_swarm(docker.list_secrets(Some(options)).await)? {
        tolerate(docker.delete_secret(&secret.id.unwrap_or_default()).await)?;
    }
    let options = ListConfigsOptionsBuilder::default()
        .filters(&filters)
        .build();
    for config in in_swarm(docker.list_configs(Some(options)).await)? {
        tolerate(docker.delete_config(&config.id.unwrap_or_default()).await)?;
    }
    networks(docker, &filters).await?;

    let options = ListVolumesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let volumes = docker.list_volumes(Some(options)).await?.volumes;
    for volume in volumes.unwrap_or_default() {
        let force = RemoveVolumeOptionsBuilder::default().force(true).build();
        tolerate(docker.remove_volume(&volume.name, Some(force)).await)?;
    }
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    for image in docker.list_images(Some(options)).await? {
        // Another instance may run on the same image: that keeps it.
        let _ = crate::images::remove(docker, &image.id).await;
    }
    Ok(())
}

/// Swarm stops the containers of a removed service by itself, but later; other containers are ours to remove.
async fn containers(docker: &Docker, label: &str, service_ids: &[String]) -> Result<()> {
    let mut labels = vec![label.to_owned()];
    labels.extend(service_ids.iter().map(|id| format!("{TASK_LABEL}={id}")));
    let started = Instant::now();
    loop {
        let mut left = Vec::new();
        for label in &labels {
            let filters = HashMap::from([("label", vec![label.as_str()])]);
            let options = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            left.extend(docker.list_containers(Some(options)).await?);
        }
        if left.is_empty() {
            return Ok(());
        }
        let waited_enough = started.elapsed() > DEADLINE / 3;
        for container in &left {
            let is_task = container
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(TASK_LABEL));
            if !is_task || waited_enough {
                let force = RemoveContainerOptionsBuilder::default().force(true).build();
                let id = container.id.as_deref().unwrap_or_default();
                tolerate(docker.remove_container(id, Some(force)).await)?;
            }
        }
        anyhow::ensure!(
            started.elapsed() < DEADLINE,
            "{} containers of {label} do not go away",
            left.len()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A network can be removed only once its last endpoint is gone, which is a little after the containers.
async fn networks(docker: &Docker, filters: &HashMap<&str, Vec<&str>>) -> Result<()> {
    let started = Instant::now();
    loop {
        let options = ListNetworksOptionsBuilder::default()
            .filters(filters)
            .build();
        let networks = docker.list_networks(Some(options)).await?;
        if networks.is_empty() {
            return Ok(());
        }
        for network in networks {
            let id = network.id.unwrap_or_default();
            match docker.remove_network(&id).await {
                Err(error) if started.elapsed() > DEADLINE => {
                    return Err(error).with_context(|| format!("removing the network {id}"));
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Without a swarm there are no services, secrets or configs.
fn in_swarm<T>(listed: Result<Vec<T>, Error>) -> Result<Vec<T>> {
    match listed {
        Err(Error::DockerResponseServerError {
            status_code: 406 | 503,
            ..
        }) => Ok(Vec::new()),
        listed => listed.context("listing objects of the swarm"),
    }
}

/// Gone already is what we want; so is being removed by somebody else this moment.
fn tolerate(removed: Result<(), Error>) -> Result<()> {
    match removed {
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        removed => removed.context("removing a Docker object"),
    }
}

/// Sweeps instances whose test process is gone. What a live process works on is claimed by it (see
/// [`crate::lease`]), so that test runs side by side leave each other alone.
pub async fn leftovers(docker: &Docker) {
    for claim in lease::names("instance-") {
        let Ok(Some(mut lease)) = Lease::try_take(&claim) else {
            continue;
        };
        let name = claim.trim_start_matches("instance-");
        if let Ok(note) = lease.read_note() {
            end_orphan(&note, name);
        }
        match instance(docker, name).await {
            Ok(()) => {
                let directory = lease::directory().join(name);
                crate::small_disk::release(&crate::instance::logs_dir(&directory));
                let _ = std::fs::remove_dir_all(directory);
                lease.forget();
            }
            Err(error) => eprintln!("could not sweep the leftover instance {name}: {error:#}"),
        }
    }
    old_directories();
    crate::images::sweep_old(docker).await;
}

/// The logs of failed instances are for whoever looks into the failure, which is soon or never.
fn old_directories() {
    let entries = std::fs::read_dir(lease::directory()).into_iter().flatten();
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_claimed = path
            .file_name()
            .is_some_and(|name| lease::names(&format!("instance-{}", name.display())).len() == 1);
        let age = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        if path.is_dir() && !is_claimed && age.is_some_and(|age| age > KEEP_LOGS_FOR) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Ends a server whose test died, if the process of that number still is that server.
fn end_orphan(pid: &str, instance: &str) {
    let Some(number) = pid
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return;
    };
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    let mut arguments = command.split(|byte| *byte == 0);
    if arguments.any(|argument| argument == instance.as_bytes()) {
        let _ = rustix::process::kill_process(number, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};

    use super::*;

    fn labels(instance: &str) -> HashMap<String, String> {
        HashMap::from([(INSTANCE_LABEL.to_owned(), instance.to_owned())])
    }

    async fn make_objects(docker: &Docker, instance: &str) {
        let network = NetworkCreateRequest {
            name: instance.to_owned(),
            labels: Some(labels(instance)),
            ..NetworkCreateRequest::default()
        };
        docker.create_network(network).await.unwrap();
        let volume = VolumeCreateRequest {
            name: Some(instance.to_owned()),
            labels: Some(labels(instance)),
            ..VolumeCreateRequest::default()
        };
        docker.create_volume(volume).await.unwrap();
    }

    async fn objects_exist(docker: &Docker, instance: &str) -> [bool; 2] {
        [
            docker.inspect_network(instance, None).await.is_ok(),
            docker.inspect_volume(instance).await.is_ok(),
        ]
    }

    #[tokio::test]
    async fn leftovers_of_a_dead_run_go_and_those_of_a_live_one_stay() {
        let docker = crate::docker().await.unwrap();
        let dead = format!("tdead{}", crate::random_name(6));
        let live = format!("tlive{}", crate::random_name(6));
        // A claim whose file exists but which nobody holds is what a killed process leaves.
        let mut orphaned = Lease::try_take(&format!("instance-{dead}"))
            .unwrap()
            .unwrap();
        orphaned.note("1").unwrap();
        drop(orphaned);
        let held = Lease::try_take(&format!("instance-{live}"))
            .unwrap()
            .unwrap();
        make_objects(&docker, &dead).await;
        make_objects(&docker, &live).await;

        leftovers(&docker).await;
        assert_eq!(objects_exist(&docker, &dead).await, [false, false]);
        assert_eq!(objects_exist(&docker, &live).await, [true, true]);
        assert!(!lease::names("instance-").contains(&format!("instance-{dead}")));

        instance(&docker, &live).await.unwrap();
        assert_eq!(objects_exist(&docker, &live).await, [false, false]);
        held.forget();
    }
}
