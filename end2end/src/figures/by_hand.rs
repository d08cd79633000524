//! What a patient person would do with curl and the Docker API: the peer of deploying.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, NetworkAttachmentConfig, NetworkCreateRequest, ServiceSpec,
    ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{EventsOptionsBuilder, InspectNetworkOptions};
use futures_util::StreamExt;

use crate::figures::DEADLINE;
use crate::instance::Instance;
use crate::{random_name, sweep, wait};

const BETWEEN_PROBES: Duration = Duration::from_millis(5);

/// What a patient person would do with curl: create the service, wait for its container to start, ask it.
pub(super) async fn deploy(
    instance: &Instance,
    network: &str,
    image: &str,
    version: &str,
) -> Result<Duration> {
    let docker = &instance.docker;
    let name = format!("{}-raw-{}", instance.name, random_name(6));
    let wanted = HashMap::from([("type", vec!["container"]), ("event", vec!["start"])]);
    let options = EventsOptionsBuilder::default().filters(&wanted).build();
    let mut events = docker.events(Some(options));
    let spec = spec(instance, &name, image, network);
    let started = Instant::now();
    let service = docker
        .create_service(spec, None)
        .await
        .context("creating the service")?;
    let container = loop {
        let event = tokio::time::timeout(DEADLINE, events.next())
            .await
            .context("no container started")?
            .context("the events ended")??;
        let actor = event.actor.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        if attributes.get("com.docker.swarm.service.name") == Some(&name) {
            break actor.id.unwrap_or_default();
        }
    };
    let address = gateway_address(docker, &container).await?;
    let took = first_answer(started, SocketAddr::new(address, 8080), "raw", version).await?;
    docker
        .delete_service(&service.id.unwrap_or_default())
        .await?;
    Ok(took)
}

/// How long so many containers of a service take to start, by raw API calls.
pub(super) async fn start(
    instance: &Instance,
    network: &str,
    image: &str,
    replicas: i64,
) -> Result<Duration> {
    let docker = &instance.docker;
    let name = format!("{}-raw-{}", instance.name, random_name(6));
    let wanted = HashMap::from([("type", vec!["container"]), ("event", vec!["start"])]);
    let options = EventsOptionsBuilder::default().filters(&wanted).build();
    let mut events = docker.events(Some(options));
    let mut spec = spec(instance, &name, image, network);
    spec.mode = Some(ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(replicas),
        }),
        ..ServiceSpecMode::default()
    });
    let started = Instant::now();
    let service = docker.create_service(spec, None).await?;
    let mut seen = 0;
    while seen < replicas {
        let event = tokio::time::timeout(DEADLINE, events.next())
            .await
            .context("no container started")?
            .context("the events ended")??;
        let attributes = event
            .actor
            .unwrap_or_default()
            .attributes
            .unwrap_or_default();
        if attributes.get("com.docker.swarm.service.name") == Some(&name) {
            seen += 1;
        }
    }
    let took = started.elapsed();
    docker
        .delete_service(&service.id.unwrap_or_default())
        .await?;
    Ok(took)
}

fn spec(instance: &Instance, name: &str, image: &str, network: &str) -> ServiceSpec {
    let labels = HashMap::from([(sweep::INSTANCE_LABEL.to_owned(), instance.name.clone())]);
    ServiceSpec {
        name: Some(name.to_owned()),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec {
                image: Some(image.to_owned()),
                ..TaskSpecContainerSpec::default()
            }),
            networks: Some(vec![NetworkAttachmentConfig {
                target: Some(network.to_owned()),
                ..NetworkAttachmentConfig::default()
            }]),
            ..TaskSpec::default()
        }),
        endpoint_spec: Some(EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ..EndpointSpec::default()
        }),
        ..ServiceSpec::default()
    }
}

/// Where this host reaches a task: the overlay itself is not reachable from here.
async fn gateway_address(docker: &Docker, container: &str) -> Result<std::net::IpAddr> {
    wait::until("the task has an address", DEADLINE, || async {
        let network = docker
            .inspect_network("docker_gwbridge", None::<InspectNetworkOptions>)
            .await?;
        let address = network
            .containers
            .unwrap_or_default()
            .remove(container)
            .and_then(|endpoint| endpoint.ipv4_address);
        let address = address
            .as_deref()
            .and_then(|address| address.split('/').next());
        Ok(address.and_then(|address| address.parse().ok()))
    })
    .await
}

pub(super) async fn network(instance: &Instance) -> Result<String> {
    let labels = HashMap::from([(sweep::INSTANCE_LABEL.to_owned(), instance.name.clone())]);
    let network = NetworkCreateRequest {
        name: format!("{}-raw", instance.name),
        driver: Some("overlay".to_owned()),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    Ok(instance.docker.create_network(network).await?.id)
}

pub(super) async fn first_answer(
    started: Instant,
    address: SocketAddr,
    host: &str,
    version: &str,
) -> Result<Duration> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .build()?;
    loop {
        let answer = client
            .get(format!("http://{address}/version"))
            .header("Host", host)
            .send()
            .await;
        if let Ok(answer) = answer
            && answer.status().is_success()
            && answer.text().await.is_ok_and(|body| body.trim() == version)
        {
            return Ok(started.elapsed());
        }
        ensure!(
            started.elapsed() < DEADLINE,
            "{version} never answered at {address}"
        );
        tokio::time::sleep(BETWEEN_PROBES).await;
    }
}
