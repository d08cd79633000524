//! Who may do what in which app, and the projects that apps are in.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{
    Action, Actor, GrantRecord, Resource, Rights, Role, Subject, Target, Tier,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};

use crate::authorise::authorise;
use crate::error::Error;
use crate::people;
use crate::platform::Platform;
use crate::ports::Account;
use crate::secret::random_id;
use crate::views::{GrantView, StandingView, Why};

/// What to grant.
#[derive(Debug, Clone)]
pub struct NewGrant {
    pub subject: Subject,
    pub target: Target,
    pub role: Role,
    /// Only in environments of these names. `None`: in all, those to come included.
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

/// Most environments that a grant names.
const MAX_ENVIRONMENTS: usize = 50;

/// Everything that was granted, the newest first; of an app, also what its project grants.
pub async fn list_grants(
    px: &Platform,
    actor: &Actor,
    app: Option<&AppName>,
) -> Result<Vec<GrantView>, Error> {
    match app {
        Some(app) => authorise(px, actor, Action::ListGrants, Resource::App(app))?,
        None => authorise(px, actor, Action::ListGrants, Resource::System)?,
    }
    let store = &px.parts().store;
    let project = match app {
        Some(app) => store.project_members().await?.remove(app),
        None => None,
    };
    let is_wanted = |grant: &GrantRecord| match (&grant.target, app) {
        (_, None) => true,
        (Target::App(of), Some(app)) => of == app,
        (Target::Project(of), Some(_)) => Some(of) == project.as_ref(),
    };
    let granted = store.grants().await?;
    let (people, tokens) = (store.accounts().await?, store.tokens().await?);
    let name_of = |subject: &Subject| match subject {
        Subject::Account(id) => people
            .iter()
            .find(|account| account.id == *id)
            .map(|account| account.name.clone()),
        Subject::Token(id) => tokens
            .iter()
            .find(|token| token.id == *id)
            .map(|token| token.name.clone()),
    };
    let wanted = granted.into_iter().filter(is_wanted);
    Ok(wanted
        .map(|grant| {
            let name = name_of(&grant.subject);
            view(grant, name)
        })
        .collect())
}

/// Who may do what in an app, and why: administrators, then what is granted to people, then tokens
/// as far as they reach now. Who may not come in at present is left out.
pub async fn who_may(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
) -> Result<Vec<StandingView>, Error> {
    authorise(px, actor, Action::ListGrants, Resource::App(app))?;
    let store = &px.parts().store;
    let accounts = store.accounts().await?;
    let administrators = accounts
        .iter()
        .filter(|account| account.tier == Tier::Admin && account.disabled_at.is_none())
        .map(|account| StandingView::everywhere(&account.name, Why::Administrator));
    let mut standing: Vec<StandingView> = administrators.collect();
    let granted = list_grants(px, actor, Some(app)).await?;
    for grant in &granted {
        let Subject::Account(id) = &grant.subject else {
            continue;
        };
        let account = accounts.iter().find(|account| account.id == *id);
        let may = |account: &&Account| account.disabled_at.is_none() && account.tier != Tier::Admin;
        if let Some(account) = account.filter(may) {
            standing.push(StandingView {
                role: grant.role,
                environments: grant.environments.clone(),
                ..StandingView::granted(&account.name, grant)
            });
        }
    }
    for token in store.tokens().await? {
        let (id, name) = (token.id.clone(), token.name.clone());
        // One that is not good now reaches nowhere.
        if let Ok(reach) = crate::reach::of_token(px, token).await {
            let own = granted.iter().find(|grant| {
                grant.subject == Subject::Token(id.clone())
                    && grant.target == Target::App(app.clone())
            });
            standing.extend(of_token(&name, own, &reach, app));
        }
    }
    Ok(standing)
}

/// What a token may, within what its tier and all that made it allow.
fn of_token(
    name: &str,
    own: Option<&GrantView>,
    reach: &crate::reach::Reach,
    app: &AppName,
) -> Vec<StandingView> {
    let most = match reach.tier {
        Tier::Extended => Role::Viewer,
        Tier::Advanced | Tier::Admin => Role::Maintainer,
    };
    let why = |grant: Option<String>| Why::Token { grant };
    match &*reach.rights {
        Rights::Everything => vec![StandingView {
            role: most,
            ..StandingView::everywhere(name, why(None))
        }],
        Rights::Only(grants) => grants
            .iter()
            .filter(|grant| grant.app == *app)
            .map(|grant| StandingView {
                role: grant.role.min(most),
                environments: grant.environments.clone(),
                ..StandingView::everywhere(name, why(own.map(|own| own.id.clone())))
            })
            .collect(),
    }
}

fn view(grant: GrantRecord, subject_name: Option<String>) -> GrantView {
    GrantView {
        subject_name,
        id: grant.id,
        subject: grant.subject,
        target: grant.target,
        role: grant.role,
        environments: grant.environments,
        created_at: grant.created_at,
        created_by: grant.created_by,
    }
}

/// Gives somebody a role, in place of what they had there.
///
/// # Errors
/// [`Error::Invalid`] for a token that may act everywhere, an administrator, or a role that the
/// token's tier does not reach.
pub async fn grant(px: &Platform, actor: &Actor, new: NewGrant) -> Result<GrantView, Error> {
    authorise(px, actor, Action::ChangeGrants, Resource::System)?;
    people::require_recent_proof(px, actor, Action::ChangeGrants, Resource::System)?;
    check_environments(new.environments.as_ref())?;
    let name = subject_that_needs_it(px, &new.subject).await?;
    let record = record(px, actor, new);
    let former = px
        .parts()
        .store
        .grants()
        .await?
        .into_iter()
        .find(|grant| (&grant.subject, &grant.target) == (&record.subject, &record.target));
    let audit = AuditEntry::new(
        record.created_at,
        actor,
        Action::ChangeGrants,
        resource_of(&record.target),
        format!(
            "granted {} '{name}' the role {} in {}{}",
            record.subject.kind(),
            record.role.as_str(),
            record.target,
            places(record.environments.as_ref())
        ),
    )
    .with_change("role", former.as_ref().map(role_of), Some(role_of(&record)));
    px.parts().store.put_grant(&record, &audit).await?;
    crate::changes::tell_apart(px, &audit);
    // What it had there may have been more.
    px.parts().rechecks.announce();
    Ok(view(record, Some(name)))
}

/// Takes a grant back. Who is connected through it is not any more.
pub async fn withdraw(px: &Platform, actor: &Actor, id: &str) -> Result<(), Error> {
    authorise(px, actor, Action::ChangeGrants, Resource::System)?;
    people::require_recent_proof(px, actor, Action::ChangeGrants, Resource::System)?;
    let store = &px.parts().store;
    let found = store
        .grants()
        .await?
        .into_iter()
        .find(|grant| grant.id == id);
    let Some(grant) = found else {
        return Err(no_such_grant());
    };
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::ChangeGrants,
        resource_of(&grant.target),
        format!(
            "withdrew the role {} of {} {} in {}",
            grant.role.as_str(),
            grant.subject.kind(),
            grant.subject.id(),
            grant.target
        ),
    )
    .with_change("role", Some(role_of(&grant)), None);
    if !store.delete_grant(id, &audit).await? {
        return Err(no_such_grant());
    }
    crate::changes::tell_apart(px, &audit);
    px.parts().rechecks.announce();
    Ok(())
}

/// Puts an app into a project, or (`None`) into none. Who has a role in the project has it there.
pub async fn set_project(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    project: Option<&ProjectName>,
) -> Result<(), Error> {
    authorise(px, actor, Action::ChangeProjects, Resource::System)?;
    let summary = match project {
        Some(project) => format!("put app {app} into the project {project}"),
        None => format!("took app {app} out of its project"),
    };
    let resource = format!("app:{app}");
    let former = px.parts().store.project_members().await?.remove(app);
    let audit = AuditEntry::new(px.now(), actor, Action::ChangeProjects, resource, summary)
        .with_change(
            "project",
            former.map(|project| project.to_string()),
            project.map(ToString::to_string),
        );
    px.parts().store.set_project(app, project, &audit).await?;
    crate::changes::tell_apart(px, &audit);
    px.parts().rechecks.announce();
    Ok(())
}

/// "deployer, only in staging", for the trail.
fn role_of(grant: &GrantRecord) -> String {
    format!(
        "{}{}",
        grant.role.as_str(),
        places(grant.environments.as_ref())
    )
}

pub(crate) fn record(px: &Platform, actor: &Actor, new: NewGrant) -> GrantRecord {
    GrantRecord {
        id: random_id(12),
        subject: new.subject,
        target: new.target,
        role: new.role,
        environments: new.environments,
        created_at: px.now(),
        created_by: actor.name.clone(),
    }
}

pub(crate) fn check_environments(
    environments: Option<&BTreeSet<EnvironmentName>>,
) -> Result<(), Error> {
    match environments {
        Some(none) if none.is_empty() => Err(Error::invalid(
            "environments",
            "must name at least one, or be left out for all",
        )),
        Some(some) if some.len() > MAX_ENVIRONMENTS => Err(Error::invalid(
            "environments",
            format!("may name at most {MAX_ENVIRONMENTS}"),
        )),
        _ => Ok(()),
    }
}

/// The subject's name, if a grant means anything to it.
async fn subject_that_needs_it(px: &Platform, subject: &Subject) -> Result<String, Error> {
    let store = &px.parts().store;
    let (name, has_everything) = match subject {
        Subject::Account(id) => store
            .account(id)
            .await?
            .map(|found| (found.name, found.tier == Tier::Admin)),
        Subject::Token(id) => store
            .token(id)
            .await?
            .filter(|token| token.revoked_at.is_none())
            .map(|found| (found.name, !found.is_narrowed)),
    }
    .ok_or_else(|| Error::NotFound {
        what: format!("{} of that id", subject.kind()),
    })?;
    if has_everything {
        return Err(Error::invalid(
            "subject",
            format!("may act in every app already: '{name}' is not narrowed to single apps"),
        ));
    }
    Ok(name)
}

pub(crate) fn places(environments: Option<&BTreeSet<EnvironmentName>>) -> String {
    match environments {
        None => String::new(),
        Some(some) => {
            let names: Vec<&str> = some.iter().map(EnvironmentName::as_str).collect();
            format!(", only in {}", names.join(", "))
        }
    }
}

fn resource_of(target: &Target) -> String {
    match target {
        Target::App(app) => format!("app:{app}"),
        Target::Project(project) => format!("project:{project}"),
    }
}

fn no_such_grant() -> Error {
    Error::NotFound {
        what: "grant of that id".to_owned(),
    }
}
