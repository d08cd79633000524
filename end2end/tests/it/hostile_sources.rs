//! Sources that mean harm: nothing of them runs, leaks, fills the disk or hangs, and what was refused is
//! said, with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flukedeploy_end2end::git_server::{Door, GitServer};
use flukedeploy_end2end::source_files::{Archive, Scratch, bomb};
use serde_json::json;
use tar::EntryType;

use crate::search::{Canary, disk_bytes, files_with, memory_mb};
use crate::yard::{PRIVATE, Yard, git};

/// Name, kind, and what it leads to if it is a link.
type Entry<'a> = (&'a str, EntryType, Option<&'a str>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_cannot_leave_its_folder() -> Result<()> {
    let yard = Yard::open("hostar", &[]).await?;
    yard.app("shop").await?;
    let canary = Canary::new()?;
    let outside = canary.shown();
    let folder = canary.folder().display().to_string();
    let up = format!("{}{outside}", "../".repeat(8).trim_end_matches('/'));
    let cases: [(&str, &[Entry<'_>]); 10] = [
        ("two dots", &[(&up, EntryType::Regular, None)]),
        (
            "two dots inside",
            &[("a/../../x", EntryType::Regular, None)],
        ),
        ("an absolute name", &[(&outside, EntryType::Regular, None)]),
        (
            "a link out, and a file through it",
            &[
                ("out", EntryType::Symlink, Some(&folder)),
                ("out/bird", EntryType::Regular, None),
            ],
        ),
        (
            "a link to a file of the machine",
            &[("www/passwd", EntryType::Symlink, Some("/etc/passwd"))],
        ),
        (
            "a link out by two dots",
            &[("www/up", EntryType::Symlink, Some("../../../etc/passwd"))],
        ),
        (
            "a hard link to a file of the machine",
            &[("www/hosts", EntryType::Link, Some("/etc/passwd"))],
        ),
        ("a device", &[("memory", EntryType::Char, None)]),
        ("a disk", &[("disk", EntryType::Block, None)]),
        ("a pipe", &[("pipe", EntryType::Fifo, None)]),
    ];
    for (what, entries) in cases {
        let mut archive = Archive::new();
        for (path, content) in yard.web("hostile") {
            archive.file(path, &content)?;
        }
        for (path, kind, link) in entries {
            let content: &[u8] = match kind {
                EntryType::Regular => b"it got out",
                _ => &[],
            };
            archive.entry(path, *kind, *link, content)?;
        }
        let summary = yard.upload("shop", archive.finish()?).await?;
        yard.expect_refused(&summary, &["source_refused"])
            .await
            .with_context(|| what.to_owned())?;
        // What was refused is named.
        let name = entries.last().map_or("", |(path, ..)| path);
        let begin: String = name.chars().take(20).collect();
        let message = summary["diagnosis"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains(&begin), "{what}: {message}");
        canary.expect_absent().context(what)?;
    }
    for (what, archive) in [
        ("no archive", b"this is no archive at all".repeat(100)),
        ("nothing", Vec::new()),
        ("half an archive", {
            let whole = Archive::of(&yard.web("half"))?;
            whole[..whole.len() / 2].to_vec()
        }),
    ] {
        let path = "/apps/shop/source";
        let request = yard
            .bed
            .api
            .request(reqwest::Method::POST, path)
            .body(archive);
        let answer = yard.bed.api.send(request).await?;
        if answer.status == 202 {
            let id = answer.body["deployment_id"].as_str().context("an id")?;
            let summary = yard.bed.api.wait_final(id).await?;
            yard.expect_refused(&summary, &["source_refused", "source_not_found"])
                .await
                .context(what)?;
        } else {
            answer.problem().context(what)?;
        }
    }
    // A link that stays inside is nothing bad.
    let mut archive = Archive::new();
    for (path, content) in yard.web("of-a-link") {
        let path = if path == "www/version" {
            "www/real"
        } else {
            path
        };
        archive.file(path, &content)?;
    }
    archive.link("www/version", "real")?;
    let summary = yard.upload("shop", archive.finish()?).await?;
    yard.expect_built("shop", &summary, "of-a-link").await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_fills_neither_disk_nor_memory() -> Result<()> {
    /// Four times what an archive may have.
    const LIMIT_MB: u64 = 64;
    let yard = Yard::open("bomb", &["--max-source-mb", "16"]).await?;
    yard.app("shop").await?;
    let pid = yard.bed.instance.pid().context("it runs")?;
    let data = yard.bed.instance.data_dir();
    let before = memory_mb(pid)?;
    let disk_before = disk_bytes(&data);
    let most_on_disk = Arc::new(AtomicU64::new(0));
    let sampling = tokio::spawn({
        let (data, most) = (data.clone(), Arc::clone(&most_on_disk));
        async move {
            loop {
                most.fetch_max(disk_bytes(&data), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    // One file that says how long it is, and many that only together are too long.
    for files in [1, 320] {
        let archive = tokio::task::spawn_blocking(move || bomb(10, files)).await??;
        ensure!(archive.len() < 16 << 20, "a small one: {}", archive.len());
        let started = Instant::now();
        let summary = yard.upload("shop", archive).await?;
        let took = started.elapsed();
        yard.expect_refused(&summary, &["source_refused"]).await?;
        let message = summary["diagnosis"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains("64 MiB"), "the limit is named: {message}");
        let (_, most) = memory_mb(pid)?;
        let disk = most_on_disk.load(Ordering::Relaxed);
        let disk = disk.saturating_sub(disk_before);
        eprintln!(
            "a bomb of {files} files: {took:?}, memory {} → {most} MiB at most, disk {} MiB more at most",
            before.0,
            disk >> 20
        );
        ensure!(took < Duration::from_secs(30), "it took {took:?}");
        ensure!(most < before.1 + 100, "memory: {most} MiB");
        ensure!(disk < (2 * LIMIT_MB) << 20, "disk: {} MiB", disk >> 20);
    }
    sampling.abort();

    // An upload that itself has no end is cut off as well, and what came is removed.
    let block = Bytes::from(vec![b'x'; 1 << 20]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(block.clone()));
    let request = yard
        .bed
        .api
        .request(reqwest::Method::POST, "/apps/shop/uploads")
        .body(reqwest::Body::wrap_stream(endless));
    // The connection may be closed while the rest is still being sent; nothing was accepted then.
    if let Ok(answer) = yard.bed.api.send(request).await {
        ensure!(
            matches!(answer.status, 413 | 422),
            "{} {}",
            answer.status,
            answer.body
        );
        answer.problem()?;
    }
    flukedeploy_end2end::wait::until("everything is removed", Duration::from_secs(20), || async {
        // Of the bomb, what was sent is still kept as an upload.
        let more = disk_bytes(&data).saturating_sub(disk_before);
        Ok((more < LIMIT_MB << 20).then_some(()))
    })
    .await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_addresses_that_are_allowed_are_called() -> Result<()> {
    let yard = Yard::open("hosadr", &[]).await?;
    yard.app("shop").await?;
    let inside = GitServer::start_at(format!("{PRIVATE}:0").parse()?).await?;
    let secret = inside.repository("secret")?;
    secret.commit(&yard.web("of-the-inside"))?;
    let open = yard.git.repository("shop")?;
    open.commit(&yard.web("open"))?;
    let refused = &["source_refused"];
    let odd = format!("http://2130706434:{}/open/secret", inside.port());
    let mapped = format!("ssh://git@{PRIVATE}:{}/open/secret", inside.port());
    for repository in [
        inside.url(Door::Open, "secret"),
        odd,
        mapped,
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/team/shop".to_owned(),
        "https://172.18.0.1/team/shop".to_owned(),
        "git@192.168.1.1:team/shop".to_owned(),
    ] {
        let started = Instant::now();
        let body = git(&repository, json!({}));
        let summary = yard.refused("shop", body, refused).await?;
        let took = started.elapsed();
        ensure!(took < Duration::from_secs(10), "{repository}: {took:?}");
        let next = summary["diagnosis"]["next"].to_string();
        let remedy = if repository.contains("2130706434") {
            "host's name"
        } else {
            "allow"
        };
        ensure!(next.contains(remedy), "the remedy: {summary:#}");
    }
    // A good address that leads to a bad one.
    yard.git
        .redirect_to(&format!("http://{}/open", inside.host()));
    let away = git(&yard.git.url(Door::Away, "secret"), json!({}));
    yard.refused("shop", away, refused).await?;
    yard.git
        .redirect_to("http://169.254.169.254/latest/meta-data");
    let away = git(&yard.git.url(Door::Away, "secret"), json!({}));
    yard.refused("shop", away, refused).await?;
    ensure!(inside.asked().is_empty(), "asked: {:?}", inside.asked());
    let asked = yard.git.asked();
    ensure!(
        asked.iter().any(|path| path.starts_with("/away/")),
        "the redirect was met: {asked:?}"
    );
    let fine = git(&yard.git.url(Door::Open, "shop"), json!({}));
    yard.built("shop", fine, "open").await?;
    yard.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_cannot_reach_out_of_itself() -> Result<()> {
    let yard = Yard::open("hosrep", &[]).await?;
    yard.app("shop").await?;
    let canary = Canary::new()?;
    let bird = canary.shown();
    let inside = GitServer::start_at(format!("{PRIVATE}:0").parse()?).await?;
    inside.repository("secret")?.commit(&[("a", "1")])?;

    for (number, address) in [
        inside.url(Door::Open, "secret"),
        format!("ext::touch {bird}"),
        "file:///etc".to_owned(),
        canary.folder().display().to_string(),
        format!("-u{bird}"),
        "--upload-pack=touch".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("whole{number}");
        let part = yard.git.repository(&format!("part{number}"))?;
        part.commit(&[("a", "1")])?;
        let whole = yard.git.repository(&name)?;
        whole.add_submodule(&part, &address, "part")?;
        whole.commit(&yard.web("with-a-part"))?;
        let body = git(
            &yard.git.url(Door::Open, &name),
            json!({"submodules": true}),
        );
        let codes = &["source_refused", "source_not_found"];
        yard.refused("shop", body, codes)
            .await
            .with_context(|| address.clone())?;
    }
    ensure!(inside.asked().is_empty(), "asked: {:?}", inside.asked());
    canary.expect_absent()?;

    // A link to a file of this machine is refused, or is a link inside the image; what it names here
    // is never read.
    let marker = format!("marker-{}", flukedeploy_end2end::random_name(12));
    let secret = Scratch::new("secret")?;
    let file = secret.path().join("file");
    std::fs::write(&file, &marker)?;
    let links = yard.git.repository("links")?;
    links.commit(&yard.web("with-a-link"))?;
    std::os::unix::fs::symlink(&file, links.path().join("www/stolen"))?;
    std::fs::remove_file(links.path().join("Dockerfile"))?;
    std::os::unix::fs::symlink(&file, links.path().join("Dockerfile"))?;
    links.commit::<&str>(&[])?;
    let body = git(&yard.git.url(Door::Open, "links"), json!({}));
    let summary = yard.run("shop", body).await?;
    ensure!(summary["status"] == "failed", "{summary:#}");
    let said = format!("{summary}{}", yard.output(&summary).await?);
    ensure!(!said.contains(&marker), "a file of the machine was read");
    let found = files_with(&yard.bed.instance.data_dir(), &[&marker], &[])?;
    ensure!(found.is_empty(), "{found:?}");

    // One that never answers is given up, and can be cancelled before.
    let silent = json!({
        "app_name": "shop",
        "source": {"git": {"repository": yard.git.url(Door::Silent, "x")}},
    });
    let id = yard.bed.api.deploy_with(&silent).await?;
    yard.bed.api.wait_running(&id, "pre_build").await?;
    let path = format!("/deployments/{id}/cancel");
    yard.bed.api.post(&path, &json!({})).await?.ok()?;
    let summary = yard.bed.api.wait_final(&id).await?;
    yard.expect_refused(&summary, &["cancelled"]).await?;
    let port = yard.git.port();
    flukedeploy_end2end::wait::until("no git is left", Duration::from_secs(10), || async {
        let left = crate::search::processes_with(&format!(":{port}/silent/x"));
        Ok((left == 0).then_some(()))
    })
    .await?;
    yard.finish().await
}
