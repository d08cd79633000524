//! Apps: list, look at, make, change, remove.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{App, EnvVars, Environment, Marks, RunMode, Settings};
use flukedeploy_domain::approval::{Approval, ApprovalState};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{Deployment, Strategy, changes_between};
use flukedeploy_domain::health::HealthGate;
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname, Invalid, near_names};
use flukedeploy_domain::release::Release;

use serde_json::{Map, Value};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::AppOverview;
use crate::views::{AppView, EnvironmentBrief, ReleaseView, app_view, state_of};

/// A new app.
#[derive(Debug, Clone)]
pub struct NewApp {
    pub name: AppName,
    pub settings: Settings,
}

/// Changes to an app's settings; `None` leaves a field as it is. `Debug` shows names only: values may be
/// secrets, those of builds too.
#[derive(Clone, Default)]
pub struct ChangeApp {
    pub container_port: Option<u16>,
    pub replicas: Option<u32>,
    pub health: Option<HealthGate>,
    /// Variables to set; those not named stay.
    pub set_env_vars: EnvVars,
    /// Which of them, or of those that are there, are secret from now on, or no longer.
    pub marks: Marks,
    /// Names of variables to remove.
    pub remove_env_vars: Vec<String>,
    pub domains: Option<Vec<Hostname>>,
    pub strategy: Option<Strategy>,
    /// Partial changes of the other parts; see [`Settings::merged`].
    pub parts: Map<String, Value>,
    /// Refuse if the settings are no longer at this version.
    pub if_version: Option<u64>,
}

impl fmt::Debug for ChangeApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&String> = self.parts.keys().collect();
        f.debug_struct("ChangeApp")
            .field("set_env_vars", &self.set_env_vars)
            .field("marks", &self.marks)
            .field("remove_env_vars", &self.remove_env_vars)
            .field("parts", &parts)
            .finish_non_exhaustive()
    }
}

/// Every app the actor may see, by name.
///
/// Kept until something changes: dashboards and agents ask for it all the time.
pub async fn list_apps(px: &Platform, actor: &Actor) -> Result<Arc<Vec<AppView>>, Error> {
    authorise(px, actor, Action::ListApps, Resource::Shown)?;
    if !actor.rights.is_everything() {
        return shown_apps(px, actor).await;
    }
    // Before the reading, so that what changes meanwhile counts as newer.
    let stamp = Stamp {
        store: px.parts().store.changes(),
        fleet: px.parts().fleet.change_count(),
        drift: px.parts().drift.change_count(),
    };
    if let Some(kept) = px.parts().app_list.get(stamp) {
        return Ok(kept);
    }
    let overviews = px.parts().store.app_overviews().await?;
    let mut views = Vec::with_capacity(overviews.len());
    for overview in &overviews {
        views.push(environment_view(px, actor, overview, &EnvironmentName::production()).await?);
    }
    let views = Arc::new(views);
    px.parts().app_list.keep(stamp, &views);
    Ok(views)
}

/// The list of one who may not see all: each app by production, or else by the first environment
/// that may be seen.
async fn shown_apps(px: &Platform, actor: &Actor) -> Result<Arc<Vec<AppView>>, Error> {
    let mut views = Vec::new();
    for overview in px.parts().store.app_overviews().await? {
        let shown = |name: &EnvironmentName| {
            let app = overview.app.name.as_str();
            actor.rights.shows(app, Some(name.as_str()))
        };
        let production = EnvironmentName::production();
        let mut names = overview
            .environments
            .iter()
            .map(|environment| &environment.name);
        let first = if shown(&production) {
            Some(&production)
        } else {
            names.find(|name| shown(name))
        };
        if let Some(name) = first {
            views.push(environment_view(px, actor, &overview, name).await?);
        }
    }
    Ok(Arc::new(views))
}

/// What a list was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    store: u64,
    fleet: u64,
    drift: u64,
}

/// The newest list of apps.
#[derive(Default)]
pub(crate) struct AppList(Mutex<Option<Kept>>);

struct Kept {
    of: Stamp,
    since: Instant,
    views: Arc<Vec<AppView>>,
}

/// However sure we are that nothing has changed.
const LIST_AGE: Duration = Duration::from_secs(1);

impl AppList {
    fn get(&self, stamp: Stamp) -> Option<Arc<Vec<AppView>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref()
            .filter(|kept| kept.of == stamp && kept.since.elapsed() < LIST_AGE)
            .map(|kept| Arc::clone(&kept.views))
    }

    fn keep(&self, stamp: Stamp, views: &Arc<Vec<AppView>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept {
            of: stamp,
            since: Instant::now(),
            views: Arc::clone(views),
        });
    }
}

/// One app's production environment.
pub async fn get_app(px: &Platform, actor: &Actor, name: &AppName) -> Result<AppView, Error> {
    get_environment(px, actor, name, &EnvironmentName::production()).await
}

/// One environment of an app.
pub async fn get_environment(
    px: &Platform,
    actor: &Actor,
    name: &AppName,
    environment: &EnvironmentName,
) -> Result<AppView, Error> {
    authorise(
        px,
        actor,
        Action::ViewApp,
        Resource::Environment(name, environment),
    )?;
    match px.parts().store.app_overview(name).await? {
        Some(overview) => {
            let mut view = environment_view(px, actor, &overview, environment).await?;
            if let Some(project) = px.parts().store.project_of(name).await? {
                view.add_project(&project);
            }
            Ok(view)
        }
        None => Err(app_not_found(px, actor, name).await),
    }
}

/// Kept releases, newest first.
pub async fn list_releases(
    px: &Platform,
    actor: &Actor,
    name: &AppName,
    environment: &EnvironmentName,
    limit: u32,
) -> Result<Vec<ReleaseView>, Error> {
    authorise(
        px,
        actor,
        Action::ViewApp,
        Resource::Environment(name, environment),
    )?;
    let environment = require_environment(px, actor, name, environment).await?;
    let releases = px
        .parts()
        .store
        .releases(name, &environment.name, limit.clamp(1, 100))
        .await?;
    Ok(releases
        .iter()
        .map(|r| ReleaseView::new(r, environment.active_release))
        .collect())
}

pub async fn create_app(px: &Platform, actor: &Actor, new: NewApp) -> Result<AppView, Error> {
    authorise(px, actor, Action::CreateApp, Resource::System)?;
    new.settings.validate().map_err(Error::Invalid)?;
    refuse_own_hosts(px, &new.settings.domains)?;
    let production = EnvironmentName::production();
    crate::environments::refuse_taken_address(px, &new.name, &production, "app_name").await?;
    let now = px.now();
    let app = App {
        name: new.name.clone(),
        created_at: now,
    };
    let environment = Environment {
        app: new.name.clone(),
        name: EnvironmentName::production(),
        settings: new.settings,
        settings_version: 1,
        active_release: None,
        mode: RunMode::Running,
        standby: None,
        probation: None,
        expires_at: None,
        created_at: now,
    };
    let audit = AuditEntry::new(
        now,
        actor,
        Action::CreateApp,
        format!("app:{}", app.name),
        format!("created app {}", app.name),
    )
    .with_changes(changes_between(&Settings::default(), &environment.settings));
    px.parts()
        .store
        .create_app(&app, &environment, &audit)
        .await?;
    crate::changes::tell(px, &audit);
    px.parts().routes.refresh(px).await;
    get_app(px, actor, &app.name).await
}

/// Domains and what is logged take effect at once, everything else with the next deployment.
pub async fn change_app(
    px: &Platform,
    actor: &Actor,
    name: &AppName,
    environment: &EnvironmentName,
    change: ChangeApp,
) -> Result<AppView, Error> {
    authorise(
        px,
        actor,
        Action::ChangeSettings,
        Resource::Environment(name, environment),
    )?;
    let environment = require_environment(px, actor, name, environment).await?;
    if let Some(version) = change.if_version
        && version != environment.settings_version
    {
        return Err(Error::Stale {
            current: environment.settings_version,
        });
    }
    let (settings, changed) = changed_settings(&environment.settings, change)?;
    if changed.is_empty() {
        return get_environment(px, actor, name, &environment.name).await;
    }
    settings.validate().map_err(Error::Invalid)?;
    refuse_own_hosts(px, &settings.domains)?;
    // What runs may print them already.
    crate::collector::learn_marked(px, &environment, &settings).await?;
    let now = px.now();
    let of = crate::environments::called(name, &environment.name);
    let summary = format!("changed {} of {of}", changed.join(", "));
    let audit = AuditEntry::new(
        now,
        actor,
        Action::ChangeSettings,
        format!("app:{name}"),
        &summary,
    )
    .with_changes(changes_between(&environment.settings, &settings));
    px.parts()
        .store
        .change_settings(
            name,
            &environment.name,
            environment.settings_version,
            &settings,
            &audit,
        )
        .await?;
    px.parts().journal.note(
        Level::Info,
        format!("{} {summary}", actor.name),
        LogMetadata {
            environment: Some(environment.name.to_string()),
            ..LogMetadata::new(EventType::ConfigChange, name.as_str())
        },
    );
    px.parts().routes.refresh(px).await;
    get_environment(px, actor, name, &environment.name).await
}

/// Removes the app and everything that runs for it. Unfinished deployments are cancelled first.
pub async fn delete_app(px: &Platform, actor: &Actor, name: &AppName) -> Result<(), Error> {
    authorise(px, actor, Action::DeleteApp, Resource::App(name))?;
    crate::people::require_recent_proof(px, actor, Action::DeleteApp, Resource::App(name))?;
    require_environment(px, actor, name, &EnvironmentName::production()).await?;
    px.parts().runner.stop_app(px, actor, name, None).await?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::DeleteApp,
        format!("app:{name}"),
        format!("deleted app {name}"),
    );
    px.parts().store.delete_app(name, &audit).await?;
    crate::changes::tell(px, &audit);
    px.parts().routes.forget_app(name, None);
    px.parts().routes.refresh(px).await;
    // The services go after the routes, so that nobody is sent to a replica that stops. What
    // cannot be removed now is removed by the reconciler: no app in the store wants it.
    crate::reconcile::remove_strays(px).await;
    Ok(())
}

pub(crate) fn changed_settings(
    old: &Settings,
    change: ChangeApp,
) -> Result<(Settings, Vec<&'static str>), Error> {
    let mut settings = old.clone();
    let mut changed = Vec::new();
    if let Some(port) = change.container_port {
        settings.container_port = port;
    }
    if let Some(replicas) = change.replicas {
        settings.replicas = replicas;
    }
    if let Some(health) = change.health {
        settings.health = health;
    }
    if let Some(domains) = change.domains {
        settings.domains = domains;
    }
    if let Some(strategy) = change.strategy {
        settings.strategy = strategy;
    }
    for name in &change.remove_env_vars {
        if change.set_env_vars.0.contains_key(name) {
            return Err(
                Invalid::new("remove_env_vars", "names a variable that is also set").into(),
            );
        }
        settings.remove_variable(name);
    }
    settings
        .check_marks(&change.set_env_vars, &change.marks)
        .map_err(Error::Invalid)?;
    settings.set_variables(&change.set_env_vars, &change.marks);
    settings = settings.merged(&change.parts).map_err(Error::Invalid)?;
    let fields: [(&'static str, bool); 17] = [
        (
            "container_port",
            settings.container_port != old.container_port,
        ),
        ("replicas", settings.replicas != old.replicas),
        ("health", settings.health != old.health),
        (
            "env_vars",
            settings.env_vars != old.env_vars
                || settings.secret_env_vars != old.secret_env_vars
                || settings.secret_files != old.secret_files,
        ),
        ("domains", settings.domains != old.domains),
        ("strategy", settings.strategy != old.strategy),
        ("rollout", settings.rollout != old.rollout),
        ("objective", settings.objective != old.objective),
        ("resources", settings.resources != old.resources),
        ("placement", settings.placement != old.placement),
        ("volumes", settings.volumes != old.volumes),
        (
            "published_ports",
            settings.published_ports != old.published_ports,
        ),
        ("expose_http", settings.expose_http != old.expose_http),
        ("build", settings.build != old.build),
        ("jobs", settings.jobs != old.jobs),
        ("checks", settings.checks != old.checks),
        ("logs", settings.logs != old.logs),
    ];
    changed.extend(
        fields
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| *name),
    );
    Ok((settings, changed))
}

/// Apps get `<app>.<root domain>` by themselves; a custom domain under the root would take
/// another app's address.
pub(crate) fn refuse_own_hosts(px: &Platform, domains: &[Hostname]) -> Result<(), Error> {
    let suffix = format!(".{}", px.config().root_domain);
    match domains
        .iter()
        .find(|host| host.as_str().ends_with(&suffix) || **host == px.config().root_domain)
    {
        Some(host) => Err(Error::invalid(
            "domains",
            format!(
                "must lie outside the root domain {}, not '{host}'",
                px.config().root_domain
            ),
        )),
        None => Ok(()),
    }
}

pub(crate) async fn require_environment(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Environment, Error> {
    match px.parts().store.environment(app, environment).await? {
        Some(environment) => Ok(environment),
        None => match px.parts().store.app_overview(app).await? {
            Some(overview) => Err(no_such_environment(actor, &overview, environment)),
            None => Err(app_not_found(px, actor, app).await),
        },
    }
}

/// Names only environments that the actor may see.
fn no_such_environment(
    actor: &Actor,
    overview: &AppOverview,
    environment: &EnvironmentName,
) -> Error {
    let app = overview.app.name.as_str();
    let names = overview
        .environments
        .iter()
        .map(|known| known.name.as_str());
    Error::EnvironmentNotFound {
        app: app.to_owned(),
        name: environment.to_string(),
        known: names
            .filter(|known| actor.rights.shows(app, Some(known)))
            .map(ToOwned::to_owned)
            .collect(),
    }
}

/// Names only apps that the actor may see.
pub(crate) async fn app_not_found(px: &Platform, actor: &Actor, name: &AppName) -> Error {
    let near = match px.parts().store.app_names().await {
        Ok(names) => near_names(
            name.as_str(),
            names
                .iter()
                .map(AppName::as_str)
                .filter(|known| actor.rights.shows_app(known)),
        ),
        Err(error) => return error.into(),
    };
    Error::AppNotFound {
        name: name.to_string(),
        near,
    }
}

/// One environment of an app, with the names of those beside it that the actor may see.
pub(crate) async fn environment_view(
    px: &Platform,
    actor: &Actor,
    overview: &AppOverview,
    name: &EnvironmentName,
) -> Result<AppView, Error> {
    let environments = &overview.environments;
    let Some(index) = environments.iter().position(|e| e.name == *name) else {
        return Err(no_such_environment(actor, overview, name));
    };
    let environment = &environments[index];
    let latest = overview.latest.get(index).and_then(Option::as_ref);
    let (release, ready) = served(px, environment).await?;
    let url = px.config().url_of(&overview.app.name, &environment.name);
    let drift = px.parts().drift.of(&overview.app.name, &environment.name);
    let mut view = app_view(
        overview,
        environment,
        latest,
        release.as_ref(),
        ready,
        url,
        drift,
    );
    if let Some(question) = waits(px, latest).await? {
        view.state = state_of(environment, None, release.as_ref(), ready);
        if let Some(latest) = &mut view.latest_deployment {
            latest.approval = Some((&question).into());
        }
    }
    // Production comes first, the others by name.
    for (index, other) in environments.iter().enumerate() {
        let app = overview.app.name.as_str();
        if !actor.rights.shows(app, Some(other.name.as_str())) {
            continue;
        }
        let latest = overview.latest.get(index).and_then(Option::as_ref);
        let state = if other.name == *name {
            view.state
        } else {
            let (release, ready) = served(px, other).await?;
            let latest = match waits(px, latest).await? {
                Some(_) => None,
                None => latest,
            };
            state_of(other, latest, release.as_ref(), ready)
        };
        view.environments.push(EnvironmentBrief {
            name: other.name.clone(),
            state,
            url: px.config().url_of(&overview.app.name, &other.name),
            expires_at: other.expires_at,
        });
    }
    view.environments
        .sort_by_key(|brief| !brief.name.is_production());
    Ok(view)
}

/// The approval that the newest deployment waits for: until then the app is as if there was none.
async fn waits(px: &Platform, latest: Option<&Deployment>) -> Result<Option<Approval>, Error> {
    let Some(latest) = latest.filter(|latest| !latest.state.is_final()) else {
        return Ok(None);
    };
    let found = px.parts().store.approval_of(&latest.id).await?;
    Ok(found.filter(|approval| approval.state == ApprovalState::Waiting))
}

/// The release that serves, and how many replicas of it are well.
async fn served(px: &Platform, environment: &Environment) -> Result<(Option<Release>, u32), Error> {
    let Some(number) = environment.active_release else {
        return Ok((None, 0));
    };
    let store = &px.parts().store;
    let release = store
        .release(&environment.app, &environment.name, number)
        .await?;
    let ready = release.as_ref().map_or(0, |release| {
        let service = release.service_name(&px.config().instance);
        px.parts().fleet.ready_count(&service)
    });
    Ok((release, ready))
}
