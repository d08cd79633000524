//! Who needs somebody else's word in an environment.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::approval::{ApprovalPolicy, ApprovalRule};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use crate::components::{Choice, problem, select};
use crate::forms::Typed;
use crate::forms::approvals::{FOR_PEOPLE, FOR_TOKENS};
use crate::paths;

fn choices() -> Vec<Choice> {
    vec![
        Choice::new("allow", "Allowed"),
        Choice::new("approve", "After somebody else has approved it"),
        Choice::new("deny", "Not allowed"),
    ]
}

fn word(rule: ApprovalRule) -> &'static str {
    match rule {
        ApprovalRule::Allow => "may bring a release into service",
        ApprovalRule::Approve => "need somebody else's approval first",
        ApprovalRule::Deny => "bring no release into service",
    }
}

pub(super) fn approval_rules(
    typed: &Typed,
    actor: &Actor,
    app: &AppView,
    policy: ApprovalPolicy,
) -> impl IntoView + use<> {
    let none = Typed::default();
    let mine = typed.get(FOR_PEOPLE).is_some();
    let typed = if mine { typed } else { &none };
    let now = format!(
        "People {}. Tokens {}.",
        word(policy.person),
        word(policy.agent)
    );
    let action = paths::within(&paths::approval_rules(&app.app_name), &app.environment);
    let form = actor.is_administrator().then(|| {
        view! {
            {problem(typed)}
            <form class="form" method="post" action=action>
                <div class="row">
                    {select(typed, FOR_PEOPLE, "People", None, choices(), policy.person.as_str())}
                    {select(typed, FOR_TOKENS, "Tokens", Some("As strict as for people, at least."), choices(), policy.agent.as_str())}
                </div>
                <div class="form-end"><button class="button" id="save-approvals">"Save"</button></div>
            </form>
        }
    });
    view! {
        <section class="section" aria-labelledby="approvals">
            <div class="section-head"><h2 id="approvals">"Approvals"</h2><span class="section-note">"For deploy, promote, roll back and restart."</span></div>
            <p>{now}</p>
            {form}
        </section>
    }
}
