//! Commands around a deployment: hooks, tests, migrations. Each runs once, where it belongs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListServicesOptionsBuilder};
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::sweep::INSTANCE_LABEL;
use flukedeploy_end2end::{wait, workbench};
use serde_json::{Value, json};

use crate::bed::{Bed, LEAST_LOAD, expect_diagnosis, expect_ended_truthfully};
use crate::yard::messages;

const SOON: Duration = Duration::from_secs(20);
const JOB_LABEL: &str = "com.flukedeploy.job";

/// A command line of the shell that is in the images here; the product itself starts none.
fn shell(line: &str) -> Value {
    json!({"command": ["/bin/sh", "-c", line], "timeout_seconds": 60})
}

async fn image(bed: &Bed, version: &str) -> Result<String> {
    workbench::with_sample_app(&bed.instance.docker, version).await
}

/// An app on which `v1` serves, with these jobs from now on.
async fn app_with_jobs(bed: &Bed, app: &str, jobs: Value) -> Result<()> {
    bed.api.create_app(app, 1).await?;
    bed.api
        .deploy_and_wait(app, &image(bed, "v1").await?)
        .await?;
    bed.change(app, json!({"jobs": jobs})).await?;
    Ok(())
}

async fn deploy(bed: &Bed, app: &str, version: &str) -> Result<Value> {
    let id = bed.api.deploy(app, &image(bed, version).await?).await?;
    let summary = bed.api.wait_final(&id).await?;
    expect_ended_truthfully(&summary)?;
    Ok(summary)
}

fn job<'a>(summary: &'a Value, kind: &str) -> Result<&'a Value> {
    let jobs = summary["preparation"]["jobs"].as_array();
    jobs.into_iter()
        .flatten()
        .find(|job| job["kind"] == kind)
        .with_context(|| format!("there is no {kind} job: {summary:#}"))
}

/// How a job ended, which is not in doubt: it has times, and its code where it has one.
fn expect_job(summary: &Value, kind: &str, status: &str, code: Option<i64>) -> Result<()> {
    let job = job(summary, kind)?;
    ensure!(job["status"] == status, "{kind} is not {status}: {job:#}");
    ensure!(job["exit_code"].as_i64() == code, "{kind}: {job:#}");
    ensure!(
        job["started_at"].is_string() && job["completed_at"].is_string(),
        "{kind} says when: {job:#}"
    );
    Ok(())
}

/// Names of services that run jobs of the instance.
async fn job_services(docker: &Docker, instance: &str) -> Result<Vec<String>> {
    let label = format!("{INSTANCE_LABEL}={instance}");
    let filters = HashMap::from([("label", vec![label.as_str(), JOB_LABEL])]);
    let options = ListServicesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let services = docker.list_services(Some(options)).await?;
    Ok(services
        .into_iter()
        .filter_map(|service| service.spec?.name)
        .collect())
}

/// No job of the instance is there any more, as a service or as a container that runs.
async fn expect_no_job_left(bed: &Bed, marker: &str) -> Result<()> {
    let (docker, name) = (&bed.instance.docker, &bed.instance.name);
    wait::until("no job is left", SOON, || async {
        let services = job_services(docker, name).await?;
        let gone = services.is_empty() && crate::search::processes_with(marker) == 0;
        Ok(gone.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_tests_and_hooks_stop_before_anything_is_changed() -> Result<()> {
    let bed = Bed::start("jobtst", Options::default()).await?;
    app_with_jobs(&bed, "shop", json!({})).await?;
    let before = bed.api.get("/apps/shop/releases").await?.ok()?;
    for (kind, code, phase) in [
        ("test", "tests_failed", "pre_deploy"),
        ("pre_build", "hook_failed", "pre_build"),
        ("release", "release_command_failed", "pre_deploy"),
    ] {
        let fails = shell("echo looking at $SAMPLE_VERSION; echo no good >&2; exit 3");
        let mut jobs = json!({"pre_build": null, "test": null, "release": null});
        jobs[kind] = fails;
        bed.change("shop", json!({"jobs": jobs})).await?;
        let failed = deploy(&bed, "shop", "v2").await?;
        ensure!(failed["status"] == "failed", "{kind}: {failed:#}");
        expect_diagnosis(&failed, Some(&[code]))?;
        expect_job(&failed, kind, "failed", Some(3))?;
        let diagnosis = &failed["diagnosis"];
        ensure!(diagnosis["phase"] == phase, "{failed:#}");
        ensure!(diagnosis["evidence"]["exit_code"] == 3, "{failed:#}");
        let output = diagnosis["evidence"]["untrusted_output"].to_string();
        // The hook before the build has what serves, the others what is to serve.
        let version = if kind == "pre_build" { "v1" } else { "v2" };
        ensure!(
            output.contains(&format!("looking at {version}")) && output.contains("no good"),
            "{kind}: {output}"
        );
        bed.expect_serving("shop", "v1").await?;
        expect_no_job_left(&bed, "no good").await?;
    }
    let after = bed.api.get("/apps/shop/releases").await?.ok()?;
    ensure!(before == after, "a release was made: {after:#}");

    // A command that is not there is said to be so.
    let missing =
        json!({"test": {"command": ["/no/such/program"]}, "pre_build": null, "release": null});
    bed.change("shop", json!({"jobs": missing})).await?;
    let failed = deploy(&bed, "shop", "v2").await?;
    expect_diagnosis(&failed, Some(&["tests_failed"]))?;
    ensure!(
        failed["diagnosis"].to_string().contains("/no/such/program"),
        "{failed:#}"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_migration_costs_no_request() -> Result<()> {
    let bed = Bed::start_for_load("jobmig", Options::default()).await?;
    let jobs =
        json!({"release": shell("echo migrating; sleep 2; echo table is locked >&2; exit 4")});
    app_with_jobs(&bed, "shop", jobs).await?;
    image(&bed, "v2").await?;
    let load = bed.load_on("shop");
    bed.load_sees(&load, "v1").await?;
    let failed = deploy(&bed, "shop", "v2").await?;
    bed.load_sees(&load, "v1").await?;
    let report = load.stop().await?;
    eprintln!("a failing migration: {report}");
    report.expect_no_failure(LEAST_LOAD)?;
    ensure!(!report.by_version.contains_key("v2"), "{report}");
    ensure!(failed["status"] == "failed", "{failed:#}");
    expect_diagnosis(&failed, Some(&["release_command_failed"]))?;
    expect_job(&failed, "release", "failed", Some(4))?;
    let id = failed["deployment_id"].as_str().context("an id")?;
    let said = messages(&bed, id).await?;
    for line in ["migrating", "table is locked"] {
        ensure!(said.contains(line), "'{line}' is not in: {said}");
    }
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_end_well_are_on_the_deployment_each_in_its_phase() -> Result<()> {
    let bed = Bed::start("jobok", Options::default()).await?;
    let says = |kind: &str| {
        shell(&format!(
            "echo {kind} of $FLUKEDEPLOY_APP in $FLUKEDEPLOY_ENVIRONMENT as $FLUKEDEPLOY_JOB with $COLOUR; \
             sleep 1"
        ))
    };
    bed.api.create_app("shop", 1).await?;
    let jobs = json!({
        "pre_build": says("hook"), "test": says("check"),
        "release": says("migration"), "post_deploy": says("greeting"),
    });
    bed.change("shop", json!({"jobs": jobs})).await?;
    // Nothing serves yet, so there is nothing for the first hook to run in.
    let first = json!({
        "app_name": "shop", "image": image(&bed, "v1").await?, "env_vars": {"COLOUR": "red"},
    });
    let first = bed.api.deploy_with(&first).await?;
    let first = bed.api.wait_final(&first).await?;
    ensure!(first["status"] == "success", "{first:#}");
    expect_job(&first, "pre_build", "not_run", None)?;
    ensure!(
        job(&first, "pre_build")?["note"].is_string(),
        "it says why: {first:#}"
    );

    let second = deploy(&bed, "shop", "v2").await?;
    ensure!(second["status"] == "success", "{second:#}");
    let id = second["deployment_id"].as_str().context("an id")?;
    let logs = bed.api.deployment_logs(id).await?;
    let mut ends = Vec::new();
    for (kind, word, phase) in [
        ("pre_build", "hook", "pre_build"),
        ("test", "check", "pre_deploy"),
        ("release", "migration", "pre_deploy"),
        ("post_deploy", "greeting", "post_deploy"),
    ] {
        expect_job(&second, kind, "success", Some(0))?;
        let line = format!("{word} of shop in production as {kind} with red");
        let entries = logs["phases"][phase].as_array().context("entries")?;
        let times = entries.iter().filter(|entry| entry["message"] == line);
        ensure!(times.count() == 1, "'{line}' in {phase}: {entries:#?}");
        let record = job(&second, kind)?;
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        ensure!(text("started_at") < text("completed_at"), "{record:#}");
        ends.push((text("started_at"), text("completed_at")));
    }
    ensure!(
        ends.windows(2).all(|two| two[0].1 <= two[1].0),
        "one after the other: {ends:?}"
    );
    bed.expect_serving("shop", "v2").await?;
    expect_no_job_left(&bed, "greeting of").await?;

    // Going back runs none of them.
    let back = bed.api.rollback("shop").await?;
    let back = bed.api.wait_final(&back).await?;
    ensure!(back["status"] == "success", "{back:#}");
    ensure!(back["preparation"]["jobs"].is_null(), "{back:#}");

    // A hook after the deployment that fails brings the old release back.
    bed.change("shop", json!({"jobs": {"post_deploy": shell("exit 5")}}))
        .await?;
    let failed = deploy(&bed, "shop", "v2").await?;
    expect_diagnosis(&failed, Some(&["hook_failed"]))?;
    ensure!(failed["status"] == "rolled_back", "{failed:#}");
    expect_job(&failed, "post_deploy", "failed", Some(5))?;
    bed.expect_serving("shop", "v1").await?;
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_ends_is_stopped_and_so_is_one_that_is_cancelled() -> Result<()> {
    let bed = Bed::start("jobend", Options::default()).await?;
    let endless = |seconds: u32| {
        json!({"release": {
            "command": ["/bin/sleep", "8765432"], "timeout_seconds": seconds,
        }})
    };
    app_with_jobs(&bed, "shop", endless(3)).await?;
    let started = Instant::now();
    let failed = deploy(&bed, "shop", "v2").await?;
    ensure!(started.elapsed() < SOON, "{:?}", started.elapsed());
    expect_diagnosis(&failed, Some(&["release_command_failed"]))?;
    expect_job(&failed, "release", "timed_out", None)?;
    ensure!(
        failed["diagnosis"]["message"].to_string().contains("3 s"),
        "{failed:#}"
    );
    expect_no_job_left(&bed, "8765432").await?;

    bed.change("shop", json!({"jobs": endless(600)})).await?;
    let id = bed.api.deploy("shop", &image(&bed, "v2").await?).await?;
    wait::until("the job sleeps", SOON, || async {
        Ok((crate::search::processes_with("8765432") > 0).then_some(()))
    })
    .await?;
    let path = format!("/deployments/{id}/cancel");
    bed.api.post(&path, &json!({})).await?.ok()?;
    let cancelled = bed.api.wait_final(&id).await?;
    ensure!(cancelled["status"] == "failed", "{cancelled:#}");
    expect_diagnosis(&cancelled, Some(&["cancelled"]))?;
    expect_job(&cancelled, "release", "cancelled", None)?;
    expect_no_job_left(&bed, "8765432").await?;
    bed.expect_serving("shop", "v1").await?;
    bed.finish().await
}

/// Ids of all containers of a service that were ever made and are kept, and how many of them run.
async fn containers(docker: &Docker, service: &str) -> Result<(Vec<String>, usize)> {
    let label = format!("com.docker.swarm.service.name={service}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let found = docker.list_containers(Some(options)).await?;
    let running = found
        .iter()
        .filter(|container| {
            let state = container.state.as_ref();
            state.is_some_and(|state| state.to_string() == "running")
        })
        .count();
    let ids = found.into_iter().filter_map(|container| container.id);
    Ok((ids.collect(), running))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_when_the_control_plane_dies_is_not_run_twice() -> Result<()> {
    let mut bed = Bed::start("jobkil", Options::default()).await?;
    let jobs = json!({"release": shell("echo it began; sleep 6; echo it ended")});
    app_with_jobs(&bed, "shop", jobs).await?;
    let id = bed.api.deploy("shop", &image(&bed, "v2").await?).await?;
    let docker = bed.instance.docker.clone();
    let service = wait::until("the job runs", SOON, || async {
        let services = job_services(&docker, &bed.instance.name).await?;
        let Some(service) = services.into_iter().next() else {
            return Ok(None);
        };
        let (_, running) = containers(&docker, &service).await?;
        Ok((running == 1).then_some(service))
    })
    .await?;
    bed.instance.kill_9().await?;
    bed.expect_serving("shop", "v1").await?;
    bed.instance.restart().await?;
    let mut seen = std::collections::BTreeSet::new();
    let summary = loop {
        let (all, running) = containers(&docker, &service).await?;
        ensure!(running <= 1, "it runs {running} times at once");
        seen.extend(all);
        let summary = bed.api.deployment(&id).await?;
        if summary["completed_at"].is_string() {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(seen.len() == 1, "it ran {} times", seen.len());
    ensure!(summary["status"] == "success", "{summary:#}");
    expect_job(&summary, "release", "success", Some(0))?;
    let said = messages(&bed, &id).await?;
    for line in ["it began", "it ended"] {
        let times = said.lines().filter(|said| *said == line).count();
        ensure!(times == 1, "'{line}' {times} times in: {said}");
    }
    bed.expect_serving("shop", "v2").await?;
    expect_no_job_left(&bed, "it began").await?;
    bed.finish().await
}
