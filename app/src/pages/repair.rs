use flukedeploy_domain::repair::{RepairAction, RepairStatus, RiskLevel};
use flukedeploy_platform::Error;
use flukedeploy_platform::repairs::{self, Repair};
use leptos::prelude::*;

use super::{page, parameter};
use crate::components::{Crumb, PageHead, Section, Tint, frame, notice, problem};
use crate::context::Desk;
use crate::{paths, words};

/// `/system/repairs/{action}`: what would it do? Then: do it.
#[component]
pub(crate) fn RepairPage() -> impl IntoView {
    let action = parameter("action");
    page(Desk::take(), async move |desk| repair(desk, &action).await)
}

async fn repair(desk: Desk, action: &str) -> Result<AnyView, Error> {
    let known = repairs::list_actions(&desk.px, &desk.actor)?;
    let found = known.iter().find(|one| one.action.as_str() == action);
    let Some(found) = found else {
        return Err(Error::NotFound {
            what: "repair of that name".to_owned(),
        });
    };
    let action: RepairAction = found.action;
    let cmd = Repair {
        action,
        dry_run: true,
        confirm: false,
    };
    let plan = repairs::repair(&desk.px, &desk.actor, cmd).await?;
    let steps: Vec<_> = plan
        .logs
        .iter()
        .map(|step| view! { <li>{words::sentence(step)}</li> })
        .collect();
    let tint = match plan.status {
        RepairStatus::Failed => Tint::Bad,
        RepairStatus::Success | RepairStatus::Skipped => Tint::Attention,
    };
    let class = match found.risk_level {
        RiskLevel::High => "button button-danger",
        RiskLevel::Low | RiskLevel::Medium => "button button-primary",
    };
    let content = view! {
        {PageHead::new(action.title())
            .crumbs(vec![Crumb::new("System", paths::SYSTEM)])
            .lead(found.description)
            .view()}
        {problem(&desk.typed)}
        {notice(tint, words::sentence(&plan.message), Some(format!("Risk: {}.", found.risk_level.as_str())))}
        <ul>{steps}</ul>
        <form class="form" method="post" action=paths::repair(action)>
            <div class="form-end">
                <button class=class>{action.title()}</button>
                <a class="button" href=paths::SYSTEM>"Leave it"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::System, content))
}
