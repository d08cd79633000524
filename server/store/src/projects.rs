//! Projects, with the variables that they share with their apps. Which app is in which is with the
//! grants.

use flukedeploy_domain::app::{Project, Variables};
use flukedeploy_domain::names::{AppName, ProjectName};
use flukedeploy_domain::timestamp::from_unix_ms;
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;

use crate::columns::{Cause, from_json, to_i64};
use crate::error::{Doing, corrupt, missing};
use crate::sealing::{Place, Sealer};

struct Row {
    name: String,
    variables: String,
    sealed: Option<String>,
    version: i64,
    created_at: i64,
}

/// Where the secrets of a project's variables stand.
fn place(name: &str) -> Place<'_> {
    Place {
        table: "projects",
        column: "variables",
        row: name,
    }
}

impl Row {
    fn read(&self, seal: &Sealer) -> Result<Project, StoreError> {
        let row = self;
        let read = || -> Result<Project, Cause> {
            let mut variables: Variables = from_json(&row.variables)?;
            seal.join(place(&row.name), &mut variables, row.sealed.as_deref())?;
            Ok(Project {
                name: row.name.parse()?,
                variables,
                version: row.version.try_into()?,
                created_at: from_unix_ms(row.created_at),
            })
        };
        read().map_err(|cause| corrupt("projects", &row.name, cause))
    }
}

pub(crate) async fn all(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Project>, StoreError> {
    sqlx::query_as!(
        Row,
        "SELECT name, variables, sealed, version, created_at FROM projects ORDER BY name"
    )
    .fetch_all(db)
    .await
    .doing("reading the projects")?
    .iter()
    .map(|row| row.read(seal))
    .collect()
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    name: &ProjectName,
) -> Result<Option<Project>, StoreError> {
    let name = name.as_str();
    sqlx::query_as!(
        Row,
        "SELECT name, variables, sealed, version, created_at FROM projects WHERE name = ?",
        name
    )
    .fetch_optional(db)
    .await
    .doing("reading a project")?
    .map(|row| row.read(seal))
    .transpose()
}

pub(crate) async fn of_app(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
) -> Result<Option<Project>, StoreError> {
    let app = app.as_str();
    sqlx::query_as!(
        Row,
        "SELECT projects.name, variables, sealed, version, projects.created_at
         FROM apps JOIN projects ON projects.name = apps.project WHERE apps.name = ?",
        app
    )
    .fetch_optional(db)
    .await
    .doing("reading the project of an app")?
    .map(|row| row.read(seal))
    .transpose()
}

pub(crate) async fn share(
    db: &mut SqliteConnection,
    seal: &Sealer,
    name: &ProjectName,
    seen_version: u64,
    variables: &Variables,
) -> Result<(), StoreError> {
    const DOING: &str = "storing what a project shares";
    let (variables, sealed) = seal.split(place(name.as_str()), variables)?;
    let (name, seen) = (name.as_str(), to_i64(seen_version));
    let stored = sqlx::query!(
        "UPDATE projects SET variables = ?, sealed = ?, version = version + 1
         WHERE name = ? AND version = ?",
        variables,
        sealed,
        name,
        seen
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    if stored.rows_affected() == 1 {
        return Ok(());
    }
    let current = sqlx::query_scalar!("SELECT version FROM projects WHERE name = ?", name)
        .fetch_optional(db)
        .await
        .doing(DOING)?
        .ok_or_else(|| missing(format!("project {name}")))?;
    Err(StoreError::Stale {
        current: current.try_into().unwrap_or_default(),
    })
}
