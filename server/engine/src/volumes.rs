//! Who uses which volume.

use std::collections::HashMap;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;
use flukedeploy_platform::ports::{EngineError, VolumeUser};

use crate::engine::Inner;
use crate::labels::{Names, RELEASE, ROLE, SERVICE};

impl Inner {
    pub(crate) async fn volume_users(
        &self,
        volumes: &[String],
    ) -> Result<Vec<VolumeUser>, EngineError> {
        if volumes.is_empty() {
            // A filter of no names would be no filter.
            return Ok(Vec::new());
        }
        let options = ListContainersOptions {
            filters: Some(HashMap::from([("volume".to_owned(), volumes.to_vec())])),
            ..ListContainersOptions::default()
        };
        let listing = self.client.docker().list_containers(Some(options));
        let containers = self
            .client
            .call("looking for the users of volumes", listing)
            .await?;
        Ok(containers
            .iter()
            .flat_map(|container| users(container, volumes, &self.names))
            .collect())
    }
}

/// The engine's filter also takes a name for a path inside the container, so it is looked again.
fn users(container: &ContainerSummary, volumes: &[String], names: &Names) -> Vec<VolumeUser> {
    let labels = container.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    let is_release = names.owns(labels) && label(ROLE).is_some_and(|role| role.as_str() == RELEASE);
    let service = label(SERVICE).filter(|_| is_release);
    let name = container.names.iter().flatten().next();
    let name = name.map_or("", |name| name.trim_start_matches('/'));
    let mounts = container.mounts.iter().flatten();
    mounts
        .filter(|mount| mount.typ.as_deref() == Some("volume"))
        .filter_map(|mount| mount.name.as_ref())
        .filter(|volume| volumes.contains(volume))
        .map(|volume| VolumeUser {
            volume: volume.clone(),
            container: name.to_owned(),
            service: service.cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(labels: &Value, mounts: &Value) -> Vec<VolumeUser> {
        let container = json!({"Id": "c1", "Names": ["/one"], "Labels": labels, "Mounts": mounts});
        let names = Names {
            instance: "main".parse().unwrap(),
        };
        let volumes = ["data".to_owned(), "more".to_owned()];
        users(
            &serde_json::from_value(container).unwrap(),
            &volumes,
            &names,
        )
    }

    #[test]
    fn only_mounts_of_these_volumes_count() {
        let mounts = json!([
            {"Type": "volume", "Name": "data", "Destination": "/x"},
            {"Type": "volume", "Name": "other", "Destination": "data"},
            {"Type": "bind", "Source": "/data", "Destination": "more"},
        ]);
        let user = VolumeUser {
            volume: "data".to_owned(),
            container: "one".to_owned(),
            service: None,
        };
        assert_eq!(found(&json!({}), &mounts), [user]);
        assert!(found(&json!(null), &json!(null)).is_empty());
    }

    #[test]
    fn the_service_is_told_only_of_our_releases() {
        let service = |instance: &str, role: &str| {
            let labels = json!({
                "com.flukedeploy.instance": instance, "com.flukedeploy.role": role,
                "com.flukedeploy.service": "fd-main-shop-production-r1",
            });
            let mounts = json!([{"Type": "volume", "Name": "more"}]);
            found(&labels, &mounts)[0].service.clone()
        };
        assert_eq!(
            service("main", "release").as_deref(),
            Some("fd-main-shop-production-r1")
        );
        assert_eq!(service("main", "ingress"), None);
        assert_eq!(service("other", "release"), None);
    }
}
