//! What a deployment would do: told before anything is done.

use flukedeploy_platform::deployments::{DeploymentPlan, PlannedStep};
use leptos::prelude::*;

use super::changes;
use crate::words;

/// `act` is what the form with the id `form` does; its button stands here, too.
pub(crate) fn plan(
    plan: &DeploymentPlan,
    act: &'static str,
    form: &'static str,
) -> impl IntoView + use<> {
    let from = plan.from_release.map_or_else(
        || "nothing serves yet".to_owned(),
        |release| format!("release {release} serves"),
    );
    let count = plan.steps.len();
    let steps: Vec<_> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| view! { <li><span>{told(step, plan, index + 1 == count)}</span></li> })
        .collect();
    let jobs: Vec<_> = plan
        .jobs
        .iter()
        .map(|planned| {
            let (kind, command) = words::planned_job(planned);
            view! { <li><span>{kind}": "<code>{command.to_owned()}</code></span></li> }
        })
        .collect();
    let risks: Vec<_> = plan
        .risks
        .iter()
        .map(|risk| view! { <li><span>{words::sentence(risk)}</span></li> })
        .collect();
    let risks = if risks.is_empty() {
        view! { <p class="soft">"None that can be told beforehand."</p> }.into_any()
    } else {
        view! { <ul class="risks">{risks}</ul> }.into_any()
    };
    let waiting = (!plan.before_it.is_empty()).then(|| {
        let before = words::count(plan.before_it.len() as u64, "deployment", "deployments");
        view! { <p>{before}" of this app not done yet: "{plan.before_it.join(", ")}"."</p> }
    });
    let changed = if plan.changes.is_empty() {
        view! { <p class="soft">"No setting would be different."</p> }.into_any()
    } else {
        changes("Settings that would change", &plan.changes).into_any()
    };
    view! {
        <section class="panel panel-body plan" id="plan" aria-labelledby="plan-title">
            <div>
                <h2 id="plan-title">"The plan"</h2>
                <p class="soft">"Nothing was done yet: "{from}". This is what "{act}" would do with "<code>{plan.image.clone()}</code>"."</p>
            </div>
            {waiting}
            <div>
                <h3>{words::strategy(plan.strategy)}" in "{words::count(count as u64, "step", "steps")}</h3>
                <ol class="next">{steps}</ol>
            </div>
            {(!jobs.is_empty()).then(|| view! { <div><h3>"Commands that run once"</h3><ol class="next">{jobs}</ol></div> })}
            <div><h3>"Risks"</h3>{risks}</div>
            <div><h3>"Settings that would change"</h3>{changed}</div>
            <div class="form-end"><button class="button button-primary" form=form>{format!("{act} as planned")}</button></div>
        </section>
    }
}

fn told(step: &PlannedStep, plan: &DeploymentPlan, last: bool) -> String {
    let start = format!("{} of the new release", words::replicas(step.new_replicas));
    let share = if step.percent >= 100 {
        "all traffic".to_owned()
    } else {
        format!("{}% of new requests", step.percent)
    };
    let old = match plan.from_release {
        Some(release) if step.old_replicas > 0 && last => {
            format!("; release {release} stands by or stops")
        }
        Some(release) if step.old_replicas > 0 => {
            format!(
                "; {} of release {release} stay",
                words::replicas(step.old_replicas)
            )
        }
        Some(release) => format!("; release {release} stops"),
        None => String::new(),
    };
    let judged = if step.judged {
        ". It is measured before the next step"
    } else {
        ""
    };
    format!(
        "{start}, once healthy, {} {share}{old}{judged}.",
        gets(step.new_replicas)
    )
}

fn gets(replicas: u32) -> &'static str {
    if replicas == 1 { "gets" } else { "get" }
}
