//! Environments beside production: a place to try a release in, with variables, domains and
//! volumes of its own; with a time to live it is a preview and goes by itself.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{Environment, RunMode};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::volume_name;
use flukedeploy_domain::timestamp::to_wire;
use time::{Duration, OffsetDateTime};

use crate::apps::{
    ChangeApp, app_not_found, changed_settings, environment_view, get_environment,
    refuse_own_hosts, require_environment,
};
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::ServiceState;
use crate::views::AppView;

/// Shortest life of a preview, in seconds.
pub const MIN_TTL_SECONDS: u64 = 60;
/// Longest life of a preview, in seconds: 90 days.
pub const MAX_TTL_SECONDS: u64 = 90 * 24 * 60 * 60;
/// Most environments of one app.
pub const MAX_ENVIRONMENTS: usize = 50;

/// How often, and how long apart, volumes are tried again right after an environment has gone:
/// Docker frees them a moment after the last container. Later ones are the reconciler's.
const VOLUME_TRIES: u32 = 15;
const VOLUME_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A new environment.
#[derive(Debug, Clone)]
pub struct NewEnvironment {
    pub app: AppName,
    pub name: EnvironmentName,
    /// Whose settings it begins with; its domains and published ports are not taken over, since
    /// only one can have them.
    pub from: EnvironmentName,
    /// A preview: it goes by itself after so long.
    pub ttl_seconds: Option<u64>,
    /// What is different from the settings it begins with.
    pub change: ChangeApp,
}

/// All of an app, production first, then by name.
pub async fn list_environments(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
) -> Result<Vec<AppView>, Error> {
    authorise(px, actor, Action::ViewApp, Resource::App(app))?;
    let Some(overview) = px.parts().store.app_overview(app).await? else {
        return Err(app_not_found(px, actor, app).await);
    };
    let mut views = Vec::with_capacity(overview.environments.len());
    for environment in &overview.environments {
        let name = &environment.name;
        if actor.rights.shows(app.as_str(), Some(name.as_str())) {
            views.push(environment_view(px, actor, &overview, name).await?);
        }
    }
    views.sort_by_key(|view| !view.environment.is_production());
    Ok(views)
}

/// Nothing runs in it before something is deployed or promoted to it.
pub async fn create_environment(
    px: &Platform,
    actor: &Actor,
    new: NewEnvironment,
) -> Result<AppView, Error> {
    let NewEnvironment { app, name, .. } = &new;
    authorise(
        px,
        actor,
        Action::ChangeEnvironments,
        Resource::Environment(app, name),
    )?;
    // It takes over the values of secrets, which what is deployed to it can print.
    authorise(
        px,
        actor,
        Action::ChangeSettings,
        Resource::Environment(app, &new.from),
    )?;
    let base = require_environment(px, actor, app, &new.from).await?;
    let now = px.now();
    let expires_at = new.ttl_seconds.map(|ttl| end_of(now, ttl)).transpose()?;
    if px.config().host_of(app, name).is_none() {
        return Err(Error::invalid(
            "name",
            format!("makes the host name {app}-{name} too long: 63 characters are allowed"),
        ));
    }
    if let Some(overview) = px.parts().store.app_overview(app).await? {
        if overview
            .environments
            .iter()
            .any(|known| known.name == *name)
        {
            return Err(Error::Exists {
                what: format!("environment '{name}' of app '{app}'"),
            });
        }
        if overview.environments.len() >= MAX_ENVIRONMENTS {
            return Err(Error::NotNow(format!(
                "app '{app}' has {MAX_ENVIRONMENTS} environments, and no app may have more: delete one first"
            )));
        }
    }
    refuse_taken_address(px, app, name, "name").await?;
    refuse_leftovers(px, app, name).await?;
    let mut settings = base.settings.clone();
    settings.domains.clear();
    settings.published_ports.clear();
    let (settings, _) = changed_settings(&settings, new.change.clone())?;
    settings.validate().map_err(Error::Invalid)?;
    refuse_own_hosts(px, &settings.domains)?;
    let environment = Environment {
        app: app.clone(),
        name: name.clone(),
        settings,
        settings_version: 1,
        active_release: None,
        mode: RunMode::Running,
        standby: None,
        probation: None,
        expires_at,
        created_at: now,
    };
    let until = match new.ttl_seconds {
        Some(ttl) => format!(", for {ttl} s"),
        None => String::new(),
    };
    let from = &new.from;
    let summary = format!(
        "created {} with the settings of {from}{until}",
        called(app, name)
    );
    let audit = entry(actor, app, now, &summary);
    let store = &px.parts().store;
    store.create_environment(&environment, &audit).await?;
    note(px, app, name, format!("{} {summary}", actor.name));
    px.parts().routes.refresh(px).await;
    get_environment(px, actor, app, name).await
}

/// Gives an environment a time to live from now on, or (`None`) none: then it stays.
pub async fn set_ttl(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    name: &EnvironmentName,
    ttl_seconds: Option<u64>,
) -> Result<AppView, Error> {
    authorise(
        px,
        actor,
        Action::ChangeEnvironments,
        Resource::Environment(app, name),
    )?;
    let environment = require_environment(px, actor, app, name).await?;
    if name.is_production() {
        return Err(Error::invalid(
            "ttl_seconds",
            "cannot be given to production, which stays as long as the app",
        ));
    }
    let now = px.now();
    let expires_at = ttl_seconds.map(|ttl| end_of(now, ttl)).transpose()?;
    let of = called(app, name);
    let summary = match ttl_seconds {
        Some(ttl) => format!("lets {of} live for {ttl} s"),
        None => format!("keeps {of} until it is deleted"),
    };
    let former = environment.expires_at.map(to_wire);
    let audit =
        entry(actor, app, now, &summary).with_change("expires_at", former, expires_at.map(to_wire));
    let store = &px.parts().store;
    store.set_expiry(app, name, expires_at, &audit).await?;
    note(px, app, name, format!("{} {summary}", actor.name));
    get_environment(px, actor, app, name).await
}

/// Removes an environment with everything that belongs to it: what runs, its address, settings,
/// releases, deployments and volumes. Unfinished deployments are cancelled first.
pub async fn delete_environment(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    name: &EnvironmentName,
) -> Result<(), Error> {
    authorise(
        px,
        actor,
        Action::ChangeEnvironments,
        Resource::Environment(app, name),
    )?;
    require_environment(px, actor, app, name).await?;
    if name.is_production() {
        return Err(Error::invalid(
            "environment",
            "cannot be production: delete the app instead",
        ));
    }
    let summary = format!("deleted {}", called(app, name));
    remove(px, actor, app, name, None, &summary).await?;
    Ok(())
}

/// The time of a preview is over. It may have got more time meanwhile; then it stays.
pub(crate) async fn end_preview(
    px: &Platform,
    app: &AppName,
    name: &EnvironmentName,
) -> Result<(), Error> {
    let is_over = async || -> Result<bool, Error> {
        let found = px.parts().store.environment(app, name).await?;
        let until = found.and_then(|environment| environment.expires_at);
        Ok(until.is_some_and(|until| until <= px.now()))
    };
    if !is_over().await? {
        return Ok(());
    }
    let summary = format!("removed {}: its time was over", called(app, name));
    let over_at = Some(px.now());
    remove(px, &Actor::system(), app, name, over_at, &summary).await
}

/// From the one transaction in the middle on it is gone for good: what is left of it in the engine
/// belongs to nothing, and is removed here or, after a crash, by the reconciler.
async fn remove(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    name: &EnvironmentName,
    over_at: Option<OffsetDateTime>,
    summary: &str,
) -> Result<(), Error> {
    let runner = &px.parts().runner;
    runner.stop_app(px, actor, app, Some(name)).await?;
    let audit = entry(actor, app, px.now(), summary);
    let store = &px.parts().store;
    if !store.delete_environment(app, name, over_at, &audit).await? {
        return Ok(());
    }
    note(px, app, name, format!("{} {summary}", actor.name));
    px.parts().routes.forget_app(app, Some(name));
    px.parts().drift.note(app, name, Vec::new());
    px.parts().routes.refresh(px).await;
    crate::reconcile::remove_strays(px).await;
    let px = px.clone();
    px.clone().parts().tasks.spawn(async move {
        for _ in 0..VOLUME_TRIES {
            match remove_leftovers(&px).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "volumes could not be removed now");
                }
            }
            tokio::select! {
                () = px.stopping().cancelled() => return,
                () = tokio::time::sleep(VOLUME_PAUSE) => {}
            }
        }
    });
    Ok(())
}

/// Removes volumes whose environments are no more, as far as nothing uses them. Returns how many
/// are left.
pub(crate) async fn remove_leftovers(px: &Platform) -> Result<usize, Error> {
    let leftovers = px.parts().store.leftover_volumes().await?;
    if leftovers.is_empty() {
        return Ok(0);
    }
    let services = px.parts().engine.services().await?;
    let mut left = 0;
    for leftover in leftovers {
        let (app, environment) = (&leftover.app, &leftover.environment);
        // As long as a service is there, it may start a container that makes the volume anew.
        let belongs = |service: &ServiceState| {
            let says = |label: &str, name: &str| {
                let value = service.labels.get(label);
                value.is_some_and(|value| value == name)
            };
            says("com.flukedeploy.app", app.as_str())
                && says("com.flukedeploy.environment", environment.as_str())
        };
        if services.iter().any(belongs) {
            left += 1;
            continue;
        }
        let name = volume_name(&px.config().instance, app, environment, &leftover.volume);
        let in_use = px.parts().engine.remove_volumes(&[name]).await?;
        if in_use.is_empty() {
            px.parts().store.forget_leftover_volume(&leftover).await?;
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// An app's production answers at `<app>`, its other environments at `<app>-<name>`: two of
/// different apps may come to the same.
pub(crate) async fn refuse_taken_address(
    px: &Platform,
    app: &AppName,
    name: &EnvironmentName,
    field: &str,
) -> Result<(), Error> {
    let Some(host) = px.config().host_of(app, name) else {
        return Ok(());
    };
    let all = px.parts().store.environments().await?;
    let owner = all
        .iter()
        .filter(|other| other.app != *app)
        .find(|other| px.config().host_of(&other.app, &other.name).as_ref() == Some(&host));
    match owner {
        Some(owner) => Err(Error::invalid(
            field,
            format!(
                "cannot be used: it would answer at {host}, where the environment '{}' of the app '{}' does",
                owner.name, owner.app
            ),
        )),
        None => Ok(()),
    }
}

async fn refuse_leftovers(
    px: &Platform,
    app: &AppName,
    name: &EnvironmentName,
) -> Result<(), Error> {
    let leftovers = px.parts().store.leftover_volumes().await?;
    match leftovers
        .iter()
        .find(|leftover| leftover.app == *app && leftover.environment == *name)
    {
        Some(leftover) => Err(Error::NotNow(format!(
            "an environment '{name}' of app '{app}' was deleted a moment ago, and its volume '{}' is not gone yet: try again in a few seconds",
            leftover.volume
        ))),
        None => Ok(()),
    }
}

fn end_of(now: OffsetDateTime, ttl_seconds: u64) -> Result<OffsetDateTime, Error> {
    match i64::try_from(ttl_seconds) {
        Ok(seconds) if (MIN_TTL_SECONDS..=MAX_TTL_SECONDS).contains(&ttl_seconds) => {
            Ok(now + Duration::seconds(seconds))
        }
        _ => Err(Error::invalid(
            "ttl_seconds",
            format!("must be {MIN_TTL_SECONDS} to {MAX_TTL_SECONDS}, not {ttl_seconds}"),
        )),
    }
}

/// "shop", or "the environment staging of shop".
pub(crate) fn called(app: &AppName, name: &EnvironmentName) -> String {
    if name.is_production() {
        app.to_string()
    } else {
        format!("the environment {name} of {app}")
    }
}

fn entry(actor: &Actor, app: &AppName, now: OffsetDateTime, summary: &str) -> AuditEntry {
    AuditEntry::new(
        now,
        actor,
        Action::ChangeEnvironments,
        format!("app:{app}"),
        summary,
    )
}

fn note(px: &Platform, app: &AppName, name: &EnvironmentName, text: String) {
    tracing::info!(app.name = %app, "{text}");
    let metadata = LogMetadata {
        environment: Some(name.to_string()),
        ..LogMetadata::new(EventType::ConfigChange, app.as_str())
    };
    px.parts().journal.note(Level::Info, text, metadata);
}
