use flukedeploy_domain::issue::{Issue, Severity};
use flukedeploy_platform::Error;
use flukedeploy_platform::health;
use flukedeploy_platform::system::system_view;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{Mark, PageHead, Section, Tint, age, frame, notice, state};
use crate::context::Desk;
use crate::{paths, words};

/// What is wrong, what shows it, since when, and the repair that fits.
fn issue_view(issue: &Issue, now: OffsetDateTime) -> AnyView {
    let tint = match issue.severity {
        Severity::Critical => Tint::Bad,
        Severity::Warning => Tint::Attention,
    };
    let facts: Vec<String> = issue
        .evidence
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            format!("{}: {value}", name.replace('_', " "))
        })
        .collect();
    let text = format!(
        "{} {}.",
        words::sentence(&issue.suggested_action),
        facts.join(", ")
    );
    let repair = issue.repair.map(|action| {
        view! { <a class="button button-small" href=paths::repair(action)>{action.title()}</a> }
    });
    view! {
        <div>
            {notice(tint, words::sentence(&issue.message), Some(text))}
            <p class="cell-sub">"Seen first "{age(issue.first_seen, now)}" "{repair}</p>
        </div>
    }
    .into_any()
}

/// `/system`: what is about to break?
#[component]
pub(crate) fn SystemPage() -> impl IntoView {
    page(Desk::take(), system)
}

async fn system(desk: Desk) -> Result<AnyView, Error> {
    let system = system_view(&desk.px, &desk.actor).await?;
    // What was told at this moment comes before what the last look found of the same.
    let issues = health::issues(&desk.px, &desk.actor)?.issues;
    let told = |problem: &&String| !issues.iter().any(|issue| issue.message == **problem);
    let mut problems: Vec<AnyView> = system
        .problems
        .iter()
        .filter(told)
        .map(|problem| notice(Tint::Attention, words::sentence(problem), None).into_any())
        .collect();
    problems.extend(issues.iter().map(|issue| issue_view(issue, desk.now)));
    let verdict = match problems.len() {
        0 => "Everything that FlukeDeploy needs is there.".to_owned(),
        count => words::count(count as u64, "thing is not well.", "things are not well."),
    };
    let engine = match (&system.engine_version, &system.engine_api_version) {
        (Some(version), Some(api)) => format!("Docker {version}, API {api}"),
        (Some(version), None) => format!("Docker {version}"),
        (None, _) => "Not known yet".to_owned(),
    };
    let ingresses = words::count(u64::from(system.ingresses), "connected", "connected");
    let content = view! {
        <div data-follow="">
            {PageHead::new("System").live().view()}
            <div id="system" class="steps" data-live="replace">
                <p class="verdict">{verdict}</p>
                {(!problems.is_empty()).then_some(view! { <div>{problems}</div> })}
                <dl class="facts">
                    <div><dt>"Engine"</dt><dd>{state(Mark::answers(system.engine_answers, "Answers", "Does not answer"))}</dd></div>
                    <div><dt>"Engine version"</dt><dd>{engine}</dd></div>
                    <div><dt>"Ingress"</dt><dd>{state(Mark::answers(system.ingresses > 0, "Serves", "Not connected"))}<span class="cell-sub">{ingresses}</span></dd></div>
                    <div><dt>"Nodes"</dt><dd>{system.nodes}</dd></div>
                    <div><dt>"Apps"</dt><dd>{system.apps}</dd></div>
                    <div><dt>"Deployments under way"</dt><dd>{system.deployments_active}</dd></div>
                    <div><dt>"FlukeDeploy"</dt><dd>{system.version.clone()}</dd></div>
                    <div><dt>"Instance"</dt><dd>{system.instance.clone()}</dd></div>
                    <div><dt>"Running since"</dt><dd>{age(system.started_at, desk.now)}</dd></div>
                </dl>
            </div>
        </div>
    };
    Ok(frame(&desk, Section::System, content))
}
