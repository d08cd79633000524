//! Test images, made from scratch through the Docker API: a program, the shared libraries it needs, and
//! settings in the environment. Nothing is pulled from anywhere.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::TryStreamExt;
use tokio::process::Command;
use tokio::sync::Mutex;

/// On everything made here; see [`sweep_old`].
pub(crate) const LABEL: &str = "com.flukedeploy.end2end";
const KEEP_FOR: Duration = Duration::from_hours(2);

/// How the sample app of an image behaves; each becomes one environment variable of the image.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    name: String,
    env: Vec<(&'static str, String)>,
    /// What the container runs instead of the sample app.
    command: Option<String>,
}

impl Sample {
    /// Answers `GET /` and `GET /version` with `version`, and dies at once on SIGTERM.
    pub fn version(version: &str) -> Self {
        let sample = Self {
            name: version.to_owned(),
            env: Vec::new(),
            command: None,
        };
        sample.with("SAMPLE_VERSION", version)
    }

    /// Ends at once with this code, after a line on standard error.
    #[must_use]
    pub fn exits_with(self, code: u8) -> Self {
        self.with("SAMPLE_EXIT_CODE", &code)
    }

    /// `GET /health` answers 500.
    #[must_use]
    pub fn unhealthy(self) -> Self {
        self.with("SAMPLE_HEALTH", "fail")
    }

    /// `GET /health` is never answered.
    #[must_use]
    pub fn hanging_health(self) -> Self {
        self.with("SAMPLE_HEALTH", "hang")
    }

    /// Listens on this port, whatever `PORT` says.
    #[must_use]
    pub fn listens_on(self, port: u16) -> Self {
        self.with("SAMPLE_LISTEN_PORT", &port)
    }

    /// Answers only this long after its start.
    #[must_use]
    pub fn starts_after_ms(self, delay_ms: u64) -> Self {
        self.with("SAMPLE_START_DELAY_MS", &delay_ms)
    }

    /// On SIGTERM, finishes open requests before it ends.
    #[must_use]
    pub fn drains(self) -> Self {
        self.with("SAMPLE_ON_TERM", "drain")
    }

    /// Writes this many lines at its start.
    #[must_use]
    pub fn logs_lines(self, lines: u32) -> Self {
        self.with("SAMPLE_LOG_LINES", &lines)
    }

    /// Writes them while it answers, so many a second, this long after its start.
    #[must_use]
    pub fn at_a_rate(self, per_second: u32, after_ms: u32) -> Self {
        self.with("SAMPLE_LOG_RATE", &per_second)
            .with("SAMPLE_LOG_AFTER_MS", &after_ms)
    }

    /// Is healthy first, and ends with code 1 this long after its start.
    #[must_use]
    pub fn crashes_after_ms(self, delay_ms: u64) -> Self {
        self.with("SAMPLE_CRASH_AFTER_MS", &delay_ms)
    }

    /// Takes this much memory at its start.
    #[must_use]
    pub fn eats_memory_mb(self, megabytes: u32) -> Self {
        self.with("SAMPLE_EAT_MEMORY_MB", &megabytes)
    }

    /// So many of a hundred requests for `/version` are answered with 500.
    #[must_use]
    pub fn fails_percent(self, percent: u8) -> Self {
        self.with("SAMPLE_ERROR_PERCENT", &percent)
    }

    /// Runs this instead; it need not exist.
    #[must_use]
    pub fn runs(mut self, command: &str) -> Self {
        self.command = Some(command.to_owned());
        self
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.env.push((key, value.to_string()));
        self
    }

    fn hash(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.env, &self.command).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Builds images on one engine.
pub struct Images {
    docker: Docker,
    program: PathBuf,
    arguments: Vec<String>,
    /// One build at a time; what is there already is found by its name.
    building: Mutex<()>,
}

impl Images {
    /// Images of the product's own sample app.
    pub fn new(docker: Docker) -> Result<Self> {
        Ok(Self::of(docker, crate::program()?, ["sample-app"]))
    }

    /// Images of any program.
    pub fn of<'a>(
        docker: Docker,
        program: PathBuf,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            docker,
            program,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            building: Mutex::new(()),
        }
    }

    /// Makes the image unless it is there, and returns its name.
    pub async fn build(&self, sample: &Sample) -> Result<String> {
        let _one = self.building.lock().await;
        let key = self.program_key()?;
        let base = format!("fdtest/base:{key}");
        let name = format!("fdtest/{}:{key}-{}", sample.name, sample.hash());
        if exists(&self.docker, &name).await? {
            return Ok(name);
        }
        if !exists(&self.docker, &base).await? {
            self.import(&base).await?;
        }
        self.commit(&base, &name, sample).await?;
        Ok(name)
    }

    /// Changes with every build of the program, without reading all of it.
    fn program_key(&self) -> Result<String> {
        let metadata = fs::metadata(&self.program)
            .with_context(|| format!("looking at {}", self.program.display()))?;
        let mut hasher = DefaultHasher::new();
        (&self.program, &self.arguments).hash(&mut hasher);
        (metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    async fn import(&self, image: &str) -> Result<()> {
        let archive = archive(&self.program).await?;
        let (repository, tag) = image.split_once(':').context("an image has a tag")?;
        let label = format!("LABEL {LABEL}=1");
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .changes(vec![label])
            .build();
        self.docker
            .create_image(
                Some(options),
                Some(bollard::body_full(archive.into())),
                None,
            )
            .try_for_each(|_| async { Ok(()) })
            .await
            .with_context(|| format!("importing {image}"))
    }

    async fn commit(&self, base: &str, name: &str, sample: &Sample) -> Result<()> {
        let mut entrypoint = vec!["/program".to_owned()];
        entrypoint.extend(self.arguments.iter().cloned());
        if let Some(command) = &sample.command {
            entrypoint = vec![command.clone()];
        }
        let env = sample.env.iter();
        let config = ContainerConfig {
            entrypoint: Some(entrypoint),
            env: Some(env.map(|(key, value)| format!("{key}={value}")).collect()),
            ..ContainerConfig::default()
        };
        commit(&self.docker, base, name, config).await
    }
}

/// Makes an image of another one and other settings. A container that is never started carries them
/// over.
pub(crate) async fn commit(
    docker: &Docker,
    base: &str,
    name: &str,
    mut config: ContainerConfig,
) -> Result<()> {
    let labels = HashMap::from([(LABEL.to_owned(), "1".to_owned())]);
    config.labels = Some(labels.clone());
    let container = docker
        .create_container(
            None::<CreateContainerOptions>,
            ContainerCreateBody {
                image: Some(base.to_owned()),
                entrypoint: config.entrypoint.clone(),
                labels: Some(labels),
                ..ContainerCreateBody::default()
            },
        )
        .await
        .with_context(|| format!("creating a container of {base}"))?
        .id;
    let (repository, tag) = name.split_once(':').context("an image has a tag")?;
    let options = CommitContainerOptionsBuilder::default()
        .container(&container)
        .repo(repository)
        .tag(tag)
        .build();
    let committed = docker.commit_container(options, config).await;
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    docker
        .remove_container(&container, Some(force))
        .await
        .context("removing the container behind an image")?;
    committed.with_context(|| format!("committing {name}"))?;
    Ok(())
}

pub async fn exists(docker: &Docker, image: &str) -> Result<bool> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("inspecting {image}")),
    }
}

/// Makes an image for machines of another architecture, with nothing in it, and returns its name.
pub async fn foreign(docker: &Docker, architecture: &str) -> Result<String> {
    let config = serde_json::json!({"Entrypoint": ["/program"]});
    hollow(docker, architecture, config, &[]).await
}

/// Makes an image with nothing in it but what its configuration says, as in `{"User": "1000"}`, and
/// with these lines in its history. Returns its name. Loaded whole, since an engine builds only what
/// it could run.
pub async fn hollow(
    docker: &Docker,
    architecture: &str,
    mut config: serde_json::Value,
    history: &[&str],
) -> Result<String> {
    /// Of [`EMPTY_TAR`], as every builder of images knows it.
    const EMPTY_TAR_DIGEST: &str =
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    const EMPTY_TAR: [u8; 1024] = [0; 1024];
    let name = format!("fdtest/{architecture}:{}", crate::random_name(10));
    // Young, or a sweep would take it for a leftover.
    let created = time::OffsetDateTime::from(SystemTime::now())
        .format(&time::format_description::well_known::Rfc3339)?;
    config["Labels"] = serde_json::json!({(LABEL): "1"});
    let mut steps = vec![serde_json::json!({"created": created})];
    steps.extend(history.iter().map(
        |line| serde_json::json!({"created": created, "created_by": line, "empty_layer": true}),
    ));
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "created": created, "config": config,
        "rootfs": {"type": "layers", "diff_ids": [EMPTY_TAR_DIGEST]}, "history": steps,
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [&name], "Layers": ["layer.tar"]}
    ]);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", EMPTY_TAR.as_slice()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len())?);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, path, content)?;
    }
    let body = bollard::body_full(tar.into_inner()?.into());
    let options = bollard::query_parameters::ImportImageOptionsBuilder::default().build();
    docker
        .import_image(options, body, None)
        .try_for_each(|_| async { Ok(()) })
        .await
        .with_context(|| format!("loading {name}"))?;
    Ok(name)
}

/// Removes an image or one of its tags; that it is gone already is fine.
pub async fn remove(docker: &Docker, image: &str) -> Result<()> {
    let force = RemoveImageOptionsBuilder::default().force(true).build();
    match docker.remove_image(image, Some(force), None).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("removing {image}")),
    }
}

/// Names of the images whose repository matches, as in `team/*`.
pub async fn matching(docker: &Docker, repository: &str) -> Result<Vec<String>> {
    let filters = HashMap::from([("reference", vec![repository])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = docker.list_images(Some(options)).await?;
    Ok(images
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .collect())
}

/// Removes test images too old for a run that still goes on. Best effort: images in use stay.
pub async fn sweep_old(docker: &Docker) {
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let Ok(images) = docker.list_images(Some(options)).await else {
        return;
    };
    let oldest = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(KEEP_FOR)
        .as_secs();
    for image in images {
        if u64::try_from(image.created).unwrap_or(0) < oldest {
            for tag in &image.repo_tags {
                let options = RemoveImageOptionsBuilder::default().build();
                let _ = docker.remove_image(tag, Some(options), None).await;
            }
        }
    }
}

fn is_not_found(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// A tar of the program as `/program` and of its libraries where its loader looks for them.
async fn archive(program: &Path) -> Result<Vec<u8>> {
    let mut tar = packed(program).await?;
    // Its end, which `packed` leaves out.
    tar.extend([0; 1024]);
    Ok(tar)
}

/// As [`archive`], without an end: more can be added.
pub(crate) async fn packed(program: &Path) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(true);
    let content = stripped(program).await?;
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(0o755);
    header.set_cksum();
    tar.append_data(&mut header, "program", content.as_slice())?;
    for library in libraries(program).await? {
        let inside = library
            .strip_prefix("/")
            .context("a library has no full path")?;
        tar.append_path_with_name(&library, inside)
            .with_context(|| format!("packing {}", library.display()))?;
    }
    let mut bytes = tar.into_inner()?;
    bytes.truncate(bytes.len() - 1024);
    Ok(bytes)
}

/// Without its debug information, which is most of a development build. As it is, where no `strip` is.
async fn stripped(program: &Path) -> Result<Vec<u8>> {
    let out = std::env::temp_dir().join(format!("fd-stripped-{}", crate::random_name(10)));
    let status = Command::new("strip")
        .arg("-o")
        .arg(&out)
        .arg(program)
        .status()
        .await;
    let content = match status {
        Ok(status) if status.success() => fs::read(&out),
        _ => fs::read(program),
    };
    let _ = fs::remove_file(&out);
    content.with_context(|| format!("reading {}", program.display()))
}

/// The shared libraries and the loader, as the system's own `ldd` finds them.
async fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .await
        .context("running ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_static = errors.contains("not a dynamic executable");
        ensure!(is_static, "ldd failed: {text}{errors}");
        return Ok(Vec::new());
    }
    Ok(parse_ldd(&text))
}

fn parse_ldd(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| {
            // "libc.so.6 => /lib/x/libc.so.6 (0x…)", "/lib64/ld.so (0x…)", "linux-vdso.so.1 (0x…)"
            let path = line.rsplit_once(" => ").map_or(line, |(_, path)| path);
            let path = path.trim().split(" (").next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bollard::query_parameters::{LogsOptionsBuilder, WaitContainerOptions};

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn reads_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f01)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n\tstatically linked\n";
        assert_eq!(
            parse_ldd(text),
            [
                Path::new("/lib/x86_64-linux-gnu/libgcc_s.so.1"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn images_of_different_behaviour_have_different_names() {
        let healthy = Sample::version("v2");
        assert_eq!(healthy.hash(), Sample::version("v2").hash());
        assert_ne!(healthy.hash(), Sample::version("v2").unhealthy().hash());
    }

    /// What a container of `image` writes until it ends.
    async fn output(docker: &Docker, image: &str) -> String {
        let container = docker
            .create_container(
                None::<CreateContainerOptions>,
                ContainerCreateBody {
                    image: Some(image.to_owned()),
                    ..ContainerCreateBody::default()
                },
            )
            .await
            .unwrap()
            .id;
        docker.start_container(&container, None).await.unwrap();
        let ended: Vec<_> = docker
            .wait_container(&container, None::<WaitContainerOptions>)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(ended[0].status_code, 0);
        let options = LogsOptionsBuilder::default().stdout(true).build();
        let lines: Vec<_> = docker
            .logs(&container, Some(options))
            .try_collect()
            .await
            .unwrap();
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        docker
            .remove_container(&container, Some(force))
            .await
            .unwrap();
        lines.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn an_image_runs_and_passes_through_a_registry() {
        let docker = crate::docker().await.unwrap();
        let images = Images::of(docker.clone(), PathBuf::from("/usr/bin/env"), []);
        let sample = Sample::version("harness").exits_with(3);
        let image = images.build(&sample).await.unwrap();
        assert_eq!(images.build(&sample).await.unwrap(), image);
        let text = output(&docker, &image).await;
        assert!(text.contains("SAMPLE_VERSION=harness\n"), "{text}");
        assert!(text.contains("SAMPLE_EXIT_CODE=3\n"), "{text}");

        for with_password in [false, true] {
            let registry = Registry::start(with_password).await.unwrap();
            let pushed = registry
                .push(&docker, &image, "team/env", "1")
                .await
                .unwrap();
            assert!(pushed.starts_with("127.0.0.1:"), "{pushed}");
            assert!(!exists(&docker, &pushed).await.unwrap());
            let answer = reqwest::get(format!(
                "http://{}/v2/team/env/manifests/1",
                registry.address()
            ));
            let wanted = if with_password { 401 } else { 200 };
            assert_eq!(answer.await.unwrap().status(), wanted);
        }
        remove(&docker, &image).await.unwrap();
        let base = format!("fdtest/base:{}", images.program_key().unwrap());
        remove(&docker, &base).await.unwrap();
        assert!(!exists(&docker, &image).await.unwrap());
    }
}
