//! Builds that go a long way: to another node through a registry, and past a crash of the control
//! plane.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::TaskState;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListServicesOptionsBuilder, ListTasksOptionsBuilder,
};
use flukedeploy_end2end::api::Api;
use flukedeploy_end2end::cluster::{self, Cluster, Setup};
use flukedeploy_end2end::images::{self, Sample};
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::lease::Lease;
use flukedeploy_end2end::source_files::Archive;
use flukedeploy_end2end::{random_name, registry, wait, workbench};
use serde_json::{Value, json};

use crate::bed::{Bed, LEAST_LOAD, expect_diagnosis, expect_ended_truthfully};
use crate::building_classic::{classic, containers_with, forget_steps};
use crate::search::processes_with;
use crate::yard::{Yard, options};

const SOON: Duration = Duration::from_secs(20);

/// Two nodes with a base image on the manager, or `None` (and the reason printed) where there can be
/// none. Alone on the machine, as far as tests under load go.
async fn two_nodes(setup: Setup) -> Result<Option<(Lease, Cluster, String)>> {
    if let Some(reason) = cluster::missing() {
        eprintln!("SKIPPED building for two nodes: {reason}");
        return Ok(None);
    }
    let machine = Lease::take("load").await?;
    let cluster = Cluster::start_with(setup).await?;
    let base = workbench::small(&cluster.docker).await?;
    Ok(Some((machine, cluster, base)))
}

/// The files of an app that answers with `version`; `lines` are the last of its Dockerfile.
fn archive(base: &str, version: &str, lines: &str) -> Result<Vec<u8>> {
    let dockerfile = format!("FROM {base}\nSTOPSIGNAL SIGKILL\nCOPY www /www\n{lines}\n");
    Archive::of(&[
        ("Dockerfile", dockerfile.as_str()),
        ("www/version", version),
        ("www/health", "well"),
    ])
}

/// Uploads an archive and begins to deploy it; returns the deployment's id.
async fn upload(api: &Api, app: &str, archive: Vec<u8>) -> Result<String> {
    let request = api
        .request(reqwest::Method::POST, &format!("/apps/{app}/source"))
        .header("Content-Type", "application/gzip")
        .body(archive);
    let accepted = api.send(request).await?.ok()?;
    let id = accepted["deployment_id"].as_str();
    Ok(id.context("an upload becomes a deployment")?.to_owned())
}

async fn refused(api: &Api, id: &str, codes: &[&str]) -> Result<Value> {
    let summary = api.wait_final(id).await?;
    ensure!(
        summary["status"] == "failed",
        "nothing was to be changed: {summary:#}"
    );
    expect_ended_truthfully(&summary)?;
    expect_diagnosis(&summary, Some(codes))?;
    Ok(summary)
}

async fn succeeded(api: &Api, id: &str) -> Result<Value> {
    let summary = api.wait_final(id).await?;
    ensure!(
        summary["status"] == "success",
        "it ended otherwise: {summary:#}\n{}",
        api.deployment_logs(id).await?
    );
    expect_ended_truthfully(&summary)?;
    Ok(summary)
}

async fn serves(cluster: &Cluster, app: &str, version: &str) -> Result<()> {
    let (status, body) = cluster.get_app(app, "/version").await?;
    ensure!(
        status == 200 && body.trim() == version,
        "{app} should serve {version}, but answers {status}: {body}"
    );
    Ok(())
}

/// Waits until so many replicas of this very image run on the manager and on the worker: Swarm says so
/// a little after the app is found well.
async fn expect_running(cluster: &Cluster, pinned: &str, wanted: (usize, usize)) -> Result<()> {
    let last = Cell::new((0, 0));
    wait::until("the replicas are where they belong", SOON, || async {
        last.set(running(cluster, pinned).await?);
        Ok((last.get() == wanted).then_some(()))
    })
    .await
    .with_context(|| {
        let found = last.get();
        format!("{found:?} replicas of {pinned} on manager and worker, not {wanted:?}")
    })
}

async fn running(cluster: &Cluster, pinned: &str) -> Result<(usize, usize)> {
    let filters = HashMap::from([("desired-state", vec!["running"])]);
    let options = ListTasksOptionsBuilder::default().filters(&filters).build();
    let tasks = cluster.docker.list_tasks(Some(options)).await?;
    let on = |node: &str| {
        let running = tasks.iter().filter(|task| {
            let container = task.spec.as_ref().and_then(|s| s.container_spec.as_ref());
            let state = task.status.as_ref().and_then(|status| status.state);
            container.and_then(|it| it.image.as_deref()) == Some(pinned)
                && task.node_id.as_deref() == Some(node)
                && state == Some(TaskState::RUNNING)
        });
        running.count()
    };
    Ok((on(&cluster.manager_id), on(&cluster.worker_id)))
}

/// The ids of images that a build of the instance made.
async fn built_images(docker: &Docker, app: &str) -> Result<Vec<String>> {
    let label = format!("com.flukedeploy.app={app}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = docker.list_images(Some(options)).await?;
    Ok(images.into_iter().map(|image| image.id).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_without_a_registry_build_nothing_and_say_so_before_anything_ran() -> Result<()> {
    let Some((_machine, cluster, base)) = two_nodes(Setup::default()).await? else {
        return Ok(());
    };
    let api = cluster.api();
    api.create_app("shop", 2).await?;
    let v1 = cluster.image(&Sample::version("v1"), "v1").await?;
    api.deploy_and_wait("shop", &v1).await?;
    let hook = format!("hook{}", random_name(8));
    let jobs = json!({"pre_build": {"command": ["/program", &hook]}});
    api.patch("/apps/shop", &json!({"jobs": jobs}))
        .await?
        .ok()?;
    let before = api.get("/apps/shop/releases").await?.ok()?;

    let files = archive(&base, "v2", "RUN echo here I am")?;
    let id = upload(&api, "shop", files).await?;
    let summary = refused(&api, &id, &["image_not_found"]).await?;
    let diagnosis = &summary["diagnosis"];
    let message = diagnosis["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("2 nodes") && message.contains("no registry"),
        "it says why: {summary:#}"
    );
    ensure!(
        diagnosis["next"].to_string().contains("--build-registry"),
        "it says what to do: {summary:#}"
    );
    ensure!(diagnosis["phase"] == "pre_build", "{summary:#}");
    // Neither the app's own hook nor the build began.
    ensure!(summary["preparation"]["jobs"].is_null(), "{summary:#}");
    let said = api.deployment_logs(&id).await?.to_string();
    ensure!(!said.contains("here I am"), "it built: {said}");
    let images = built_images(&cluster.docker, "shop").await?;
    ensure!(images.is_empty(), "it left images: {images:?}");
    let after = api.get("/apps/shop/releases").await?.ok()?;
    ensure!(before == after, "from {before:#} to {after:#}");
    serves(&cluster, "shop", "v1").await?;

    // What needs no build is deployed as ever.
    api.patch("/apps/shop", &json!({"jobs": {"pre_build": null}}))
        .await?
        .ok()?;
    let v3 = cluster.image(&Sample::version("v3"), "v3").await?;
    let definition = json!({"schemaVersion": 2, "imageName": v3}).to_string();
    let files = Archive::of(&[("captain-definition", definition)])?;
    let id = upload(&api, "shop", files).await?;
    succeeded(&api, &id).await?;
    serves(&cluster, "shop", "v3").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_builds_the_other_pulls_by_its_digest_and_runs() -> Result<()> {
    let setup = Setup {
        registry_password: true,
        build_registry: true,
    };
    let Some((_machine, cluster, base)) = two_nodes(setup).await? else {
        return Ok(());
    };
    let api = cluster.api();
    api.create_app("shop", 1).await?;

    // The registry knows nobody without a password.
    let id = upload(&api, "shop", archive(&base, "v1", "")?).await?;
    let denied = refused(&api, &id, &["registry_refused"]).await?;
    let next = denied["diagnosis"]["next"].to_string();
    ensure!(next.contains("credentials"), "what to do: {denied:#}");
    let credential = json!({
        "kind": "registry", "host": cluster.registry_address(),
        "username": registry::USER, "secret": registry::PASSWORD,
    });
    let request = api
        .request(reqwest::Method::PUT, "/credentials")
        .json(&credential);
    api.send(request).await?.ok()?;

    // Nothing new goes to the worker, so the first replica is where the image was built …
    cluster.open_worker(false).await?;
    let id = upload(&api, "shop", archive(&base, "v1", "")?).await?;
    let summary = succeeded(&api, &id).await?;
    let first = summary["pinned_image"].as_str().context("an image")?;
    let place = format!("{}/built/shop@sha256:", cluster.registry_address());
    ensure!(first.starts_with(&place), "not by digest: {summary:#}");
    expect_running(&cluster, first, (1, 0)).await?;
    ensure!(
        !images::exists(&cluster.worker, first).await?,
        "the worker has {first} before it needs it"
    );
    // … and the second comes to a node that never saw it and has to pull it, with the password.
    cluster.open_worker(true).await?;
    let began = Instant::now();
    let scaled = api
        .post("/apps/shop/scale", &json!({"replicas": 2}))
        .await?
        .ok()?;
    let id = scaled["deployment_id"].as_str().context("an id")?;
    succeeded(&api, id).await?;
    let pulled_after = began.elapsed();
    expect_running(&cluster, first, (1, 1)).await?;
    ensure!(
        images::exists(&cluster.worker, first).await?,
        "the worker runs {first} without having it"
    );
    for _ in 0..20 {
        serves(&cluster, "shop", "v1").await?;
    }

    // On the worker alone, so that each answer is the worker's.
    let only = json!({"placement": [format!("node.id == {}", cluster.worker_id)]});
    api.patch("/apps/shop", &only).await?.ok()?;
    let began = Instant::now();
    let id = upload(&api, "shop", archive(&base, "v2", "")?).await?;
    let summary = succeeded(&api, &id).await?;
    let second = summary["pinned_image"].as_str().context("an image")?;
    ensure!(second != first, "{summary:#}");
    expect_running(&cluster, second, (0, 2)).await?;
    serves(&cluster, "shop", "v2").await?;
    eprintln!(
        "pulled by the worker {pulled_after:.1?} after scaling; built, pushed and placed there in \
         {:.1?}",
        began.elapsed()
    );
    for (what, text) in [
        ("the log", std::fs::read_to_string(cluster.log_path())?),
        ("a deployment", summary.to_string()),
        ("what it wrote", api.deployment_logs(&id).await?.to_string()),
    ] {
        ensure!(
            !text.contains(registry::PASSWORD),
            "{what} shows the registry's password"
        );
    }
    cluster.finish().await
}

/// Names of all files of an instance but its databases, which come and go with their journals.
fn files_below(directory: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path.clone());
            }
            let name = path.strip_prefix(directory)?.display().to_string();
            // The database and the log store begin files of their own as they like.
            if !name.contains(".db") && !name.starts_with("logs/") {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

async fn services(bed: &Bed) -> Result<BTreeSet<String>> {
    let label = format!("com.flukedeploy.instance={}", bed.instance.name);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListServicesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let services = bed.instance.docker.list_services(Some(options)).await?;
    Ok(services
        .into_iter()
        .filter_map(|service| service.spec?.name)
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_a_build_leaves_nothing_and_ends_truthfully() -> Result<()> {
    for (hint, options, builder) in [
        ("bldcrk", options(&[]), "buildkit"),
        ("bldcrc", classic(), "classic"),
    ] {
        crash_in_a_build(hint, options, builder)
            .await
            .with_context(|| builder.to_owned())?;
    }
    Ok(())
}

async fn crash_in_a_build(hint: &str, options: Options, builder: &str) -> Result<()> {
    /// Long enough to see that the engine ended it, and that it did not end by itself.
    const SLEEPS: Duration = Duration::from_secs(9);
    let mut yard = Yard::of(Bed::start_for_load(hint, options).await?).await?;
    yard.bed.app_on_v1("shop", 1).await?;
    let docker = yard.bed.instance.docker.clone();
    let data = yard.bed.instance.data_dir();
    let (files, running) = (files_below(&data)?, services(&yard.bed).await?);
    let load = yard.bed.load_on("shop");
    yard.bed.load_sees(&load, "v1").await?;

    let marker = format!("crash{}", random_name(8));
    // It serves under load, which the small server of the other builds does not stand.
    let base = workbench::with_sample_app(&docker, "v2").await?;
    let dockerfile = format!(
        "FROM {base}\nENV MARKER={marker}\nRUN sh -c 'sleep {}' {marker} && true\n",
        SLEEPS.as_secs()
    );
    let body = Archive::of(&[("Dockerfile", dockerfile)])?;
    let id = upload(&yard.bed.api, "shop", body).await?;
    wait::until("the build sleeps", SOON, || async {
        Ok((processes_with(&marker) > 0).then_some(()))
    })
    .await?;
    let began = Instant::now();
    let while_building: Vec<_> = files_below(&data)?.difference(&files).cloned().collect();
    ensure!(
        while_building.iter().any(|name| name.contains(&id)),
        "a build has its files somewhere: {while_building:?}"
    );
    yard.bed.instance.kill_9().await?;
    wait::until("the engine ended the build", SOON, || async {
        Ok((processes_with(&marker) == 0).then_some(()))
    })
    .await?;
    let ended_after = began.elapsed();
    ensure!(
        ended_after + Duration::from_secs(2) < SLEEPS,
        "it slept to its end: {ended_after:?}"
    );
    yard.bed.load_sees(&load, "v1").await?;

    yard.bed.instance.restart().await?;
    let restarted = Instant::now();
    wait::until("it builds again", SOON, || async {
        Ok((processes_with(&marker) > 0).then_some(()))
    })
    .await?;
    yard.bed.load_sees(&load, "v1").await?;
    let summary = succeeded(&yard.bed.api, &id).await?;
    ensure!(summary["preparation"]["builder"] == builder, "{summary:#}");
    yard.bed.expect_serving("shop", "v2").await?;
    yard.bed.load_sees(&load, "v2").await?;
    let report = load.stop().await?;
    eprintln!(
        "a crash in a build ({builder}): the engine ended it after {ended_after:.1?}, the release \
         served {:.1?} after the restart; {report}",
        restarted.elapsed()
    );
    report.expect_no_failure(LEAST_LOAD)?;

    // Its files, processes, containers and jobs are gone but for the upload, which can be deployed
    // again for some hours; one image was made, once.
    wait::until("what the build needed is gone", SOON, || async {
        let left = processes_with(&marker) + containers_with(&docker, &marker).await?;
        let now = files_below(&data)?;
        let mut more = now.difference(&files);
        let is_upload = more
            .next()
            .is_some_and(|it| it.starts_with("sources/uploads/up-"));
        Ok((left == 0 && is_upload && more.next().is_none()).then_some(()))
    })
    .await
    .with_context(|| format!("from {files:?} to {:?}", files_below(&data)))?;
    let now = services(&yard.bed).await?;
    let new: Vec<_> = now.difference(&running).collect();
    ensure!(
        matches!(new.as_slice(), [release] if release.ends_with("-r2")),
        "beside the new release: {new:?}"
    );
    let label = format!("com.flukedeploy.deployment={id}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let made = docker.list_images(Some(options)).await?;
    ensure!(made.len() == 1, "one image, not {made:?}");
    yard.finish().await?;
    forget_steps(&docker, &marker).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_credentials_count_from_the_first_moment_after_a_restart() -> Result<()> {
    let registry = registry::Registry::start(true).await?;
    let place = format!("{}/built", registry.address());
    let mut yard = Yard::open("bldreg", &["--build-registry", &place]).await?;
    yard.app("shop").await?;
    let credential = json!({
        "kind": "registry", "host": registry.address(),
        "username": registry::USER, "secret": registry::PASSWORD,
    });
    yard.credential(credential).await?;
    let page = |version: &str| {
        let page = format!("RUN echo {version} > /www/version && echo well > /www/health");
        json!({"dockerfile": yard.dockerfile(&page)})
    };
    let (first, second) = (page("v1"), page("v2"));
    let summary = yard.built("shop", first, "v1").await?;
    let pinned = summary["pinned_image"].as_str().unwrap_or_default();
    ensure!(pinned.starts_with(&place), "{summary:#}");
    yard.bed.instance.kill_9().await?;
    yard.bed.instance.restart().await?;
    let summary = yard.built("shop", second, "v2").await?;
    let pinned = summary["pinned_image"].as_str().unwrap_or_default();
    ensure!(pinned.starts_with(&place), "{summary:#}");
    yard.finish().await
}
