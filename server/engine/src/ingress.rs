//! The ingress's service, with its image and its secret.

use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions};
use flukedeploy_platform::ports::{EngineError, IngressSpec};
use sha2::{Digest, Sha256};

use crate::engine::Inner;
use crate::error::absent_is_none;
use crate::program::hex;
use crate::spec::{self, IngressParts};

impl Inner {
    /// The image exists in this node's engine only, so in a Swarm of several nodes the ingress
    /// runs on this one; to have it on all of them takes a registry that they can pull from.
    pub(crate) async fn ensure_ingress(&self, wanted: &IngressSpec) -> Result<(), EngineError> {
        let image = self.ensure_program_image().await?;
        let (secret_name, secret_id) = self.ensure_token(&wanted.token).await?;
        let network_id = self.network_id().await?;
        let nodes = self.nodes().await?.ready;
        let mut only_node = None;
        if nodes > 1 {
            only_node = self.membership().await?.node_id;
            tracing::warn!(
                nodes,
                "the ingress runs on this node only: its image is nowhere else"
            );
        }
        let parts = IngressParts {
            network_id: &network_id,
            image: &image,
            secret_id: &secret_id,
            secret_name: &secret_name,
            only_node: only_node.as_deref(),
        };
        let docker = spec::ingress(&self.names, &parts, wanted);
        match self.ensure_exact(&docker, None).await {
            Err(EngineError::NotFound { .. }) if self.forget_network(&network_id).await? => {
                let network_id = self.network_id().await?;
                let parts = IngressParts {
                    network_id: &network_id,
                    ..parts
                };
                self.ensure_exact(&spec::ingress(&self.names, &parts, wanted), None)
                    .await?;
            }
            result => result?,
        }
        // Neither harms; what is still in use is refused, and goes next time.
        let tidied = async {
            self.remove_former_tokens(&secret_name).await?;
            self.remove_program_images(&image).await
        };
        if let Err(error) = tidied.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot tidy up after the ingress"
            );
        }
        Ok(())
    }

    /// Name and id of the secret that holds `token`. A secret cannot be changed, so its name tells
    /// what it holds.
    async fn ensure_token(&self, token: &str) -> Result<(String, String), EngineError> {
        let hash = hex(&Sha256::digest(token.as_bytes())[..4]);
        let name = format!("{}-{hash}", self.names.ingress());
        let id = self.ensure_secret(&name, token, self.names.owner()).await?;
        Ok((name, id))
    }

    /// Images of the ingress made from programs before this one. Sample images stay: releases may
    /// be pinned to them.
    async fn remove_program_images(&self, keep: &str) -> Result<(), EngineError> {
        let repository = format!("{}:", self.names.program_repository());
        for (id, names) in self.owned_images().await? {
            let is_program =
                !names.is_empty() && names.iter().all(|name| name.starts_with(&repository));
            if id != keep && is_program {
                self.remove_image(&id, false).await?;
            }
        }
        Ok(())
    }

    /// Images made for this instance: ids and names.
    pub(crate) async fn owned_images(&self) -> Result<Vec<(String, Vec<String>)>, EngineError> {
        let options = ListImagesOptions {
            filters: Some(self.names.owned()),
            ..ListImagesOptions::default()
        };
        let listing = self.client.docker().list_images(Some(options));
        let images = self.client.call("listing images", listing).await?;
        Ok(images
            .into_iter()
            .map(|image| (image.id, image.repo_tags))
            .collect())
    }

    pub(crate) async fn remove_image(&self, id: &str, force: bool) -> Result<(), EngineError> {
        let options = RemoveImageOptions {
            force,
            ..RemoveImageOptions::default()
        };
        let removal = self.client.docker().remove_image(id, Some(options), None);
        absent_is_none(
            self.client
                .call(&format!("removing image {id}"), removal)
                .await,
        )?;
        Ok(())
    }
}
