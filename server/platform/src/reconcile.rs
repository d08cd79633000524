//! Compares what should be (the store) with what is (the engine): at the start, and every so
//! often. Finishes or undoes what was interrupted, starts what is missing, removes what nobody
//! wants, and says what it did.

use std::collections::HashSet;
use std::time::Duration;

use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::release::service_name;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{IngressSpec, ServiceState};
use crate::secret::Secret;

const INGRESS_TOKEN: &str = "ingress_token";
const INGRESS_PORT: &str = "ingress_control_port";
/// Between two comparisons when nothing is going on.
const EVERY: Duration = Duration::from_secs(30);
/// Between two tries while the engine is away.
const RETRY: Duration = Duration::from_secs(2);

impl Platform {
    /// Starts the background work: engine, ingress, live view, reconciler, log collection. Returns
    /// at once; [`crate::system::is_ready`] tells when all of it stands.
    pub fn start(&self) {
        let tasks = &self.parts().tasks;
        tasks.spawn(crate::fleet::run(self.clone()));
        tasks.spawn(crate::collector::run(self.clone()));
        tasks.spawn(supervise(self.clone()));
    }
}

async fn supervise(px: Platform) {
    let mut woken = false;
    loop {
        let pause = match pass(&px, !woken).await {
            Ok(()) => {
                woken = true;
                EVERY
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the engine is not as wanted yet"
                );
                RETRY
            }
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One comparison, start to end. `first`: unfinished deployments have to be taken up.
async fn pass(px: &Platform, first: bool) -> Result<(), Error> {
    let seen = px.parts().engine.info().await;
    px.parts().engine_status.saw(&seen);
    let info = seen?;
    if first || !info.swarm_active {
        prepare(px).await?;
        let seen = px.parts().engine.info().await;
        px.parts().engine_status.saw(&seen);
    }
    let services = px.parts().engine.services().await?;
    // The store is read after the engine: a service made in between is then wanted already.
    start_missing(px, &services, first).await?;
    px.parts().fleet.look_now();
    if first {
        for deployment in px.parts().store.unfinished_deployments().await? {
            tracing::info!(deployment.id = %deployment.id, "taking up an unfinished deployment");
            px.parts()
                .runner
                .wake(px, &deployment.app, &deployment.environment);
        }
    } else {
        prepare(px).await?;
    }
    remove_unwanted(px, &services).await
}

/// Swarm, network, ingress. What is there already is left alone.
async fn prepare(px: &Platform) -> Result<(), Error> {
    let network = px.parts().engine.prepare().await?;
    let token = Secret::random();
    let token = Secret::new(
        px.parts()
            .store
            .remember_once(INGRESS_TOKEN, token.expose())
            .await?,
    );
    let port = px
        .parts()
        .store
        .remembered(INGRESS_PORT)
        .await?
        .and_then(|port| port.parse().ok());
    let got = px
        .parts()
        .traffic
        .listen(network.host_address, port, &token)
        .await?;
    if Some(got) != port {
        px.parts()
            .store
            .remember(INGRESS_PORT, &got.to_string())
            .await?;
    }
    let mut hosts = vec![network.host_address];
    hosts.extend(
        network
            .node_address
            .filter(|address| *address != network.host_address),
    );
    let control_urls = hosts
        .into_iter()
        .map(|host| format!("ws://{}/ingress", std::net::SocketAddr::new(host, got)))
        .collect();
    let spec = IngressSpec {
        http_port: px.config().http_port,
        control_urls,
        token: token.expose().to_owned(),
    };
    px.parts().engine.ensure_ingress(&spec).await?;
    px.parts().engine_status.is_prepared();
    Ok(())
}

/// Every active release has its service, and is watched.
async fn start_missing(px: &Platform, services: &[ServiceState], first: bool) -> Result<(), Error> {
    let unfinished = px.parts().store.unfinished_deployments().await?;
    for environment in px.parts().store.environments().await? {
        let Some(number) = environment.active_release else {
            continue;
        };
        // A running deployment decides itself what runs.
        let busy = unfinished
            .iter()
            .any(|d| d.app == environment.app && d.environment == environment.name);
        let Some(release) = px
            .parts()
            .store
            .release(&environment.app, &environment.name, number)
            .await?
        else {
            continue;
        };
        let name = release.service_name(&px.config().instance);
        let settings = &release.settings;
        let found = services.iter().find(|service| service.name == name);
        if first {
            px.parts()
                .fleet
                .watch(&name, settings.container_port, &settings.health, false);
        }
        if busy || found.is_some_and(|service| service.wanted_replicas == settings.replicas) {
            continue;
        }
        let what = match found {
            None => format!("the service of release {number} was missing; it is started again"),
            Some(service) => format!(
                "release {number} had {} replicas instead of {}; corrected",
                service.wanted_replicas, settings.replicas
            ),
        };
        px.parts()
            .fleet
            .watch(&name, settings.container_port, &settings.health, false);
        let label = found
            .and_then(|service| service.labels.get("com.flukedeploy.deployment").cloned())
            .unwrap_or_default();
        let spec = crate::runner::service_spec(px, &release, settings.replicas, &label);
        px.parts().engine.ensure_service(&spec).await?;
        drift(px, environment.app.as_str(), what);
    }
    Ok(())
}

/// Removes what nobody wants, now; failures are left to the next comparison.
pub(crate) async fn remove_strays(px: &Platform) {
    let result = async {
        let services = px.parts().engine.services().await?;
        remove_unwanted(px, &services).await
    };
    if let Err(error) = result.await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "leftovers could not be removed now"
        );
    }
}

async fn remove_unwanted(px: &Platform, services: &[ServiceState]) -> Result<(), Error> {
    let instance = &px.config().instance;
    let mut wanted = HashSet::new();
    // Deployments before environments: a deployment that ends in between has made its release
    // the active one first.
    for deployment in px.parts().store.unfinished_deployments().await? {
        for number in [deployment.release, deployment.from_release]
            .into_iter()
            .flatten()
        {
            wanted.insert(service_name(
                instance,
                &deployment.app,
                &deployment.environment,
                number,
            ));
        }
    }
    for environment in px.parts().store.environments().await? {
        if let Some(number) = environment.active_release {
            wanted.insert(service_name(
                instance,
                &environment.app,
                &environment.name,
                number,
            ));
        }
    }
    for service in services
        .iter()
        .filter(|service| !wanted.contains(&service.name))
    {
        px.parts().fleet.forget(&service.name);
        px.parts().engine.remove_service(&service.name).await?;
        let app = service
            .labels
            .get("com.flukedeploy.app")
            .map_or("", String::as_str);
        drift(
            px,
            app,
            format!("the service {} belonged to nothing; removed", service.name),
        );
    }
    Ok(())
}

fn drift(px: &Platform, app: &str, message: String) {
    tracing::warn!(app.name = app, "{message}");
    px.parts().journal.note(
        Level::Warn,
        message,
        LogMetadata::new(EventType::ConfigChange, app),
    );
}
