//! The way back after a failure: the former release serves again, and the new one goes.

use std::time::Duration;

use flukedeploy_domain::deployment::rollout::{ReturnDecision, ReturnSeen, Share, go_back};
use flukedeploy_domain::deployment::{Deployment, Event, Strategy};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::release::{Release, ReleaseNo};
use tokio::time::Instant;

use super::drive::Stop;
use super::{acts, cleanup, report, services, traffic};
use crate::platform::Platform;
use crate::ports::Switch;
use crate::routes::Shift;

/// How often the engine may say no (not: be away) before that is taken for its last word.
const REFUSALS: u32 = 5;
/// How long replicas of the new release may take to stop before the former one starts anyway.
const GOING: Duration = Duration::from_secs(40);

/// `None` if the platform stops; the next start repeats it.
pub(super) async fn put_back(px: &Platform, deployment: &mut Deployment) -> Option<Event> {
    if !deployment.source.makes_release() {
        return acts::undo(px, deployment).await;
    }
    let Some(number) = deployment.release else {
        return Some(Event::Returned { serving: None });
    };
    let Some(new) = stored_release(px, deployment, number).await? else {
        return Some(Event::Returned { serving: None });
    };
    if deployment.from_release == Some(number) {
        // It went to where it was: there is nothing else to go back to.
        px.parts()
            .fleet
            .calm_down(&new.service_name(&px.config().instance));
        return Some(Event::Returned { serving: None });
    }
    let former = match deployment.from_release {
        Some(number) => stored_release(px, deployment, number).await?,
        None => None,
    };
    Back::begin(px, deployment, new, former)
        .await?
        .run(deployment)
        .await
}

struct Back<'a> {
    px: &'a Platform,
    new: String,
    former: Option<Release>,
    old: Option<String>,
    seen: ReturnSeen,
    refusals: u32,
    asked_at: Option<Instant>,
    going_since: Option<Instant>,
}

impl<'a> Back<'a> {
    async fn begin(
        px: &'a Platform,
        deployment: &Deployment,
        new: Release,
        former: Option<Release>,
    ) -> Option<Self> {
        let instance = &px.config().instance;
        let new = new.service_name(instance);
        let old = former.as_ref().map(|former| former.service_name(instance));
        let services = services(px).await?;
        let asked = |name: &str| {
            let found = services.iter().find(|service| service.name == name);
            found.map_or(0, |service| service.wanted_replicas)
        };
        let plan = deployment.plan();
        let progress = deployment.progress;
        let seen = ReturnSeen {
            former: plan.former,
            touched: progress.touched,
            stop_first: plan.stop_first,
            // Only `recreate` leaves a choice: otherwise the former release still runs, and taking
            // its traffic away would help nobody.
            wanted_back: deployment.auto_rollback || deployment.strategy != Strategy::Recreate,
            old_asked: old.as_deref().map_or(0, asked),
            // A service scaled to nothing is still there to be removed.
            new_asked: asked(&new).max(u32::from(services.iter().any(|s| s.name == new))),
            share: (!progress.touched).then_some(Share::NONE),
            ..ReturnSeen::default()
        };
        Some(Self {
            px,
            new,
            former,
            old,
            seen,
            refusals: 0,
            asked_at: None,
            going_since: None,
        })
    }

    async fn run(mut self, deployment: &mut Deployment) -> Option<Event> {
        loop {
            self.look(deployment).await?;
            match go_back(&self.seen) {
                ReturnDecision::Hold => {
                    self.shift(deployment, Some(Shift::Hold)).await?;
                    (self.seen.held, self.seen.share) = (true, None);
                }
                ReturnDecision::ScaleOld(to) => self.scale_old(deployment, to).await?,
                ReturnDecision::AwaitOldReady => self.wait_for_old(deployment).await?,
                ReturnDecision::Deactivate => self.settle(deployment).await?,
                ReturnDecision::GiveBack => {
                    self.settle(deployment).await?;
                    self.shift(deployment, None).await?;
                    (self.seen.held, self.seen.share) = (false, Some(Share::NONE));
                }
                ReturnDecision::DrainNew => {
                    if self.seen.touched {
                        let seconds = deployment.settings.rollout.drain_seconds;
                        traffic::drain(self.px, &self.new, seconds).await?;
                    }
                    self.seen.new_drained = true;
                }
                ReturnDecision::RemoveNew => self.remove_new().await?,
                ReturnDecision::AwaitNewGone => self.wait_for_new_to_go().await?,
                ReturnDecision::Done { serving } => {
                    if let Some(old) = &self.old {
                        self.px.parts().fleet.calm_down(old);
                    }
                    let serving = serving.then_some(deployment.from_release).flatten();
                    return Some(Event::Returned { serving });
                }
            }
        }
    }

    async fn look(&mut self, deployment: &Deployment) -> Option<()> {
        let fleet = &self.px.parts().fleet;
        if let Some(old) = &self.old {
            self.seen.old_ready = fleet.ready_count(old);
        }
        let active = cleanup::active(self.px, deployment).await?;
        self.seen.activated = active == deployment.release;
        if self.seen.stop_first && self.seen.new_asked == 0 {
            self.seen.new_left = self.tasks_left().await;
        }
        Some(())
    }

    async fn tasks_left(&self) -> u32 {
        match self.px.parts().engine.tasks(&self.new).await {
            Ok(tasks) => {
                let left = tasks.iter().filter(|task| task.state.may_run()).count();
                u32::try_from(left).unwrap_or(u32::MAX)
            }
            Err(_) => 1,
        }
    }

    async fn scale_old(&mut self, deployment: &Deployment, to: u32) -> Option<()> {
        let Some(former) = &self.former else {
            self.seen.old_given_up = true;
            return Some(());
        };
        match services::set_replicas(self.px, former, to, deployment).await {
            Ok(()) => {
                self.seen.old_asked = to;
                self.asked_at = Some(Instant::now());
                self.px.parts().fleet.look_now();
                return Some(());
            }
            Err(error) => {
                let number = former.number;
                let text = format!("release {number} could not be started again yet: {error}");
                report::progress(self.px, deployment, Level::Error, text);
                self.refusals += u32::from(!error.is_transient());
                self.seen.old_given_up = self.refusals >= REFUSALS;
            }
        }
        pause(self.px, Duration::from_secs(1)).await
    }

    /// Without it the app is down. If it does not become healthy, the reconciler and Swarm go on
    /// trying.
    async fn wait_for_old(&mut self, deployment: &Deployment) -> Option<()> {
        let Some(former) = &self.former else {
            self.seen.old_given_up = true;
            return Some(());
        };
        let began = *self.asked_at.get_or_insert_with(Instant::now);
        let seconds = u64::from(former.settings.health.deadline_seconds);
        if began.elapsed() >= Duration::from_secs(seconds) {
            let number = former.number;
            let text = format!("release {number} was started again but is not healthy yet");
            report::progress(self.px, deployment, Level::Error, text);
            self.seen.old_given_up = true;
            return Some(());
        }
        let mut changes = self.px.parts().fleet.changes();
        tokio::select! {
            () = self.px.stopping().cancelled() => None,
            _ = changes.changed() => Some(()),
            () = tokio::time::sleep(Duration::from_millis(100)) => Some(()),
        }
    }

    /// The store says what is to serve, before anybody is told.
    async fn settle(&mut self, deployment: &Deployment) -> Option<()> {
        let comes_back = self.seen.wanted_back || !self.seen.stop_first;
        let wanted = if comes_back || !self.seen.touched {
            deployment.from_release
        } else {
            // It was stopped, and is to stay so: the reconciler must not start it again.
            None
        };
        if cleanup::active(self.px, deployment).await? != wanted {
            activate(self.px, deployment, wanted).await?;
            if deployment.progress.former.is_none() {
                cleanup::set_mode(self.px, deployment, deployment.progress.former_mode).await?;
            }
        }
        self.seen.activated = false;
        Some(())
    }

    async fn shift(&self, deployment: &Deployment, shift: Option<Shift>) -> Option<()> {
        let routes = &self.px.parts().routes;
        routes.set_shift(&deployment.app, &deployment.environment, shift);
        if !self.seen.touched {
            routes.refresh(self.px).await;
            return Some(());
        }
        // The new release is removed only when no ingress sends it requests any more, or none can
        // be asked.
        match traffic::publish(self.px).await {
            Err(Stop::Interrupted | Stop::Waiting) => None,
            Ok(()) | Err(Stop::Failed(_)) => Some(()),
        }
    }

    async fn remove_new(&mut self) -> Option<()> {
        self.px.parts().fleet.forget(&self.new);
        match services::remove_service(self.px, &self.new).await {
            Ok(()) => {
                self.seen.new_asked = 0;
                self.going_since = Some(Instant::now());
                // Not known yet; looked at next.
                self.seen.new_left = u32::from(self.seen.stop_first);
                return Some(());
            }
            Err(error) => {
                tracing::warn!(error = %error, service = self.new, "a failed release could not be removed yet");
                self.refusals += u32::from(!error.is_transient());
                // Nobody wants it: what cannot be removed now is removed by the reconciler. Only
                // where the two must not run at once is it worth waiting for.
                if !self.seen.stop_first || self.refusals >= REFUSALS {
                    self.seen.new_asked = 0;
                    self.going_since = Some(Instant::now());
                    return Some(());
                }
            }
        }
        pause(self.px, Duration::from_secs(1)).await
    }

    async fn wait_for_new_to_go(&mut self) -> Option<()> {
        let since = *self.going_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= GOING {
            tracing::warn!(
                service = self.new,
                "replicas of a failed release do not stop"
            );
            self.seen.stop_first = false;
            return Some(());
        }
        pause(self.px, Duration::from_millis(100)).await
    }
}

async fn services(px: &Platform) -> Option<Vec<crate::ports::ServiceState>> {
    loop {
        match px.parts().engine.services().await {
            Ok(services) => return Some(services),
            Err(error) => tracing::warn!(error = %error, "the services cannot be read yet"),
        }
        pause(px, Duration::from_secs(1)).await?;
    }
}

/// What the store knows of a release, however long it takes. `None` if the platform stops.
pub(super) async fn stored_release(
    px: &Platform,
    deployment: &Deployment,
    number: ReleaseNo,
) -> Option<Option<Release>> {
    loop {
        match px
            .parts()
            .store
            .release(&deployment.app, &deployment.environment, number)
            .await
        {
            Ok(found) => return Some(found),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a release could not be read"
            ),
        }
        pause(px, Duration::from_secs(1)).await?;
    }
}

async fn activate(
    px: &Platform,
    deployment: &Deployment,
    release: Option<ReleaseNo>,
) -> Option<()> {
    let switch = Switch {
        active: release,
        standby: None,
        probation: None,
    };
    loop {
        match px
            .parts()
            .store
            .switch_release(&deployment.app, &deployment.environment, &switch)
            .await
        {
            Ok(()) => return Some(()),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the active release could not be stored"
            ),
        }
        pause(px, Duration::from_secs(1)).await?;
    }
}

pub(super) async fn pause(px: &Platform, for_so_long: Duration) -> Option<()> {
    tokio::select! {
        () = px.stopping().cancelled() => None,
        () = tokio::time::sleep(for_so_long) => Some(()),
    }
}
