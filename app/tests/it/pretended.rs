//! An engine and an ingress that are only pretended.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::release::{ReleaseNo, service_name};
use flukedeploy_domain::routing::{ProbeOutcome, RoutingSnapshot, ServiceTraffic};
use flukedeploy_platform::ports::{
    Engine, EngineError, EngineEvent, EngineInfo, IngressSpec, JobSpec, NetworkReady, RawLines,
    ReadTo, ReplicaFailure, ResolveError, ResolvedImage, Served, ServiceSpec, ServiceState, Task,
    TaskState, Traffic, TrafficError, VolumeUser,
};
use flukedeploy_platform::secret::Secret;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast;

pub(crate) struct PretendedEngine;

fn away(doing: &str) -> EngineError {
    EngineError::Unreachable {
        doing: doing.to_owned(),
        source: "there is none".into(),
    }
}

#[async_trait]
impl Engine for PretendedEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(EngineInfo {
            version: "20.10.24".to_owned(),
            api_version: "1.41".to_owned(),
            architecture: "x86_64".to_owned(),
            swarm_active: true,
            is_manager: true,
            nodes: 1,
            member_nodes: 1,
            down_nodes: Vec::new(),
            node_id: None,
            node_name: "node".to_owned(),
        })
    }
    async fn prepare(&self) -> Result<NetworkReady, EngineError> {
        Err(away("preparing"))
    }
    async fn ensure_ingress(&self, _: &IngressSpec) -> Result<(), EngineError> {
        Err(away("starting the ingress"))
    }
    async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError> {
        Err(away("making an image"))
    }
    async fn resolve_image(
        &self,
        image: &ImageRef,
        _: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ResolvedImage, ResolveError> {
        Err(ResolveError::NotFound {
            image: image.clone(),
            message: "no such image".to_owned(),
        })
    }
    async fn image_available(&self, _: &PinnedImage) -> Result<bool, EngineError> {
        Ok(true)
    }
    async fn ensure_service(&self, _: &ServiceSpec) -> Result<(), EngineError> {
        Err(away("starting a service"))
    }
    async fn volume_users(&self, _: &[String]) -> Result<Vec<VolumeUser>, EngineError> {
        Ok(Vec::new())
    }
    async fn differences(&self, _: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError> {
        Ok(None)
    }
    async fn scale_service(&self, _: &str, _: u32) -> Result<(), EngineError> {
        Err(away("scaling a service"))
    }
    async fn remove_service(&self, _: &str) -> Result<(), EngineError> {
        Ok(())
    }
    async fn services(&self) -> Result<Vec<ServiceState>, EngineError> {
        Ok(Vec::new())
    }
    async fn tasks(&self, _: &str) -> Result<Vec<Task>, EngineError> {
        Ok(Vec::new())
    }
    async fn all_tasks(&self) -> Result<Vec<Task>, EngineError> {
        Ok(["shop-web", "shop-api", "blog", "worker"]
            .into_iter()
            .zip(1u8..)
            .flat_map(|(app, third)| (1..=2u8).map(move |fourth| task(app, third, fourth)))
            .collect())
    }
    fn watch(&self) -> BoxStream<'static, EngineEvent> {
        stream::pending().boxed()
    }
    fn follow_logs(
        &self,
        _: &str,
        _: &ReadTo,
    ) -> BoxStream<'static, Result<RawLines, EngineError>> {
        stream::pending().boxed()
    }
    async fn examine(&self, _: &Task) -> Result<ReplicaFailure, EngineError> {
        Ok(ReplicaFailure::default())
    }
    fn use_registries(&self, _: Vec<Credential>) {}
    async fn start_job(&self, _: &JobSpec) -> Result<(), EngineError> {
        Err(away("starting a job"))
    }
    async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        Ok(Vec::new())
    }
    async fn remove_volumes(&self, _: &[String]) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    async fn purge(&self) -> Result<(), EngineError> {
        Ok(())
    }
    async fn stop_all(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

fn task(app: &str, third: u8, fourth: u8) -> Task {
    let service = service_name(
        &"main".parse().expect("a valid name"),
        &app.parse().expect("a valid name"),
        &EnvironmentName::production(),
        ReleaseNo(2),
    );
    Task {
        id: format!("task-{third}-{fourth}"),
        service_id: service.clone(),
        service,
        slot: u32::from(fourth),
        node_id: None,
        state: TaskState::Running,
        wanted: true,
        address: Some(IpAddr::from([10, 0, third, fourth])),
        container_id: None,
        exit_code: None,
        message: None,
        created_at: None,
    }
}

pub(crate) struct PretendedTraffic;

#[async_trait]
impl Traffic for PretendedTraffic {
    async fn listen(&self, _: IpAddr, _: Option<u16>, _: &Secret) -> Result<u16, TrafficError> {
        Ok(1)
    }
    async fn publish(&self, _: RoutingSnapshot) -> Result<usize, TrafficError> {
        Ok(1)
    }
    async fn probe(
        &self,
        _: SocketAddr,
        _: &HealthProbe,
        _: u64,
    ) -> Result<ProbeOutcome, TrafficError> {
        Ok(ProbeOutcome::Healthy { status: Some(200) })
    }
    async fn await_drained(&self, _: &str, _: u64, _: Option<u64>) -> Result<u64, TrafficError> {
        Ok(0)
    }
    async fn fresh_totals(
        &self,
        _: &[String],
    ) -> Result<HashMap<String, ServiceTraffic>, TrafficError> {
        Ok(HashMap::new())
    }
    fn wanted(&self) -> broadcast::Receiver<(AppName, EnvironmentName)> {
        broadcast::channel(1).1
    }
    async fn request(&self, _: &Hostname, _: &str, _: u64) -> Result<Vec<Served>, TrafficError> {
        Err(TrafficError::NoneConnected)
    }
    fn connected(&self) -> usize {
        1
    }
    async fn wait_connected(&self, _: u64) -> Result<(), TrafficError> {
        Ok(())
    }
    fn totals(&self, _: &str) -> Option<ServiceTraffic> {
        None
    }
}
