//! Projects: which apps are in them, and the variables they share. Values go in and never come out.
//!
//! What is shared becomes part of a release when its deployment begins ([`with_shared`]), and stays as
//! it was then: a release that is gone back to has what it had.

use std::collections::BTreeMap;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{EnvVars, Marks, Project, Settings, Variables};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::Source;
use flukedeploy_domain::names::{AppName, Invalid, ProjectName};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::views::{ProjectView, project_view};

/// Changes of what a project shares; variables that are not named stay.
#[derive(Debug, Clone, Default)]
pub struct ShareVariables {
    pub set: EnvVars,
    pub marks: Marks,
    pub remove: Vec<String>,
    /// Remove those that are neither set nor marked.
    pub replace: bool,
    /// Refuse if the variables are no longer at this version.
    pub if_version: Option<u64>,
}

/// Every project with an app that the actor may see, by name.
pub async fn list_projects(px: &Platform, actor: &Actor) -> Result<Vec<ProjectView>, Error> {
    authorise(px, actor, Action::ViewProject, Resource::Shown)?;
    let mut members = members(px).await?;
    let projects = px.parts().store.project_list().await?.into_iter();
    let views = projects.filter_map(|project| {
        let apps = members.remove(&project.name).unwrap_or_default();
        let view = project_view(&project, &apps, actor);
        (!view.apps.is_empty() || actor.rights.is_everything()).then_some(view)
    });
    Ok(views.collect())
}

pub async fn get_project(
    px: &Platform,
    actor: &Actor,
    name: &ProjectName,
) -> Result<ProjectView, Error> {
    let apps = members(px).await?.remove(name).unwrap_or_default();
    authorise(
        px,
        actor,
        Action::ViewProject,
        Resource::Project(name, &apps),
    )?;
    let project = existing(px, name).await?;
    Ok(project_view(&project, &apps, actor))
}

/// Changes what a project shares. Each app gets it with its next release.
///
/// # Errors
/// [`Error::Forbidden`] for whoever is not a maintainer of every app of the project.
pub async fn share_variables(
    px: &Platform,
    actor: &Actor,
    name: &ProjectName,
    change: ShareVariables,
) -> Result<ProjectView, Error> {
    let apps = members(px).await?.remove(name).unwrap_or_default();
    authorise(
        px,
        actor,
        Action::ShareVariables,
        Resource::Project(name, &apps),
    )?;
    let project = existing(px, name).await?;
    if let Some(version) = change.if_version
        && version != project.version
    {
        return Err(Error::Stale {
            current: project.version,
        });
    }
    let variables = changed(&project.variables, &change)?;
    if variables == project.variables {
        return Ok(project_view(&project, &apps, actor));
    }
    variables.validate().map_err(Error::Invalid)?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::ShareVariables,
        format!("project:{name}"),
        format!(
            "changed variables of the project {name}: {}",
            names_of(&project.variables, &variables)
        ),
    );
    // What runs may print them already.
    for app in &apps {
        crate::collector::learn_shared(px, app, &variables).await?;
    }
    px.parts()
        .store
        .share_variables(name, project.version, &variables, &audit)
        .await?;
    crate::changes::tell_apart(px, &audit);
    get_project(px, actor, name).await
}

fn changed(old: &Variables, change: &ShareVariables) -> Result<Variables, Error> {
    let mut faults = Vec::new();
    for name in &change.remove {
        if change.set.0.contains_key(name) {
            faults.push(Invalid::new(
                "remove_env_vars",
                "names a variable that is also set",
            ));
        }
    }
    faults.extend(
        old.check_marks(&change.set, &change.marks)
            .err()
            .into_iter()
            .flatten(),
    );
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let mut variables = old.clone();
    for name in &change.remove {
        variables.remove(name);
    }
    if change.replace {
        let marks = &change.marks;
        let is_named = |name: &String| {
            change.set.0.contains_key(name)
                || marks.secret.contains(name)
                || marks.files.contains_key(name)
                || marks.no_files.contains(name)
        };
        for name in old.values.0.keys().filter(|name| !is_named(name)) {
            variables.remove(name);
        }
    }
    variables.set(&change.set, &change.marks);
    Ok(variables)
}

/// `A, B (secret), without C`.
fn names_of(old: &Variables, new: &Variables) -> String {
    let differs = |name: &&String| {
        old.values.0.get(*name) != new.values.0.get(*name)
            || old.secret.contains(*name) != new.secret.contains(*name)
            || old.files.get(*name) != new.files.get(*name)
    };
    let changed = new.values.0.keys().filter(differs).map(|name| {
        let mark = if new.is_marked_secret(name) {
            " (secret)"
        } else {
            ""
        };
        format!("{name}{mark}")
    });
    let is_gone = |name: &&String| !new.values.0.contains_key(*name);
    let gone = old.values.0.keys().filter(is_gone);
    let words: Vec<String> = changed
        .chain(gone.map(|name| format!("without {name}")))
        .collect();
    flukedeploy_domain::diagnosis::tame(&words.join(", "), 500)
}

/// The settings of a release that begins now: with what the app's project shares at this moment. What
/// goes on with a release that there is has what that one has.
pub(crate) async fn with_shared(
    px: &Platform,
    app: &AppName,
    source: &Source,
    mut settings: Settings,
) -> Result<Settings, Error> {
    match source {
        Source::Release { .. } | Source::Scale { .. } | Source::Mode { .. } => return Ok(settings),
        Source::Image { .. }
        | Source::Build { .. }
        | Source::Promote { .. }
        | Source::Restart { .. } => {}
    }
    settings.shared = shared_with(px, app).await?;
    if !settings.shared.is_empty() {
        settings.validate_delivered().map_err(Error::Invalid)?;
    }
    Ok(settings)
}

pub(crate) async fn shared_with(px: &Platform, app: &AppName) -> Result<Variables, Error> {
    let project = px.parts().store.project_of(app).await?;
    Ok(project.map(|project| project.variables).unwrap_or_default())
}

async fn members(px: &Platform) -> Result<BTreeMap<ProjectName, Vec<AppName>>, Error> {
    let mut members: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (app, project) in px.parts().store.project_members().await? {
        members.entry(project).or_default().push(app);
    }
    Ok(members)
}

async fn existing(px: &Platform, name: &ProjectName) -> Result<Project, Error> {
    let found = px.parts().store.project(name).await?;
    found.ok_or_else(|| no_such_project(name))
}

pub(crate) fn no_such_project(name: &ProjectName) -> Error {
    Error::ProjectNotFound {
        name: name.to_string(),
    }
}
