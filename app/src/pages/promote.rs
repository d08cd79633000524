use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{get_app, list_releases};
use flukedeploy_platform::deployments::plan_promote;
use leptos::prelude::*;

use super::app_settings::strategy_choices;
use super::{app_crumbs, app_name, page, query};
use crate::components::{Choice, Field, PageHead, Section, empty, frame, plan, problem, select};
use crate::context::Desk;
use crate::forms::Typed;
use crate::forms::environments::{LISTED, promotion};
use crate::paths;

/// `/apps/{name}/promote`; `?from=`, `?to=` and `?release=` are what to choose first.
#[component]
pub(crate) fn PromotePage() -> impl IntoView {
    let name = app_name();
    let (from, to, release) = (query("from"), query("to"), query("release"));
    page(Desk::take(), async move |desk| {
        promote(desk, &name?, from, to, release).await
    })
}

async fn promote(
    desk: Desk,
    name: &AppName,
    from: Option<String>,
    to: Option<String>,
    release: Option<String>,
) -> Result<AnyView, Error> {
    let app = get_app(&desk.px, &desk.actor, name).await?;
    desk.require(Action::Deploy, Resource::SomeOf(name))?;
    let typed = &desk.typed;
    let head = |lead: &str| {
        PageHead::new(format!("Promote {name}"))
            .crumbs(app_crumbs(name, &EnvironmentName::production()))
            .lead(lead.to_owned())
            .view()
    };
    let others = app.environments.iter().filter(|e| !e.name.is_production());
    let first = others.map(|e| e.name.to_string()).next();
    let Some(first) = first else {
        let more = desk
            .offers(name, &EnvironmentName::production())
            .new_environment
            .then(|| view! { <a class="button button-primary" href=paths::new_environment(name)>"New environment"</a> });
        let content = view! {
            {head("From one environment to another.")}
            {empty("There is no other environment", "Make one, deploy to it, and promote what proved itself there.", more)}
        };
        return Ok(frame(&desk, Section::Apps, content));
    };
    let known = |wanted: Option<String>| {
        let is_known = |wanted: &String| app.environments.iter().any(|e| e.name.as_str() == wanted);
        wanted.filter(is_known)
    };
    let production = EnvironmentName::production().to_string();
    let from = known(typed.text("from").map(ToOwned::to_owned).or(from)).unwrap_or(first.clone());
    let to =
        known(typed.text("to").map(ToOwned::to_owned).or(to)).unwrap_or(if from == production {
            first
        } else {
            production
        });
    let releases = list_releases(&desk.px, &desk.actor, name, &from.parse()?, 50).await?;
    let mut numbers = vec![Choice::new("", format!("The one that serves in {from}"))];
    numbers.extend(releases.iter().filter(|r| r.was_healthy).map(|r| {
        let number = r.release.to_string();
        let version = r
            .version
            .as_ref()
            .map_or(String::new(), |v| format!(" · {v}"));
        Choice::new(number.clone(), format!("Release {number}{version}"))
    }));
    let environments = || {
        app.environments
            .iter()
            .map(|known| Choice::new(known.name.to_string(), known.name.to_string()))
            .collect::<Vec<_>>()
    };
    let mut strategies = vec![Choice::new("", "As the environment has it")];
    strategies.extend(strategy_choices());
    // What would change is shown without being asked for, where it can be told.
    let pairs = [
        ("from", Some(from.clone())),
        ("to", Some(to.clone())),
        ("release", release.clone()),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let planned = match (typed.plan(), typed.is_empty()) {
        (Some(plan), _) => Some(plan.clone()),
        (None, true) => match promotion(name.clone(), &Typed::new(pairs.collect())) {
            Ok(cmd) => plan_promote(&desk.px, &desk.actor, &cmd).await.ok(),
            Err(_) => None,
        },
        (None, false) => None,
    };
    let content = view! {
        {head("The very same image, byte for byte, with the settings of where it goes. Nothing is built again.")}
        {problem(typed)}
        {planned.as_ref().map(|planned| plan(planned, "Promote", "promote-form"))}
        <form class="form" id="promote-form" method="post" action=paths::promote(name)>
            <input type="hidden" name=LISTED value=from.clone()/>
            <div class="row">
                {select(typed, "from", "From", None, environments(), &from)}
                {select(typed, "to", "To", None, environments(), &to)}
            </div>
            {select(typed, "release", "Release", Some("Only those that were healthy."), numbers, release.as_deref().unwrap_or(""))}
            {select(typed, "strategy", "Strategy", None, strategies, "")}
            {Field::new(typed, "reason", "Reason").optional().hint("For the audit trail.").view()}
            <div class="form-end">
                <button class="button button-primary">"Promote"</button>
                <button class="button" name="do" value="plan">"Show the plan first"</button>
                <a class="button" href=paths::app(name)>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
