//! What each repair does.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::Queue;
use flukedeploy_domain::repair::RepairAction;
use flukedeploy_domain::webhook::{DeliveryId, DeliveryStatus};

use super::images;
use crate::deployments::{Everyday, What, act};
use crate::error::Error;
use crate::health;
use crate::platform::Platform;
use crate::webhooks;

/// Deliveries of one webhook that are sent again at most.
const DELIVERIES: u32 = 100;

/// What would be done, by name.
pub(super) async fn plan(px: &Platform, action: RepairAction) -> Result<Vec<String>, Error> {
    Ok(match action {
        RepairAction::CleanLogs => {
            let mut steps = vec!["remove log entries that are past their retention".to_owned()];
            steps.extend(
                px.parts()
                    .journal
                    .trouble()
                    .map(|_| "store the entries that wait".to_owned()),
            );
            steps
        }
        RepairAction::PruneImages => images::unneeded(px)
            .await?
            .iter()
            .map(|image| {
                format!(
                    "remove the image {} ({} MB)",
                    image.pinned,
                    image.bytes >> 20
                )
            })
            .collect(),
        RepairAction::PruneBuildCache => match px.parts().upkeep.build_cache().await? {
            0 => Vec::new(),
            bytes => vec![format!("remove {} MB of the build cache", bytes >> 20)],
        },
        RepairAction::PushRoutes => match px.parts().traffic.connected() {
            0 => Vec::new(),
            count => vec![format!("send the routes to {count} ingresses")],
        },
        RepairAction::ConvergeServices => crate::reconcile::to_converge(px)
            .await?
            .iter()
            .map(|name| format!("make the service {name} as it should be"))
            .collect(),
        RepairAction::RetryWebhooks => failed_deliveries(px)
            .await?
            .iter()
            .map(|id| format!("send the delivery {id} again"))
            .collect(),
        RepairAction::RestartUnhealthyServices => unhealthy(px)
            .iter()
            .map(|service| format!("restart {} ({})", service.app, service.environment))
            .collect(),
        RepairAction::RemoveOrphanedServices => orphans(px)
            .await?
            .iter()
            .map(|name| format!("remove the service {name}"))
            .collect(),
    })
}

/// Does it; each thing that was done is a line of `logs`.
pub(super) async fn run(
    px: &Platform,
    actor: &Actor,
    action: RepairAction,
    logs: &mut Vec<String>,
) -> Result<(), Error> {
    match action {
        RepairAction::CleanLogs => clean_logs(px, logs).await,
        RepairAction::PruneImages => prune_images(px, logs).await,
        RepairAction::PruneBuildCache => {
            let bytes = px.parts().upkeep.prune_build_cache().await?;
            if bytes > 0 {
                logs.push(format!("removed {} MB of the build cache", bytes >> 20));
            }
            Ok(())
        }
        RepairAction::PushRoutes => {
            let count = px.parts().traffic.connected();
            if count > 0 {
                let published = px.parts().routes.publish(px, true).await;
                published.map_err(|error| Error::NotNow(error.to_string()))?;
                logs.push(format!("sent the routes to {count} ingresses"));
            }
            Ok(())
        }
        RepairAction::ConvergeServices => {
            let names = crate::reconcile::to_converge(px).await?;
            if !names.is_empty() {
                crate::reconcile::converge(px).await?;
            }
            let done = |name| format!("made the service {name} as it should be");
            logs.extend(names.into_iter().map(done));
            Ok(())
        }
        RepairAction::RetryWebhooks => {
            for id in failed_deliveries(px).await? {
                webhooks::resend(px, actor, &id).await?;
                logs.push(format!("the delivery {id} is sent again"));
            }
            Ok(())
        }
        RepairAction::RestartUnhealthyServices => restart(px, actor, logs).await,
        RepairAction::RemoveOrphanedServices => {
            for name in orphans(px).await? {
                if crate::reconcile::remove_orphan(px, &name).await? {
                    logs.push(format!("removed the service {name}"));
                }
            }
            Ok(())
        }
    }
}

async fn clean_logs(px: &Platform, logs: &mut Vec<String>) -> Result<(), Error> {
    let lines = crate::retention::expire_now(px).await?;
    if lines > 0 {
        logs.push(format!("removed {lines} log entries"));
    }
    if px.parts().journal.trouble().is_some() {
        px.parts().journal.flush().await;
        if let Some(trouble) = px.parts().journal.trouble() {
            let words = format!(
                "log entries still cannot be stored: {}",
                health::plain(&trouble)
            );
            return Err(Error::NotNow(words));
        }
        logs.push("log entries are stored again".to_owned());
    }
    Ok(())
}

async fn prune_images(px: &Platform, logs: &mut Vec<String>) -> Result<(), Error> {
    for image in images::unneeded(px).await? {
        // A deployment that has begun meanwhile may have come to need it.
        if !images::is_still_unneeded(px, &image).await? {
            continue;
        }
        if px.parts().upkeep.remove_image(&image.pinned).await? {
            logs.push(format!(
                "removed the image {} ({} MB)",
                image.pinned,
                image.bytes >> 20
            ));
        }
    }
    Ok(())
}

/// Those that were below what is wanted at the last look.
fn unhealthy(px: &Platform) -> Vec<health::ServiceSample> {
    let sample = px.parts().watch.sample();
    let services = sample.map(|sample| sample.services.clone());
    services
        .unwrap_or_default()
        .into_iter()
        .filter(|one| !one.busy && !one.orphaned && one.running < one.wanted)
        .collect()
}

async fn restart(px: &Platform, actor: &Actor, logs: &mut Vec<String>) -> Result<(), Error> {
    health::look(px).await;
    for service in unhealthy(px) {
        let (Ok(app), Ok(environment)) = (service.app.parse(), service.environment.parse()) else {
            continue;
        };
        let cmd = Everyday {
            app,
            environment,
            what: What::Restart,
            queue: Queue::Wait,
            reason: Some("repair: fewer replicas than wanted".to_owned()),
            idempotency_key: None,
        };
        let accepted = act(px, actor, cmd).await?;
        let id = accepted.deployment.deployment_id;
        logs.push(format!(
            "{} is restarted by the deployment {id}",
            service.app
        ));
    }
    Ok(())
}

async fn orphans(px: &Platform) -> Result<Vec<String>, Error> {
    let services = px.parts().engine.services().await?;
    let found = crate::reconcile::orphans(px, &services).await?;
    let mut names: Vec<String> = found.into_iter().collect();
    names.sort();
    Ok(names)
}

/// Of webhooks that are turned on, oldest first.
async fn failed_deliveries(px: &Platform) -> Result<Vec<DeliveryId>, Error> {
    let store = &px.parts().store;
    let mut failed = Vec::new();
    for webhook in store.webhooks().await? {
        if !webhook.active {
            continue;
        }
        let mut deliveries = store.deliveries(&webhook.id, DELIVERIES).await?;
        deliveries.reverse();
        let given_up = deliveries
            .into_iter()
            .filter(|one| one.status == DeliveryStatus::Failed);
        failed.extend(given_up.map(|one| one.id));
    }
    Ok(failed)
}
