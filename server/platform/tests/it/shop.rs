//! A workshop and a builder that do as they are told: the files are given, and an image "is built"
//! after as many lines as asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::build::{Origin, RelativePath, UploadId};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_platform::ports::{
    BuildError, BuildLine, BuildSpec, Builder, Built, ContextDockerfile, EngineError, ImageFacts,
    OpenedSource, Received, SourceError, Workshop,
};
use futures_util::stream::BoxStream;
use time::OffsetDateTime;

use crate::swarm::Swarm;
use crate::tap::Tap;

/// What the shop has and how its builds go. Outlives every control plane of a test.
#[derive(Default)]
pub(crate) struct Shop {
    /// Path to text of every source that is opened.
    pub(crate) files: Mutex<BTreeMap<String, String>>,
    /// What a build says when it fails, with the exit code.
    pub(crate) fails: Mutex<Option<(String, i64)>>,
    /// What a command of a build prints.
    pub(crate) says: Mutex<Vec<String>>,
    /// A build waits for ever.
    pub(crate) hangs: Mutex<bool>,
    /// What was asked to be built.
    pub(crate) built: Mutex<Vec<BuildSpec>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    pub(crate) fn file(&self, path: &str, text: &str) {
        lock(&self.files).insert(path.to_owned(), text.to_owned());
    }
}

pub(crate) struct SimShop {
    pub(crate) shop: Arc<Shop>,
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) tap: Arc<Tap>,
}

#[async_trait]
impl Workshop for SimShop {
    async fn receive(
        &self,
        _: &UploadId,
        _: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Received, SourceError> {
        Ok(Received {
            bytes: 1,
            sha256: "00".repeat(32),
        })
    }

    async fn open(
        &self,
        deployment: &DeploymentId,
        origin: &Origin,
        _: Option<&Credential>,
        _: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OpenedSource, SourceError> {
        self.swarm.note(format!("open {deployment}"));
        self.tap.after(true).await;
        Ok(OpenedSource {
            commit: matches!(origin, Origin::Git(_)).then(|| "c0ffee".repeat(6) + "c0ff"),
            files: 1,
            bytes: 1,
        })
    }

    async fn read(
        &self,
        _: &DeploymentId,
        path: &RelativePath,
        _: usize,
    ) -> Result<Option<String>, SourceError> {
        Ok(lock(&self.shop.files).get(path.as_str()).cloned())
    }

    async fn top(&self, _: &DeploymentId) -> Result<Vec<String>, SourceError> {
        let mut top: Vec<String> = lock(&self.shop.files)
            .keys()
            .map(|path| match path.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => path.clone(),
            })
            .collect();
        top.dedup();
        Ok(top)
    }

    async fn pack(
        &self,
        _: &DeploymentId,
        folder: Option<&RelativePath>,
        _: &ContextDockerfile,
    ) -> Result<PathBuf, SourceError> {
        Ok(folder.map_or("/", RelativePath::as_str).into())
    }

    async fn discard(&self, deployment: &DeploymentId) -> Result<(), SourceError> {
        self.swarm.note(format!("discard {deployment}"));
        Ok(())
    }

    async fn tidy(&self, _: OffsetDateTime, _: &[DeploymentId]) -> Result<(), SourceError> {
        Ok(())
    }
}

#[async_trait]
impl Builder for SimShop {
    async fn build_image(
        &self,
        spec: &BuildSpec,
        progress: &(dyn Fn(BuildLine) + Send + Sync),
    ) -> Result<Built, BuildError> {
        lock(&self.shop.built).push(spec.clone());
        progress(BuildLine::Step("[1/1] FROM scratch".to_owned()));
        progress(BuildLine::Output("hello from the build".to_owned()));
        for line in lock(&self.shop.says).iter() {
            progress(BuildLine::Output(line.clone()));
        }
        if *lock(&self.shop.hangs) {
            std::future::pending::<()>().await;
        }
        if let Some((message, code)) = lock(&self.shop.fails).clone() {
            return Err(BuildError::Failed {
                message,
                exit_code: Some(code),
            });
        }
        self.tap.after(true).await;
        Ok(Built {
            image: PinnedImage {
                requested: spec.tag.clone(),
                pinned: format!("sha256:{}", "cd".repeat(32)),
                local_only: true,
                architecture: Some("amd64".to_owned()),
                exposed_ports: vec![80],
                has_healthcheck: false,
                user: "nobody".to_owned(),
            },
            builder: "buildkit".to_owned(),
        })
    }

    async fn image_facts(&self, _: &PinnedImage) -> Result<ImageFacts, EngineError> {
        Ok(ImageFacts {
            has_command: true,
            ..ImageFacts::default()
        })
    }

    async fn secret_files(&self, _: &PinnedImage) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn signed_by(&self, _: &PinnedImage, _: &str) -> Result<bool, EngineError> {
        Ok(false)
    }
}
