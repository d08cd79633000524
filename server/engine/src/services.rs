//! Services: made, compared, scaled, removed.

use std::collections::{BTreeMap, HashMap, HashSet};

use bollard::models::ServiceSpec as DockerService;
use flukedeploy_platform::ports::{EngineError, ServiceSpec, ServiceState};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{encode, query};
use crate::compare::differences;
use crate::engine::Inner;
use crate::error::{absent_is_none, is_conflict, is_out_of_sequence};
use crate::labels::{INSTANCE, JOB, RELEASE, ROLE};
use crate::spec;

/// How often a change that another one overtook is tried again.
const ATTEMPTS: usize = 6;

/// A service as the engine holds it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Existing {
    #[serde(rename = "ID")]
    id: String,
    version: Index,
    /// Kept whole: what is sent back must lack nothing.
    spec: Value,
    #[serde(default)]
    created_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// What stopping a service has to know of it.
pub(crate) struct Owned {
    pub(crate) name: String,
    pub(crate) is_release: bool,
    pub(crate) stop_grace_seconds: u64,
}

impl Inner {
    pub(crate) async fn ensure_service(&self, wanted: &ServiceSpec) -> Result<(), EngineError> {
        let auth = if wanted.image.local_only {
            None
        } else {
            self.credentials().await.header(&wanted.image.pinned)
        };
        let secrets = self.secret_ids(&wanted.secrets).await?;
        let network_id = self.network_id().await?;
        let docker = spec::release(&self.names, &network_id, &secrets, wanted);
        match self.ensure_exact(&docker, auth.as_deref()).await {
            Err(EngineError::NotFound { .. }) if self.forget_network(&network_id).await? => {
                let network_id = self.network_id().await?;
                let docker = spec::release(&self.names, &network_id, &secrets, wanted);
                self.ensure_exact(&docker, auth.as_deref()).await
            }
            result => result,
        }
    }

    /// Makes a service exactly as `wanted`; one that already is stays untouched.
    pub(crate) async fn ensure_exact(
        &self,
        wanted: &DockerService,
        registry_auth: Option<&str>,
    ) -> Result<(), EngineError> {
        let name = wanted.name.clone().unwrap_or_default();
        let wanted = as_value(wanted)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let result = match self.existing(&name).await? {
                None => self.create(&name, &wanted, registry_auth).await,
                Some(existing) => {
                    self.check_owner(&name, &existing.spec)?;
                    if differences(&existing.spec, &wanted).is_empty() {
                        return Ok(());
                    }
                    self.update(&name, &existing, &wanted, registry_auth).await
                }
            };
            match result {
                Err(error) if is_conflict(&error) || is_out_of_sequence(&error) => {
                    last = Some(error);
                }
                result => return result,
            }
        }
        Err(last.unwrap_or(EngineError::NotFound {
            doing: format!("changing service {name}"),
        }))
    }

    pub(crate) async fn differences(
        &self,
        wanted: &ServiceSpec,
    ) -> Result<Option<Vec<String>>, EngineError> {
        let Some(existing) = self.existing(&wanted.name).await? else {
            return Ok(None);
        };
        self.check_owner(&wanted.name, &existing.spec)?;
        let secrets = self.secret_ids(&wanted.secrets).await?;
        let network_id = self.network_id().await?;
        let wanted = as_value(&spec::release(&self.names, &network_id, &secrets, wanted))?;
        let words = differences(&existing.spec, &wanted);
        Ok(Some(words.into_iter().map(str::to_owned).collect()))
    }

    pub(crate) async fn scale_service(&self, name: &str, replicas: u32) -> Result<(), EngineError> {
        let doing = format!("scaling service {name}");
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(existing) = self.existing(name).await? else {
                return Err(EngineError::NotFound { doing });
            };
            self.check_owner(name, &existing.spec)?;
            let mut wanted = existing.spec.clone();
            let Some(current) = wanted.pointer_mut("/Mode/Replicated/Replicas") else {
                return Err(EngineError::Refused {
                    doing,
                    message: "a global service has no number of replicas".to_owned(),
                });
            };
            if *current == json!(replicas) {
                return Ok(());
            }
            *current = json!(replicas);
            match self.update(name, &existing, &wanted, None).await {
                Err(error) if is_out_of_sequence(&error) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or(EngineError::NotFound { doing }))
    }

    pub(crate) async fn remove_service(&self, name: &str) -> Result<(), EngineError> {
        let Some(existing) = self.existing(name).await? else {
            return Ok(());
        };
        self.check_owner(name, &existing.spec)?;
        let doing = format!("removing service {name}");
        let removal = self.client.docker().delete_service(&existing.id);
        absent_is_none(self.client.call(&doing, removal).await)?;
        Ok(())
    }

    pub(crate) async fn services(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.services_of(RELEASE).await
    }

    pub(crate) async fn jobs(&self) -> Result<Vec<ServiceState>, EngineError> {
        self.services_of(JOB).await
    }

    async fn services_of(&self, wanted: &str) -> Result<Vec<ServiceState>, EngineError> {
        let services = self.list_services().await?;
        let wanted = services
            .into_iter()
            .filter(|service| role(&service.spec) == Some(wanted));
        Ok(wanted.map(state).collect())
    }

    /// Ids of the secrets that services of this instance use.
    pub(crate) async fn used_secrets(&self) -> Result<HashSet<String>, EngineError> {
        let services = self.list_services().await?;
        let lists = services.iter().filter_map(|service| {
            let secrets = "/TaskTemplate/ContainerSpec/Secrets";
            service.spec.pointer(secrets).and_then(Value::as_array)
        });
        let ids = lists
            .flatten()
            .filter_map(|secret| secret["SecretID"].as_str());
        Ok(ids.map(ToOwned::to_owned).collect())
    }

    /// Makes a service; one of ours that has the name already stays as it is.
    pub(crate) async fn ensure_exists(
        &self,
        wanted: &DockerService,
        registry_auth: Option<&str>,
    ) -> Result<(), EngineError> {
        let name = wanted.name.clone().unwrap_or_default();
        let wanted = as_value(wanted)?;
        if let Some(existing) = self.existing(&name).await? {
            return self.check_owner(&name, &existing.spec);
        }
        match self.create(&name, &wanted, registry_auth).await {
            Err(error) if is_conflict(&error) => match self.existing(&name).await? {
                Some(existing) => self.check_owner(&name, &existing.spec),
                None => Err(error),
            },
            result => result,
        }
    }

    /// Every service of this instance, the ingress too.
    pub(crate) async fn owned_services(&self) -> Result<Vec<Owned>, EngineError> {
        let services = self.list_services().await?;
        Ok(services
            .into_iter()
            .map(|service| Owned {
                name: text(&service.spec, "/Name").to_owned(),
                is_release: role(&service.spec) == Some(RELEASE),
                stop_grace_seconds: service
                    .spec
                    .pointer("/TaskTemplate/ContainerSpec/StopGracePeriod")
                    .and_then(Value::as_u64)
                    .map_or(10, |nanos| nanos.div_ceil(1_000_000_000)),
            })
            .collect())
    }

    async fn list_services(&self) -> Result<Vec<Existing>, EngineError> {
        let filters = json!({"label": [self.names.owner_filter()]}).to_string();
        let path = format!("/services{}", query(&[("filters", &filters)]));
        self.client
            .call("listing services", self.client.get(&path))
            .await
    }

    async fn existing(&self, name: &str) -> Result<Option<Existing>, EngineError> {
        let doing = format!("reading service {name}");
        let path = format!("/services/{}", encode(name));
        absent_is_none(self.client.call(&doing, self.client.get(&path)).await)
    }

    pub(crate) async fn service_exists(&self, name: &str) -> Result<bool, EngineError> {
        Ok(self.existing(name).await?.is_some())
    }

    async fn create(
        &self,
        name: &str,
        wanted: &Value,
        registry_auth: Option<&str>,
    ) -> Result<(), EngineError> {
        let doing = format!("creating service {name}");
        let mut wanted = wanted.clone();
        if self.keeps_json_files() {
            bound_log(&mut wanted);
        }
        let creation = self.client.post("/services/create", &wanted, registry_auth);
        self.warn(name, &self.client.call(&doing, creation).await?);
        Ok(())
    }

    async fn update(
        &self,
        name: &str,
        existing: &Existing,
        wanted: &Value,
        registry_auth: Option<&str>,
    ) -> Result<(), EngineError> {
        let doing = format!("changing service {name}");
        let version = existing.version.index.to_string();
        let path = format!(
            "/services/{}/update{}",
            encode(&existing.id),
            query(&[("version", &version)])
        );
        let mut wanted = wanted.clone();
        keep_log(&mut wanted, &existing.spec);
        let update = self.client.post(&path, &wanted, registry_auth);
        self.warn(name, &self.client.call(&doing, update).await?);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as a step of the two callers")]
    fn warn(&self, service: &str, changed: &Changed) {
        for warning in changed.warnings.iter().flatten() {
            tracing::warn!(service, warning, "the engine warns");
        }
    }

    /// Names of different instances can meet; what is not ours is not touched.
    fn check_owner(&self, name: &str, spec: &Value) -> Result<(), EngineError> {
        let owner = spec
            .get("Labels")
            .and_then(|labels| labels.get(INSTANCE))
            .and_then(Value::as_str);
        if owner == Some(self.names.instance.as_str()) {
            return Ok(());
        }
        let whose = match owner {
            Some(other) => format!("to the instance '{other}'"),
            None => "to no instance of FlukeDeploy".to_owned(),
        };
        Err(EngineError::Refused {
            doing: format!("changing service {name}"),
            message: format!("a service of that name exists and belongs {whose}"),
        })
    }
}

fn as_value(spec: &DockerService) -> Result<Value, EngineError> {
    let mut value = serde_json::to_value(spec).map_err(|error| EngineError::Refused {
        doing: "writing a service's specification".to_owned(),
        message: error.to_string(),
    })?;
    // bollard writes this name as no engine does; they read any letter case, but we compare.
    let container = value.pointer_mut("/TaskTemplate/ContainerSpec");
    if let Some(container) = container.and_then(Value::as_object_mut)
        && let Some(check) = container.remove("HealthCheck")
    {
        container.insert("Healthcheck".to_owned(), check);
    }
    Ok(value)
}

/// An engine's own log files grow without an end. Every line is read and stored elsewhere, so that
/// these are only a buffer, for the time in which nobody reads. Not part of what is compared: it
/// is no reason to replace the tasks of a service that has it otherwise.
fn bound_log(spec: &mut Value) {
    if let Some(task) = spec.get_mut("TaskTemplate").and_then(Value::as_object_mut) {
        let options = json!({"max-size": "50m", "max-file": "3"});
        task.entry("LogDriver")
            .or_insert(json!({"Name": "json-file", "Options": options}));
    }
}

/// What a service has of that stays when something else is changed.
fn keep_log(wanted: &mut Value, existing: &Value) {
    if let Some(task) = wanted
        .get_mut("TaskTemplate")
        .and_then(Value::as_object_mut)
        && let Some(driver) = existing.pointer("/TaskTemplate/LogDriver")
    {
        task.entry("LogDriver").or_insert(driver.clone());
    }
}

fn role(spec: &Value) -> Option<&str> {
    spec.get("Labels")?.get(ROLE)?.as_str()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn state(service: Existing) -> ServiceState {
    let labels: HashMap<String, String> = service
        .spec
        .get("Labels")
        .and_then(|labels| HashMap::deserialize(labels).ok())
        .unwrap_or_default();
    let wanted = service
        .spec
        .pointer("/Mode/Replicated/Replicas")
        .and_then(Value::as_u64);
    ServiceState {
        name: text(&service.spec, "/Name").to_owned(),
        wanted_replicas: wanted
            .and_then(|wanted| u32::try_from(wanted).ok())
            .unwrap_or_default(),
        labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
        created_at: instant(&service.created_at),
        id: service.id,
    }
}

/// Docker's timestamps; the zero time and nonsense are `None`.
pub(crate) fn instant(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|at| at.year() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read() {
        assert_eq!(
            instant("2024-05-01T10:20:30.123456789Z")
                .unwrap()
                .unix_timestamp_nanos(),
            1_714_558_830_123_456_789
        );
        assert_eq!(instant("0001-01-01T00:00:00Z"), None);
        assert_eq!(instant(""), None);
    }

    #[test]
    fn a_health_check_has_the_engines_name() {
        let spec: DockerService = serde_json::from_value(json!({
            "TaskTemplate": {"ContainerSpec": {"HealthCheck": {"Test": ["CMD", "/check"]}}},
        }))
        .unwrap();
        let container = json!({"Healthcheck": {"Test": ["CMD", "/check"]}});
        assert_eq!(
            as_value(&spec).unwrap(),
            json!({"TaskTemplate": {"ContainerSpec": container}})
        );
    }

    #[test]
    fn a_service_is_folded() {
        let existing: Existing = serde_json::from_value(json!({
            "ID": "abc",
            "Version": {"Index": 7},
            "CreatedAt": "2024-05-01T10:20:30Z",
            "Spec": {
                "Name": "fd-main-shop-production-r1",
                "Labels": {"com.flukedeploy.instance": "main", "com.flukedeploy.role": "release"},
                "Mode": {"Replicated": {"Replicas": 3}},
            },
        }))
        .unwrap();
        assert_eq!(role(&existing.spec), Some("release"));
        let state = state(existing);
        assert_eq!(
            (state.wanted_replicas, state.name.as_str()),
            (3, "fd-main-shop-production-r1")
        );
        assert_eq!(state.labels["com.flukedeploy.instance"], "main");
        assert!(state.created_at.is_some());
    }
}
