//! What the settings of an app, its past and its Dockerfiles show.

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::TagImageOptionsBuilder;
use flukedeploy_end2end::images;
use serde_json::{Value, json};

use super::looker::Looker;
use super::looker::Severity::{Fail, NotRun, Pass, Warning};
use super::{CANARY, but, careful, image};

/// What the app's settings show.
pub(super) async fn about_settings(looker: &mut Looker) -> Result<()> {
    let docker = looker.yard.bed.instance.docker.clone();
    let name = image(looker, but("Healthcheck", Value::Null), &[]).await?;
    let plain = Some(name.as_str());
    looker
        .app("settings", json!({"container_port": 8080}))
        .await?;
    let report = looker
        .finds("settings", plain, ("memory_limit", Warning), "all memory")
        .await?;
    looker.has(
        &report["checks"],
        ("cpu_limit", Warning),
        "all processor time",
    )?;
    looker.has(
        &report["checks"],
        ("health_check", Warning),
        "only a TCP connection",
    )?;
    looker.has(
        &report["checks"],
        ("tests", NotRun),
        "no test command is configured",
    )?;
    looker
        .change("settings", json!({"health": {"kind": "docker"}}))
        .await?;
    looker
        .finds(
            "settings",
            plain,
            ("health_check", Warning),
            "and the image has none",
        )
        .await?;
    for (path, words) in [
        ("//up", "starts with '//'"),
        ("/a/../up", "holds '..'"),
        ("/up?token=f00dbabe17", "looks like a secret"),
    ] {
        looker
            .change("settings", json!({"health": {"path": path}}))
            .await?;
        looker
            .finds("settings", plain, ("health_path", Warning), words)
            .await?;
    }

    looker
        .change("settings", json!({"secret_env_vars": {"PIN": "1234"}}))
        .await?;
    let words = "though marked secret: PIN";
    looker
        .finds("settings", plain, ("secret_values", Warning), words)
        .await?;

    // Of an earlier version that allowed it, say.
    looker.yard.bed.instance.stop().await?;
    let database = looker.yard.bed.instance.data_dir().join("control.db");
    let update = "UPDATE environments SET settings = json_set(settings, '$.container_port', 0, \
                  '$.health.probe.path', 'up') WHERE app = 'settings'";
    let script =
        "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db:\n db.execute(sys.argv[2])\n";
    let changed = tokio::process::Command::new("python3")
        .args(["-c", script])
        .arg(&database)
        .arg(update)
        .status()
        .await?;
    ensure!(changed.success(), "python3: {changed}");
    looker.yard.bed.instance.restart().await?;
    let words = "container_port must be 1 to 65535";
    let report = looker
        .finds("settings", plain, ("settings", Fail), words)
        .await?;
    looker.has(
        &report["checks"],
        ("health_path", Fail),
        "does not start with '/'",
    )?;
    images::remove(&docker, &name).await
}

/// What the release that serves had, and how its tests ended.
pub(super) async fn about_the_past(looker: &mut Looker) -> Result<()> {
    let base = looker.yard.base.clone();
    let mut settings = careful();
    settings["jobs"] = json!({"test": {"command": ["/bin/false"], "timeout_seconds": 30}});
    settings["env_vars"] = json!({"COLOUR": "red", "SIZE": CANARY});
    looker.app("past", settings).await?;
    let failed = looker.yard.run("past", json!({"image": base})).await?;
    let id = failed["deployment_id"].as_str().context("an id")?;
    ensure!(failed["status"] == "failed", "{failed:#}");
    let words = format!("in {id} they failed with exit code 1");
    looker
        .finds("past", Some(&base), ("tests", NotRun), &words)
        .await?;
    looker
        .change(
            "past",
            json!({"jobs": {"test": {"command": ["/bin/true"]}}}),
        )
        .await?;
    let serving = looker
        .yard
        .dockerfile("RUN echo v1 > /www/version && echo well > /www/health");
    let first = looker
        .yard
        .built("past", json!({"dockerfile": serving}), "v1")
        .await?;
    let id = first["deployment_id"].as_str().context("an id")?;
    let words = format!("in {id} they passed");
    looker
        .finds("past", None, ("tests", NotRun), &words)
        .await?;

    looker
        .finds("past", None, ("variables_missing", Pass), "is set")
        .await?;
    looker
        .change(
            "past",
            json!({"env_vars": {"COLOUR": "blue"}, "remove_env_vars": ["SIZE"]}),
        )
        .await?;
    let report = looker
        .finds("past", None, ("variables_missing", Warning), "lacks: SIZE")
        .await?;
    ensure!(
        !report.to_string().contains("canary"),
        "a value is shown: {report:#}"
    );
    Ok(())
}

/// What a Dockerfile shows, and an image that was built of it.
pub(super) async fn about_dockerfiles(looker: &mut Looker) -> Result<()> {
    let (docker, base) = (
        looker.yard.bed.instance.docker.clone(),
        looker.yard.base.clone(),
    );
    let unpinned = format!("fdtest/unpinned-{}", looker.yard.bed.instance.name);
    let options = TagImageOptionsBuilder::default()
        .repo(&unpinned)
        .tag("latest")
        .build();
    docker.tag_image(&base, Some(options)).await?;
    let mut settings = careful();
    settings["build"] = json!({"args": {"NPM_TOKEN": CANARY}});
    looker.app("files", settings).await?;
    // Stages that nothing stands on are not built, and looked at all the same.
    let unwise = format!(
        "FROM {unpinned} AS unused\nADD https://example.com/tool /tool\nADD src /src\n\
         COPY .env /app/\nWORKDIR app\n\
         FROM {base}\nMAINTAINER me\nARG NPM_TOKEN\nRUN true || sudo true\n\
         RUN true || apt-get install curl\nEXPOSE 0\n\
         RUN mkdir -p /root/.ssh && echo '-----BEGIN OPENSSH PRIVATE KEY-----' > /root/.ssh/id_rsa\n\
         RUN rm /root/.ssh/id_rsa\nCMD [\"one\"]\nCMD serve\nUSER root\n"
    );
    let checks = looker
        .stopped("files", json!({"dockerfile": unwise}))
        .await?;
    for (rule, words) in [
        ("unpinned_base", "names no version"),
        ("add_url", "ADD fetches an address"),
        ("add_for_copy", "ADD where COPY does the same"),
        ("copies_secret", "COPY takes .env into the image"),
        ("relative_workdir", "WORKDIR app"),
        ("maintainer", "MAINTAINER is deprecated"),
        ("secret", "ARG with what looks like a secret: NPM_TOKEN"),
        ("sudo", "RUN uses sudo"),
        ("apt_yes", "a build cannot answer"),
        ("apt_update", "without apt-get update"),
        ("port_range", "EXPOSE 0"),
        ("several_commands", "only the last of 2 CMD counts"),
        ("shell_form", "CMD in shell form"),
        ("user_root", "the last USER is root"),
    ] {
        looker.has(&checks, (&format!("dockerfile.{rule}"), Warning), words)?;
    }
    // It costs space and nothing else.
    looker.has(
        &checks,
        ("dockerfile.apt_size", Pass),
        "leaves more in the image",
    )?;
    looker.has(&checks, ("build_args", Warning), "NPM_TOKEN")?;
    looker.has(
        &checks,
        ("secrets_in_history", Fail),
        "holds what looks like secrets, by name: NPM_TOKEN",
    )?;
    looker.has(&checks, ("secrets_in_files", Warning), "/root/.ssh/id_rsa")?;
    looker.has(&checks, ("runs_as_root", Warning), "as root")?;
    ensure!(
        !checks.to_string().contains("canary"),
        "a value is shown: {checks:#}"
    );
    images::remove(&docker, &format!("{unpinned}:latest")).await?;

    let nobody = format!("FROM {base}\nSTOPSIGNAL SIGKILL\n");
    let checks = looker
        .stopped("files", json!({"dockerfile": nobody}))
        .await?;
    looker.has(&checks, ("dockerfile.no_user", Warning), "no USER")?;
    let stages = format!("FROM {base}\n").repeat(101);
    let checks = looker
        .stopped("files", json!({"dockerfile": stages}))
        .await?;
    looker.has(&checks, ("dockerfile", NotRun), "more than 100 stages")?;

    for (dockerfile, findings) in [
        (
            "RUN true\n".to_owned(),
            [
                ("before_from", "RUN comes before FROM"),
                ("no_from", "no FROM"),
            ]
            .as_slice(),
        ),
        (
            format!("FROM {base}\nRUNN true\n"),
            &[(
                "unknown_instruction",
                "line 2: there is no instruction RUNN",
            )],
        ),
        (
            format!("FROM {base}\nUSER\n"),
            &[("missing_argument", "USER says nothing")],
        ),
        (
            format!("FROM {base}\nRUN <<EOF\ntrue\n"),
            &[("unfinished", "never ends")],
        ),
        (
            format!("FROM {base}\nEXPOSE 70000\n"),
            &[("port_range", "EXPOSE 70000 is no port")],
        ),
    ] {
        let checks = looker.unbuildable("files", &dockerfile).await?;
        for (rule, words) in findings {
            looker.has(&checks, (&format!("dockerfile.{rule}"), Fail), words)?;
        }
    }
    Ok(())
}
