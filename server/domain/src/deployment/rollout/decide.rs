//! What to do next on the way to the new release.

use serde::{Deserialize, Serialize};

use super::canary::Judgement;
use super::plan::Plan;
use crate::app::RunMode;

/// The new release's share of the requests: `new` of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub new: u32,
    pub of: u32,
}

impl Share {
    pub const ALL: Self = Self { new: 1, of: 1 };
    pub const NONE: Self = Self { new: 0, of: 1 };

    /// Rounded to whole percents.
    pub fn percent(self) -> u32 {
        (self.new * 100).div_ceil(self.of.max(1))
    }
}

/// How far a rollout has come. Stored before each step, so that a restart goes on from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Index into the plan's steps.
    pub step: u32,
    /// What serves may have been changed: going back has something to do.
    pub touched: bool,
    /// What the new release gets, as the ingress last confirmed; `None`: nothing yet.
    pub given: Option<Share>,
    /// The store says that the new release is what the environment is.
    pub activated: bool,
    /// Replicas the former release had at the beginning; `None` if nothing served.
    pub former: Option<u32>,
    /// What the environment was meant to do before.
    pub former_mode: RunMode,
}

/// What is seen now. Counts are of replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent things that can be so or not"
)]
pub struct Seen {
    /// The new release's service was asked to have so many; 0 if there is none.
    pub new_asked: u32,
    /// Healthy for long enough.
    pub new_ready: u32,
    pub old_asked: u32,
    pub old_ready: u32,
    /// Replicas of the former release that may still run.
    pub old_left: u32,
    /// What the ingress confirmed; `None`: not known (after a restart), or everything is held.
    pub share: Option<Share>,
    /// The ingress confirmed that it holds every new request.
    pub held: bool,
    /// The new release against the former one, since it got this step's share.
    pub judgement: Option<Judgement>,
    /// It is clear that the new release will not become healthy.
    pub hopeless: bool,
    pub cancelled: bool,
    /// Somebody wants it to stay where it is.
    pub paused: bool,
    /// Somebody wants this step taken without judgement.
    pub promoted: bool,
}

/// One thing to do, or to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let every new request wait at the ingress.
    Hold,
    ScaleOld(u32),
    AwaitOldGone,
    ScaleNew(u32),
    AwaitReady(u32),
    Give(Share),
    /// Go on measuring.
    Judge,
    /// Too little traffic to judge, or somebody paused it: stay until told otherwise.
    Stay,
    NextStep,
    /// Make the new release what the environment is, and give it everything.
    Activate,
    /// The phase is over.
    Done,
    GoBack(WhyBack),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyBack {
    Cancelled,
    Hopeless,
    /// The canary did worse; how, in words.
    Judged(String),
}

/// The next thing to do. Deciding twice, or after a restart, does no harm.
pub fn decide(plan: &Plan, progress: Progress, seen: &Seen) -> Decision {
    if seen.cancelled {
        return Decision::GoBack(WhyBack::Cancelled);
    }
    if progress.activated {
        return Decision::Done;
    }
    if seen.hopeless {
        return Decision::GoBack(WhyBack::Hopeless);
    }
    let last = plan.steps.len().saturating_sub(1);
    let index = usize::try_from(progress.step).unwrap_or(last).min(last);
    let step = plan.steps[index];
    if plan.stop_first {
        if !seen.held {
            return Decision::Hold;
        }
        if seen.old_asked > 0 {
            return Decision::ScaleOld(0);
        }
        if seen.old_left > 0 {
            return Decision::AwaitOldGone;
        }
    }
    // Nothing serves while a recreate is under way: that is no place to stay.
    let may_stay = !plan.stop_first && plan.former.is_some();
    if seen.paused && may_stay && !seen.promoted {
        return Decision::Stay;
    }
    if seen.new_asked < step.new {
        return Decision::ScaleNew(step.new);
    }
    if seen.new_ready < step.new {
        return Decision::AwaitReady(step.new);
    }
    if index == last {
        return Decision::Activate;
    }
    if step.share.new > 0 && seen.share != Some(step.share) {
        return Decision::Give(step.share);
    }
    if step.judged && !seen.promoted {
        match &seen.judgement {
            None | Some(Judgement::Undecided) => return Decision::Judge,
            Some(Judgement::Quiet) => return Decision::Stay,
            Some(Judgement::Worse(how)) => {
                return Decision::GoBack(WhyBack::Judged(how.clone()));
            }
            Some(Judgement::Fine) => {}
        }
    }
    if seen.old_asked > step.old {
        let removed = seen.old_asked - step.old;
        let left = seen.new_ready + seen.old_ready.saturating_sub(removed);
        // Where the former release is sick, replacing it is the cure; else the floor holds.
        if seen.old_ready < seen.old_asked || left >= plan.floor() {
            return Decision::ScaleOld(step.old);
        }
        return Decision::AwaitReady(step.new);
    }
    Decision::NextStep
}
