//! Live news, where the server gives them to a token. They are a hint and nothing more: who is back is
//! served at once instead of after a pause.

use std::time::Duration;

use flukedeploy_domain::flukebase::ProjectId;
use flukedeploy_domain::webhook::pause_after;

use super::commands::LiveState;
use super::{link, presence};
use crate::platform::Platform;
use crate::ports::{LiveEnd, LiveEvent};
use crate::secret::random_u64;

/// Until a server that wants no tokens there is asked again.
const REJECTED: Duration = Duration::from_hours(24);
/// While there is nobody to ask, or nothing to ask for.
const IDLE: Duration = Duration::from_mins(1);

pub(crate) async fn run(px: Platform) {
    let mut failures = 0;
    loop {
        let pause = tokio::select! {
            () = px.stopping().cancelled() => return,
            pause = listen(&px, &mut failures) => pause,
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = px.parts().flukebase_link.changed.notified() => failures = 0,
        }
    }
}

/// Until the connection ends; how long to wait then.
async fn listen(px: &Platform, failures: &mut u32) -> Duration {
    let Ok(projects) = presence::projects(px).await else {
        return IDLE;
    };
    let projects: Vec<ProjectId> = projects.into_iter().take(100).collect();
    if projects.is_empty() {
        return IDLE;
    }
    let Ok(session) = link::open(px).await else {
        return IDLE;
    };
    let state = || px.parts().flukebase_link.state();
    state().live = LiveState::Asking;
    let heard = |event: LiveEvent| {
        if let LiveEvent::Joined { .. } = event {
            state().live = LiveState::Listening;
        }
        // Whoever says something is there.
        state().breaker.half_open();
    };
    let end = link::port(px)
        .listen(&session.access, &projects, &heard)
        .await;
    let was_in = state().live == LiveState::Listening;
    if was_in {
        *failures = 0;
    }
    match end {
        LiveEnd::Rejected(why) => {
            tracing::debug!(why, "FlukeBase gives no live news to this token");
            state().live = LiveState::Rejected;
            REJECTED
        }
        LiveEnd::Broken(why) => {
            tracing::debug!(why, "the live news of FlukeBase ended");
            state().live = LiveState::Broken;
            *failures = failures.saturating_add(1);
            pause_after(*failures, random_u64()).unsigned_abs()
        }
    }
}
