//! What a deployment did, in figures, once it has ended.

use flukedeploy_domain::deployment::{Receipt, Status, SwitchTraffic};
use flukedeploy_domain::release::ReleaseNo;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{age, changes, copy_button, deployment_mark, state};
use crate::words;

pub(crate) fn receipt(receipt: &Receipt, now: OffsetDateTime) -> impl IntoView + use<> {
    let by = match &receipt.persona {
        Some(persona) => format!("{} ({persona})", receipt.by),
        None => receipt.by.clone(),
    };
    let took = u64::try_from((receipt.ended_at - receipt.started_at).whole_milliseconds())
        .unwrap_or_default();
    let phases: Vec<_> = receipt
        .phases
        .iter()
        .filter_map(|phase| {
            let ms = phase.duration_ms?;
            Some(view! { <span class="nowrap">{words::phase(phase.phase)}" "{words::duration(ms)}</span> })
        })
        .collect();
    let changed = if receipt.changes.is_empty() {
        view! { <p class="soft">"No setting is different."</p> }.into_any()
    } else {
        changes("Changed settings", &receipt.changes).into_any()
    };
    view! {
        <section class="receipt" aria-labelledby="receipt-title">
            <div class="section-head"><h2 id="receipt-title">"Receipt"</h2></div>
            <dl class="facts">
                <div><dt>"Outcome"</dt><dd>{state(deployment_mark(receipt.outcome))}</dd></div>
                <div><dt>"By"</dt><dd>{by}" through "{words::door(receipt.door)}</dd></div>
                <div><dt>"Releases"</dt><dd>{releases(receipt)}</dd></div>
                <div><dt>"Ended after"</dt><dd>{words::duration(took)}", "{age(receipt.ended_at, now)}</dd></div>
                <div class="wide"><dt>"Requests during the switch"</dt><dd>{requests(receipt.requests, receipt.new_release)}</dd></div>
                {receipt.pinned_image.clone().map(|image| view! {
                    <div class="wide"><dt>"Pinned image"</dt><dd>
                        <code title=image.clone()>{words::shortened(&image, 56)}</code>" "{copy_button("Copy", Some(image), None)}
                    </dd></div>
                })}
                {(!phases.is_empty()).then(|| view! {
                    <div class="wide"><dt>"Time in each phase"</dt><dd class="inline">{phases}</dd></div>
                })}
            </dl>
            <h3>"Changed settings"</h3>
            {changed}
        </section>
    }
}

fn releases(receipt: &Receipt) -> String {
    let (old, new) = (receipt.old_release, receipt.new_release);
    match (old, new) {
        (Some(old), Some(new)) if old != new && receipt.outcome != Status::Success => {
            format!("{old}, as before; {new} was tried")
        }
        (None, Some(new)) if receipt.outcome != Status::Success => {
            format!("none; {new} was tried")
        }
        (Some(old), Some(new)) if old == new => format!("{old}, as before"),
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (None, Some(new)) => format!("none → {new}"),
        (Some(old), None) => format!("{old}; no new one was made"),
        (None, None) => "None was made".to_owned(),
    }
}

fn requests(requests: Option<SwitchTraffic>, new: Option<ReleaseNo>) -> String {
    let Some(traffic) = requests else {
        return "Not counted: no ingress could be asked.".to_owned();
    };
    let by = match (traffic.by_new_release, new) {
        (0, _) | (_, None) => String::new(),
        (count, Some(new)) => format!("; {count} of them went to release {new}"),
    };
    format!("{} served, {} failed{by}.", traffic.served, traffic.failed)
}
