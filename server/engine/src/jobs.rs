//! One-off commands as Swarm services that are never restarted, and what else jobs need.

use std::sync::PoisonError;

use bollard::query_parameters::RemoveVolumeOptions;
use flukedeploy_domain::credential::Credential;
use flukedeploy_platform::ports::{EngineError, JobSpec};

use crate::engine::Inner;
use crate::error::absent_is_none;
use crate::spec;

impl Inner {
    pub(crate) fn use_registries(&self, credentials: Vec<Credential>) {
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        *stored = credentials;
    }

    pub(crate) async fn start_job(&self, wanted: &JobSpec) -> Result<(), EngineError> {
        let auth = if wanted.image.local_only {
            None
        } else {
            self.credentials().await.header(&wanted.image.pinned)
        };
        let secrets = self.secret_ids(&wanted.secrets).await?;
        let network_id = self.network_id().await?;
        let docker = spec::job(&self.names, &network_id, &secrets, wanted);
        match self.ensure_exists(&docker, auth.as_deref()).await {
            Err(EngineError::NotFound { .. }) if self.forget_network(&network_id).await? => {
                let network_id = self.network_id().await?;
                let docker = spec::job(&self.names, &network_id, &secrets, wanted);
                self.ensure_exists(&docker, auth.as_deref()).await
            }
            result => result,
        }
    }

    /// Of this node only: the engine reaches no other node's volumes.
    /// Returns what is still in use.
    pub(crate) async fn remove_named_volumes(
        &self,
        names: &[String],
    ) -> Result<Vec<String>, EngineError> {
        let mut in_use = Vec::new();
        for name in names {
            let doing = format!("removing volume {name}");
            let reading = self.client.docker().inspect_volume(name);
            let Some(volume) = absent_is_none(self.client.call(&doing, reading).await)? else {
                continue;
            };
            if !self.names.owns(Some(&volume.labels)) {
                tracing::warn!(
                    volume = name,
                    "a volume that is not of this instance was left"
                );
                continue;
            }
            let removal = self
                .client
                .docker()
                .remove_volume(name, None::<RemoveVolumeOptions>);
            match absent_is_none(self.client.call(&doing, removal).await) {
                Err(EngineError::Refused { message, .. }) if message.contains("in use") => {
                    tracing::debug!(volume = name, "a volume that is in use was left");
                    in_use.push(name.clone());
                }
                result => {
                    result?;
                }
            }
        }
        Ok(in_use)
    }
}
