//! A release's Swarm service: made, given another number of replicas, removed.

use flukedeploy_domain::deployment::Deployment;
use flukedeploy_domain::release::Release;

use super::service_spec;
use crate::platform::Platform;
use crate::ports::{EngineError, JobSpec, ServiceSpec};

/// Makes a release's service and watches it.
pub(super) async fn ensure_service(
    px: &Platform,
    release: &Release,
    spec: &ServiceSpec,
) -> Result<(), EngineError> {
    let _turn = px.parts().runner.service_changes.read().await;
    // Each time: the reconciler forgets what it took for a leftover a moment ago.
    px.parts().fleet.watch(&spec.name, release, true);
    px.parts().engine.ensure_secrets(&spec.secrets).await?;
    px.parts().engine.ensure_service(spec).await
}

/// Starts a job, which finds its secrets as a release does.
pub(super) async fn start_job(px: &Platform, spec: &JobSpec) -> Result<(), EngineError> {
    let _turn = px.parts().runner.service_changes.read().await;
    px.parts().engine.ensure_secrets(&spec.secrets).await?;
    px.parts().engine.start_job(spec).await
}

/// Gives a release so many replicas. A service that exists is only scaled: anything else of its
/// specification, be it a label, would make Swarm replace the replicas that run.
pub(super) async fn set_replicas(
    px: &Platform,
    release: &Release,
    replicas: u32,
    deployment: &Deployment,
) -> Result<(), EngineError> {
    let service = release.service_name(&px.config().instance);
    let scaled = {
        let _turn = px.parts().runner.service_changes.read().await;
        px.parts().fleet.watch(&service, release, true);
        px.parts().engine.scale_service(&service, replicas).await
    };
    match scaled {
        Err(EngineError::NotFound { .. }) => {
            let spec = service_spec(px, release, replicas, deployment.id.as_str());
            ensure_service(px, release, &spec).await
        }
        result => result,
    }
}

pub(super) async fn remove_service(px: &Platform, service: &str) -> Result<(), EngineError> {
    let _turn = px.parts().runner.service_changes.read().await;
    px.parts().engine.remove_service(service).await
}
