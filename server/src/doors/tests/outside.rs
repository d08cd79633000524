//! An engine and ingresses that do not answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::routing::{ProbeOutcome, RoutingSnapshot, ServiceTraffic};
use flukedeploy_platform::ports::{
    Engine, EngineError, EngineEvent, EngineInfo, IngressSpec, JobSpec, NetworkReady, RawLines,
    ReadTo, ReplicaFailure, ResolveError, ResolvedImage, Served, ServiceSpec, ServiceState, Task,
    Traffic, TrafficError, VolumeUser,
};
use flukedeploy_platform::secret::Secret;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, empty, pending};
use tokio::sync::broadcast;

pub(super) struct SilentEngine;

fn silent<T>(doing: &str) -> Result<T, EngineError> {
    Err(EngineError::Unreachable {
        doing: doing.to_owned(),
        source: "nobody answers".into(),
    })
}

#[async_trait]
impl Engine for SilentEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        silent("asking for its version")
    }
    async fn prepare(&self) -> Result<NetworkReady, EngineError> {
        silent("preparing")
    }
    async fn ensure_ingress(&self, _spec: &IngressSpec) -> Result<(), EngineError> {
        silent("starting the ingress")
    }
    async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError> {
        silent("making the sample image")
    }
    async fn resolve_image(
        &self,
        _image: &ImageRef,
        _progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ResolvedImage, ResolveError> {
        Ok(silent("resolving an image")?)
    }
    async fn image_available(&self, _image: &PinnedImage) -> Result<bool, EngineError> {
        silent("looking for an image")
    }
    async fn ensure_service(&self, _spec: &ServiceSpec) -> Result<(), EngineError> {
        silent("making a service")
    }
    async fn volume_users(&self, _volumes: &[String]) -> Result<Vec<VolumeUser>, EngineError> {
        silent("looking at volumes")
    }
    async fn differences(&self, _spec: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError> {
        silent("comparing a service")
    }
    async fn scale_service(&self, _name: &str, _replicas: u32) -> Result<(), EngineError> {
        silent("scaling a service")
    }
    async fn remove_service(&self, _name: &str) -> Result<(), EngineError> {
        silent("removing a service")
    }
    async fn services(&self) -> Result<Vec<ServiceState>, EngineError> {
        silent("listing services")
    }
    async fn tasks(&self, _service: &str) -> Result<Vec<Task>, EngineError> {
        silent("listing tasks")
    }
    async fn all_tasks(&self) -> Result<Vec<Task>, EngineError> {
        silent("listing tasks")
    }
    fn watch(&self) -> BoxStream<'static, EngineEvent> {
        pending().boxed()
    }
    fn follow_logs(
        &self,
        _service: &str,
        _read: &ReadTo,
    ) -> BoxStream<'static, Result<RawLines, EngineError>> {
        empty().boxed()
    }
    async fn examine(&self, _task: &Task) -> Result<ReplicaFailure, EngineError> {
        silent("examining a task")
    }
    fn use_registries(&self, _credentials: Vec<Credential>) {}
    async fn start_job(&self, _spec: &JobSpec) -> Result<(), EngineError> {
        silent("starting a job")
    }
    async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        silent("listing jobs")
    }
    async fn remove_volumes(&self, _names: &[String]) -> Result<Vec<String>, EngineError> {
        silent("removing volumes")
    }
    async fn purge(&self) -> Result<(), EngineError> {
        silent("purging")
    }
    async fn stop_all(&self) -> Result<(), EngineError> {
        silent("stopping")
    }
}

pub(super) struct NoIngress;

#[async_trait]
impl Traffic for NoIngress {
    async fn listen(
        &self,
        _host: IpAddr,
        _port: Option<u16>,
        _token: &Secret,
    ) -> Result<u16, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    async fn publish(&self, _snapshot: RoutingSnapshot) -> Result<usize, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    async fn probe(
        &self,
        _target: SocketAddr,
        _probe: &HealthProbe,
        _timeout_ms: u64,
    ) -> Result<ProbeOutcome, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    async fn await_drained(
        &self,
        _service: &str,
        _timeout_ms: u64,
        _close_after_ms: Option<u64>,
    ) -> Result<u64, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    async fn fresh_totals(
        &self,
        _services: &[String],
    ) -> Result<HashMap<String, ServiceTraffic>, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    fn wanted(&self) -> broadcast::Receiver<(AppName, EnvironmentName)> {
        broadcast::channel(1).1
    }
    async fn request(
        &self,
        _host: &Hostname,
        _path: &str,
        _timeout_ms: u64,
    ) -> Result<Vec<Served>, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    fn connected(&self) -> usize {
        0
    }
    async fn wait_connected(&self, _timeout_ms: u64) -> Result<(), TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    fn totals(&self, _service: &str) -> Option<ServiceTraffic> {
        None
    }
}
