//! An engine that has only the classic builder: it builds all the same, and says what it cannot do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder};
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::{images, random_name, wait};
use serde_json::json;

use crate::bed::Bed;
use crate::search::processes_with;
use crate::yard::{Yard, options};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn classic() -> Options {
    Options {
        with_engine_proxy: true,
        without_buildkit: true,
        ..options(&[])
    }
}

/// Containers in whose command `text` is, those that ended included.
pub(crate) async fn containers_with(docker: &Docker, text: &str) -> Result<usize> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let containers = docker.list_containers(Some(options)).await?;
    let is_one = |command: &Option<String>| command.as_ref().is_some_and(|it| it.contains(text));
    Ok(containers.iter().filter(|it| is_one(&it.command)).count())
}

/// The classic builder keeps what a build began that did not end; nobody else has `marker` in it.
pub(crate) async fn forget_steps(docker: &Docker, marker: &str) -> Result<()> {
    loop {
        let filters = HashMap::from([("dangling", vec!["true"])]);
        let options = ListImagesOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let mut removed = 0;
        for image in docker.list_images(Some(options)).await? {
            // Somebody else may remove what is his at this moment.
            let Ok(history) = docker.image_history(&image.id).await else {
                continue;
            };
            let is_ours = history.iter().any(|step| step.created_by.contains(marker));
            if is_ours && images::remove(docker, &image.id).await.is_ok() {
                removed += 1;
            }
        }
        if removed == 0 {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_only_the_classic_builder_builds_and_tells_every_line() -> Result<()> {
    const LINES: usize = 400;
    let yard = Yard::of(Bed::start("bldcls", classic()).await?).await?;
    yard.app("shop").await?;
    let marker = format!("classic{}", random_name(8));
    let page = |version: &str, lines: &str| {
        yard.dockerfile(&format!(
            "ENV MARKER={marker}\nRUN echo -n {version} > /www/version && echo well > /www/health\n\
             {lines}"
        ))
    };
    let talks = format!(
        "RUN i=0; while test $i -lt {LINES}; do echo \"out $i of {marker}\"; \
         echo \"err $i of {marker}\" >&2; i=$((i+1)); done; echo -n \"no end {marker}\""
    );
    let body = json!({"dockerfile": page("v1", &talks)});
    let summary = yard.built("shop", body, "v1").await?;
    ensure!(
        summary["preparation"]["builder"] == "classic",
        "{summary:#}"
    );
    let output = yard.output(&summary).await?;
    for kind in ["out", "err"] {
        let is_one = |line: &&str| line.starts_with(kind) && line.ends_with(&marker);
        let told: Vec<_> = output.lines().filter(is_one).collect();
        let all: Vec<_> = (0..LINES)
            .map(|i| format!("{kind} {i} of {marker}"))
            .collect();
        ensure!(told == all, "{} of {LINES}: {output}", told.len());
    }
    ensure!(
        output
            .lines()
            .any(|line| line == format!("no end {marker}")),
        "{output}"
    );
    ensure!(!output.contains('\u{1b}'), "it is painted: {output}");
    let steps: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("Step ")?.split_once(" : "))
        .map(|(count, _)| count.to_owned())
        .collect();
    let all: Vec<_> = (1..=steps.len())
        .map(|step| format!("{step}/{}", steps.len()))
        .collect();
    // Those of the Dockerfile, and the labels behind them.
    ensure!(steps == all && steps.len() > 5, "{steps:?}: {output}");

    // A command that fails is told with its exit code and its last words.
    let body = json!({"dockerfile": page("v2", "RUN echo the last words; exit 7")});
    let failed = yard.refused("shop", body, &["build_failed"]).await?;
    let evidence = &failed["diagnosis"]["evidence"];
    ensure!(evidence["exit_code"] == 7, "{failed:#}");
    ensure!(
        evidence.to_string().contains("the last words"),
        "{failed:#}"
    );

    // A cancelled build ends at once.
    let endless = page("v2", &format!("RUN sh -c 'sleep 600' {marker} && true"));
    let body = json!({"app_name": "shop", "dockerfile": endless});
    let id = yard.bed.api.deploy_with(&body).await?;
    wait::until("the build sleeps", SOON, || async {
        Ok((processes_with(&marker) > 0).then_some(()))
    })
    .await?;
    let docker = yard.bed.instance.docker.clone();
    ensure!(
        containers_with(&docker, &marker).await? == 1,
        "a classic build runs in a container of its own"
    );
    let cancelled_at = Instant::now();
    let path = format!("/deployments/{id}/cancel");
    yard.bed.api.post(&path, &json!({})).await?.ok()?;
    let cancelled = yard.bed.api.wait_final(&id).await?;
    yard.expect_refused(&cancelled, &["cancelled"]).await?;
    ensure!(cancelled["diagnosis"]["phase"] == "build", "{cancelled:#}");
    wait::until("what the build ran is gone", SOON, || async {
        let left = processes_with(&marker) + containers_with(&docker, &marker).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    eprintln!(
        "the classic builder: gone {:.1?} after the cancel",
        cancelled_at.elapsed()
    );
    yard.bed.expect_serving("shop", "v1").await?;
    yard.finish().await?;
    forget_steps(&docker, &marker).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_only_the_classic_builder_refuses_build_secrets_clearly() -> Result<()> {
    let yard = Yard::of(Bed::start("bldcss", classic()).await?).await?;
    yard.app("shop").await?;
    let marker = format!("classic{}", random_name(8));
    let page = |line: &str| {
        yard.dockerfile(&format!(
            "ENV MARKER={marker}\n{line}\nRUN echo v1 > /www/version && echo well > /www/health"
        ))
    };
    let mount = page("RUN --mount=type=secret,id=TOKEN echo I have run");
    let secret = format!("{}-canary", random_name(24));
    let settings = json!({"build": {"secrets": {"TOKEN": secret}}});
    yard.bed.change("shop", settings).await?;
    let body = json!({"dockerfile": mount});
    let failed = yard
        .refused("shop", body.clone(), &["build_failed"])
        .await?;
    let message = failed["diagnosis"]["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("BuildKit") && message.contains("secret"),
        "it says why: {failed:#}"
    );
    let said = format!(
        "{failed}{}{}",
        yard.output(&failed).await?,
        yard.bed.instance.log()?
    );
    ensure!(!said.contains(&secret), "the secret is shown");
    ensure!(!said.contains("I have run"), "it ran: {failed:#}");

    // Without one the mount itself is what the builder does not know, and what is said.
    let none = json!({"build": {"secrets": {"TOKEN": null}}});
    yard.bed.change("shop", none).await?;
    let failed = yard.refused("shop", body, &["build_failed"]).await?;
    let diagnosis = failed["diagnosis"].to_string();
    ensure!(
        diagnosis.contains("BuildKit") && diagnosis.contains("mount"),
        "it says why: {failed:#}"
    );
    // And what needs neither is built.
    let body = json!({"dockerfile": page("RUN true")});
    yard.built("shop", body, "v1").await?;
    let docker = yard.bed.instance.docker.clone();
    yard.finish().await?;
    forget_steps(&docker, &marker).await
}
