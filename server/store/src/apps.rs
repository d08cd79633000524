//! Apps, their environments, and the hosts these claim.

use flukedeploy_domain::app::{App, Environment, RunMode, Settings};
use flukedeploy_domain::deployment::{Deployment, DeploymentId};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{AppOverview, StoreError};
use sqlx::SqliteConnection;

use crate::columns::{Cause, from_json, to_i64, to_json};
use crate::error::{Doing, corrupt, exists, missing};
use crate::sealing::{Place, Sealer};
use crate::{deployments, environments};

struct AppRow {
    name: String,
    created_at: i64,
}

impl TryFrom<AppRow> for App {
    type Error = StoreError;
    fn try_from(row: AppRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row
                .name
                .parse()
                .map_err(|cause| corrupt("apps", &row.name, cause))?,
            created_at: from_unix_ms(row.created_at),
        })
    }
}

struct EnvironmentRow {
    app: String,
    name: String,
    settings: String,
    sealed: Option<String>,
    settings_version: i64,
    active_release: Option<i64>,
    mode: String,
    standby: Option<String>,
    probation: Option<String>,
    expires_at: Option<i64>,
    created_at: i64,
}

impl EnvironmentRow {
    fn read(&self, seal: &Sealer) -> Result<Environment, StoreError> {
        let (row, id) = (self, format!("{}/{}", self.app, self.name));
        let read = || -> Result<Environment, Cause> {
            let mut settings: Settings = from_json(&row.settings)?;
            seal.join(place(&id), &mut settings, row.sealed.as_deref())?;
            Ok(Environment {
                app: row.app.parse()?,
                name: row.name.parse()?,
                settings,
                settings_version: row.settings_version.try_into()?,
                active_release: row
                    .active_release
                    .map(|number| number.try_into().map(ReleaseNo))
                    .transpose()?,
                mode: from_json(&row.mode)?,
                standby: row.standby.as_deref().map(from_json).transpose()?,
                probation: row.probation.as_deref().map(from_json).transpose()?,
                expires_at: row.expires_at.map(from_unix_ms),
                created_at: from_unix_ms(row.created_at),
            })
        };
        read().map_err(|cause| corrupt("environments", &id, cause))
    }
}

/// Where the secrets of the settings of `<app>/<environment>` stand.
pub(crate) fn place(id: &str) -> Place<'_> {
    Place {
        table: "environments",
        column: "settings",
        row: id,
    }
}

/// How an environment is called in errors.
pub(crate) fn called(app: &AppName, environment: &EnvironmentName) -> String {
    format!("the environment {environment} of the app {app}")
}

pub(crate) async fn names(db: &mut SqliteConnection) -> Result<Vec<AppName>, StoreError> {
    sqlx::query_scalar!("SELECT name FROM apps ORDER BY name")
        .fetch_all(db)
        .await
        .doing("reading the names of apps")?
        .into_iter()
        .map(|name| name.parse().map_err(|cause| corrupt("apps", &name, cause)))
        .collect()
}

pub(crate) async fn environment(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    name: &EnvironmentName,
) -> Result<Option<Environment>, StoreError> {
    let (app, name) = (app.as_str(), name.as_str());
    sqlx::query_as!(
        EnvironmentRow,
        "SELECT app, name, settings, sealed, settings_version, active_release, mode, standby, probation,
           expires_at, created_at
         FROM environments WHERE app = ? AND name = ?",
        app,
        name
    )
    .fetch_optional(db)
    .await
    .doing("reading an environment")?
    .map(|row| row.read(seal))
    .transpose()
}

/// In the order of app and name.
pub(crate) async fn environments(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Environment>, StoreError> {
    sqlx::query_as!(
        EnvironmentRow,
        "SELECT app, name, settings, sealed, settings_version, active_release, mode, standby, probation,
           expires_at, created_at
         FROM environments ORDER BY app, name"
    )
    .fetch_all(db)
    .await
    .doing("reading the environments")?
    .into_iter()
    .map(|row| row.read(seal))
    .collect()
}

/// Three queries, however many apps there are; `db` must be in a transaction, so that they fit.
pub(crate) async fn overviews(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<AppOverview>, StoreError> {
    let apps: Vec<App> = sqlx::query_as!(AppRow, "SELECT name, created_at FROM apps ORDER BY name")
        .fetch_all(&mut *db)
        .await
        .doing("reading the apps")?
        .into_iter()
        .map(App::try_from)
        .collect::<Result<_, _>>()?;
    let environments = environments(&mut *db, seal).await?;
    let latest = deployments::latest_of_all(db, seal).await?;
    Ok(joined(apps, environments, latest))
}

pub(crate) async fn overview(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
) -> Result<Option<AppOverview>, StoreError> {
    let name = app.as_str();
    let Some(row) = sqlx::query_as!(
        AppRow,
        "SELECT name, created_at FROM apps WHERE name = ?",
        name
    )
    .fetch_optional(&mut *db)
    .await
    .doing("reading an app")?
    else {
        return Ok(None);
    };
    let environments = sqlx::query_as!(
        EnvironmentRow,
        "SELECT app, name, settings, sealed, settings_version, active_release, mode, standby, probation,
           expires_at, created_at
         FROM environments WHERE app = ? ORDER BY name",
        name
    )
    .fetch_all(&mut *db)
    .await
    .doing("reading the environments of an app")?
    .into_iter()
    .map(|row| row.read(seal))
    .collect::<Result<_, _>>()?;
    let latest = deployments::latest_of_app(db, seal, app).await?;
    Ok(joined(vec![App::try_from(row)?], environments, latest).pop())
}

/// All three ordered by the names in them.
fn joined(
    apps: Vec<App>,
    environments: Vec<Environment>,
    latest: Vec<Deployment>,
) -> Vec<AppOverview> {
    let mut environments = environments.into_iter().peekable();
    let mut latest: std::collections::HashMap<_, _> = latest
        .into_iter()
        .map(|deployment| {
            let key = (deployment.app.clone(), deployment.environment.clone());
            (key, deployment)
        })
        .collect();
    apps.into_iter()
        .map(|app| {
            let mut overview = AppOverview {
                app,
                environments: Vec::new(),
                latest: Vec::new(),
            };
            while let Some(environment) =
                environments.next_if(|environment| environment.app == overview.app.name)
            {
                let key = (environment.app.clone(), environment.name.clone());
                overview.latest.push(latest.remove(&key));
                overview.environments.push(environment);
            }
            overview
        })
        .collect()
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &App,
    environment: &Environment,
) -> Result<(), StoreError> {
    const DOING: &str = "creating an app";
    let (name, created_at) = (app.name.as_str(), to_unix_ms(app.created_at));
    let made = sqlx::query!(
        "INSERT INTO apps (name, created_at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        name,
        created_at
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    if made.rows_affected() == 0 {
        return Err(exists(format!("the app {name}")));
    }
    environments::create(db, seal, environment).await
}

pub(crate) async fn change_settings(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: &EnvironmentName,
    seen_version: u64,
    settings: &Settings,
) -> Result<Environment, StoreError> {
    let (app_name, name) = (app.as_str(), environment.as_str());
    let id = format!("{app_name}/{name}");
    let (text, sealed) = seal.split(place(&id), settings)?;
    let seen = to_i64(seen_version);
    let changed = sqlx::query!(
        "UPDATE environments SET settings = ?, sealed = ?, settings_version = settings_version + 1
         WHERE app = ? AND name = ? AND settings_version = ?",
        text,
        sealed,
        app_name,
        name,
        seen
    )
    .execute(&mut *db)
    .await
    .doing("changing settings")?;
    let now = self::environment(&mut *db, seal, app, environment)
        .await?
        .ok_or_else(|| missing(called(app, environment)))?;
    if changed.rows_affected() == 0 {
        return Err(StoreError::Stale {
            current: now.settings_version,
        });
    }
    claim_hosts(db, app, environment, settings).await?;
    Ok(now)
}

/// Makes the hosts of an environment those of its settings.
pub(crate) async fn claim_hosts(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    settings: &Settings,
) -> Result<(), StoreError> {
    const DOING: &str = "claiming the hosts of an app";
    let (app, environment) = (app.as_str(), environment.as_str());
    sqlx::query!(
        "DELETE FROM hosts WHERE app = ? AND environment = ?",
        app,
        environment
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    for host in &settings.domains {
        let host = host.as_str();
        let claimed = sqlx::query!(
            "INSERT INTO hosts (host, app, environment) VALUES (?, ?, ?)
             ON CONFLICT (host) DO NOTHING",
            host,
            app,
            environment
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
        if claimed.rows_affected() == 1 {
            continue;
        }
        let owner = sqlx::query!("SELECT app, environment FROM hosts WHERE host = ?", host)
            .fetch_one(&mut *db)
            .await
            .doing(DOING)?;
        if owner.app != app {
            return Err(exists(format!("the host {host} (app {})", owner.app)));
        }
        // The same host twice in one list is one claim; two environments cannot share it.
        if owner.environment != environment {
            return Err(exists(format!(
                "the host {host} (app {app}, environment {})",
                owner.environment
            )));
        }
    }
    Ok(())
}

pub(crate) async fn set_mode(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    mode: RunMode,
) -> Result<(), StoreError> {
    let (app_name, name) = (app.as_str(), environment.as_str());
    let mode = to_json(&mode)?;
    let set = sqlx::query!(
        "UPDATE environments SET mode = ? WHERE app = ? AND name = ?",
        mode,
        app_name,
        name
    )
    .execute(db)
    .await
    .doing("changing the mode of an environment")?;
    if set.rows_affected() == 0 {
        return Err(missing(called(app, environment)));
    }
    Ok(())
}

pub(crate) async fn end_standby(
    db: &mut SqliteConnection,
    app: &AppName,
    name: &EnvironmentName,
    release: ReleaseNo,
) -> Result<(), StoreError> {
    let (app, name) = (app.as_str(), name.as_str());
    sqlx::query!(
        "UPDATE environments SET standby = NULL
         WHERE app = ? AND name = ? AND json_extract(standby, '$.release') = ?",
        app,
        name,
        release.0
    )
    .execute(db)
    .await
    .doing("ending a standby")?;
    Ok(())
}

/// Returns the release whose probation it was, if it was still going on.
pub(crate) async fn end_probation(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: &EnvironmentName,
    deployment: &DeploymentId,
) -> Result<Option<ReleaseNo>, StoreError> {
    let Some(now) = self::environment(&mut *db, seal, app, environment).await? else {
        return Ok(None);
    };
    let Some(probation) = now.probation.filter(|now| now.deployment == *deployment) else {
        return Ok(None);
    };
    let (app, name) = (app.as_str(), environment.as_str());
    sqlx::query!(
        "UPDATE environments SET probation = NULL WHERE app = ? AND name = ?",
        app,
        name
    )
    .execute(db)
    .await
    .doing("ending a probation")?;
    Ok(Some(probation.release))
}

/// New settings that no caller asked for in this form; their version rises all the same.
pub(crate) async fn keep_replicas(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    replicas: u32,
) -> Result<(), StoreError> {
    let (app_name, name) = (app.as_str(), environment.as_str());
    sqlx::query!(
        "UPDATE environments
         SET settings = json_set(settings, '$.replicas', ?), settings_version = settings_version + 1
         WHERE app = ? AND name = ? AND json_extract(settings, '$.replicas') != ?",
        replicas,
        app_name,
        name,
        replicas
    )
    .execute(db)
    .await
    .doing("changing the number of replicas")?;
    Ok(())
}

/// Everything that refers to the app goes with it. The volumes of its previews are leftovers from
/// then on; those of its other environments are kept.
pub(crate) async fn delete(db: &mut SqliteConnection, app: &AppName) -> Result<(), StoreError> {
    let name = app.as_str();
    let previews = environments::previews_of(&mut *db, app).await?;
    for preview in previews {
        environments::note_leftovers(&mut *db, name, &preview).await?;
    }
    let gone = sqlx::query!("DELETE FROM apps WHERE name = ?", name)
        .execute(db)
        .await
        .doing("deleting an app")?;
    if gone.rows_affected() == 0 {
        return Err(missing(format!("the app {name}")));
    }
    Ok(())
}
