//! Whatever a team has becomes a release that serves: an image, an archive, a repository, a Dockerfile,
//! a definition file.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::git_server::{Door, TOKEN, USER};
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Instance;
use flukedeploy_end2end::registry::{self, Registry};
use flukedeploy_end2end::source_files::Scratch;
use flukedeploy_end2end::ssh_server::SshServer;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::yard::{Yard, git};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_comes_by_tag_and_by_digest_with_and_without_stored_credentials() -> Result<()> {
    let yard = Yard::open("srcimg", &[]).await?;
    let docker = &yard.bed.instance.docker;
    let local = yard.bed.image(Sample::version("from-registry")).await?;
    for with_password in [false, true] {
        let registry = Registry::start(with_password).await?;
        let app = if with_password { "closed" } else { "open" };
        let image = registry.push(docker, &local, "team/shop", "2.4.0").await?;
        yard.app(app).await?;
        if with_password {
            let body = json!({"image": image});
            yard.refused(app, body, &["registry_refused"]).await?;
            let credential = json!({
                "kind": "registry", "host": registry.address(),
                "username": registry::USER, "secret": registry::PASSWORD,
            });
            yard.credential(credential).await?;
        }
        let by_tag = yard
            .built(app, json!({"image": image}), "from-registry")
            .await?;
        let pinned = by_tag["pinned_image"].as_str().unwrap_or_default();
        ensure!(pinned.contains("/team/shop@sha256:"), "{by_tag:#}");
        // Gone from this machine, so that it has to be pulled by its digest.
        let by_digest = yard
            .built(app, json!({"image": pinned}), "from-registry")
            .await?;
        ensure!(by_digest["pinned_image"] == pinned, "{by_digest:#}");
    }
    let listed = yard.bed.api.get("/credentials").await?.ok()?;
    ensure!(listed["total"] == 1, "{listed:#}");
    ensure!(
        !listed.to_string().contains(registry::PASSWORD),
        "a list of credentials shows a password"
    );
    ensure!(
        !yard.bed.instance.log()?.contains(registry::PASSWORD),
        "the log shows a registry's password"
    );
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_curl_sends_is_built() -> Result<()> {
    let yard = Yard::open("srctar", &[]).await?;
    yard.app("shop").await?;
    let scratch = Scratch::new("curl")?;
    for (name, flags, version) in [
        ("source.tar.gz", "-czf", "zipped"),
        ("source.tar", "-cf", "plain"),
    ] {
        let tree = scratch.path().join(version);
        for (path, content) in yard.web(version) {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            std::fs::write(path, content)?;
        }
        let archive = scratch.path().join(name);
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&tree)
            .arg(flags)
            .arg(&archive)
            .arg(".")
            .status()
            .await?;
        ensure!(packed.success(), "tar: {packed}");
        let data = format!("@{}", archive.display());

        // In one call, with the fields of a deployment as parameters …
        let accepted = curl(
            &yard.bed.instance,
            "/apps/shop/source?version=9.1&reason=by+curl",
            &data,
        )
        .await?;
        let id = accepted["deployment_id"].as_str().context("an id")?;
        let summary = yard.bed.api.wait_final(id).await?;
        yard.expect_built("shop", &summary, version).await?;
        ensure!(summary["version"] == "9.1", "{summary:#}");
        ensure!(summary["reason"] == "by curl", "{summary:#}");
        let source = summary["source"].as_str().unwrap_or_default();
        ensure!(source.contains("upload up-"), "{summary:#}");
        ensure!(summary["preparation"]["builder"].is_string(), "{summary:#}");

        // … and in two.
        let kept = curl(&yard.bed.instance, "/apps/shop/uploads", &data).await?;
        let length = std::fs::metadata(&archive)?.len();
        ensure!(kept["bytes"] == length, "{kept:#}");
        ensure!(
            kept["sha256"].as_str().is_some_and(|sum| sum.len() == 64),
            "{kept:#}"
        );
        let body = json!({"source": {"upload": kept["upload"]}});
        yard.built("shop", body, version).await?;
    }
    yard.finish().await
}

/// `curl --data-binary`, as a person types it; the token is not in the command line.
async fn curl(instance: &Instance, path: &str, data: &str) -> Result<Value> {
    let scratch = Scratch::new("head")?;
    let headers = scratch.path().join("headers");
    std::fs::write(
        &headers,
        format!("Authorization: Bearer {}\n", instance.token),
    )?;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body"])
        .args(["--data-binary", data])
        .args(["--header", "Content-Type: application/gzip"])
        .args(["--header", &format!("@{}", headers.display())])
        .arg(format!("{}/api/v1{path}", instance.url()))
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "curl {path}: {text}");
    serde_json::from_str(&text).with_context(|| text.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_built_at_a_branch_a_tag_a_commit_and_in_a_subfolder() -> Result<()> {
    let yard = Yard::open("srcgit", &[]).await?;
    yard.app("shop").await?;
    let repository = yard.git.repository("shop")?;
    let first = repository.commit(&yard.web("first"))?;
    repository.tag("v1.0")?;
    let second = repository.commit(&yard.web("second"))?;
    repository.branch("feature/next")?;
    let third = repository.commit(&yard.web("third"))?;
    repository.checkout("main")?;
    let inner = yard.web("inner");
    let inner: Vec<_> = inner
        .iter()
        .map(|(path, content)| (format!("services/web/{path}"), content))
        .collect();
    let inner: Vec<_> = inner.iter().map(|(path, c)| (path.as_str(), c)).collect();
    repository.branch("monorepo")?;
    let fourth = repository.commit(&inner)?;
    repository.checkout("main")?;

    let open = yard.git.url(Door::Open, "shop");
    let subfolder = json!({"reference": "monorepo", "subfolder": "services/web"});
    for (more, version, commit) in [
        (json!({}), "second", &second),
        (json!({"reference": "feature/next"}), "third", &third),
        (json!({"reference": "v1.0"}), "first", &first),
        (json!({"reference": second}), "second", &second),
        (subfolder, "inner", &fourth),
    ] {
        let summary = yard.built("shop", git(&open, more), version).await?;
        ensure!(
            summary["preparation"]["commit"] == **commit,
            "{version} is at {commit}: {summary:#}"
        );
        ensure!(summary["version"] == commit[..12], "{summary:#}");
        let source = summary["source"].as_str().unwrap_or_default();
        ensure!(source.contains(&open), "{summary:#}");
    }

    // A commit that no branch's end is; some servers give it, and git must not be told to fetch all.
    let by_old_commit = yard.built("shop", git(&open, json!({"reference": first})), "first");
    ensure!(by_old_commit.await?["preparation"]["commit"] == *first);

    // What is not there is said so.
    for more in [
        json!({"reference": "no-such-branch"}),
        json!({"reference": "0123456789012345678901234567890123456789"}),
        json!({"subfolder": "no/such/folder"}),
    ] {
        let body = git(&open, more.clone());
        yard.refused("shop", body, &["source_not_found"])
            .await
            .with_context(|| more.to_string())?;
    }
    let nowhere = git(&yard.git.url(Door::Open, "nowhere"), json!({}));
    yard.refused("shop", nowhere, &["source_not_found"]).await?;
    yard.bed.expect_serving("shop", "first").await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_with_submodules_is_built_with_a_stored_token() -> Result<()> {
    let yard = Yard::open("srctok", &[]).await?;
    yard.app("shop").await?;
    let part = yard.git.repository("pages")?;
    part.commit(&[("version", "of the part"), ("health", "well")])?;
    let whole = yard.git.repository("whole")?;
    let files = [
        ("Dockerfile", yard.dockerfile("COPY www /www\nCOPY . /all")),
        ("README", String::new()),
    ];
    // Beside it, as relative addresses of submodules are written.
    whole.add_submodule(&part, "../pages", "www")?;
    let commit = whole.commit(&files)?;
    let body = git(
        &yard.git.url(Door::Token, "whole"),
        json!({"submodules": true}),
    );

    let denied = yard
        .refused("shop", body.clone(), &["source_not_found"])
        .await?;
    let next = denied["diagnosis"]["next"].to_string();
    ensure!(next.contains("credential"), "the remedy: {denied:#}");
    let mut credential = json!({
        "kind": "git_token", "host": yard.git.host(), "username": USER, "secret": "wrong-token-1",
    });
    yard.credential(credential.clone()).await?;
    yard.refused("shop", body.clone(), &["source_not_found"])
        .await?;
    credential["secret"] = TOKEN.into();
    yard.credential(credential).await?;
    let summary = yard.built("shop", body, "of the part").await?;
    ensure!(summary["preparation"]["commit"] == *commit, "{summary:#}");

    // The token is nowhere: not in what is said about it, and not in what was built.
    let said = format!(
        "{summary}{}{}",
        yard.output(&summary).await?,
        yard.bed.instance.log()?
    );
    ensure!(!said.contains(TOKEN), "a token was shown");
    let docker = &yard.bed.instance.docker;
    let pinned = summary["pinned_image"].as_str().context("an image")?;
    let found = crate::search::image_holds(docker, pinned, &[TOKEN, ".git/config"]).await?;
    ensure!(found.is_empty(), "in the image: {found:?}");
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_comes_over_ssh_with_a_deploy_key_and_a_known_host() -> Result<()> {
    let yard = Yard::open("srcssh", &[]).await?;
    yard.app("shop").await?;
    let server = SshServer::start().await?;
    let repository = server.repository("shop")?;
    let commit = repository.commit(&yard.web("over-ssh"))?;
    let body = git(&server.url("shop"), json!({}));
    let refused = &["source_not_found", "source_refused"];

    let without = yard.refused("shop", body.clone(), refused).await?;
    ensure!(
        without["diagnosis"]["next"].to_string().contains("git_key"),
        "the remedy: {without:#}"
    );
    let key = |secret: String, known_hosts: String| {
        json!({
            "kind": "git_key", "host": server.host(), "secret": secret,
            "known_hosts": known_hosts,
        })
    };
    yard.credential(key(server.deploy_key()?, server.wrong_known_hosts()?))
        .await?;
    let stranger = yard.refused("shop", body.clone(), refused).await?;
    let says = stranger["diagnosis"].to_string();
    ensure!(says.contains("known_hosts"), "the remedy: {stranger:#}");
    yard.credential(key(server.other_key()?, server.known_hosts()?))
        .await?;
    yard.refused("shop", body.clone(), refused).await?;

    yard.credential(key(server.deploy_key()?, server.known_hosts()?))
        .await?;
    let summary = yard.built("shop", body, "over-ssh").await?;
    ensure!(summary["preparation"]["commit"] == *commit, "{summary:#}");
    let key = server.deploy_key()?;
    let secret_line = key.lines().nth(1).context("a key has lines")?;
    let said = format!("{summary}{}", yard.output(&summary).await?);
    ensure!(!said.contains(secret_line), "the key was shown");
    ensure!(
        !yard.bed.instance.log()?.contains(secret_line),
        "the key is in the log"
    );
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_is_found_by_its_path_or_sent_along() -> Result<()> {
    let yard = Yard::open("srcdkf", &[]).await?;
    yard.app("shop").await?;
    let repository = yard.git.repository("shop")?;
    let page = "RUN echo -n by-path > /www/version && echo well > /www/health";
    let away = yard.dockerfile(page);
    repository.commit(&[("docker/web.Dockerfile", away.as_str()), ("note", "noted")])?;
    let source = yard.git.url(Door::Open, "shop");

    let mut by_path = git(&source, json!({}));
    by_path["dockerfile_path"] = "docker/web.Dockerfile".into();
    yard.built("shop", by_path.clone(), "by-path").await?;
    by_path["dockerfile_path"] = "docker/none".into();
    yard.refused("shop", by_path, &["source_not_found"]).await?;
    let none = git(&source, json!({}));
    let none = yard.refused("shop", none, &["source_not_found"]).await?;
    ensure!(none.to_string().contains("dockerfile_path"), "{none:#}");

    // Beside a source, whose files it sees …
    let mut inline = git(&source, json!({}));
    inline["dockerfile"] = yard
        .dockerfile("COPY note /www/version\nRUN echo well > /www/health")
        .into();
    yard.built("shop", inline, "noted").await?;
    // … and alone.
    let alone = yard.dockerfile("RUN echo -n alone > /www/version && echo well > /www/health");
    let summary = yard
        .built("shop", json!({"dockerfile": alone}), "alone")
        .await?;
    ensure!(summary["source"] == "a Dockerfile", "{summary:#}");

    // One that fails says which command did, with its last lines.
    let broken = yard.dockerfile("RUN echo the last words; exit 7");
    let failed = yard
        .refused("shop", json!({"dockerfile": broken}), &["build_failed"])
        .await?;
    let evidence = &failed["diagnosis"]["evidence"];
    ensure!(evidence["exit_code"] == 7, "{failed:#}");
    ensure!(
        evidence["untrusted_output"]
            .to_string()
            .contains("the last words"),
        "{failed:#}"
    );
    yard.bed.expect_serving("shop", "alone").await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definition_files_are_understood_in_all_four_forms() -> Result<()> {
    let yard = Yard::open("srcdef", &[]).await?;
    yard.app("shop").await?;
    let sample = yard.bed.image(Sample::version("named-image")).await?;
    let repository = yard.git.repository("shop")?;
    let source = yard.git.url(Door::Open, "shop");
    let page = |text: &str| format!("RUN echo -n {text} > /www/version && echo well > /www/health");
    let lines: Vec<String> = yard
        .dockerfile(&page("from-lines"))
        .lines()
        .map(str::to_owned)
        .collect();
    let by_path = json!({"schemaVersion": 2, "dockerfilePath": "./docker/web"}).to_string();
    let by_lines = json!({"schemaVersion": 2, "dockerfileLines": lines}).to_string();
    let by_image = json!({"schemaVersion": 2, "imageName": sample}).to_string();
    let template = json!({"schemaVersion": 2, "templateId": "node/20"}).to_string();
    let web = yard.dockerfile(&page("from-path"));

    repository.commit(&[
        ("captain-definition", by_path.as_str()),
        ("docker/web", web.as_str()),
    ])?;
    yard.built("shop", git(&source, json!({})), "from-path")
        .await?;
    // Our own name comes first.
    repository.commit(&[("flukedeploy-definition", by_lines.as_str())])?;
    yard.built("shop", git(&source, json!({})), "from-lines")
        .await?;
    repository.commit(&[("flukedeploy-definition", by_image.as_str())])?;
    yard.built("shop", git(&source, json!({})), "named-image")
        .await?;
    // One that is named by its path; what it names is beside it.
    let inner = yard.dockerfile(&page("from-beside"));
    repository.commit(&[
        ("apps/web/captain-definition", by_path.as_str()),
        ("apps/web/docker/web", inner.as_str()),
    ])?;
    let mut named = git(&source, json!({}));
    named["definition_path"] = "apps/web/captain-definition".into();
    yard.built("shop", named, "from-beside").await?;
    // Sent along, as an object and as a text.
    let mut along = git(&source, json!({}));
    along["definition"] = serde_json::from_str(&by_path)?;
    yard.built("shop", along, "from-path").await?;
    yard.built("shop", json!({"definition": by_lines}), "from-lines")
        .await?;

    // A template's base image cannot be had here: that is what is said, by name.
    repository.commit(&[("flukedeploy-definition", template.as_str())])?;
    let codes = &["build_failed", "image_not_found", "registry_unreachable"];
    let failed = yard.refused("shop", git(&source, json!({})), codes).await?;
    ensure!(
        failed["diagnosis"].to_string().contains("node:20-alpine"),
        "the diagnosis names the base image: {failed:#}"
    );
    // And a definition that is none is refused with the key that is wrong.
    repository.commit(&[("flukedeploy-definition", "{\"schemaVersion\": 1}")])?;
    let wrong = yard
        .refused("shop", git(&source, json!({})), &["build_failed"])
        .await?;
    ensure!(
        wrong["diagnosis"].to_string().contains("schemaVersion"),
        "{wrong:#}"
    );
    yard.bed.expect_serving("shop", "from-lines").await?;
    yard.finish().await
}
