//! The figures the product is measured by, each with its goal. Comparisons are ratios taken in turns on
//! the same machine in the same run.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, NetworkAttachmentConfig, NetworkCreateRequest, ServiceSpec,
    ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectNetworkOptions, ListContainersOptionsBuilder,
};
use flukedeploy_end2end::images::{Images, Sample};
use flukedeploy_end2end::instance::{Instance, Options};
use flukedeploy_end2end::{random_name, soak, sweep, wait};
use futures_util::StreamExt;

const ROUNDS: usize = 5;
const CRASHES: usize = 100;
const APP: &str = "bench";
const DEADLINE: Duration = Duration::from_mins(1);
const BETWEEN_PROBES: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> Result<()> {
    let mut instance = Instance::start("bench", Options::default()).await?;
    let report = measure(&mut instance).await?;
    let mut out = std::io::stdout();
    out.write_all(report.as_bytes())
        .and_then(|()| out.flush())?;
    instance.finish().await?;
    // Bounded: about five minutes.
    let soak = soak::run(CRASHES).await?;
    out.write_all(format!("kill -9 at random moments          {soak}\n").as_bytes())
        .and_then(|()| out.flush())?;
    soak.expect_sound()
}

async fn measure(instance: &mut Instance) -> Result<String> {
    let mut report = String::new();
    let images = Images::new(instance.docker.clone())?;
    let network = raw_network(instance).await?;
    let api = instance.api();
    api.create_app(APP, 1).await?;
    let first = images.build(&Sample::version("r0")).await?;
    api.deploy_and_wait(APP, &first).await?;

    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let version = format!("r{round}");
        let image = images.build(&Sample::version(&version)).await?;
        let by_hand = deploy_by_hand(instance, &network, &image, &version).await?;
        let by_us = deploy(instance, &image, &version).await?;
        raw.push(by_hand.as_secs_f64());
        ours.push(by_us.as_secs_f64());
        ratios.push(by_us.as_secs_f64() / by_hand.as_secs_f64());
    }
    writeln!(
        report,
        "deploy, POST to first answer      {} s",
        spread(&mut ours)
    )?;
    writeln!(
        report,
        "the same by raw Docker API calls  {} s",
        spread(&mut raw)
    )?;
    writeln!(
        report,
        "ratio                             {}  goal <= 1.20",
        spread(&mut ratios)
    )?;
    let mut ratios = three_replicas(instance, &images, &network).await?;
    writeln!(
        report,
        "ratio with 3 replicas             {}  goal <= 1.15",
        spread(&mut ratios)
    )?;
    let mut switches = warm_rollbacks(instance, &images).await?;
    writeln!(
        report,
        "back to a warm release            {} ms  goal < 100",
        spread(&mut switches)
    )?;
    let listed = app_list(instance).await?;
    writeln!(report, "app list, 50 apps                 {listed}")?;

    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        instance.stop().await?;
        instance.restart().await?;
        starts.push(instance.ready_after.as_secs_f64() * 1e3);
    }
    writeln!(
        report,
        "process start to /readyz          {} ms  goal < 500 (0.05 of CapRover)",
        spread(&mut starts)
    )?;

    // Idle is after the work of starting is done, which shows in the processor time.
    let pid = instance.pid().context("the control plane runs")?;
    wait_until_idle(pid).await?;
    writeln!(
        report,
        "control plane, idle               {:.1} MB  goal <= 27 (0.30 of CapRover)",
        resident_mb(pid)?
    )?;
    let ingress = ingress_pid(instance).await?;
    writeln!(
        report,
        "ingress, idle                     {:.1} MB  goal <= 20",
        resident_mb(ingress)?
    )?;
    Ok(report)
}

/// From `POST /deployments` to the first answer of the new release through the ingress.
async fn deploy(instance: &Instance, image: &str, version: &str) -> Result<Duration> {
    let started = Instant::now();
    let id = instance.api().deploy(APP, image).await?;
    let host = format!("{APP}.localhost");
    let took = first_answer(started, instance.http_address(), &host, version).await?;
    let summary = instance.api().wait_final(&id).await?;
    ensure!(
        summary["status"] == "success",
        "the deployment failed: {summary:#}"
    );
    Ok(took)
}

/// From the call to the moment after which every new request meets the former release.
async fn warm_rollbacks(instance: &Instance, images: &Images) -> Result<Vec<f64>> {
    let app = "warm";
    let api = instance.api();
    api.create_app(app, 1).await?;
    let image = [
        images.build(&Sample::version("warm-a")).await?,
        images.build(&Sample::version("warm-b")).await?,
    ];
    api.deploy_and_wait(app, &image[0]).await?;
    api.deploy_and_wait(app, &image[1]).await?;
    let mut serving = "warm-b";
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(last_answer_of(
            instance.http_address(),
            format!("{app}.localhost"),
            serving,
            Arc::clone(&stop),
        ));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let called = Instant::now();
        // Without a version: to what served before, which stands by.
        let release = if serving == "warm-b" { 1 } else { 2 };
        let path = format!("/apps/{app}/rollback");
        let body = serde_json::json!({"release": release});
        let begun = api.post(&path, &body).await?.ok()?;
        let id = begun["deployment_id"].as_str().context("an id")?;
        let summary = api.wait_final(id).await?;
        ensure!(summary["status"] == "success", "{summary:#}");
        stop.store(true, Ordering::Relaxed);
        let last = asking.await??;
        took.push(last.saturating_duration_since(called).as_secs_f64() * 1e3);
        serving = if serving == "warm-b" {
            "warm-a"
        } else {
            "warm-b"
        };
    }
    Ok(took)
}

/// When the last request began that was answered with `version`.
async fn last_answer_of(
    address: SocketAddr,
    host: String,
    version: &'static str,
    stop: Arc<AtomicBool>,
) -> Result<Instant> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .build()?;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client
            .get(format!("http://{address}/version"))
            .header("Host", &host)
            .send()
            .await?;
        if answer.text().await?.trim() == version {
            last = began;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(last)
}

/// Until all three new replicas are healthy and serve, against three containers started by hand.
async fn three_replicas(instance: &Instance, images: &Images, network: &str) -> Result<Vec<f64>> {
    let app = "three";
    let api = instance.api();
    let body = serde_json::json!({
        "app_name": app, "container_port": 8080, "health": {"path": "/health"},
        "replicas": 3, "strategy": "blue_green",
        "rollout": {"warm_seconds": 0},
    });
    api.post("/apps", &body).await?.ok()?;
    let first = images.build(&Sample::version("t0")).await?;
    api.deploy_and_wait(app, &first).await?;
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let version = format!("t{round}");
        let image = images.build(&Sample::version(&version)).await?;
        let by_hand = start_by_hand(instance, network, &image, 3).await?;
        let started = Instant::now();
        let id = api.deploy(app, &image).await?;
        let host = format!("{app}.localhost");
        let by_us = first_answer(started, instance.http_address(), &host, &version).await?;
        let summary = api.wait_final(&id).await?;
        ensure!(summary["status"] == "success", "{summary:#}");
        ratios.push(by_us.as_secs_f64() / by_hand.as_secs_f64());
    }
    Ok(ratios)
}

/// How long so many containers of a service take to start, by raw API calls.
async fn start_by_hand(
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
    let mut spec = raw_spec(instance, &name, image, network);
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

/// Requests per second of the list of apps, by `wrk` over eight connections.
async fn app_list(instance: &Instance) -> Result<String> {
    let api = instance.api();
    for number in 0..47 {
        api.create_app(&format!("listed-{number}"), 1).await?;
    }
    let measured = tokio::process::Command::new("wrk")
        .args(["-t1", "-c8", "-d3s", "-H"])
        .arg(format!("Authorization: Bearer {}", instance.token))
        .arg(format!("{}/api/v1/apps", instance.url()))
        .output()
        .await;
    let Ok(output) = measured else {
        return Ok("not measured (wrk is not installed)".to_owned());
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let per_second: f64 = line.context("wrk says nothing")?.trim().parse()?;
    // CapRover's figure, measured once on the same kind of machine; it is not installed here.
    Ok(format!(
        "{per_second:.0} requests/s, {:.1} times CapRover's 524  goal >= 20",
        per_second / 524.0
    ))
}

/// What a patient person would do with curl: create the service, wait for its container to start, ask it.
async fn deploy_by_hand(
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
    let spec = raw_spec(instance, &name, image, network);
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

fn raw_spec(instance: &Instance, name: &str, image: &str, network: &str) -> ServiceSpec {
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

async fn raw_network(instance: &Instance) -> Result<String> {
    let labels = HashMap::from([(sweep::INSTANCE_LABEL.to_owned(), instance.name.clone())]);
    let network = NetworkCreateRequest {
        name: format!("{}-raw", instance.name),
        driver: Some("overlay".to_owned()),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    Ok(instance.docker.create_network(network).await?.id)
}

async fn first_answer(
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

async fn ingress_pid(instance: &Instance) -> Result<u32> {
    let label = format!("{}={}", sweep::INSTANCE_LABEL, instance.name);
    let filters = HashMap::from([("label", vec![label.as_str()]), ("name", vec!["ingress"])]);
    let options = ListContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let containers = instance.docker.list_containers(Some(options)).await?;
    let id = containers
        .first()
        .and_then(|container| container.id.as_deref());
    let id = id.context("found no container of the ingress")?;
    let state = instance.docker.inspect_container(id, None).await?.state;
    let pid = state
        .and_then(|state| state.pid)
        .context("the ingress has no process")?;
    Ok(u32::try_from(pid)?)
}

/// Resident memory, as the kernel counts it.
fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: f64 = kilobytes.context("no VmRSS")?.parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// Until a process took at most 1 % of a processor for two seconds.
async fn wait_until_idle(pid: u32) -> Result<()> {
    let mut before = processor_ticks(pid)?;
    let mut since = Instant::now();
    wait::until("the control plane is idle", DEADLINE, || {
        let looked = if since.elapsed() < Duration::from_secs(2) {
            Ok(None)
        } else {
            processor_ticks(pid).map(|now| {
                let used = now - before;
                (before, since) = (now, Instant::now());
                // 100 ticks are a second of one processor.
                (used <= 2).then_some(())
            })
        };
        async { looked }
    })
    .await
}

fn processor_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("no name")?
        .1
        .split_whitespace()
        .collect();
    let field =
        |index: usize| -> Result<u64> { Ok(fields.get(index).context("too few fields")?.parse()?) };
    Ok(field(11)? + field(12)?)
}

/// Median and range.
fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "not measured".to_owned();
    };
    format!("{:.2} ({least:.2}..{most:.2})", values[values.len() / 2])
}
