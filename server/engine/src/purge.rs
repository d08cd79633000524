//! Stopping, and removing everything.

use std::time::Duration;

use bollard::models::{ContainerSummary, LocalNodeState};
use bollard::query_parameters::{
    ListContainersOptions, ListVolumesOptions, RemoveContainerOptions, RemoveVolumeOptions,
};
use flukedeploy_platform::ports::EngineError;
use tokio::time::{Instant, sleep};

use crate::engine::Inner;
use crate::error::{absent_is_none, timed_out};

const LOOK: Duration = Duration::from_millis(200);
/// What Swarm takes beyond the grace its tasks were given.
const MARGIN: Duration = Duration::from_secs(30);
/// A network or volume is in use for a moment after its last container has gone.
const RELEASE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Running,
    All,
}

impl Inner {
    pub(crate) async fn stop_all(&self) -> Result<(), EngineError> {
        if !self.in_swarm().await? {
            return Ok(());
        }
        let services = self.owned_services().await?;
        let grace = services
            .iter()
            .map(|service| service.stop_grace_seconds)
            .max();
        for service in &services {
            if service.is_release {
                absent_is_none(self.scale_service(&service.name, 0).await)?;
            } else {
                self.remove_service(&service.name).await?;
            }
        }
        let limit = Duration::from_secs(grace.unwrap_or_default()) + MARGIN;
        let deadline = Instant::now() + limit;
        // Swarm learns a little later than the engine that a container has stopped, and knows of
        // those on other nodes.
        while !self.containers(Which::Running).await?.is_empty() || self.has_running_tasks().await?
        {
            if Instant::now() >= deadline {
                return Err(timed_out("stopping all services", limit));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    pub(crate) async fn purge(&self) -> Result<(), EngineError> {
        let in_swarm = self.in_swarm().await?;
        let mut grace = 0;
        if in_swarm {
            for service in self.owned_services().await? {
                grace = grace.max(service.stop_grace_seconds);
                self.remove_service(&service.name).await?;
            }
        }
        let limit = Duration::from_secs(grace) + MARGIN;
        for container in self.wait_until_gone(limit).await? {
            self.remove_container(&container).await?;
        }
        if in_swarm {
            self.persist("network", || self.remove_network()).await?;
            self.persist("secrets", || self.remove_secrets()).await?;
        }
        self.persist("volumes", || self.remove_volumes()).await?;
        for (id, _) in self.owned_images().await? {
            self.remove_image(&id, true).await?;
        }
        Ok(())
    }

    async fn in_swarm(&self) -> Result<bool, EngineError> {
        let member = self.membership().await?;
        Ok(member.state == LocalNodeState::ACTIVE)
    }

    /// Containers of this node that are left when the time is over.
    async fn wait_until_gone(&self, limit: Duration) -> Result<Vec<ContainerSummary>, EngineError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.containers(Which::All).await?;
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
    }

    async fn containers(&self, which: Which) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptions {
            all: which == Which::All,
            filters: Some(self.names.owned()),
            ..ListContainersOptions::default()
        };
        let listing = self.client.docker().list_containers(Some(options));
        self.client.call("listing containers", listing).await
    }

    async fn remove_container(&self, container: &ContainerSummary) -> Result<(), EngineError> {
        let id = container.id.clone().unwrap_or_default();
        let options = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        let removal = self.client.docker().remove_container(&id, Some(options));
        absent_is_none(
            self.client
                .call(&format!("removing container {id}"), removal)
                .await,
        )?;
        Ok(())
    }

    async fn remove_volumes(&self) -> Result<(), EngineError> {
        let options = ListVolumesOptions {
            filters: Some(self.names.owned()),
        };
        let listing = self.client.docker().list_volumes(Some(options));
        let volumes = self.client.call("listing volumes", listing).await?.volumes;
        for volume in volumes.unwrap_or_default() {
            let removal = self
                .client
                .docker()
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>);
            let doing = format!("removing volume {}", volume.name);
            absent_is_none(self.client.call(&doing, removal).await)?;
        }
        Ok(())
    }

    /// Repeats what is refused because something is still in use.
    async fn persist<F>(&self, what: &str, mut remove: impl FnMut() -> F) -> Result<(), EngineError>
    where
        F: Future<Output = Result<(), EngineError>>,
    {
        let deadline = Instant::now() + RELEASE;
        loop {
            match remove().await {
                Err(error @ EngineError::Refused { .. }) if Instant::now() < deadline => {
                    tracing::debug!(
                        what,
                        error = &error as &dyn std::error::Error,
                        "still in use"
                    );
                    sleep(LOOK).await;
                }
                result => return result,
            }
        }
    }
}
