//! A place of one's own on the real engine, cleaned up whatever happens.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptions, InspectServiceOptions, RemoveImageOptions};
use bytes::Bytes;
use flukedeploy_domain::app::{EnvVars, Resources};
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_engine::{EngineConfig, SwarmEngine};
use flukedeploy_platform::ports::{Engine, ServiceSpec, Task};
use futures_util::StreamExt;

pub(crate) const SOON: Duration = Duration::from_secs(40);

pub(crate) struct Bed {
    pub(crate) engine: SwarmEngine,
    pub(crate) instance: String,
    pub(crate) docker: Docker,
    /// Names of images of other repositories, to be removed in the end.
    pub(crate) images: Vec<String>,
}

pub(crate) fn random_name() -> String {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    format!("t{:08x}", u32::from_be_bytes(bytes))
}

pub(crate) fn config(instance: &str) -> EngineConfig {
    EngineConfig {
        instance: instance.parse().unwrap(),
        docker: None,
        registry_auth_file: None,
        program: std::env::current_exe().unwrap(),
    }
}

impl Bed {
    /// `None`, after having said so, when there is no engine to test with.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut EngineConfig)) -> Option<Self> {
        let instance = random_name();
        let mut config = config(&instance);
        change(&mut config);
        let engine = SwarmEngine::new(config);
        if let Err(error) = engine.info().await {
            eprintln!("SKIPPED: no Docker engine answers on the default socket: {error}");
            return None;
        }
        let bed = Self {
            engine,
            instance,
            docker: Docker::connect_with_socket_defaults().unwrap(),
            images: Vec::new(),
        };
        bed.engine.prepare().await.unwrap();
        Some(bed)
    }

    /// An image with busybox in it that runs `script`. It goes with the instance.
    pub(crate) async fn image(&self, name: &str, script: &str, changes: &[&str]) -> ImageRef {
        let reference = format!("{}-{name}", self.instance);
        let mut all = vec![
            format!("LABEL com.flukedeploy.instance={}", self.instance),
            format!("CMD {}", serde_json::json!(["/bin/sh", "-c", script])),
        ];
        all.extend(changes.iter().map(|change| (*change).to_owned()));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(reference.clone()),
            tag: Some("v1".to_owned()),
            changes: all,
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(busybox());
        let mut made = self.docker.create_image(Some(options), Some(body), None);
        while let Some(message) = made.next().await {
            message.unwrap();
        }
        format!("{reference}:v1").parse().unwrap()
    }

    pub(crate) async fn pinned(&self, name: &str, script: &str) -> PinnedImage {
        let image = self.image(name, script, &[]).await;
        self.engine
            .resolve_image(&image, &|_| {})
            .await
            .unwrap()
            .image
    }

    pub(crate) fn service(&self, name: &str, image: PinnedImage) -> ServiceSpec {
        ServiceSpec {
            name: format!("fd-{}-{name}-production-r1", self.instance),
            image,
            replicas: 1,
            env: EnvVars(BTreeMap::from([(
                "GREETING".to_owned(),
                "hello there".to_owned(),
            )])),
            aliases: vec![name.to_owned()],
            labels: BTreeMap::from([("com.flukedeploy.app".to_owned(), name.to_owned())]),
            stop_grace_seconds: 1,
            resources: Resources::default(),
            placement: Vec::new(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            ports: Vec::new(),
            health_command: None,
        }
    }

    /// The newest task, once it is as `wanted`.
    pub(crate) async fn task(&self, service: &str, wanted: impl Fn(&Task) -> bool) -> Task {
        eventually(&format!("a task of {service}"), || async {
            let tasks = self.engine.tasks(service).await.unwrap();
            tasks.into_iter().find(&wanted)
        })
        .await
    }

    pub(crate) async fn version(&self, service: &str) -> u64 {
        let found = self
            .docker
            .inspect_service(service, None::<InspectServiceOptions>)
            .await;
        found.unwrap().version.unwrap().index.unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let (engine, docker) = (self.engine.clone(), self.docker.clone());
        let images = std::mem::take(&mut self.images);
        // A thread with a runtime of its own: the test's may be going down with a panic.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                for image in images {
                    let options = RemoveImageOptions {
                        force: true,
                        ..RemoveImageOptions::default()
                    };
                    let _ = docker.remove_image(&image, Some(options), None).await;
                }
                engine.purge().await
            })
        });
        match cleaning.join() {
            Ok(Ok(())) => {}
            other => eprintln!(
                "the instance {} was not cleaned up: {other:?}",
                self.instance
            ),
        }
    }
}

/// Asks again until there is an answer, and fails when it takes too long.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::time::timeout(SOON, asking).await;
    answer.unwrap_or_else(|_| panic!("{what} did not come within {SOON:?}"))
}

/// The program, which needs no libraries.
pub(crate) fn busybox_program() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .expect("these tests need the package busybox-static")
}

fn busybox() -> Bytes {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    let content = std::fs::read(busybox_program()).unwrap();
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, "bin/busybox", content.as_slice())
        .unwrap();
    let tools = [
        "sh", "sleep", "httpd", "seq", "cat", "printf", "head", "tr", "tail", "mkdir", "mv",
    ];
    for tool in tools {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let place = Path::new("bin").join(tool);
        archive.append_link(&mut header, place, "busybox").unwrap();
    }
    archive.into_inner().unwrap().into()
}
