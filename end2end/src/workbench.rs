//! Images to build from: a static busybox with a shell, made from scratch, alone or beside the sample
//! app. Builds here can start from nothing else, since nothing can be pulled.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::ContainerConfig;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tar::{Builder, EntryType, Header};
use tokio::sync::Mutex;

use crate::images::{self, LABEL};

const BUSYBOX: &str = "/bin/busybox";
/// Commands of busybox that are there by their own names.
const COMMANDS: [&str; 23] = [
    "cat", "chmod", "cp", "dd", "echo", "env", "false", "find", "grep", "head", "httpd", "id",
    "ls", "mkdir", "mv", "rm", "sh", "sleep", "test", "touch", "tr", "true", "yes",
];
/// Goes into the images' names: changed with whatever is below.
const EDITION: u32 = 3;

/// One at a time, or two tests would make the same image.
static MAKING: Mutex<()> = Mutex::const_new(());

/// Busybox alone, two megabytes. Serves the folder `/www` on port 8080 unless told otherwise.
pub async fn small(docker: &Docker) -> Result<String> {
    let name = format!("fdtest/workbench:{}", key([Path::new(BUSYBOX)])?);
    let changes = [
        r#"CMD ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]"#,
        "ENV PATH=/bin",
    ];
    make(docker, &name, &changes, async || tools(Vec::new())).await?;
    Ok(name)
}

/// Busybox that runs a script, which has the commands above.
pub async fn running(docker: &Docker, script: &str) -> Result<String> {
    let base = small(docker).await?;
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let name = format!("{base}-{:016x}", hasher.finish());
    let _one = MAKING.lock().await;
    if !images::exists(docker, &name).await? {
        let entrypoint = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let config = ContainerConfig {
            entrypoint: Some(entrypoint),
            env: Some(vec!["PATH=/bin".to_owned()]),
            ..ContainerConfig::default()
        };
        images::commit(docker, &base, &name, config).await?;
    }
    Ok(name)
}

/// Busybox beside the sample app, which is what it runs; `version` is what that answers with.
pub async fn with_sample_app(docker: &Docker, version: &str) -> Result<String> {
    let program = crate::program()?;
    let key = key([Path::new(BUSYBOX), &program])?;
    let base = format!("fdtest/workshop:{key}");
    let changes = [r#"ENTRYPOINT ["/program", "sample-app"]"#, "ENV PATH=/bin"];
    make(docker, &base, &changes, async || {
        tools(images::packed(&program).await?)
    })
    .await?;
    let name = format!("{base}-{version}");
    let _one = MAKING.lock().await;
    if !images::exists(docker, &name).await? {
        let config = ContainerConfig {
            env: Some(vec![format!("SAMPLE_VERSION={version}")]),
            ..ContainerConfig::default()
        };
        images::commit(docker, &base, &name, config).await?;
    }
    Ok(name)
}

async fn make(
    docker: &Docker,
    name: &str,
    changes: &[&str],
    content: impl AsyncFnOnce() -> Result<Vec<u8>>,
) -> Result<()> {
    let _one = MAKING.lock().await;
    if images::exists(docker, name).await? {
        return Ok(());
    }
    let (repository, tag) = name.split_once(':').context("an image has a tag")?;
    let mut changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    changes.push(format!("LABEL {LABEL}=1"));
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .changes(changes)
        .build();
    let body = bollard::body_full(content().await?.into());
    docker
        .create_image(Some(options), Some(body), None)
        .try_for_each(|_| async { Ok(()) })
        .await
        .with_context(|| format!("importing {name}"))
}

/// A tar with busybox, and whatever `more` (parts of a tar without its end) holds.
fn tools(more: Vec<u8>) -> Result<Vec<u8>> {
    let mut tar = Builder::new(more);
    let busybox = fs::read(BUSYBOX).context("reading busybox; is busybox-static installed?")?;
    add(&mut tar, "bin/busybox", EntryType::Regular, 0o755, &busybox)?;
    for command in COMMANDS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{command}"), "busybox")?;
    }
    add(&mut tar, "tmp/", EntryType::Directory, 0o777, &[])?;
    add(&mut tar, "www/", EntryType::Directory, 0o755, &[])?;
    let passwd = b"root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n";
    add(&mut tar, "etc/passwd", EntryType::Regular, 0o644, passwd)?;
    Ok(tar.into_inner()?)
}

fn add(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(u64::try_from(content.len())?);
    tar.append_data(&mut header, path, content)
        .with_context(|| format!("packing {path}"))
}

/// Changes whenever one of the files does.
fn key<const N: usize>(files: [&Path; N]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    EDITION.hash(&mut hasher);
    for file in files {
        let metadata =
            fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?;
        (
            file,
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
