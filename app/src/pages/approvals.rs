use flukedeploy_domain::approval::{ApprovalState, ApprovalView};
use flukedeploy_platform::Error;
use flukedeploy_platform::approvals::{self, ApprovalEntry};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{
    PageHead, Section, age, approval, approval_mark, empty, frame, problem, state,
};
use crate::context::Desk;
use crate::{paths, words};

/// Answered ones that are listed.
const DECIDED: u32 = 30;

/// `/approvals`: what am I asked to allow, and what will it do?
#[component]
pub(crate) fn ApprovalsPage() -> impl IntoView {
    page(Desk::take(), inbox)
}

async fn inbox(desk: Desk) -> Result<AnyView, Error> {
    let all = approvals::list(&desk.px, &desk.actor, DECIDED).await?;
    let (waiting, decided): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|one| one.approval.state == ApprovalState::Waiting);
    // A page that loads itself again would take away what is typed.
    if !waiting.iter().any(|one| one.may_decide) && !waiting.is_empty() {
        desk.answer.refresh_without_script();
    }
    let questions = if waiting.is_empty() {
        empty(
            "Nothing waits for an approval",
            "A release waits here where its environment wants somebody else to agree first: see the settings of the app.",
            (),
        )
        .into_any()
    } else {
        let cards: Vec<_> = waiting
            .iter()
            .map(|one| view! { <li>{approval(one, desk.now)}</li> })
            .collect();
        view! { <ul class="approvals">{cards}</ul> }.into_any()
    };
    let content = view! {
        <div data-follow="">
            {PageHead::new("Approvals")
                .lead("Releases that somebody has to agree to before they serve. Nothing of what serves is changed until then.")
                .live()
                .view()}
            {problem(&desk.typed)}
            <div id="waiting" data-live="replace">{questions}</div>
            <section class="section" aria-labelledby="decided-title">
                <div class="section-head"><h2 id="decided-title">"Decided"</h2></div>
                <div id="decided" data-live="replace">{table(&decided, desk.now)}</div>
            </section>
        </div>
    };
    Ok(frame(&desk, Section::Approvals, content))
}

fn table(decided: &[ApprovalEntry], now: OffsetDateTime) -> AnyView {
    if decided.is_empty() {
        return view! { <p class="soft">"None yet."</p> }.into_any();
    }
    let rows: Vec<_> = decided
        .iter()
        .map(|one| row(&one.approval, now).into_any())
        .collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"App"</th>
                        <th scope="col">"What"</th>
                        <th scope="col">"Answer"</th>
                        <th scope="col">"Asked by"</th>
                        <th scope="col">"Decided by"</th>
                        <th scope="col">"Decided"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn row(one: &ApprovalView, now: OffsetDateTime) -> impl IntoView + use<> {
    let what = format!("{} {}", words::act(&one.plan.act), one.plan.image);
    let reason = one
        .reason
        .clone()
        .map(|reason| view! { <span class="cell-sub">{reason}</span> });
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main"><a href=paths::app(&one.app_name)>{one.app_name.to_string()}</a><span class="cell-sub">{one.environment.to_string()}</span></span></td>
            <td data-label="What" data-wide=""><a href=paths::deployment(&one.deployment_id) title=what.clone()>{words::shortened(&what, 44)}</a></td>
            <td data-label="Answer" data-wide=""><span class="cell-main">{state(approval_mark(one.state))}{reason}</span></td>
            <td data-label="Asked by">{one.asked_by.clone()}</td>
            <td data-label="Decided by">{one.decided_by.clone().unwrap_or_else(|| "–".to_owned())}</td>
            <td data-label="Decided">{match one.decided_at {
                Some(at) => age(at, now).into_any(),
                None => "–".into_any(),
            }}</td>
        </tr>
    }
}
