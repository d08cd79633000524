//! Dry runs: what a deployment would do, without doing it.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{Environment, Settings};
use flukedeploy_domain::approval::ApprovalPlan;
use flukedeploy_domain::deployment::rollout::Plan;
use flukedeploy_domain::deployment::{
    Deployment, SettingsChange, Source, Strategy, changes_between,
};
use flukedeploy_domain::job::JobKind;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use serde::{Deserialize, Serialize};

use super::commands::{
    Deploy, Rollback, Wanted, authorise_deploy, find_target, settings_of, strategy_of, way_back,
};
use super::promote::{Promote, authorise_promote, what_and_where};
use crate::approvals;
use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;

/// What would happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentPlan {
    pub dry_run: bool,
    pub app_name: AppName,
    pub environment: EnvironmentName,
    pub image: String,
    pub strategy: Strategy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseNo>,
    /// For a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_release: Option<ReleaseNo>,
    /// Settings that would be different; of variables, names only.
    pub changes: Vec<SettingsChange>,
    pub steps: Vec<PlannedStep>,
    /// What could go wrong, or be noticed by users.
    pub risks: Vec<String>,
    /// Commands that would run once, in order: "release: ./manage migrate".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// Deployments of the same environment that it would wait for or supersede.
    pub before_it: Vec<String>,
    /// Who would have to agree first; nobody, as long as no policy asks for it.
    pub needs_approval_of: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub new_replicas: u32,
    pub old_replicas: u32,
    /// Percent of new requests for the new release.
    pub percent: u32,
    /// It is measured against the former release before the next step.
    pub judged: bool,
}

pub async fn plan_deploy(
    px: &Platform,
    actor: &Actor,
    cmd: &Deploy,
) -> Result<DeploymentPlan, Error> {
    authorise_deploy(px, actor, cmd)?;
    let environment = match require_environment(px, actor, &cmd.app, &cmd.environment).await {
        Err(Error::AppNotFound { .. }) if cmd.create && cmd.environment.is_production() => {
            authorise(px, actor, Action::CreateApp, Resource::System)?;
            None
        }
        other => Some(other?),
    };
    let base = environment
        .as_ref()
        .map_or_else(Settings::default, |found| found.settings.clone());
    let mut settings = settings_of(&base, cmd)?;
    settings.shared = crate::projects::shared_with(px, &cmd.app).await?;
    settings.validate_delivered().map_err(Error::Invalid)?;
    let strategy = strategy_of(&settings, cmd.strategy)?;
    let mut plan = plan(px, &cmd.app, environment.as_ref(), &settings, strategy).await?;
    plan.needs_approval_of = approvals::needed(px, actor, &cmd.app, &cmd.environment).await?;
    plan.environment = cmd.environment.clone();
    plan.image = cmd.what.describe();
    match &cmd.what {
        Wanted::Image(image)
            if !image.is_pinned() && image.tag().is_none_or(|tag| tag == "latest") =>
        {
            plan.risks.push(format!(
                "{image} names no version: what it is now may differ from what it was"
            ));
        }
        Wanted::Image(_) => {}
        Wanted::Build(_) => plan.risks.push(
            "the image is built first: whether it builds shows only then, and nothing is changed if not"
                .to_owned(),
        ),
    }
    plan.jobs = jobs_of(&settings);
    if environment.is_none() {
        plan.risks
            .push("the app does not exist yet: it would be made".to_owned());
    }
    Ok(plan)
}

pub async fn plan_rollback(
    px: &Platform,
    actor: &Actor,
    cmd: &Rollback,
) -> Result<DeploymentPlan, Error> {
    authorise(
        px,
        actor,
        Action::Rollback,
        Resource::Environment(&cmd.app, &cmd.environment),
    )?;
    let environment = require_environment(px, actor, &cmd.app, &cmd.environment).await?;
    let releases = px
        .parts()
        .store
        .releases(&cmd.app, &environment.name, 1_000)
        .await?;
    let target = find_target(&environment, &releases, &cmd.to)?;
    let strategy = way_back(&environment, target);
    let mut plan = plan(px, &cmd.app, Some(&environment), &target.settings, strategy).await?;
    plan.needs_approval_of = approvals::needed(px, actor, &cmd.app, &environment.name).await?;
    plan.image = target.image.requested.to_string();
    plan.to_release = Some(target.number);
    if let Some(why) = &target.withdrawn {
        plan.risks
            .push(format!("release {} was withdrawn: {why}", target.number));
    }
    Ok(plan)
}

pub async fn plan_promote(
    px: &Platform,
    actor: &Actor,
    cmd: &Promote,
) -> Result<DeploymentPlan, Error> {
    authorise_promote(px, actor, cmd)?;
    let (target, release) = what_and_where(px, actor, cmd).await?;
    let mut settings = target.settings.clone();
    settings.shared = crate::projects::shared_with(px, &cmd.app).await?;
    settings.validate_delivered().map_err(Error::Invalid)?;
    let settings = &settings;
    let strategy = strategy_of(settings, cmd.strategy)?;
    let mut plan = plan(px, &cmd.app, Some(&target), settings, strategy).await?;
    plan.needs_approval_of = approvals::needed(px, actor, &cmd.app, &target.name).await?;
    plan.image.clone_from(&release.image.pinned);
    for missing in lacking(&release.settings, settings) {
        let (from, to) = (&cmd.from, &cmd.to);
        plan.risks.push(format!(
            "the variable {missing} is set in {from} and not in {to}"
        ));
    }
    if let Some(why) = &release.withdrawn {
        let number = release.number;
        plan.risks
            .push(format!("release {number} was withdrawn: {why}"));
    }
    plan.jobs = jobs_of(settings);
    Ok(plan)
}

/// What a deployment that has come as far as this is about to do, for whoever has to agree. Worked
/// out from what is stored: twice the same as long as nothing of it has changed.
pub(crate) async fn approval_plan(
    px: &Platform,
    deployment: &Deployment,
) -> Result<ApprovalPlan, Error> {
    let store = &px.parts().store;
    let (app, name) = (&deployment.app, &deployment.environment);
    let Some(environment) = store.environment(app, name).await? else {
        return Err(Error::EnvironmentNotFound {
            app: app.to_string(),
            name: name.to_string(),
            known: Vec::new(),
        });
    };
    let settings = &deployment.settings;
    let base = plan(px, app, Some(&environment), settings, deployment.strategy).await?;
    let mut risks = base.risks;
    if let Source::Release { number, .. } = deployment.source
        && let Some(release) = store.release(app, name, number).await?
        && let Some(why) = &release.withdrawn
    {
        risks.push(format!("release {number} was withdrawn: {why}"));
    }
    let image = deployment.image.as_ref();
    Ok(ApprovalPlan {
        act: deployment.act().to_owned(),
        image: image
            .map(|image| image.requested.to_string())
            .unwrap_or_default(),
        pinned_image: image.map(|image| image.pinned.clone()).unwrap_or_default(),
        version: deployment.version.clone(),
        strategy: deployment.strategy,
        replicas: settings.replicas,
        from_release: environment.active_release,
        // A new one gets its number once all else is well.
        release: match deployment.source {
            Source::Release { number, .. } => Some(number),
            _ => None,
        },
        mode: environment.mode,
        settings_version: environment.settings_version,
        changes: base.changes,
        risks,
        jobs: if deployment.source.is_new() {
            jobs_of(settings)
        } else {
            Vec::new()
        },
    })
}

/// What runs once with a new release, in order.
fn jobs_of(settings: &Settings) -> Vec<String> {
    JobKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let job = settings.jobs.get(kind)?;
            let command = flukedeploy_domain::diagnosis::tame(&job.command.join(" "), 200);
            Some(format!("{}: {command}", kind.as_str()))
        })
        .collect()
}

async fn plan(
    px: &Platform,
    app: &AppName,
    environment: Option<&Environment>,
    settings: &Settings,
    strategy: Strategy,
) -> Result<DeploymentPlan, Error> {
    let active = match environment.and_then(|e| Some((e, e.active_release?))) {
        Some((environment, number)) => {
            px.parts()
                .store
                .release(app, &environment.name, number)
                .await?
        }
        None => None,
    };
    let runs = environment.is_some_and(|environment| environment.mode.has_replicas());
    let former = active
        .as_ref()
        .filter(|_| runs)
        .map(|a| a.settings.replicas);
    let plan = Plan::new(strategy, settings.replicas, former, &settings.rollout);
    let before_it = match environment {
        Some(environment) => px
            .parts()
            .store
            .unfinished_deployments()
            .await?
            .into_iter()
            .filter(|d| d.app == environment.app && d.environment == environment.name)
            .map(|d| d.id.to_string())
            .collect(),
        None => Vec::new(),
    };
    let nothing = Settings::default();
    let before = active
        .as_ref()
        .map_or(&nothing, |release| &release.settings);
    Ok(DeploymentPlan {
        dry_run: true,
        app_name: app.clone(),
        environment: environment.map_or_else(EnvironmentName::production, |e| e.name.clone()),
        image: String::new(),
        strategy,
        from_release: active.as_ref().map(|release| release.number),
        to_release: None,
        changes: changes_between(before, settings),
        steps: plan
            .steps
            .iter()
            .map(|step| PlannedStep {
                new_replicas: step.new,
                old_replicas: step.old,
                percent: step.share.percent(),
                judged: step.judged,
            })
            .collect(),
        risks: risks(settings, &plan, active.as_ref()),
        jobs: Vec::new(),
        before_it,
        needs_approval_of: Vec::new(),
    })
}

/// Names of variables that come with the one and not with the other.
fn lacking<'a>(with: &'a Settings, without: &Settings) -> Vec<&'a String> {
    let has: BTreeSet<&String> = without.delivered().map(|one| one.name).collect();
    let names = with.delivered().map(|one| one.name);
    names.filter(|name| !has.contains(name)).collect()
}

fn risks(settings: &Settings, plan: &Plan, active: Option<&Release>) -> Vec<String> {
    let mut risks = Vec::new();
    if plan.stop_first {
        risks.push(format!(
            "the release that serves stops before the new one starts; requests wait up to {} s",
            settings.rollout.hold_seconds
        ));
    }
    if plan.may_miss > 0 {
        risks.push(format!(
            "up to {} replicas may be missing on the way",
            plan.may_miss
        ));
    }
    if let Some(active) = active {
        for gone in lacking(&active.settings, settings) {
            risks.push(format!("the variable {gone} would be missing"));
        }
        for volume in &active.settings.volumes {
            if !settings.volumes.iter().any(|kept| kept.name == volume.name) {
                risks.push(format!("the volume {} would not be mounted", volume.name));
            }
        }
    }
    if plan.former.is_none() && active.is_none() {
        risks.push("there is no former release to go back to".to_owned());
    }
    risks
}
