//! A canary on trial: what the ingress counted since it got its share, and what follows from that.

use std::time::Duration;

use flukedeploy_domain::app::WhenQuiet;
use flukedeploy_domain::deployment::Deployment;
use flukedeploy_domain::deployment::rollout::{Judgement, judge};
use flukedeploy_domain::log_entry::Level;
use tokio::time::Instant;

use super::drive::Stop;
use super::rollout::Rollout;
use super::{report, traffic};

impl Rollout<'_> {
    pub(super) async fn judge(
        &mut self,
        deployment: &mut Deployment,
    ) -> Result<Option<Judgement>, Stop> {
        let settings = &self.release.settings.rollout.canary;
        let Some(now) = traffic::count(self.px, &self.pair).await else {
            // No ingress to ask: nothing is known, and nothing is decided.
            return Ok(None);
        };
        let Some((began, before)) = &self.window else {
            self.window = Some((Instant::now(), now));
            return Ok(None);
        };
        let seen = now.since(before);
        let is_over = began.elapsed() >= Duration::from_secs(u64::from(settings.step_seconds));
        let judgement = judge(settings, &seen.new, &seen.old, is_over);
        match &judgement {
            Judgement::Fine => {
                let share =
                    self.plan.steps[usize::try_from(deployment.progress.step).unwrap_or(0)].share;
                let text = format!(
                    "The canary passed at {} %: {} of its {} requests failed, {} of {} of the former release",
                    share.percent(),
                    seen.new.failed,
                    seen.new.requests,
                    seen.old.failed,
                    seen.old.requests
                );
                report::progress(self.px, deployment, Level::Info, text);
            }
            Judgement::Quiet => return self.quiet(deployment, seen.new.requests).await,
            Judgement::Undecided | Judgement::Worse(_) => {}
        }
        Ok(Some(judgement))
    }

    async fn quiet(
        &mut self,
        deployment: &mut Deployment,
        requests: u64,
    ) -> Result<Option<Judgement>, Stop> {
        let settings = &self.release.settings.rollout.canary;
        let few = format!(
            "The canary got {requests} requests in {} s; {} are needed to judge it",
            settings.step_seconds, settings.min_requests
        );
        Ok(Some(match settings.when_quiet {
            WhenQuiet::Wait => {
                self.tell(deployment, &format!("{few}; waiting for more"));
                Judgement::Undecided
            }
            WhenQuiet::Promote => {
                self.tell(deployment, &format!("{few}; promoted, as configured"));
                Judgement::Fine
            }
            WhenQuiet::Pause => {
                self.tell(deployment, &format!("{few}; paused"));
                crate::deployments::pause_for_quiet(self.px, deployment).await;
                // Resumed, it gets a window of its own.
                self.window = None;
                Judgement::Quiet
            }
        }))
    }
}
