//! What a release's Swarm service has to be.

use std::collections::BTreeMap;

use flukedeploy_domain::deployment::Strategy;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::release::{Release, volume_name};

use super::secret_files::secrets_of;
use crate::platform::Platform;
use crate::ports::{HealthCommand, ServiceSpec, VolumeMount};

/// Time between SIGTERM and SIGKILL.
pub(super) const STOP_GRACE_SECONDS: u32 = 10;

pub(crate) fn service_spec(
    px: &Platform,
    release: &Release,
    replicas: u32,
    deployment: &str,
) -> ServiceSpec {
    let (app, environment, settings) = (&release.app, &release.environment, &release.settings);
    let mut labels = BTreeMap::new();
    labels.insert("com.flukedeploy.app".to_owned(), app.to_string());
    labels.insert(
        "com.flukedeploy.environment".to_owned(),
        environment.to_string(),
    );
    labels.insert(
        "com.flukedeploy.release".to_owned(),
        release.number.to_string(),
    );
    labels.insert(
        "com.flukedeploy.deployment".to_owned(),
        deployment.to_owned(),
    );
    // A name shared by two releases resolves to the replicas of both, healthy or not. So only
    // releases that Docker itself keeps out of DNS until they are healthy, or that never run
    // beside another one, carry the app's name. ARCHITECTURE.md has the whole story.
    let named = match settings.usual_strategy() {
        Strategy::Recreate => true,
        // Names know no shares: callers inside would meet a canary as often as the rest.
        Strategy::Canary => false,
        Strategy::Rolling | Strategy::BlueGreen => {
            release.image.has_healthcheck || settings.health.probe.is_dockers()
        }
    };
    let aliases = match (named, environment.is_production()) {
        (false, _) => Vec::new(),
        (true, true) => vec![app.to_string(), format!("srv-captain--{app}")],
        (true, false) => vec![format!("{app}-{environment}")],
    };
    let instance = &px.config().instance;
    ServiceSpec {
        name: release.service_name(instance),
        image: release.image.clone(),
        replicas,
        env: settings.process_variables(),
        aliases,
        labels,
        stop_grace_seconds: STOP_GRACE_SECONDS,
        resources: settings.resources.clone(),
        placement: settings.placement.clone(),
        mounts: volumes_of(px, release)
            .into_iter()
            .zip(&settings.volumes)
            .map(|(name, volume)| VolumeMount {
                volume: name,
                path: volume.path.clone(),
            })
            .collect(),
        secrets: secrets_of(px, (app, environment), settings, &release.image),
        ports: settings.published_ports.clone(),
        health_command: match &settings.health.probe {
            HealthProbe::Command { command } => Some(HealthCommand {
                command: command.clone(),
                timeout_ms: settings.health.timeout_ms,
                // Docker ends what fails its check; until our own deadline that is not its business.
                start_grace_seconds: settings
                    .health
                    .deadline_seconds
                    .max(settings.health.start_grace_seconds),
            }),
            HealthProbe::Http { .. } | HealthProbe::Tcp | HealthProbe::Docker => None,
        },
    }
}

/// Docker's names of a release's volumes, in the order of its settings.
pub(super) fn volumes_of(px: &Platform, release: &Release) -> Vec<String> {
    let instance = &px.config().instance;
    let (app, environment) = (&release.app, &release.environment);
    release
        .settings
        .volumes
        .iter()
        .map(|volume| volume_name(instance, app, environment, &volume.name))
        .collect()
}
