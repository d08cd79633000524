//! What to do next on the way back to the former release.

use super::decide::Share;

/// What is seen now. Counts are of replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent things that can be so or not"
)]
pub struct ReturnSeen {
    /// Replicas the former release had; `None`: nothing served before.
    pub former: Option<u32>,
    /// What served may have been changed.
    pub touched: bool,
    /// The former release was stopped before the new one started.
    pub stop_first: bool,
    /// The store still says that the new release is what the environment is.
    pub activated: bool,
    /// The former release is to serve again. Only a stopped one leaves a choice.
    pub wanted_back: bool,
    pub old_asked: u32,
    pub old_ready: u32,
    /// The former release will not come back soon: refused, or its deadline is over.
    pub old_given_up: bool,
    pub new_asked: u32,
    /// Replicas of the new release that may still run.
    pub new_left: u32,
    /// What the ingress confirmed; `None`: not known (after a restart), or everything is held.
    pub share: Option<Share>,
    /// The ingress confirmed that it holds every new request.
    pub held: bool,
    /// Open requests to the new release have ended, or had their time.
    pub new_drained: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnDecision {
    Hold,
    ScaleOld(u32),
    AwaitOldReady,
    /// Make the former release (or none) what the environment is.
    Deactivate,
    /// Take the new release's share away, and end the holding.
    GiveBack,
    DrainNew,
    RemoveNew,
    AwaitNewGone,
    /// It is over; `serving`: the former release serves because of this.
    Done {
        serving: bool,
    },
}

/// The next thing to do. Deciding twice, or after a restart, does no harm.
pub fn go_back(seen: &ReturnSeen) -> ReturnDecision {
    let Some(former) = seen.former else {
        return nothing_served(seen);
    };
    let comes_back = seen.wanted_back || !seen.stop_first;
    let serving = comes_back && seen.touched && !seen.old_given_up;
    if seen.stop_first && seen.touched {
        // The two must not run beside each other, this way round either.
        if !seen.held && seen.share != Some(Share::NONE) {
            return ReturnDecision::Hold;
        }
        if seen.new_asked > 0 {
            return ReturnDecision::RemoveNew;
        }
        if seen.new_left > 0 {
            return ReturnDecision::AwaitNewGone;
        }
    }
    if comes_back && seen.old_asked < former && !seen.old_given_up {
        return ReturnDecision::ScaleOld(former);
    }
    // A little of the former release is better than the new one, which just failed; nothing of it
    // is not.
    if comes_back && seen.old_ready == 0 && !seen.old_given_up {
        return ReturnDecision::AwaitOldReady;
    }
    if seen.activated {
        return ReturnDecision::Deactivate;
    }
    if seen.share != Some(Share::NONE) {
        return ReturnDecision::GiveBack;
    }
    if seen.new_asked > 0 {
        return if seen.new_drained {
            ReturnDecision::RemoveNew
        } else {
            ReturnDecision::DrainNew
        };
    }
    ReturnDecision::Done { serving }
}

fn nothing_served(seen: &ReturnSeen) -> ReturnDecision {
    if seen.activated {
        ReturnDecision::Deactivate
    } else if seen.share != Some(Share::NONE) {
        ReturnDecision::GiveBack
    } else if seen.new_asked > 0 {
        ReturnDecision::RemoveNew
    } else {
        ReturnDecision::Done { serving: false }
    }
}
