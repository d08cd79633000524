//! Every cause of a failure, brought about for real, and told by REST, MCP and the dashboard in the
//! same words. `internal` is missing: whatever could bring it about from outside would be a bug.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, ListServicesOptionsBuilder, RemoveImageOptionsBuilder,
};
use flukedeploy_end2end::images::{self, Images, Sample};
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::lease::Port;
use flukedeploy_end2end::registry::Registry;
use flukedeploy_end2end::sweep::INSTANCE_LABEL;
use flukedeploy_end2end::{random_name, wait};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

mod doors;
mod traffic;

use doors::Doors;

const SOON: Duration = Duration::from_secs(40);

/// Runs cases side by side, but not so many that they starve each other, and tells about all that
/// went wrong.
async fn all<const N: usize>(cases: [(&str, LocalBoxFuture<'_, Result<()>>); N]) -> Result<()> {
    let named = cases.map(|(name, case)| async move { (name, case.await) });
    let faults: Vec<String> = stream::iter(named)
        .buffer_unordered(3)
        .filter_map(async |(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?)))
        .collect()
        .await;
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} of {N} cases:\n{}", faults.len(), faults.join("\n"))
}

fn expect(evidence: &Value, field: &str, wanted: &Value) -> Result<()> {
    let found = &evidence[field];
    ensure!(
        found == wanted,
        "{field} is {found}, not {wanted}: {evidence:#}"
    );
    Ok(())
}

fn expect_text(evidence: &Value, field: &str, part: &str) -> Result<()> {
    let found = evidence[field].as_str().unwrap_or_default();
    ensure!(
        found.contains(part),
        "'{part}' is not in {field}: {evidence:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_cannot_be_had() -> Result<()> {
    let doors = Doors::open("dximg", Options::default()).await?;
    let (bed, docker) = (&doors.bed, &doors.bed.instance.docker);
    let sample = bed.image(Sample::version("v1")).await?;
    let (open, closed) = tokio::try_join!(Registry::start(false), Registry::start(true))?;
    let hidden = closed.push(docker, &sample, "team/shop", "1").await?;
    let foreign = images::foreign(docker, "s390x").await?;
    let nobody = Port::free()?;

    let outcome = all([
        (
            "image_not_found",
            async {
                doors.app("missing", json!({})).await?;
                let image = format!("{}/team/none:1", open.address());
                let evidence = doors.fails("missing", &image, "image_not_found").await?;
                expect_text(&evidence, "engine_message", "manifest unknown")
            }
            .boxed_local(),
        ),
        (
            "registry_refused",
            async {
                doors.app("refused", json!({})).await?;
                let evidence = doors.fails("refused", &hidden, "registry_refused").await?;
                expect_text(&evidence, "engine_message", "no basic auth")
            }
            .boxed_local(),
        ),
        (
            "registry_unreachable",
            async {
                doors.app("away", json!({})).await?;
                let image = format!("127.0.0.1:{}/shop:1", nobody.number);
                let evidence = doors.fails("away", &image, "registry_unreachable").await?;
                expect_text(&evidence, "engine_message", "connection refused")
            }
            .boxed_local(),
        ),
        (
            "architecture_mismatch",
            async {
                doors.app("foreign", json!({})).await?;
                doors
                    .fails("foreign", &foreign, "architecture_mismatch")
                    .await?;
                Ok(())
            }
            .boxed_local(),
        ),
        (
            "validation_failed",
            async {
                doors.app("strict", json!({})).await?;
                // The sample's image runs as root, which strict validation does not let pass.
                let deploy =
                    json!({"app_name": "strict", "image": sample, "validation_level": "strict"});
                let id = bed.api.deploy_with(&deploy).await?;
                doors.failed(&id, "validation_failed").await?;
                Ok(())
            }
            .boxed_local(),
        ),
        ("release_gone", release_gone(&doors).boxed_local()),
    ])
    .await;
    images::remove(docker, &foreign).await?;
    outcome?;
    doors.finish().await
}

/// The image of the former release is deleted, and no replica of it stands by.
async fn release_gone(doors: &Doors) -> Result<()> {
    let bed = &doors.bed;
    doors
        .app(
            "back",
            json!({"rollout": {"warm_seconds": 0, "drain_seconds": 1}}),
        )
        .await?;
    // Of this test alone: another one must not need what is deleted here.
    let old = bed.image(Sample::version(&random_name(8))).await?;
    bed.api.deploy_and_wait("back", &old).await?;
    let new = bed.image(Sample::version("v2")).await?;
    bed.api.deploy_and_wait("back", &new).await?;
    let docker = &bed.instance.docker;
    wait::until("the old release's image can be deleted", SOON, || async {
        let unforced = RemoveImageOptionsBuilder::default().build();
        // Refused as long as a container is made from it.
        let removed = docker.remove_image(&old, Some(unforced), None).await;
        Ok(removed.ok().map(|_| ()))
    })
    .await?;
    let id = bed.api.rollback("back").await?;
    doors.failed(&id, "release_gone").await?;
    bed.expect_serving("back", "v2").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_do_not_get_well() -> Result<()> {
    let doors = Doors::open("dxrep", Options::default()).await?;
    let bed = &doors.bed;
    let outcome = all([
        (
            "exited_with_code",
            async {
                doors.app("exits", json!({})).await?;
                let image = bed.image(Sample::version("exits").exits_with(7)).await?;
                let evidence = doors.fails("exits", &image, "exited_with_code").await?;
                expect(&evidence, "exit_code", &json!(7))?;
                let output = evidence["untrusted_output"].to_string();
                ensure!(output.contains("told to end with code 7"), "{evidence:#}");
                Ok(())
            }
            .boxed_local(),
        ),
        ("killed_for_memory", killed_for_memory(&doors).boxed_local()),
        (
            "crash_loop",
            async {
                // Well for a second each time, and never for as long as it has to be.
                let health =
                    json!({"path": "/health", "deadline_seconds": 12, "min_healthy_seconds": 4});
                doors.app("loops", json!({"health": health})).await?;
                let image = bed
                    .image(Sample::version("loops").crashes_after_ms(1_000))
                    .await?;
                let evidence = doors.fails("loops", &image, "crash_loop").await?;
                expect(&evidence, "exit_code", &json!(1))
            }
            .boxed_local(),
        ),
        (
            "start_failed",
            async {
                doors.app("nothing", json!({})).await?;
                let image = bed
                    .image(Sample::version("nothing").runs("/no/such/command"))
                    .await?;
                let evidence = doors.fails("nothing", &image, "start_failed").await?;
                expect_text(&evidence, "engine_message", "/no/such/command")
            }
            .boxed_local(),
        ),
        (
            "never_listens",
            async {
                doors.app("late", json!({})).await?;
                let image = bed
                    .image(Sample::version("late").starts_after_ms(60_000))
                    .await?;
                let evidence = doors.fails("late", &image, "never_listens").await?;
                expect(&evidence, "expected_port", &json!(8080))
            }
            .boxed_local(),
        ),
        (
            "listens_on_another_port",
            async {
                doors.app("elsewhere", json!({})).await?;
                let image = bed
                    .image(Sample::version("elsewhere").listens_on(9999))
                    .await?;
                let evidence = doors
                    .fails("elsewhere", &image, "listens_on_another_port")
                    .await?;
                expect(&evidence, "expected_port", &json!(8080))?;
                expect(&evidence, "listening_ports", &json!([9999]))
            }
            .boxed_local(),
        ),
        (
            "health_check_failed, it answers 500",
            async {
                doors.app("sick", json!({})).await?;
                let image = bed.image(Sample::version("sick").unhealthy()).await?;
                let evidence = doors.fails("sick", &image, "health_check_failed").await?;
                expect_text(&evidence, "health_answer", "500")
            }
            .boxed_local(),
        ),
        (
            "health_check_failed, it hangs",
            async {
                let health = json!({"path": "/health", "deadline_seconds": 5, "timeout_ms": 500});
                doors.app("hangs", json!({"health": health})).await?;
                let image = bed.image(Sample::version("hangs").hanging_health()).await?;
                let evidence = doors.fails("hangs", &image, "health_check_failed").await?;
                ensure!(evidence["health_answer"].is_string(), "{evidence:#}");
                Ok(())
            }
            .boxed_local(),
        ),
    ])
    .await;
    outcome?;
    doors.finish().await
}

async fn killed_for_memory(doors: &Doors) -> Result<()> {
    let about = doors.bed.instance.docker.info().await?;
    if about.memory_limit != Some(true) {
        eprintln!("SKIPPED killed_for_memory: this engine's kernel does not limit memory");
        return Ok(());
    }
    doors
        .app("greedy", json!({"resources": {"memory_limit_mb": 64}}))
        .await?;
    let image = doors
        .bed
        .image(Sample::version("greedy").eats_memory_mb(200))
        .await?;
    let evidence = doors.fails("greedy", &image, "killed_for_memory").await?;
    expect(&evidence, "oom_killed", &json!(true))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_cannot_take_it() -> Result<()> {
    let doors = Doors::open("dxnode", Options::default()).await?;
    let bed = &doors.bed;
    let image = bed.image(Sample::version("v1")).await?;
    let (by_test, by_app) = (Port::free()?, Port::free()?);
    let listener = TcpListener::bind(("0.0.0.0", by_test.number))?;
    let publish =
        |port: &Port| json!({"published_ports": [{"published": port.number, "target": 8080}]});

    let outcome = all([
        (
            "no_node_fits, for its memory",
            async {
                let resources = json!({"memory_reservation_mb": 16_000_000});
                doors.app("huge", json!({"resources": resources})).await?;
                let evidence = doors.fails("huge", &image, "no_node_fits").await?;
                expect_text(&evidence, "engine_message", "insufficient resources")
            }
            .boxed_local(),
        ),
        (
            "no_node_fits, for its place",
            async {
                doors
                    .app(
                        "nowhere",
                        json!({"placement": ["node.labels.moon == full"]}),
                    )
                    .await?;
                let evidence = doors.fails("nowhere", &image, "no_node_fits").await?;
                expect_text(&evidence, "engine_message", "scheduling constraints")
            }
            .boxed_local(),
        ),
        ("volume_in_use", volume_in_use(&doors, &image).boxed_local()),
        (
            "port_taken by a program",
            async {
                doors.app("port", publish(&by_test)).await?;
                let evidence = doors.fails("port", &image, "port_taken").await?;
                ensure!(evidence["engine_message"].is_string(), "{evidence:#}");
                Ok(())
            }
            .boxed_local(),
        ),
        (
            "port_taken by another app",
            async {
                doors.app("owner", publish(&by_app)).await?;
                bed.api.deploy_and_wait("owner", &image).await?;
                doors.app("second", publish(&by_app)).await?;
                let evidence = doors.fails("second", &image, "port_taken").await?;
                ensure!(evidence["engine_message"].is_string(), "{evidence:#}");
                bed.expect_serving("owner", "v1").await
            }
            .boxed_local(),
        ),
        ("deadline_exceeded", deadline_exceeded(&doors).boxed_local()),
        ("not_served_by_ingress", not_served(&doors).boxed_local()),
    ])
    .await;
    drop(listener);
    outcome?;
    doors.finish().await
}

/// Somebody runs a backup, say, on the volume.
async fn volume_in_use(doors: &Doors, image: &str) -> Result<()> {
    let (docker, instance) = (&doors.bed.instance.docker, &doors.bed.instance.name);
    let labels = HashMap::from([(INSTANCE_LABEL.to_owned(), instance.clone())]);
    let volume = format!("fd-{instance}-store-production-data");
    let made = VolumeCreateRequest {
        name: Some(volume.clone()),
        labels: Some(labels.clone()),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(made).await?;
    let mount = Mount {
        target: Some("/data".to_owned()),
        source: Some(volume.clone()),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(labels),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let holder = docker
        .create_container(None::<CreateContainerOptions>, body)
        .await?
        .id;
    docker.start_container(&holder, None).await?;
    let name = docker.inspect_container(&holder, None).await?.name;
    let name = name.context("a container has a name")?;

    doors
        .app(
            "store",
            json!({"volumes": [{"name": "data", "path": "/data"}]}),
        )
        .await?;
    let evidence = doors.fails("store", image, "volume_in_use").await?;
    expect(&evidence, "held_by", &json!(name.trim_start_matches('/')))?;

    docker.stop_container(&holder, None).await?;
    doors.bed.api.deploy_and_wait("store", image).await?;
    Ok(())
}

/// Its service is removed by hand while it starts, so that nothing comes up and nothing says why.
async fn deadline_exceeded(doors: &Doors) -> Result<()> {
    let bed = &doors.bed;
    doors.app("removed", json!({})).await?;
    let slow = bed
        .image(Sample::version("slow").starts_after_ms(60_000))
        .await?;
    let id = bed.api.deploy("removed", &slow).await?;
    let service = service_of(&bed.instance.docker, &bed.instance.name, "removed").await?;
    bed.instance.docker.delete_service(&service).await?;
    doors.failed(&id, "deadline_exceeded").await?;
    Ok(())
}

async fn service_of(docker: &Docker, instance: &str, app: &str) -> Result<String> {
    let labels = [
        format!("{INSTANCE_LABEL}={instance}"),
        format!("com.flukedeploy.app={app}"),
    ];
    let filters = HashMap::from([("label", labels.iter().map(String::as_str).collect())]);
    wait::until(&format!("{app} has a service"), SOON, || async {
        let options = ListServicesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let found = docker.list_services(Some(options)).await?;
        Ok(found.into_iter().next().and_then(|service| service.id))
    })
    .await
}

/// Its port takes connections, but what it says there is no HTTP.
async fn not_served(doors: &Doors) -> Result<()> {
    const MAIL: &str = "$SIG{TERM} = sub { exit 0 }; socket(my $s, 2, 1, 6) or die; \
        bind($s, pack('SnNx8', 2, 8080, 0)) or die; listen($s, 99) or die; \
        while (accept(my $c, $s)) { syswrite($c, \"220 mail.example.com\\r\\n\"); close($c) }";
    let perl = PathBuf::from("/usr/bin/perl");
    if !perl.is_file() {
        eprintln!("SKIPPED not_served_by_ingress: it takes {}", perl.display());
        return Ok(());
    }
    let docker = doors.bed.instance.docker.clone();
    let mail = Images::of(docker, perl, ["-e", MAIL]);
    let mail = mail.build(&Sample::version("mail")).await?;
    doors
        .app(
            "mail",
            json!({"health": {"kind": "tcp", "deadline_seconds": 5}}),
        )
        .await?;
    let evidence = doors.fails("mail", &mail, "not_served_by_ingress").await?;
    ensure!(evidence["health_answer"].is_string(), "{evidence:#}");
    // What it says to try works.
    doors
        .bed
        .change("mail", json!({"expose_http": false}))
        .await?;
    doors.bed.api.deploy_and_wait("mail", &mail).await?;
    Ok(())
}
