//! The state machine: `(state, event) → (state, effects)`, and nothing else decides.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::diagnosis::Diagnosis;
use crate::release::ReleaseNo;

/// The five phases, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    PreBuild,
    Build,
    PreDeploy,
    Deploy,
    PostDeploy,
}

impl PhaseName {
    pub const ALL: [Self; 5] = [
        Self::PreBuild,
        Self::Build,
        Self::PreDeploy,
        Self::Deploy,
        Self::PostDeploy,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreBuild => "pre_build",
            Self::Build => "build",
            Self::PreDeploy => "pre_deploy",
            Self::Deploy => "deploy",
            Self::PostDeploy => "post_deploy",
        }
    }

    pub fn next(self) -> Option<Self> {
        match self {
            Self::PreBuild => Some(Self::Build),
            Self::Build => Some(Self::PreDeploy),
            Self::PreDeploy => Some(Self::Deploy),
            Self::Deploy => Some(Self::PostDeploy),
            Self::PostDeploy => None,
        }
    }

    /// 0 for `pre_build` … 4 for `post_deploy`.
    pub fn index(self) -> usize {
        match self {
            Self::PreBuild => 0,
            Self::Build => 1,
            Self::PreDeploy => 2,
            Self::Deploy => 3,
            Self::PostDeploy => 4,
        }
    }
}

/// A phase as the contract shows it; a phase with nothing to do is `success` with 0 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseStatus {
    Pending,
    Running,
    Success,
    Failed,
}

impl PhaseStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// When a phase ran and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    pub status: PhaseStatus,
    #[serde(with = "crate::timestamp::option", default)]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "crate::timestamp::option", default)]
    pub completed_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub error: Option<String>,
}

impl PhaseRecord {
    pub const PENDING: Self = Self {
        status: PhaseStatus::Pending,
        started_at: None,
        completed_at: None,
        error: None,
    };

    /// Whole milliseconds between start and end.
    pub fn duration_ms(&self) -> Option<u64> {
        let (started, completed) = (self.started_at?, self.completed_at?);
        Some(u64::try_from((completed - started).whole_milliseconds()).unwrap_or(0))
    }
}

/// Where a deployment is. A variant holds exactly what exists then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum State {
    /// Created; waits for an earlier deployment of the same environment.
    Pending,
    Running {
        phase: PhaseName,
    },
    /// It failed, and what it had changed is being put back.
    Returning {
        diagnosis: Diagnosis,
    },
    Success,
    /// It failed before it had changed anything that serves.
    Failed {
        diagnosis: Diagnosis,
    },
    /// It failed, and the former release serves again.
    RolledBack {
        diagnosis: Diagnosis,
        to: ReleaseNo,
    },
}

/// The contract's one-word status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    Building,
    Deploying,
    Success,
    Failed,
    RolledBack,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Building => "building",
            Self::Deploying => "deploying",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::RolledBack)
    }
}

impl State {
    pub fn status(&self) -> Status {
        match self {
            Self::Pending
            | Self::Running {
                phase: PhaseName::PreBuild,
            } => Status::Pending,
            Self::Running {
                phase: PhaseName::Build,
            } => Status::Building,
            Self::Running { .. } | Self::Returning { .. } => Status::Deploying,
            Self::Success => Status::Success,
            Self::Failed { .. } => Status::Failed,
            Self::RolledBack { .. } => Status::RolledBack,
        }
    }

    pub fn is_final(&self) -> bool {
        self.status().is_final()
    }

    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            Self::Returning { diagnosis }
            | Self::Failed { diagnosis }
            | Self::RolledBack { diagnosis, .. } => Some(diagnosis),
            Self::Pending | Self::Running { .. } | Self::Success => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { phase } => phase.as_str(),
            Self::Returning { .. } => "returning",
            Self::Success => "success",
            Self::Failed { .. } => "failed",
            Self::RolledBack { .. } => "rolled_back",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time exists, for the moment of a step"
)]
pub enum Event {
    /// Its turn has come.
    Started,
    PhaseDone,
    PhaseFailed(Diagnosis),
    /// What had been changed is back as it was; the release that serves now, if there is one.
    Returned {
        serving: Option<ReleaseNo>,
    },
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::PhaseDone => "phase_done",
            Self::PhaseFailed(_) => "phase_failed",
            Self::Returned { .. } => "returned",
        }
    }
}

/// What to do next. Every effect may be done twice: a restart repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    RunPhase(PhaseName),
    /// Put traffic back on the former release and remove the new one.
    Return,
    /// Nothing left to do but to tell.
    Announce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a deployment in state {from} cannot take the event {event}")]
pub struct IllegalStep {
    pub from: &'static str,
    pub event: &'static str,
}

impl State {
    /// The only way a deployment moves.
    ///
    /// # Errors
    /// [`IllegalStep`] if the event cannot happen now: final states are never left.
    pub fn step(self, event: Event) -> Result<(Self, Effect), IllegalStep> {
        Ok(match (self, event) {
            (Self::Pending, Event::Started) => (
                Self::Running {
                    phase: PhaseName::PreBuild,
                },
                Effect::RunPhase(PhaseName::PreBuild),
            ),
            // Cancelled or superseded while it waited: nothing was touched.
            (Self::Pending, Event::PhaseFailed(diagnosis)) => {
                (Self::Failed { diagnosis }, Effect::Announce)
            }
            (Self::Running { phase }, Event::PhaseDone) => match phase.next() {
                Some(next) => (Self::Running { phase: next }, Effect::RunPhase(next)),
                None => (Self::Success, Effect::Announce),
            },
            (Self::Running { phase }, Event::PhaseFailed(diagnosis)) => {
                if phase >= PhaseName::Deploy {
                    (Self::Returning { diagnosis }, Effect::Return)
                } else {
                    (Self::Failed { diagnosis }, Effect::Announce)
                }
            }
            (Self::Returning { diagnosis }, Event::Returned { serving }) => (
                match serving {
                    Some(to) => Self::RolledBack { diagnosis, to },
                    None => Self::Failed { diagnosis },
                },
                Effect::Announce,
            ),
            (state, event) => {
                return Err(IllegalStep {
                    from: state.name(),
                    event: event.name(),
                });
            }
        })
    }

    /// What a restarted control plane has to do for a deployment found in this state.
    pub fn pending_effect(&self) -> Option<Effect> {
        match self {
            Self::Running { phase } => Some(Effect::RunPhase(*phase)),
            Self::Returning { .. } => Some(Effect::Return),
            Self::Pending | Self::Success | Self::Failed { .. } | Self::RolledBack { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Cause, Evidence};
    use proptest::prelude::*;

    fn diagnosis(phase: PhaseName) -> Diagnosis {
        Diagnosis {
            code: Cause::Internal,
            phase,
            message: "test".to_owned(),
            evidence: Evidence::default(),
            next: vec![],
        }
    }

    #[test]
    fn five_phases_lead_to_success() {
        let (mut state, mut effect) = State::Pending.step(Event::Started).unwrap();
        for phase in PhaseName::ALL {
            assert_eq!(effect, Effect::RunPhase(phase));
            (state, effect) = state.step(Event::PhaseDone).unwrap();
        }
        assert_eq!((state, effect), (State::Success, Effect::Announce));
    }

    #[test]
    fn a_failure_before_deploy_touches_nothing_and_one_after_it_goes_back() {
        let failed = |phase| {
            State::Running { phase }
                .step(Event::PhaseFailed(diagnosis(phase)))
                .unwrap()
        };
        assert_eq!(failed(PhaseName::Build).0.status(), Status::Failed);
        let (returning, effect) = failed(PhaseName::Deploy);
        assert_eq!(effect, Effect::Return);
        let (end, _) = returning
            .step(Event::Returned {
                serving: Some(ReleaseNo(1)),
            })
            .unwrap();
        assert_eq!(end.status(), Status::RolledBack);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Started),
            Just(Event::PhaseDone),
            Just(Event::PhaseFailed(diagnosis(PhaseName::Deploy))),
            Just(Event::Returned { serving: None }),
            Just(Event::Returned {
                serving: Some(ReleaseNo(1))
            }),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a final state is never left, phases never go
        /// back, and a crash between two steps changes nothing, since the state alone tells
        /// what is to be done.
        #[test]
        fn any_order_of_events_is_safe(events in prop::collection::vec(any_event(), 0..40)) {
            let mut state = State::Pending;
            let mut highest = 0;
            for event in events {
                let before = state.clone();
                if let Ok((next, effect)) = state.clone().step(event) {
                    prop_assert!(!before.is_final());
                    if let State::Running { phase } = &next {
                        prop_assert!(phase.index() >= highest);
                        highest = phase.index();
                    }
                    if !next.is_final() {
                        prop_assert_eq!(next.pending_effect(), Some(effect));
                    }
                    let stored = serde_json::to_string(&next).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<State>(&stored).unwrap(), &next);
                    state = next;
                }
            }
        }
    }
}
