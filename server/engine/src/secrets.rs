//! Swarm secrets: the ingress's token, and what apps find as files. A secret cannot be changed, so each
//! value has a secret of its own, whose name stands for it.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flukedeploy_platform::ports::{EngineError, SecretMount};
use serde::Deserialize;
use serde_json::json;

use crate::client::{encode, query};
use crate::engine::Inner;
use crate::error::{absent_is_none, is_conflict};
use crate::labels::{ROLE, SECRET};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "ID")]
    id: String,
    spec: SecretSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretSpec {
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
}

impl SecretSpec {
    fn is_of_app(&self) -> bool {
        let role = self.labels.as_ref().and_then(|labels| labels.get(ROLE));
        role.is_some_and(|role| role == SECRET)
    }
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID", alias = "Id")]
    id: String,
}

impl Inner {
    pub(crate) async fn ensure_secrets(&self, wanted: &[SecretMount]) -> Result<(), EngineError> {
        for secret in wanted {
            let mut labels: HashMap<String, String> = secret
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            labels.extend(self.names.owner());
            labels.insert(ROLE.to_owned(), SECRET.to_owned());
            self.ensure_secret(&secret.secret, &secret.value, labels)
                .await?;
        }
        Ok(())
    }

    /// The id of the secret of that name. Made with our own client: bollard writes bodies to its log.
    pub(crate) async fn ensure_secret(
        &self,
        name: &str,
        value: &str,
        labels: HashMap<String, String>,
    ) -> Result<String, EngineError> {
        if let Some(id) = self.secret(name).await? {
            return Ok(id);
        }
        let body = json!({"Name": name, "Labels": labels, "Data": STANDARD.encode(value)});
        let doing = format!("creating secret {name}");
        let creation = self.client.post::<Created>("/secrets/create", &body, None);
        match self.client.call(&doing, creation).await {
            Ok(created) => Ok(created.id),
            Err(error) if is_conflict(&error) => self.secret(name).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn secret(&self, name: &str) -> Result<Option<String>, EngineError> {
        let doing = format!("reading secret {name}");
        let path = format!("/secrets/{}", encode(name));
        let reading = self.client.get::<Secret>(&path);
        let Some(secret) = absent_is_none(self.client.call(&doing, reading).await)? else {
            return Ok(None);
        };
        if !self.names.owns(secret.spec.labels.as_ref()) {
            return Err(EngineError::Refused {
                doing,
                message: "a secret of that name exists and is not of this instance".to_owned(),
            });
        }
        Ok(Some(secret.id))
    }

    /// Ids of the secrets that these are mounts of, by name. One that is not there is left out.
    pub(crate) async fn secret_ids(
        &self,
        wanted: &[SecretMount],
    ) -> Result<HashMap<String, String>, EngineError> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let all = self.owned_secrets().await?.into_iter();
        Ok(all.map(|secret| (secret.spec.name, secret.id)).collect())
    }

    pub(crate) async fn remove_unused_secrets(&self) -> Result<Vec<String>, EngineError> {
        let secrets = self.owned_secrets().await?;
        let of_apps = secrets.into_iter().filter(|secret| secret.spec.is_of_app());
        let of_apps: Vec<_> = of_apps.collect();
        if of_apps.is_empty() {
            return Ok(Vec::new());
        }
        let used: HashSet<String> = self.used_secrets().await?;
        let mut removed = Vec::new();
        for secret in of_apps {
            if !used.contains(&secret.id) && self.remove_secret(&secret).await? {
                removed.push(secret.spec.name);
            }
        }
        Ok(removed)
    }

    /// Tokens of ingresses before this one.
    pub(crate) async fn remove_former_tokens(&self, keep: &str) -> Result<(), EngineError> {
        for secret in self.owned_secrets().await? {
            if secret.spec.name != keep && !secret.spec.is_of_app() {
                self.remove_secret(&secret).await?;
            }
        }
        Ok(())
    }

    /// All of this instance.
    pub(crate) async fn remove_secrets(&self) -> Result<(), EngineError> {
        for secret in self.owned_secrets().await? {
            self.remove_secret(&secret).await?;
        }
        Ok(())
    }

    async fn owned_secrets(&self) -> Result<Vec<Secret>, EngineError> {
        let filters = json!({"label": [self.names.owner_filter()]}).to_string();
        let path = format!("/secrets{}", query(&[("filters", &filters)]));
        let listing = self.client.get::<Vec<Secret>>(&path);
        self.client.call("listing secrets", listing).await
    }

    /// False if it was gone already.
    async fn remove_secret(&self, secret: &Secret) -> Result<bool, EngineError> {
        let doing = format!("removing secret {}", secret.spec.name);
        let removal = self.client.docker().delete_secret(&secret.id);
        Ok(absent_is_none(self.client.call(&doing, removal).await)?.is_some())
    }
}
