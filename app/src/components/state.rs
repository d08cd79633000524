//! State by shape, word and colour: the same marks everywhere.

use flukedeploy_domain::approval::ApprovalState;
use flukedeploy_domain::audit::Outcome;
use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::deployment::{DeploymentSummary, PhaseStatus, Status};
use flukedeploy_domain::job::JobStatus;
use flukedeploy_domain::webhook::DeliveryStatus;
use flukedeploy_platform::views::AppState;
use leptos::prelude::*;

#[derive(Clone, Copy)]
enum Shape {
    Disc,
    Half,
    Triangle,
    Square,
    Ring,
    Pause,
}

/// One state as it is shown.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    shape: Shape,
    class: &'static str,
    pub(crate) word: &'static str,
}

impl Mark {
    const fn good(word: &'static str) -> Self {
        Self {
            shape: Shape::Disc,
            class: "state state-good",
            word,
        }
    }
    const fn busy(word: &'static str) -> Self {
        Self {
            shape: Shape::Half,
            class: "state state-busy",
            word,
        }
    }
    pub(crate) const fn attention(word: &'static str) -> Self {
        Self {
            shape: Shape::Triangle,
            class: "state state-attention",
            word,
        }
    }
    const fn bad(word: &'static str) -> Self {
        Self {
            shape: Shape::Square,
            class: "state state-bad",
            word,
        }
    }
    const fn idle(word: &'static str) -> Self {
        Self {
            shape: Shape::Ring,
            class: "state state-idle",
            word,
        }
    }
    const fn waiting(word: &'static str) -> Self {
        Self {
            shape: Shape::Pause,
            class: "state state-attention",
            word,
        }
    }
    /// Something answers, or it does not.
    pub(crate) const fn answers(well: bool, yes: &'static str, no: &'static str) -> Self {
        if well { Self::good(yes) } else { Self::bad(no) }
    }
    /// A credential that is good, or is no more.
    pub(crate) const fn valid(well: bool, word: &'static str) -> Self {
        if well {
            Self::good(word)
        } else {
            Self::idle(word)
        }
    }
}

pub(crate) fn outcome_mark(outcome: Outcome) -> Mark {
    match outcome {
        Outcome::Done => Mark::good("Done"),
        Outcome::Denied => Mark::bad("Refused"),
    }
}

pub(crate) fn app_mark(state: AppState) -> Mark {
    match state {
        AppState::Running => Mark::good("Running"),
        AppState::Deploying => Mark::busy("Deploying"),
        AppState::Degraded => Mark::attention("Degraded"),
        AppState::Failed => Mark::bad("Failed"),
        AppState::NeverDeployed => Mark::idle("Not deployed"),
        AppState::Stopped => Mark::idle("Stopped"),
        AppState::Asleep => Mark::idle("Asleep"),
        AppState::Maintenance => Mark::attention("Maintenance"),
    }
}

pub(crate) fn deployment_mark(status: Status) -> Mark {
    match status {
        Status::Pending => Mark::idle("Pending"),
        Status::Building => Mark::busy("Building"),
        Status::Deploying => Mark::busy("Deploying"),
        Status::Success => Mark::good("Success"),
        Status::Failed => Mark::bad("Failed"),
        Status::RolledBack => Mark::attention("Rolled back"),
    }
}

/// How a deployment stands, the wait for somebody's word included.
pub(crate) fn mark_of(deployment: &DeploymentSummary) -> Mark {
    let approval = deployment.approval.as_ref().map(|approval| approval.state);
    if approval == Some(ApprovalState::Waiting) && !deployment.status.is_final() {
        return approval_mark(ApprovalState::Waiting);
    }
    deployment_mark(deployment.status)
}

pub(crate) fn approval_mark(state: ApprovalState) -> Mark {
    match state {
        ApprovalState::Waiting => Mark::waiting("Waiting for approval"),
        ApprovalState::Approved => Mark::good("Approved"),
        ApprovalState::Rejected => Mark::bad("Rejected"),
        ApprovalState::Expired => Mark::idle("Expired"),
        ApprovalState::Withdrawn => Mark::idle("Withdrawn"),
    }
}

pub(crate) fn phase_mark(status: PhaseStatus) -> Mark {
    match status {
        PhaseStatus::Pending => Mark::idle("Pending"),
        PhaseStatus::Running => Mark::busy("Running"),
        PhaseStatus::Success => Mark::good("Success"),
        PhaseStatus::Failed => Mark::bad("Failed"),
    }
}

/// What could not be looked at did not pass.
pub(crate) fn check_mark(check: &Check) -> Mark {
    match check.status {
        _ if check.not_run => Mark::idle("Not run"),
        CheckStatus::Pass => Mark::good("Passed"),
        CheckStatus::Warning => Mark::attention("Warning"),
        CheckStatus::Fail => Mark::bad("Failed"),
    }
}

pub(crate) fn job_mark(status: JobStatus) -> Mark {
    match status {
        JobStatus::Running => Mark::busy("Running"),
        JobStatus::Success => Mark::good("Success"),
        JobStatus::Failed => Mark::bad("Failed"),
        JobStatus::TimedOut => Mark::bad("Timed out"),
        JobStatus::Cancelled => Mark::idle("Cancelled"),
        JobStatus::NotRun => Mark::idle("Not run"),
    }
}

pub(crate) fn delivery_mark(status: DeliveryStatus) -> Mark {
    match status {
        DeliveryStatus::Pending => Mark::busy("Waiting"),
        DeliveryStatus::Delivered => Mark::good("Arrived"),
        DeliveryStatus::Failed => Mark::bad("Given up"),
        DeliveryStatus::Dropped => Mark::idle("Dropped"),
    }
}

pub(crate) fn state(mark: Mark) -> impl IntoView {
    let path = match mark.shape {
        Shape::Disc => "M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1z",
        Shape::Half => "M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1zm0 1.500a3.500 3.500 0 0 0 0 7z",
        Shape::Triangle => "M6 1l5.500 10H.5z",
        Shape::Square => "M1.500 1.500h9v9h-9z",
        Shape::Pause => "M2 1h3v10H2zM7 1h3v10H7z",
        Shape::Ring => {
            "M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1zm0 1.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z"
        }
    };
    view! {
        <span class=mark.class>
            <svg viewBox="0 0 12 12" aria-hidden="true"><path fill-rule="evenodd" stroke="none" d=path></path></svg>
            {mark.word}
        </span>
    }
}
