//! One-off commands as Swarm services that are never restarted, and what else jobs need.

use flukedeploy_domain::credential::Credential;
use flukedeploy_platform::ports::{EngineError, JobSpec, ServiceState};

use crate::engine::Inner;

impl Inner {
    pub(crate) fn use_registries(&self, credentials: Vec<Credential>) {
        let _ = credentials;
    }

    pub(crate) async fn start_job(&self, spec: &JobSpec) -> Result<(), EngineError> {
        Err(EngineError::Refused {
            doing: format!("starting the job {}", spec.name),
            message: "jobs are not there yet".to_owned(),
        })
    }

    pub(crate) async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        Ok(Vec::new())
    }

    pub(crate) async fn remove_named_volumes(&self, names: &[String]) -> Result<(), EngineError> {
        let _ = names;
        Ok(())
    }
}
