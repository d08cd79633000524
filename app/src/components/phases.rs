//! The five phases of a deployment, each with its state, time and result.

use flukedeploy_domain::deployment::{DeploymentSummary, PhaseName, PhaseStatus};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{phase_mark, state, ticking};
use crate::words;

pub(crate) fn phases(deployment: &DeploymentSummary, now: OffsetDateTime) -> impl IntoView + use<> {
    let items: Vec<_> = PhaseName::ALL
        .into_iter()
        .map(|name| {
            let phase = deployment.phases.get(name);
            let class = format!("phase phase-{}", phase.status.as_str());
            let line = match phase.status {
                PhaseStatus::Failed => {
                    phase.error.as_deref().map_or_else(|| "Failed.".to_owned(), words::sentence)
                }
                PhaseStatus::Running if name == PhaseName::Deploy => words::story(deployment),
                PhaseStatus::Success if phase.duration_ms == Some(0) => "Nothing to do".to_owned(),
                _ => words::phase_duty(name, deployment).to_owned(),
            };
            let time = match (phase.duration_ms, phase.started_at) {
                (Some(ms), _) => words::duration(ms).into_any(),
                (None, Some(since)) => ticking(since, now).into_any(),
                (None, None) => ().into_any(),
            };
            let current = (phase.status == PhaseStatus::Running).then_some("step");
            view! {
                <li class=class aria-current=current data-phase=name.as_str() data-status=phase.status.as_str()>
                    <span class="phase-name">{words::phase(name)}</span>
                    {state(phase_mark(phase.status))}
                    <span class="phase-line">{words::shortened(&line, 160)}</span>
                    <span class="phase-time">{time}</span>
                </li>
            }
        })
        .collect();
    view! { <ol class="phases" aria-label="Phases">{items}</ol> }
}
