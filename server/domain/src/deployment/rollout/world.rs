//! A world in which everything can go wrong, for the promises of the deploy phase: whatever order
//! cancels, crashes, deaths of replicas and health answers come in, a rollout ends, and it ends
//! truly.

use proptest::prelude::*;

use super::*;
use crate::app::{Quantity, RolloutSettings};
use crate::deployment::record::Strategy as Way;

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The runner takes its turn.
    Turn,
    /// Replicas that are starting come up, or do not.
    Settle,
    NewDies,
    OldDies,
    Cancel,
    Pause,
    Resume,
    Promote,
    /// The control plane dies and starts again: it knows what was stored, and nothing else.
    Crash,
    Deadline,
    JudgedFine,
    JudgedWorse,
    JudgedQuiet,
}

#[derive(Debug, Clone, Copy, Default)]
struct Side {
    asked: u32,
    ready: u32,
    /// Told to stop, and still there.
    leaving: u32,
}

impl Side {
    fn scale(&mut self, to: u32) {
        self.leaving += (self.ready + self.leaving).saturating_sub(to + self.leaving);
        self.ready = self.ready.min(to);
        self.asked = to;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    RolledBack,
    Failed,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent things that can be so or not"
)]
struct World {
    plan: Plan,
    good: bool,
    new: Side,
    old: Side,
    // What the ingress really does, which outlives the control plane.
    share: Share,
    held: bool,
    // What is stored.
    progress: Progress,
    returning: bool,
    active_is_new: bool,
    ends: Vec<End>,
    // What the running control plane knows.
    known_share: Option<Share>,
    known_held: bool,
    drained: bool,
    // Wishes are stored.
    cancelled: bool,
    paused: bool,
    promoted: bool,
    hopeless: bool,
    old_given_up: bool,
    judgement: Option<Judgement>,
    auto_rollback: bool,
    deaths: u32,
}

impl World {
    fn serving(&self) -> u32 {
        let old = if self.share == Share::ALL {
            0
        } else {
            self.old.ready
        };
        let new = if self.share.new > 0 {
            self.new.ready
        } else {
            0
        };
        old + new
    }

    fn settle(&mut self) {
        if self.good {
            self.new.ready = self.new.asked;
        }
        self.old.ready = self.old.asked;
        (self.new.leaving, self.old.leaving) = (0, 0);
        self.deaths = 0;
    }

    fn crash(&mut self) {
        (self.known_share, self.known_held, self.drained) = (None, false, false);
        (self.hopeless, self.old_given_up, self.judgement) = (false, false, None);
    }

    fn fate(&mut self, fate: Fate) {
        if !self.ends.is_empty() {
            return;
        }
        match fate {
            Fate::Turn => self.turn(),
            Fate::Settle => self.settle(),
            Fate::NewDies => self.new.ready = self.new.ready.saturating_sub(1),
            Fate::OldDies => {
                self.deaths += u32::from(self.old.ready > 0);
                self.old.ready = self.old.ready.saturating_sub(1);
            }
            Fate::Cancel => self.cancelled = true,
            Fate::Pause => self.paused = true,
            Fate::Resume => self.paused = false,
            Fate::Promote => self.promoted = true,
            Fate::Crash => self.crash(),
            // Its time begins when it was asked to start.
            Fate::Deadline if self.returning => {
                self.old_given_up |=
                    self.old.ready == 0 && Some(self.old.asked) == self.plan.former;
            }
            Fate::Deadline => self.hopeless = self.new.ready < self.new.asked,
            Fate::JudgedFine => self.judgement = Some(Judgement::Fine),
            Fate::JudgedWorse => self.judgement = Some(Judgement::Worse("worse".to_owned())),
            Fate::JudgedQuiet => self.judgement = Some(Judgement::Quiet),
        }
    }

    fn turn(&mut self) {
        if !self.ends.is_empty() {
            return;
        }
        if self.returning {
            self.turn_back();
        } else {
            self.turn_forward();
        }
    }

    fn turn_forward(&mut self) {
        let seen = Seen {
            new_asked: self.new.asked,
            new_ready: self.new.ready,
            old_asked: self.old.asked,
            old_ready: self.old.ready,
            old_left: self.old.leaving + self.old.ready,
            share: self.known_share,
            held: self.known_held,
            judgement: self.judgement.clone(),
            hopeless: self.hopeless,
            cancelled: self.cancelled,
            paused: self.paused,
            promoted: self.promoted,
        };
        let (before, healthy_old) = (self.serving(), self.old.ready == self.old.asked);
        match decide(&self.plan, self.progress, &seen) {
            Decision::Hold => {
                self.progress.touched = true;
                (self.held, self.known_held) = (true, true);
                self.known_share = None;
            }
            Decision::ScaleOld(to) => {
                self.progress.touched = true;
                self.old.scale(to);
                if healthy_old && !self.plan.stop_first {
                    assert!(
                        self.new.ready + self.old.ready >= self.plan.floor(),
                        "below the floor: {} + {} of {:?}",
                        self.new.ready,
                        self.old.ready,
                        self.plan
                    );
                }
            }
            Decision::ScaleNew(to) => {
                if self.plan.stop_first {
                    assert_eq!(self.old.ready + self.old.leaving, 0, "both run");
                }
                self.new.scale(to);
            }
            Decision::Give(share) => {
                assert!(self.new.ready > 0 && share.new < share.of);
                self.progress.touched = true;
                (self.share, self.known_share) = (share, Some(share));
                (self.held, self.known_held) = (false, false);
            }
            Decision::NextStep => {
                self.progress.step += 1;
                (self.judgement, self.promoted) = (None, false);
            }
            Decision::Activate => {
                assert!(
                    self.new.ready >= self.plan.wanted,
                    "activated before it was healthy"
                );
                self.progress.touched = true;
                (self.active_is_new, self.progress.activated) = (true, true);
                (self.share, self.known_share) = (Share::ALL, Some(Share::ALL));
                (self.held, self.known_held) = (false, false);
            }
            Decision::Done => self.ends.push(End::Success),
            Decision::GoBack(_) => self.returning = true,
            Decision::AwaitOldGone | Decision::AwaitReady(_) | Decision::Judge | Decision::Stay => {
            }
        }
        if !self.plan.stop_first && healthy_old && before >= self.plan.floor() {
            let after = self.serving();
            assert!(
                after >= self.plan.floor().min(before),
                "{after} serve, {before} did"
            );
        }
    }

    fn turn_back(&mut self) {
        let seen = ReturnSeen {
            former: self.plan.former,
            touched: self.progress.touched,
            stop_first: self.plan.stop_first,
            activated: self.active_is_new,
            wanted_back: self.auto_rollback,
            old_asked: self.old.asked,
            old_ready: self.old.ready,
            old_given_up: self.old_given_up,
            new_asked: self.new.asked,
            new_left: self.new.ready + self.new.leaving,
            share: self.known_share,
            held: self.known_held,
            new_drained: self.drained,
        };
        match go_back(&seen) {
            ReturnDecision::Hold => {
                (self.held, self.known_held) = (true, true);
                self.known_share = None;
            }
            ReturnDecision::ScaleOld(to) => {
                if self.plan.stop_first && self.progress.touched {
                    assert_eq!(self.new.ready + self.new.leaving, 0, "both run");
                }
                self.old.scale(to);
            }
            ReturnDecision::Deactivate => self.active_is_new = false,
            ReturnDecision::GiveBack => {
                (self.share, self.known_share) = (Share::NONE, Some(Share::NONE));
                (self.held, self.known_held) = (false, false);
            }
            ReturnDecision::DrainNew => self.drained = true,
            ReturnDecision::RemoveNew => {
                if !self.plan.stop_first {
                    assert_eq!(self.share, Share::NONE, "removed while it got requests");
                }
                self.new.scale(0);
            }
            ReturnDecision::AwaitOldReady | ReturnDecision::AwaitNewGone => {}
            ReturnDecision::Done { serving } => self.ends.push(if serving {
                End::RolledBack
            } else {
                End::Failed
            }),
        }
    }

    fn check_the_end(&self) {
        assert_eq!(self.ends.len(), 1, "it ends once");
        let end = self.ends[0];
        match end {
            End::Success => {
                assert!(self.active_is_new && self.share == Share::ALL && !self.held);
                assert_eq!(self.new.asked, self.plan.wanted);
            }
            End::RolledBack | End::Failed => {
                assert!(!self.active_is_new && self.share == Share::NONE && !self.held);
                assert_eq!(self.new.asked, 0, "nothing of it is left");
                let stays_down =
                    self.plan.stop_first && self.progress.touched && !self.auto_rollback;
                if let Some(former) = self.plan.former
                    && !stays_down
                {
                    assert!(self.old.asked == former || self.old_given_up);
                    assert!(self.old.ready > 0 || self.old_given_up || self.deaths > 0);
                }
                assert_eq!(
                    end == End::RolledBack,
                    self.plan.former.is_some()
                        && self.progress.touched
                        && !stays_down
                        && !self.old_given_up
                );
            }
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        8 => Just(Fate::Turn),
        3 => Just(Fate::Settle),
        1 => Just(Fate::NewDies),
        1 => Just(Fate::OldDies),
        1 => Just(Fate::Cancel),
        1 => Just(Fate::Pause),
        1 => Just(Fate::Resume),
        1 => Just(Fate::Promote),
        2 => Just(Fate::Crash),
        1 => Just(Fate::Deadline),
        2 => Just(Fate::JudgedFine),
        1 => Just(Fate::JudgedWorse),
        1 => Just(Fate::JudgedQuiet),
    ];
    prop::collection::vec(fate, 0..120)
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![
        Just(Way::Rolling),
        Just(Way::BlueGreen),
        Just(Way::Canary),
        Just(Way::Recreate)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_rollout_ends_truly(
        way in ways(), wanted in 1u32..8, former in prop::option::of(1u32..8),
        surge in 0u32..4, unavailable in 0u32..3, good: bool, auto_rollback: bool,
        fates in fates(),
    ) {
        prop_assume!(surge + unavailable > 0);
        let settings = RolloutSettings {
            max_surge: Quantity::Count(surge),
            max_unavailable: Quantity::Count(unavailable),
            ..RolloutSettings::default()
        };
        let plan = Plan::new(way, wanted, former, &settings);
        let old = former.unwrap_or(0);
        let mut world = World {
            plan,
            good,
            new: Side::default(),
            old: Side { asked: old, ready: old, leaving: 0 },
            share: Share::NONE,
            held: false,
            progress: Progress { former, ..Progress::default() },
            returning: false,
            active_is_new: false,
            ends: Vec::new(),
            known_share: Some(Share::NONE),
            known_held: false,
            drained: false,
            cancelled: false,
            paused: false,
            promoted: false,
            hopeless: false,
            old_given_up: false,
            judgement: None,
            auto_rollback,
            deaths: 0,
        };
        for fate in fates {
            world.fate(fate);
        }
        // The world calms down: nobody pauses it, time goes by, verdicts come.
        world.paused = false;
        for _ in 0..400 {
            if !world.ends.is_empty() {
                break;
            }
            world.settle();
            world.turn();
            world.fate(Fate::Deadline);
            if world.judgement.is_none() || world.judgement == Some(Judgement::Quiet) {
                world.fate(Fate::JudgedFine);
            }
        }
        world.check_the_end();
    }
}
