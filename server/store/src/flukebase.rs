//! `FlukeBase`: its settings, which app belongs to which project, and what each project said last.

use std::collections::BTreeMap;

use flukedeploy_domain::flukebase::{Binding, ProjectId, RemoteEnvironment, RemoteVariable};
use flukedeploy_domain::names::AppName;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{
    CachedVariables, FlukebaseEffect, FlukebaseSettings, StoreError,
};
use flukedeploy_platform::secret::Secret;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{Cause, from_json, to_json};
use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

const TOKEN: Place<'static> = Place {
    table: "flukebase",
    column: "token",
    row: "1",
};

fn variables_at(row: &str) -> Place<'_> {
    Place {
        table: "flukebase_variables",
        column: "variables",
        row,
    }
}

pub(crate) async fn settings(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<FlukebaseSettings, StoreError> {
    let row = sqlx::query!(
        r#"SELECT active AS "active: bool", url, token, default_project FROM flukebase
           WHERE only = 1"#
    )
    .fetch_optional(db)
    .await
    .doing("reading the settings of FlukeBase")?;
    let Some(row) = row else {
        return Ok(FlukebaseSettings::default());
    };
    let read = || -> Result<FlukebaseSettings, Cause> {
        let token = match &row.token {
            Some(sealed) => Some(Secret::new(seal.open(TOKEN, sealed)?.as_str())),
            None => None,
        };
        Ok(FlukebaseSettings {
            active: row.active,
            url: row.url.as_deref().map(str::parse).transpose()?,
            token,
            default_project: row.default_project.map(ProjectId::new).transpose()?,
        })
    };
    read().map_err(|cause| corrupt("flukebase", "1", cause))
}

pub(crate) async fn put_settings(
    db: &mut SqliteConnection,
    seal: &Sealer,
    settings: &FlukebaseSettings,
    effect: FlukebaseEffect,
) -> Result<(), StoreError> {
    let token = match &settings.token {
        Some(token) => Some(seal.seal(TOKEN, token.expose())?),
        None => None,
    };
    let url = settings.url.as_ref().map(ToString::to_string);
    let default_project = settings.default_project.map(ProjectId::number);
    let other_apps = effect.other_apps.map(ProjectId::number);
    sqlx::query!(
        "INSERT INTO flukebase (only, active, url, token, default_project, is_on, other_apps)
         VALUES (1, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (only) DO UPDATE SET active = excluded.active, url = excluded.url,
           token = excluded.token, default_project = excluded.default_project,
           is_on = excluded.is_on, other_apps = excluded.other_apps",
        settings.active,
        url,
        token,
        default_project,
        effect.is_on,
        other_apps
    )
    .execute(db)
    .await
    .doing("storing the settings of FlukeBase")?;
    Ok(())
}

pub(crate) async fn is_on(db: &mut SqliteConnection) -> Result<bool, StoreError> {
    let on = sqlx::query_scalar!(r#"SELECT is_on AS "is_on: bool" FROM flukebase WHERE only = 1"#)
        .fetch_optional(db)
        .await
        .doing("reading the settings of FlukeBase")?;
    Ok(on.unwrap_or(false))
}

/// The project that an app's deployments are told to; `None` if nobody is told.
pub(crate) async fn project_of(
    db: &mut SqliteConnection,
    app: &AppName,
) -> Result<Option<ProjectId>, StoreError> {
    let app = app.as_str();
    let found = sqlx::query_scalar!(
        r#"SELECT coalesce((SELECT project FROM flukebase_bindings WHERE app = ?), other_apps)
             AS "project: i64"
           FROM flukebase WHERE only = 1 AND is_on = 1"#,
        app
    )
    .fetch_optional(db)
    .await
    .doing("looking up the FlukeBase project of an app")?;
    Ok(found
        .flatten()
        .and_then(|number| ProjectId::new(number).ok()))
}

pub(crate) async fn bindings(
    db: &mut SqliteConnection,
) -> Result<BTreeMap<AppName, Binding>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT app, project, variables AS "variables: bool" FROM flukebase_bindings ORDER BY app"#
    )
    .fetch_all(db)
    .await
    .doing("reading which app belongs to which FlukeBase project")?;
    rows.into_iter()
        .map(|row| {
            let read = || -> Result<(AppName, Binding), Cause> {
                let project_id = ProjectId::new(row.project)?;
                let variables = row.variables;
                let binding = Binding {
                    project_id,
                    variables,
                };
                Ok((row.app.parse()?, binding))
            };
            read().map_err(|cause| corrupt("flukebase_bindings", &row.app, cause))
        })
        .collect()
}

/// `None` unties the app.
pub(crate) async fn bind(
    db: &mut SqliteConnection,
    app: &AppName,
    binding: Option<Binding>,
) -> Result<(), StoreError> {
    const DOING: &str = "tying an app to a FlukeBase project";
    let app = app.as_str();
    let Some(binding) = binding else {
        sqlx::query!("DELETE FROM flukebase_bindings WHERE app = ?", app)
            .execute(db)
            .await
            .doing(DOING)?;
        return Ok(());
    };
    let project = binding.project_id.number();
    sqlx::query!(
        "INSERT INTO flukebase_bindings (app, project, variables) VALUES (?, ?, ?)
         ON CONFLICT (app) DO UPDATE SET project = excluded.project,
           variables = excluded.variables",
        app,
        project,
        binding.variables
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}

pub(crate) async fn keep_variables(
    db: &mut SqliteConnection,
    seal: &Sealer,
    project: ProjectId,
    environment: RemoteEnvironment,
    variables: &[RemoteVariable],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let row = row_of(project, environment);
    let sealed = seal.seal(variables_at(&row), &to_json(&variables)?)?;
    let (project, environment) = (project.number(), environment.as_str());
    let at = to_unix_ms(at);
    sqlx::query!(
        "INSERT INTO flukebase_variables (project, environment, variables, fetched_at)
         VALUES (?, ?, ?, ?)
         ON CONFLICT (project, environment) DO UPDATE SET variables = excluded.variables,
           fetched_at = excluded.fetched_at",
        project,
        environment,
        sealed,
        at
    )
    .execute(db)
    .await
    .doing("storing the variables of a FlukeBase project")?;
    Ok(())
}

pub(crate) async fn variables(
    db: &mut SqliteConnection,
    seal: &Sealer,
    project: ProjectId,
    environment: RemoteEnvironment,
) -> Result<Option<CachedVariables>, StoreError> {
    let name = row_of(project, environment);
    let (project, environment) = (project.number(), environment.as_str());
    let row = sqlx::query!(
        "SELECT variables, fetched_at FROM flukebase_variables
         WHERE project = ? AND environment = ?",
        project,
        environment
    )
    .fetch_optional(db)
    .await
    .doing("reading the variables of a FlukeBase project")?;
    let Some(row) = row else { return Ok(None) };
    let read = || -> Result<CachedVariables, Cause> {
        Ok(CachedVariables {
            variables: from_json(&seal.open(variables_at(&name), &row.variables)?)?,
            fetched_at: from_unix_ms(row.fetched_at),
        })
    };
    read()
        .map(Some)
        .map_err(|cause| corrupt("flukebase_variables", &name, cause))
}

pub(crate) async fn forget_variables(db: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM flukebase_variables")
        .execute(db)
        .await
        .doing("forgetting the variables of FlukeBase projects")?;
    Ok(())
}

fn row_of(project: ProjectId, environment: RemoteEnvironment) -> String {
    format!("{project}/{}", environment.as_str())
}
