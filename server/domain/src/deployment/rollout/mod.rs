//! The deploy phase as pure code: a plan of steps, and what to do next given what is seen.
//!
//! Nothing here knows how long a call takes or whether it succeeds. The runner looks, asks
//! [`decide`], does that one thing, and looks again; after a crash it does the same with the
//! [`Progress`] that was stored. Whatever is decided may therefore be decided twice.

mod canary;
mod decide;
mod go_back;
mod plan;

pub use canary::{Judgement, broken_promise, judge};
pub use decide::{Decision, Progress, Seen, Share, WhyBack, decide};
pub use go_back::{ReturnDecision, ReturnSeen, go_back};
pub use plan::{Plan, Step};

#[cfg(test)]
mod world;
