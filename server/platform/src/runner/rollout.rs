//! The deploy phase: look, decide, do one thing, look again.

use std::time::Duration;

use flukedeploy_domain::app::{Probation, Standby};
use flukedeploy_domain::deployment::rollout::{Decision, Plan, Seen, Share, WhyBack, decide};
use flukedeploy_domain::deployment::{
    Deployment, HealthStatus, PhaseName, Source, State, Strategy,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::release::{Release, ReleaseNo};
use tokio::time::Instant;

use super::drive::{Stop, cancelled, save};
use super::phases::{internal, with_patience};
use super::queue::Steering;
use super::traffic::{self, Counts, Pair};
use super::{acts, diagnose, prove, report, service_spec, services, spec};
use crate::platform::Platform;
use crate::ports::{EngineError, Switch};
use crate::routes::Shift;

const PHASE: PhaseName = PhaseName::Deploy;
/// How often a canary is looked at.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// How long a former release may take to stop beyond its grace.
const STOPPING: Duration = Duration::from_secs(30);

pub(super) async fn deploy(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    if !deployment.source.makes_release() {
        return acts::run(px, deployment).await;
    }
    let release = release_of(px, deployment).await?;
    let mut rollout = Rollout::begin(px, deployment, &release).await?;
    rollout.run(deployment).await?;
    prove::served(px, deployment, &release).await
}

/// What the traffic was like when a deployment was interrupted, as far as its progress tells.
pub(crate) fn shift_after_restart(
    deployment: &Deployment,
    active: Option<ReleaseNo>,
) -> Option<Shift> {
    let progress = deployment.progress;
    let is_active = active.is_some() && active == deployment.release;
    if !progress.touched || is_active || !deployment.source.makes_release() {
        return None;
    }
    let plan = deployment.plan();
    match &deployment.state {
        State::Returning { .. } | State::Running { phase: PHASE } if plan.stop_first => {
            Some(Shift::Hold)
        }
        State::Running { phase: PHASE } => split(deployment, progress.given?),
        _ => None,
    }
}

fn split(deployment: &Deployment, share: Share) -> Option<Shift> {
    let (new, old) = (deployment.release?, deployment.from_release?);
    let is_canary = deployment.strategy == Strategy::Canary;
    Some(Shift::Split {
        weights: vec![(old, share.of.saturating_sub(share.new)), (new, share.new)],
        on_trial: is_canary.then_some(new),
        testers: deployment
            .settings
            .rollout
            .canary
            .testers
            .clone()
            .filter(|_| is_canary),
    })
}

pub(super) async fn release_of(px: &Platform, deployment: &Deployment) -> Result<Release, Stop> {
    let Some(number) = deployment.release else {
        return Err(internal(PHASE, &"the deployment has no release").into());
    };
    match stored(px, deployment, number).await? {
        Some(release) => Ok(release),
        None => Err(internal(PHASE, &"the release is not stored").into()),
    }
}

pub(super) async fn stored(
    px: &Platform,
    deployment: &Deployment,
    number: ReleaseNo,
) -> Result<Option<Release>, Stop> {
    px.parts()
        .store
        .release(&deployment.app, &deployment.environment, number)
        .await
        .map_err(|error| internal(PHASE, &error).into())
}

/// One rollout in this process: what cannot be read from elsewhere.
pub(super) struct Rollout<'a> {
    pub(super) px: &'a Platform,
    pub(super) plan: Plan,
    pub(super) release: &'a Release,
    former: Option<Release>,
    pub(super) pair: Pair,
    steering: Steering,
    new_asked: u32,
    old_asked: u32,
    share: Option<Share>,
    held: bool,
    /// Since when the new release has had what it was last asked for, and last got better.
    asked_at: Instant,
    best: (u32, Instant),
    /// A canary's window: its beginning and what was counted then.
    pub(super) window: Option<(Instant, Counts)>,
    told: Option<String>,
    verdict: Option<Diagnosis>,
}

impl<'a> Rollout<'a> {
    async fn begin(
        px: &'a Platform,
        deployment: &mut Deployment,
        release: &'a Release,
    ) -> Result<Self, Stop> {
        let former = match deployment.from_release.filter(|n| *n != release.number) {
            Some(number) => stored(px, deployment, number).await?,
            None => None,
        };
        // Repeated after a crash, the traffic may have been moved already: it is not moved back.
        let active = super::cleanup::active(px, deployment)
            .await
            .ok_or(Stop::Interrupted)?;
        deployment.progress.activated = active == Some(release.number);
        let pair = Pair::of(px, deployment, release);
        let fleet = &px.parts().fleet;
        let wanted = release.settings.replicas;
        let warm =
            fleet.ready_count(&pair.new) >= wanted && fleet.wanted_count(&pair.new) == wanted;
        let (new_asked, old_asked) = if warm {
            // It stands by: all that is to be known is known.
            let old = pair.old.as_deref().map_or(0, |old| fleet.wanted_count(old));
            (wanted, old)
        } else {
            let services = with_patience(px, PHASE, || px.parts().engine.services()).await?;
            let asked = |name: &str| {
                let found = services.iter().find(|service| service.name == name);
                found.map_or(0, |service| service.wanted_replicas)
            };
            (asked(&pair.new), pair.old.as_deref().map_or(0, asked))
        };
        if new_asked > 0 {
            fleet.watch(&pair.new, release, true);
        }
        let now = Instant::now();
        Ok(Self {
            plan: deployment.plan(),
            release,
            former,
            steering: px.parts().runner.steering(&deployment.id),
            new_asked,
            old_asked,
            share: (!deployment.progress.touched).then_some(Share::NONE),
            held: false,
            asked_at: now,
            best: (0, now),
            window: None,
            told: None,
            verdict: None,
            pair,
            px,
        })
    }

    async fn run(&mut self, deployment: &mut Deployment) -> Result<(), Stop> {
        let mut changes = self.px.parts().fleet.changes();
        let mut wishes = self.steering.wishes.subscribe();
        loop {
            changes.mark_unchanged();
            deployment.wishes = wishes.borrow_and_update().clone();
            let seen = self.look(deployment).await?;
            let decision = decide(&self.plan, deployment.progress, &seen);
            if matches!(decision, Decision::Judge | Decision::Stay) {
                // This may take hours; events tell of what dies meanwhile.
                self.px.parts().fleet.calm_down(&self.pair.new);
            }
            match decision {
                Decision::Hold => self.hold(deployment).await?,
                Decision::ScaleOld(to) => self.scale_old(deployment, to).await?,
                Decision::ScaleNew(to) => self.scale_new(deployment, to).await?,
                Decision::Give(share) => self.give(deployment, share).await?,
                Decision::NextStep => self.next_step(deployment).await?,
                Decision::Activate => {
                    report::health(self.px, deployment, HealthStatus::Healthy, seen.new_ready);
                    return self.activate(deployment).await;
                }
                // Done before a restart; whether the ingress heard of it is not known.
                Decision::Done => {
                    self.shift(deployment, None).await?;
                    self.px.parts().fleet.calm_down(&self.pair.new);
                    return Ok(());
                }
                Decision::GoBack(why) => return Err(self.failed(deployment, why).into()),
                Decision::Stay => {
                    let text =
                        "The rollout stays at this step until it is resumed, promoted or aborted";
                    self.tell(deployment, text);
                    self.wait(&mut changes, &mut wishes, Duration::from_secs(1))
                        .await?;
                }
                Decision::Judge => self.wait(&mut changes, &mut wishes, JUDGE_EVERY).await?,
                // Some verdicts ripen with time alone.
                Decision::AwaitReady(_) => {
                    self.wait(&mut changes, &mut wishes, Duration::from_secs(1))
                        .await?;
                }
                Decision::AwaitOldGone => {
                    self.px.parts().fleet.look_now();
                    self.wait(&mut changes, &mut wishes, Duration::from_millis(100))
                        .await?;
                }
            }
        }
    }

    async fn wait(
        &self,
        changes: &mut tokio::sync::watch::Receiver<u64>,
        wishes: &mut tokio::sync::watch::Receiver<flukedeploy_domain::deployment::Wishes>,
        at_most: Duration,
    ) -> Result<(), Stop> {
        tokio::select! {
            _ = changes.changed() => Ok(()),
            _ = wishes.changed() => Ok(()),
            () = tokio::time::sleep(at_most) => Ok(()),
            () = self.steering.cancel.cancelled() => Ok(()),
            () = self.px.stopping().cancelled() => Err(Stop::Interrupted),
        }
    }

    async fn look(&mut self, deployment: &mut Deployment) -> Result<Seen, Stop> {
        let fleet = &self.px.parts().fleet;
        let steady =
            Duration::from_secs(u64::from(self.release.settings.health.min_healthy_seconds));
        let new_ready = fleet.steady_count(&self.pair.new, steady);
        let (old_ready, old_left) = match self.pair.old.as_deref() {
            Some(old) => {
                let may_run = |task: &&crate::ports::Task| task.state.may_run();
                let left = fleet.service(old).tasks.iter().filter(may_run).count();
                (
                    fleet.ready_count(old),
                    u32::try_from(left).unwrap_or(u32::MAX),
                )
            }
            None => (0, 0),
        };
        if new_ready > self.best.0 {
            self.best = (new_ready, Instant::now());
        }
        self.note_ready(deployment, new_ready).await?;
        let step = deployment.progress.step;
        let mut seen = Seen {
            new_asked: self.new_asked,
            new_ready,
            old_asked: self.old_asked,
            old_ready,
            old_left,
            share: self.share,
            held: self.held,
            judgement: None,
            hopeless: false,
            cancelled: self.steering.cancel.is_cancelled(),
            paused: deployment.wishes.paused,
            promoted: deployment.wishes.promoted_step == Some(step),
        };
        match decide(&self.plan, deployment.progress, &seen) {
            Decision::AwaitReady(_) => {
                let late = self.is_late();
                let view = fleet.service(&self.pair.new);
                self.verdict = diagnose::hopeless(self.px, self.release, &view, late).await;
                seen.hopeless = self.verdict.is_some();
            }
            Decision::Judge => seen.judgement = self.judge(deployment).await?,
            _ => {}
        }
        Ok(seen)
    }

    async fn note_ready(&self, deployment: &mut Deployment, ready: u32) -> Result<(), Stop> {
        let wanted = self.release.settings.replicas;
        if ready.min(wanted) == deployment.replicas_ready {
            return Ok(());
        }
        deployment.replicas_ready = ready.min(wanted);
        deployment.health_status = if ready >= wanted {
            HealthStatus::Healthy
        } else {
            HealthStatus::Starting
        };
        self.save(deployment).await?;
        self.px.parts().runner.announce(&deployment.id);
        Ok(())
    }

    /// A replica had its time from when it was asked for, or the whole has not moved for too long.
    fn is_late(&self) -> bool {
        let gate = &self.release.settings.health;
        let since = self.asked_at.max(self.best.1);
        let view = self.px.parts().fleet.service(&self.pair.new);
        let wanted = || view.tasks.iter().filter(|task| task.wanted);
        let runs = wanted().any(|task| {
            task.container_id.is_some() || task.state == crate::ports::TaskState::Running
        });
        let is_placed = wanted().any(|task| task.node_id.is_some());
        // Between being placed and its start lies what the node does: pulling, above all. What has
        // not even been placed shows the engine's words.
        let seconds = if is_placed && !runs {
            gate.progress_deadline()
        } else {
            gate.deadline_seconds
        };
        since.elapsed() >= Duration::from_secs(u64::from(seconds))
    }

    async fn hold(&mut self, deployment: &mut Deployment) -> Result<(), Stop> {
        self.touch(deployment).await?;
        self.shift(deployment, Some(Shift::Hold)).await?;
        (self.held, self.share) = (true, None);
        let seconds = self.release.settings.rollout.hold_seconds;
        report::progress(
            self.px,
            deployment,
            Level::Info,
            format!(
                "New requests wait at the ingress (up to {seconds} s) while the release is replaced"
            ),
        );
        Ok(())
    }

    async fn scale_old(&mut self, deployment: &mut Deployment, to: u32) -> Result<(), Stop> {
        self.touch(deployment).await?;
        let Some(old) = self.former.clone() else {
            self.old_asked = 0;
            return Ok(());
        };
        if to == 0 && self.plan.stop_first {
            self.stop_old(deployment, &old).await?;
        } else {
            acts::shrink(self.px, &old, to).await?;
            let text = format!("Release {} makes room: {to} replicas", old.number);
            report::progress(self.px, deployment, Level::Info, text);
        }
        self.old_asked = to;
        Ok(())
    }

    /// Requests wait already; those that are open get their answers first.
    async fn stop_old(&self, deployment: &Deployment, old: &Release) -> Result<(), Stop> {
        let text = format!("Release {} is stopped first (recreate)", old.number);
        report::progress(self.px, deployment, Level::Info, text);
        let service = old.service_name(&self.px.config().instance);
        let hold = old.settings.rollout.hold_seconds;
        // Half of what others may wait is spent on those who are inside.
        let drain = old.settings.rollout.drain_seconds.min(hold / 2);
        traffic::drain(self.px, &service, drain)
            .await
            .ok_or(Stop::Interrupted)?;
        with_patience(self.px, PHASE, || async {
            let _turn = self.px.parts().runner.service_changes.read().await;
            match self.px.parts().engine.scale_service(&service, 0).await {
                // Already gone is as good.
                Err(EngineError::NotFound { .. }) => Ok(()),
                result => result,
            }
        })
        .await?;
        self.px.parts().fleet.look_now();
        let deadline =
            Instant::now() + STOPPING + Duration::from_secs(u64::from(spec::STOP_GRACE_SECONDS));
        loop {
            let tasks =
                with_patience(self.px, PHASE, || self.px.parts().engine.tasks(&service)).await?;
            if tasks.iter().all(|task| !task.state.may_run()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(diagnose::will_not_stop(old.number).into());
            }
            tokio::select! {
                () = self.px.stopping().cancelled() => return Err(Stop::Interrupted),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    async fn scale_new(&mut self, deployment: &Deployment, to: u32) -> Result<(), Stop> {
        if self.new_asked == 0 {
            diagnose::volumes_are_free(self.px, self.release).await?;
        }
        if self.new_asked == 0 {
            let spec = service_spec(self.px, self.release, to, deployment.id.as_str());
            with_patience(self.px, PHASE, || {
                services::ensure_service(self.px, self.release, &spec)
            })
            .await?;
        } else {
            with_patience(self.px, PHASE, || {
                services::set_replicas(self.px, self.release, to, deployment)
            })
            .await?;
        }
        self.px.parts().fleet.look_now();
        self.new_asked = to;
        self.asked_at = Instant::now();
        Ok(())
    }

    async fn give(&mut self, deployment: &mut Deployment, share: Share) -> Result<(), Stop> {
        self.touch(deployment).await?;
        self.shift(deployment, split(deployment, share)).await?;
        self.share = Some(share);
        self.window = None;
        deployment.progress.given = Some(share);
        self.save(deployment).await?;
        self.px.parts().runner.announce(&deployment.id);
        let ready = deployment.replicas_ready;
        let text = format!(
            "{ready} of {} replicas are healthy; the new release gets {} % of the requests",
            self.plan.wanted,
            share.percent()
        );
        report::progress(self.px, deployment, Level::Info, text);
        Ok(())
    }

    async fn next_step(&mut self, deployment: &mut Deployment) -> Result<(), Stop> {
        deployment.progress.step += 1;
        self.window = None;
        self.told = None;
        let now = Instant::now();
        (self.asked_at, self.best.1) = (now, now);
        self.save(deployment).await?;
        self.px.parts().runner.announce(&deployment.id);
        Ok(())
    }

    async fn activate(&mut self, deployment: &mut Deployment) -> Result<(), Stop> {
        self.touch(deployment).await?;
        let (px, release) = (self.px, self.release);
        // The store first: whatever happens next, the new release is what the environment is.
        let switch = self.switch(deployment).await;
        let store = &px.parts().store;
        store
            .switch_release(&deployment.app, &deployment.environment, &switch)
            .await
            .map_err(|error| internal(PHASE, &error))?;
        deployment.progress.activated = true;
        // Whatever was wrong with the service of the former release is over.
        let (app, environment) = (&deployment.app, &deployment.environment);
        px.parts().drift.note(app, environment, Vec::new());
        if deployment.progress.former.is_none() {
            // Deploying to an app that was stopped starts it.
            let mode = flukedeploy_domain::app::RunMode::Running;
            store
                .set_mode(&deployment.app, &deployment.environment, mode)
                .await
                .map_err(|error| internal(PHASE, &error))?;
        }
        self.shift(deployment, None).await?;
        px.parts().fleet.calm_down(&self.pair.new);
        let text = format!("All new requests go to release {}", release.number);
        report::progress(px, deployment, Level::Info, text);
        Ok(())
    }

    async fn switch(&self, deployment: &Deployment) -> Switch {
        let now = self.px.now();
        let settings = &self.release.settings;
        let warm = settings.rollout.warm_seconds_for(deployment.strategy);
        // Without a time of its own it is only drained, and then goes.
        let standby = self.former.as_ref().map(|former| Standby {
            release: former.number,
            until: now + time::Duration::seconds(i64::from(warm)),
        });
        let objective = &settings.objective;
        // What the platform itself brought back is not taken away by it again: no loops.
        let by_itself = matches!(
            &deployment.source,
            Source::Release {
                because: Some(_),
                ..
            }
        );
        let watched = objective.probation_seconds > 0 && !by_itself && settings.expose_http;
        let probation = if watched {
            let counts = traffic::count(self.px, &self.pair)
                .await
                .unwrap_or_default();
            Some(Probation {
                release: self.release.number,
                deployment: deployment.id.clone(),
                until: now + time::Duration::seconds(i64::from(objective.probation_seconds)),
                former_errors_permille: counts.old.failed_permille(),
            })
        } else {
            None
        };
        Switch {
            active: Some(self.release.number),
            standby,
            probation,
        }
    }

    /// From here on there is something to go back from. Stored before it is so.
    async fn touch(&self, deployment: &mut Deployment) -> Result<(), Stop> {
        if deployment.progress.touched {
            return Ok(());
        }
        if let Some(counts) = traffic::count(self.px, &self.pair).await {
            self.px.parts().runner.began(&deployment.id, counts);
        }
        deployment.progress.touched = true;
        self.save(deployment).await
    }

    async fn shift(&self, deployment: &Deployment, shift: Option<Shift>) -> Result<(), Stop> {
        self.px
            .parts()
            .routes
            .set_shift(&deployment.app, &deployment.environment, shift);
        traffic::publish(self.px).await
    }

    async fn save(&self, deployment: &Deployment) -> Result<(), Stop> {
        if save(self.px, deployment).await {
            Ok(())
        } else {
            Err(Stop::Interrupted)
        }
    }

    pub(super) fn tell(&mut self, deployment: &Deployment, text: &str) {
        if self.told.as_deref() != Some(text) {
            self.told = Some(text.to_owned());
            report::progress(self.px, deployment, Level::Warn, text);
        }
    }

    fn failed(&mut self, deployment: &mut Deployment, why: WhyBack) -> Diagnosis {
        match why {
            WhyBack::Cancelled => cancelled(deployment, PHASE),
            WhyBack::Hopeless => {
                deployment.health_status = HealthStatus::Unhealthy;
                report::health(
                    self.px,
                    deployment,
                    HealthStatus::Unhealthy,
                    deployment.replicas_ready,
                );
                self.verdict
                    .take()
                    .unwrap_or_else(|| internal(PHASE, &"hopeless without a reason"))
            }
            WhyBack::Judged(how) => Diagnosis {
                code: Cause::CanaryFailed,
                phase: PHASE,
                message: "the new release did worse than the former one, and was taken back"
                    .to_owned(),
                evidence: Evidence {
                    traffic: Some(how),
                    ..Evidence::default()
                },
                next: vec![
                    "read what the new release printed while it was on trial".to_owned(),
                    "change rollout.canary if the new release is right to differ".to_owned(),
                ],
            },
        }
    }
}
