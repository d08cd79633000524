//! A rollout that is under way: which step, which release gets what, and the hand on it.

use flukedeploy_domain::deployment::{DeploymentSummary, RolloutSummary};
use flukedeploy_domain::release::ReleaseNo;
use leptos::prelude::*;

use crate::offers::Offers;
use crate::paths;

/// Drawn only where there is something to move traffic away from.
pub(crate) fn rollout(
    deployment: &DeploymentSummary,
    offers: Offers,
) -> Option<impl IntoView + use<>> {
    let rollout = deployment.rollout.clone()?;
    let former = deployment.from_release?;
    // It is on its way back: nothing of this is left to steer.
    if deployment.diagnosis.is_some() || deployment.status.is_final() {
        return None;
    }
    let line = line(&rollout, former);
    let paused = rollout
        .paused
        .then(|| view! { <span class="tag tag-attention">"Paused"</span> });
    let note = if rollout.paused {
        "It stays here until somebody resumes, promotes or aborts it."
    } else {
        "Pause keeps it at this step."
    };
    // With one step there is nothing to promote to, unless it stands still.
    let promote = rollout.paused || rollout.steps > 1;
    let note = if promote {
        format!("{note} Promote takes this step without waiting for its judgement.")
    } else {
        note.to_owned()
    };
    let (pause, word) = if rollout.paused {
        ("resume", "Resume")
    } else {
        ("pause", "Pause")
    };
    Some(view! {
        <section class="panel panel-body rollout" aria-labelledby="rollout-title">
            <div class="section-head">
                <h2 id="rollout-title">"Step "{rollout.step}" of "{rollout.steps}</h2>
                {paused}
            </div>
            <p>{line}</p>
            {(!rollout.holding).then(|| share_bar(deployment.release, former, rollout.percent))}
            <p class="hint">{note}" Abort goes back to release "{former.to_string()}"."</p>
            <div class="buttons">
                {offers.steer.then(|| view! {
                    <form method="post" action=paths::steer(&deployment.deployment_id)>
                        <button class="button" id="steer-pause" name="how" value=pause>{word}</button>
                    </form>
                })}
                {(promote && offers.steer).then(|| view! {
                    <form method="post" action=paths::steer(&deployment.deployment_id)>
                        <button class="button" id="steer-promote" name="how" value="promote">"Promote"</button>
                    </form>
                })}
                {offers.cancel.then(|| view! {
                    <form method="post" action=paths::cancel(&deployment.deployment_id)>
                        <button class="button button-danger" id="abort">"Abort"</button>
                    </form>
                })}
            </div>
        </section>
    })
}

fn line(rollout: &RolloutSummary, former: ReleaseNo) -> String {
    let share = rollout.step_percent;
    if rollout.holding {
        "New requests wait until the replicas of the new release are healthy.".to_owned()
    } else if share >= 100 {
        format!(
            "At this step the new release takes over from release {former} as soon as its replicas are healthy."
        )
    } else if rollout.percent < share {
        format!(
            "At this step the new release gets {share}% of the new requests as soon as enough of its replicas are healthy."
        )
    } else {
        format!(
            "At this step the new release gets {share}% of the new requests, release {former} the rest."
        )
    }
}

/// The shares of two releases as lengths and as words.
fn share_bar(new: Option<ReleaseNo>, former: ReleaseNo, percent: u32) -> impl IntoView + use<> {
    let percent = percent.min(100);
    let name = new.map_or_else(
        || "The new release".to_owned(),
        |number| format!("Release {number} (new)"),
    );
    view! {
        <div class="share">
            <svg class="share-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                <rect class="share-former" x="0" y="0" width="100" height="10"></rect>
                <rect class="share-new" x="0" y="0" width=percent height="10"></rect>
            </svg>
            <p class="share-words">
                <span class="share-key share-key-new">{name}": "<strong>{percent}"%"</strong></span>
                <span class="share-key">"Release "{former.to_string()}": "<strong>{100 - percent}"%"</strong></span>
            </p>
        </div>
    }
}
