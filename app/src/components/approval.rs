//! A question whether a release may serve: what it will do, who asks, and the two answers.

use flukedeploy_domain::approval::{ApprovalState, ApprovalView};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::approvals::ApprovalEntry;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{age, approval_mark, changes, state};
use crate::{paths, words};

pub(crate) fn approval(entry: &ApprovalEntry, now: OffsetDateTime) -> impl IntoView + use<> {
    let one = &entry.approval;
    let id = one.approval_id.to_string();
    let title = format!(
        "{} {} in {}",
        words::act(&one.plan.act),
        one.app_name,
        one.environment
    );
    let asks = match &one.persona {
        Some(persona) => format!("{} ({}, {persona})", one.asked_by, one.asked_as),
        None => format!("{} ({})", one.asked_by, one.asked_as),
    };
    let heading = format!("{id}-title");
    view! {
        <section class="panel panel-body plan approval" id=id.clone() aria-labelledby=heading.clone() data-approval=one.state.as_str()>
            <div>
                <h2 id=heading.clone()><a href=paths::deployment(&one.deployment_id)>{title}</a></h2>
                <p class="counts">{state(approval_mark(one.state))}<span>"Asked "{age(one.asked_at, now)}</span>{ends(one, now)}</p>
            </div>
            <dl class="facts">
                <div><dt>"Asked by"</dt><dd>{asks}</dd></div>
                <div><dt>"Release"</dt><dd>{way(one.plan.from_release, one.plan.release)}</dd></div>
                <div><dt>"How"</dt><dd>{words::strategy(one.plan.strategy)}", "{words::replicas(one.plan.replicas)}</dd></div>
                {one.intent.clone().map(|intent| view! { <div class="wide"><dt>"Why, in the words of who asks"</dt><dd>{intent}</dd></div> })}
                <div class="wide mono"><dt>"Image"</dt><dd>{one.plan.image.clone()}</dd></div>
                <div class="wide mono"><dt>"Pinned to"</dt><dd>{one.plan.pinned_image.clone()}</dd></div>
            </dl>
            {details(one)}
            {answer(entry)}
        </section>
    }
}

fn way(from: Option<ReleaseNo>, to: Option<ReleaseNo>) -> String {
    let name = |number: Option<ReleaseNo>, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| number.to_string())
    };
    format!("{} → {}", name(from, "none"), name(to, "a new one"))
}

fn ends(one: &ApprovalView, now: OffsetDateTime) -> impl IntoView + use<> {
    let waits = one.state == ApprovalState::Waiting;
    waits.then(|| view! { <span>"Ends "{age(one.expires_at, now)}</span> })
}

fn details(one: &ApprovalView) -> impl IntoView + use<> {
    let jobs: Vec<_> = one
        .plan
        .jobs
        .iter()
        .map(|planned| {
            let (kind, command) = words::planned_job(planned);
            view! { <li><span>{kind}": "<code>{command.to_owned()}</code></span></li> }
        })
        .collect();
    let risks: Vec<_> = one
        .plan
        .risks
        .iter()
        .map(|risk| view! { <li><span>{words::sentence(risk)}</span></li> })
        .collect();
    let changed = if one.plan.changes.is_empty() {
        view! { <p class="soft">"No setting would be different."</p> }.into_any()
    } else {
        changes("Settings that would change", &one.plan.changes).into_any()
    };
    view! {
        {(!risks.is_empty()).then(|| view! { <div><h3>"Risks"</h3><ul class="risks">{risks}</ul></div> })}
        {(!jobs.is_empty()).then(|| view! { <div><h3>"Commands that run once"</h3><ol class="next">{jobs}</ol></div> })}
        <div><h3>"Settings that would change"</h3>{changed}</div>
    }
}

fn answer(entry: &ApprovalEntry) -> AnyView {
    let one = &entry.approval;
    if one.state != ApprovalState::Waiting {
        let by = one.decided_by.clone().unwrap_or_default();
        let text = match (&one.reason, by.is_empty()) {
            (Some(reason), false) => format!("Decided by {by}: {reason}"),
            (None, false) => format!("Decided by {by}."),
            _ => return ().into_any(),
        };
        return view! { <p>{text}</p> }.into_any();
    }
    if !entry.may_decide {
        return view! {
            <p class="soft">"A maintainer of the app or an administrator can decide, but not who asks."</p>
        }
        .into_any();
    }
    let field = format!("reason-{}", one.approval_id);
    view! {
        <form class="decision" method="post" action=paths::decide(&one.approval_id)>
            <div class="field">
                <label class="label" for=field.clone()>"Reason "<span class="optional">"optional"</span></label>
                <input class="input" id=field name="reason" maxlength="500" autocomplete="off" data-kept=""/>
            </div>
            <div class="buttons">
                <button class="button button-primary" name="answer" value="approve">"Approve"</button>
                <button class="button button-danger" name="answer" value="reject">"Reject"</button>
            </div>
        </form>
    }
    .into_any()
}
