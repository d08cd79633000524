//! The adapter.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::names::InstanceName;
use flukedeploy_platform::ports::{
    BuildError, BuildLine, BuildSpec, Builder, Built, Engine, EngineError, EngineEvent, EngineInfo,
    ImageFacts, IngressSpec, JobSpec, LookedUp, NetworkReady, RawLines, ReadTo, ReplicaFailure,
    ResolveError, ResolvedImage, SecretMount, ServiceSpec, ServiceState, Task, VolumeUser,
};
use futures_util::stream::BoxStream;
use tokio::sync::OnceCell;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::labels::Names;
use crate::program::Program;
use crate::{events, logs};

/// What an adapter is made for.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub instance: InstanceName,
    /// `unix:///…`, `tcp://…` or `http://…`; `None` is this machine's default socket.
    pub docker: Option<String>,
    /// Credentials for registries, in the format of Docker's `config.json` (`"auths"`).
    pub registry_auth_file: Option<PathBuf>,
    /// The program that ingress and sample image are made from: what `/proc/self/exe` leads to.
    pub program: PathBuf,
}

/// Docker Swarm, for one instance.
#[derive(Clone)]
pub struct SwarmEngine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) names: Names,
    pub(crate) program_path: PathBuf,
    pub(crate) program: OnceCell<Program>,
    registry_auth_file: Option<PathBuf>,
    /// Registries' credentials that were stored; they overrule the file's.
    pub(crate) stored: RwLock<Vec<Credential>>,
    /// Wakes readers of containers' log files.
    pub(crate) log_watch: logs::Watch,
    /// The overlay's id, once seen.
    network_id: RwLock<Option<String>>,
    /// Whether containers' logs are files in JSON unless they are told otherwise, once seen.
    json_files: AtomicBool,
}

impl SwarmEngine {
    /// Does no I/O: the engine need not run yet, and may go and come back.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                client: Client::new(config.docker.as_deref()),
                names: Names {
                    instance: config.instance,
                },
                program_path: config.program,
                program: OnceCell::new(),
                registry_auth_file: config.registry_auth_file,
                stored: RwLock::default(),
                log_watch: logs::Watch::default(),
                network_id: RwLock::default(),
                json_files: AtomicBool::new(false),
            }),
        }
    }
}

impl Inner {
    pub(crate) async fn credentials(&self) -> Credentials {
        let file = Credentials::load(self.registry_auth_file.as_deref()).await;
        let stored = self.stored.read();
        file.overruled_by(&stored.unwrap_or_else(PoisonError::into_inner))
    }

    /// The administrator's choice of another driver is left alone.
    pub(crate) fn keeps_json_files(&self) -> bool {
        self.json_files.load(Ordering::Relaxed)
    }

    pub(crate) fn remember_log_driver(&self, name: Option<&str>) {
        self.json_files
            .store(name == Some("json-file"), Ordering::Relaxed);
    }

    pub(crate) fn known_network(&self) -> Option<String> {
        self.network_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn remember_network(&self, id: Option<String>) {
        *self
            .network_id
            .write()
            .unwrap_or_else(PoisonError::into_inner) = id;
    }
}

#[async_trait]
impl Engine for SwarmEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.inner.info().await
    }

    async fn prepare(&self) -> Result<NetworkReady, EngineError> {
        self.inner.prepare().await
    }

    async fn ensure_ingress(&self, spec: &IngressSpec) -> Result<(), EngineError> {
        self.inner.ensure_ingress(spec).await
    }

    async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError> {
        self.inner.ensure_sample_image().await
    }

    async fn resolve_image(
        &self,
        image: &ImageRef,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ResolvedImage, ResolveError> {
        self.inner.resolve_image(image, progress).await
    }

    async fn look_up_image(&self, image: &ImageRef) -> Result<LookedUp, ResolveError> {
        self.inner.look_up_image(image).await
    }

    async fn image_available(&self, image: &PinnedImage) -> Result<bool, EngineError> {
        self.inner.image_available(image).await
    }

    async fn ensure_secrets(&self, secrets: &[SecretMount]) -> Result<(), EngineError> {
        self.inner.ensure_secrets(secrets).await
    }

    async fn remove_unused_secrets(&self) -> Result<Vec<String>, EngineError> {
        self.inner.remove_unused_secrets().await
    }

    async fn ensure_service(&self, spec: &ServiceSpec) -> Result<(), EngineError> {
        self.inner.ensure_service(spec).await
    }

    async fn volume_users(&self, volumes: &[String]) -> Result<Vec<VolumeUser>, EngineError> {
        self.inner.volume_users(volumes).await
    }

    async fn differences(&self, spec: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError> {
        self.inner.differences(spec).await
    }

    async fn scale_service(&self, name: &str, replicas: u32) -> Result<(), EngineError> {
        self.inner.scale_service(name, replicas).await
    }

    async fn remove_service(&self, name: &str) -> Result<(), EngineError> {
        self.inner.remove_service(name).await
    }

    async fn services(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.inner.services().await
    }

    async fn tasks(&self, service: &str) -> Result<Vec<Task>, EngineError> {
        self.inner.tasks(service).await
    }

    async fn all_tasks(&self) -> Result<Vec<Task>, EngineError> {
        self.inner.all_tasks().await
    }

    fn watch(&self) -> BoxStream<'static, EngineEvent> {
        events::watch(self.inner.clone())
    }

    fn follow_logs(
        &self,
        service: &str,
        read: &ReadTo,
    ) -> BoxStream<'static, Result<RawLines, EngineError>> {
        logs::follow(self.inner.clone(), service, read)
    }

    async fn examine(&self, task: &Task) -> Result<ReplicaFailure, EngineError> {
        self.inner.examine(task).await
    }

    fn use_registries(&self, credentials: Vec<Credential>) {
        self.inner.use_registries(credentials);
    }

    async fn start_job(&self, spec: &JobSpec) -> Result<(), EngineError> {
        self.inner.start_job(spec).await
    }

    async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.inner.jobs().await
    }

    async fn remove_volumes(&self, names: &[String]) -> Result<Vec<String>, EngineError> {
        self.inner.remove_named_volumes(names).await
    }

    async fn purge(&self) -> Result<(), EngineError> {
        self.inner.purge().await
    }

    async fn stop_all(&self) -> Result<(), EngineError> {
        self.inner.stop_all().await
    }
}

#[async_trait]
impl Builder for SwarmEngine {
    async fn build_image(
        &self,
        spec: &BuildSpec,
        progress: &(dyn Fn(BuildLine) + Send + Sync),
    ) -> Result<Built, BuildError> {
        self.inner.build_image(spec, progress).await
    }

    async fn image_facts(&self, image: &PinnedImage) -> Result<ImageFacts, EngineError> {
        self.inner.image_facts(image).await
    }

    async fn secret_files(&self, image: &PinnedImage) -> Result<Vec<String>, EngineError> {
        self.inner.secret_files(image).await
    }

    async fn signed_by(&self, image: &PinnedImage, key_pem: &str) -> Result<bool, EngineError> {
        self.inner.signed_by(image, key_pem).await
    }
}
