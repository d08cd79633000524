use flukedeploy_domain::deployment::{DeploymentId, DeploymentSummary, PhaseName, PhaseStatus};
use flukedeploy_domain::diagnosis::Diagnosis;
use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_platform::Error;
use flukedeploy_platform::approvals;
use flukedeploy_platform::deployments::deployment_logs;
use flukedeploy_platform::views::DeploymentLogs;
use leptos::prelude::*;
use time::{Duration, OffsetDateTime};

use super::{deployment_id, page};
use crate::assets;
use crate::components::{
    Crumb, PageHead, Section, Tint, age, approval, checks, copy_button, diagnosis, finding, frame,
    jobs, log_group, mark_of, notice, phases, problem, receipt, rollout, source, state, ticking,
};
use crate::context::Desk;
use crate::offers::Offers;
use crate::{paths, words};

/// `/deployments/{id}`: where is it, what is it doing, and if it failed: why, and what now?
#[component]
pub(crate) fn DeploymentPage() -> impl IntoView {
    let id = deployment_id();
    page(Desk::take(), async move |desk| deployment(desk, &id?).await)
}

async fn deployment(desk: Desk, id: &DeploymentId) -> Result<AnyView, Error> {
    let logs = deployment_logs(&desk.px, &desk.actor, id).await?;
    let one = &logs.deployment;
    let is_final = one.status.is_final();
    let offers = desk.offers(&one.app_name, &one.environment);
    let asked = match &one.approval {
        Some(brief) => Some(approvals::get(&desk.px, &desk.actor, &brief.approval_id).await?),
        None => None,
    };
    // A page that loads itself again would take away what is typed.
    let may_decide = asked.as_ref().is_some_and(|asked| asked.may_decide);
    if !is_final && !may_decide {
        desk.answer.refresh_without_script();
    }
    let title = words::deployment_title(one);
    let content = view! {
        <div data-deployment=id.to_string() data-address=paths::deployment(id)>
            {PageHead::new(title)
                .crumbs(vec![Crumb::new("Apps", paths::APPS), Crumb::new(one.app_name.to_string(), paths::app(&one.app_name))])
                .lead(view! { <span class="id">{id.to_string()}</span>" "{copy_button("Copy id", Some(id.to_string()), None)} })
                .actions(view! { <div class="buttons" id="actions" data-live="replace">{actions(one, offers)}</div> })
                .live_if(!is_final)
                .view()}
            {problem(&desk.typed)}
            <p class="visually-hidden" role="status" data-announce=""></p>
            <div class="steps">
                <div id="story" data-live="replace">
                    <p class="verdict" data-deployment-status=one.status.as_str() data-final=is_final.to_string()>
                        {words::story(one)}
                    </p>
                    <p class="counts">{summary_line(one, desk.now)}</p>
                </div>
                <div id="approval" data-live="replace">{asked.as_ref().map(|asked| approval(asked, desk.now))}</div>
                <div id="because" data-live="replace">{one.because.as_ref().map(|found| went_back(one, found))}</div>
                <div id="rollout" data-live="replace">{rollout(one, offers)}</div>
                <div id="phases" data-live="replace">{phases(one, desk.now)}</div>
                <div id="diagnosis" data-live="replace">{one.diagnosis.as_ref().map(diagnosis)}{one.diagnosis.as_ref().map(|found| around_then(&logs, found))}</div>
                <div id="source" data-live="replace">{source(one)}</div>
                <div id="checks" data-live="replace">{checks(&one.preparation.checks)}</div>
                <div id="jobs" data-live="replace">{jobs(&one.preparation.jobs, desk.now)}</div>
                <div id="receipt" data-live="replace">{one.receipt.as_ref().map(|written| receipt(written, desk.now))}</div>
                <section aria-labelledby="log-title">
                    <div class="section-head"><h2 id="log-title">"Log"</h2><span class="section-note">"Times are UTC. "<a class="link" href=paths::logs_of(&one.app_name, id)>"All entries"</a></span></div>
                    <div class="table-wrap" id="log" data-live="replace">{groups(&logs)}</div>
                </section>
                <section aria-labelledby="details-title">
                    <div class="section-head"><h2 id="details-title">"Details"</h2></div>
                    <div id="details" data-live="replace">{details(one, desk.now)}</div>
                </section>
            </div>
        </div>
        <script type="module" src=assets::url("deployment.js")></script>
    };
    Ok(frame(&desk, Section::Deployments, content))
}

fn summary_line(one: &DeploymentSummary, now: OffsetDateTime) -> impl IntoView + use<> {
    let took = match one.total_duration_ms {
        Some(ms) => view! { <span>"Took "{words::duration(ms)}</span> }.into_any(),
        None => view! { <span>"Under way for "{ticking(one.initiated_at, now)}</span> }.into_any(),
    };
    view! {
        {state(mark_of(one))}
        {took}
        <span>"Started "{age(one.initiated_at, now)}" by "{one.initiated_as.clone()}</span>
    }
}

/// Where one reads on: all that was logged meanwhile, and what the replica said that failed.
fn around_then(logs: &DeploymentLogs, found: &Diagnosis) -> impl IntoView + use<> {
    let one = &logs.deployment;
    let moment = Duration::seconds(10);
    let ends = one.completed_at.map(|end| {
        let until = end.saturating_add(moment);
        (one.initiated_at.saturating_sub(moment), until)
    });
    let replica = of_phase(logs, found.phase)
        .iter()
        .rev()
        .find_map(|entry| entry.source.task_id.as_deref());
    let to = move |replica: Option<&str>| {
        paths::logs_between(&one.app_name, &one.environment, ends, replica)
    };
    let of_replica = replica.map(|task| {
        view! { <a class="link" href=to(Some(task))>"The log of the replica that failed"</a> }
    });
    view! {
        <p class="diagnosis-log">
            <a class="link" href=to(None)>"Everything that was logged meanwhile"</a>
            {of_replica}
        </p>
    }
}

/// Nobody asked for this deployment: what it is and why it was made.
fn went_back(one: &DeploymentSummary, found: &Diagnosis) -> impl IntoView + use<> {
    let (from, to) = (one.from_release, one.rollback_of);
    let text = match (from, to) {
        (Some(from), Some(to)) => format!(
            "Release {from} did not keep what the app promises, so FlukeDeploy went back to release {to}. Nobody had to ask for it."
        ),
        _ => {
            "The release that served did not keep what the app promises. Nobody had to ask for it."
                .to_owned()
        }
    };
    view! {
        {notice(Tint::Attention, "FlukeDeploy went back by itself".to_owned(), Some(text))}
        {finding(found)}
    }
}

/// While it runs: stop it. Once it failed: try again. Once it serves: look at the app.
fn actions(one: &DeploymentSummary, offers: Offers) -> impl IntoView + use<> {
    let app = &one.app_name;
    // A rollout has its own buttons, beside what they act on.
    if rollout(one, offers).is_some() {
        return ().into_any();
    }
    if !one.status.is_final() {
        return offers
            .cancel
            .then(|| {
                view! {
                    <form method="post" action=paths::cancel(&one.deployment_id)>
                        <button class="button button-danger" id="cancel">"Cancel deployment"</button>
                    </form>
                }
            })
            .into_any();
    }
    if one.diagnosis.is_some() && offers.deploy {
        return view! {
            <a class="button" href=paths::app(app)>"Go to "{app.to_string()}</a>
            <a class="button button-primary" href=paths::deploy(app)>"Deploy again"</a>
        }
        .into_any();
    }
    view! { <a class="button button-primary" href=paths::app(app)>"Go to "{app.to_string()}</a> }
        .into_any()
}

fn of_phase(logs: &DeploymentLogs, phase: PhaseName) -> &[LogEntry] {
    match phase {
        PhaseName::PreBuild => &logs.phases.pre_build,
        PhaseName::Build => &logs.phases.build,
        PhaseName::PreDeploy => &logs.phases.pre_deploy,
        PhaseName::Deploy => &logs.phases.deploy,
        PhaseName::PostDeploy => &logs.phases.post_deploy,
    }
}

/// The phase that matters now is open: the one that runs or failed, else `deploy`, where the app
/// itself speaks, else the last.
fn groups(logs: &DeploymentLogs) -> impl IntoView + use<> {
    let of = |phase: PhaseName| of_phase(logs, phase);
    let status = |phase: PhaseName| logs.deployment.phases.get(phase).status;
    let matters = PhaseName::ALL
        .into_iter()
        .find(|phase| matches!(status(*phase), PhaseStatus::Running | PhaseStatus::Failed))
        .or_else(|| (!logs.phases.deploy.is_empty()).then_some(PhaseName::Deploy))
        .or_else(|| {
            PhaseName::ALL
                .into_iter()
                .rev()
                .find(|phase| !of(*phase).is_empty())
        });
    PhaseName::ALL
        .into_iter()
        .map(|phase| log_group(phase, status(phase), of(phase), matters == Some(phase)))
        .collect::<Vec<_>>()
}

fn details(one: &DeploymentSummary, now: OffsetDateTime) -> impl IntoView + use<> {
    let release = |number: Option<flukedeploy_domain::release::ReleaseNo>| {
        number.map_or_else(|| "–".to_owned(), |number| number.to_string())
    };
    let optional = |name: &'static str, value: &Option<String>, class: &'static str| {
        value
            .clone()
            .map(|value| view! { <div class=class><dt>{name}</dt><dd>{value}</dd></div> })
    };
    view! {
        <dl class="facts">
            <div><dt>"Release"</dt><dd>{release(one.release)}</dd></div>
            <div><dt>"Served before"</dt><dd>{release(one.from_release)}</dd></div>
            <div><dt>"Strategy"</dt><dd>{words::strategy(one.strategy)}</dd></div>
            <div><dt>"Replicas"</dt><dd>{one.replicas.ready}" of "{one.replicas.requested}" healthy"</dd></div>
            <div><dt>"Kind"</dt><dd>{words::act(&one.act)}</dd></div>
            <div><dt>"Came from"</dt><dd>{words::initiated_by(one.initiated_by)}</dd></div>
            <div><dt>"Ended"</dt><dd>{match one.completed_at {
                Some(at) => age(at, now).into_any(),
                None => "–".into_any(),
            }}</dd></div>
            {optional("Version", &one.version, "")}
            {optional("Image", &one.image, "wide mono")}
            {optional("Pinned to", &one.pinned_image, "wide mono")}
            {optional("Reason", &one.reason, "wide")}
        </dl>
    }
}
