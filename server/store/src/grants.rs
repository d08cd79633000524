//! Who may do what, and the projects that apps are in.

use std::collections::BTreeMap;

use flukedeploy_domain::access::{Grant, GrantRecord, Subject, Target};
use flukedeploy_domain::names::{AppName, Invalid, ProjectName};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{Cause, from_json, from_word, to_json, to_word};
use crate::error::{Doing, corrupt, missing};

struct Row {
    id: String,
    subject_kind: String,
    subject: String,
    app: Option<String>,
    project: Option<String>,
    role: String,
    environments: Option<String>,
    created_at: i64,
    created_by: String,
}

impl Row {
    fn record(self) -> Result<GrantRecord, Cause> {
        let target = match (self.app, self.project) {
            (Some(app), None) => Target::App(app.parse()?),
            (None, Some(project)) => Target::Project(project.parse()?),
            _ => return Err("it has not one target".into()),
        };
        let subject = match self.subject_kind.as_str() {
            "account" => Subject::Account(self.subject),
            "token" => Subject::Token(self.subject),
            _ => return Err("its subject is not known".into()),
        };
        Ok(GrantRecord {
            id: self.id,
            subject,
            target,
            role: from_word(&self.role)?,
            environments: self.environments.as_deref().map(from_json).transpose()?,
            created_at: from_unix_ms(self.created_at),
            created_by: self.created_by,
        })
    }
}

pub(crate) async fn all(db: &mut SqliteConnection) -> Result<Vec<GrantRecord>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, subject_kind, subject, app, project, role, environments, created_at, created_by
         FROM grants"
    )
    .fetch_all(db)
    .await
    .doing("reading the grants")?;
    let read = rows.into_iter().map(|row| {
        let id = row.id.clone();
        row.record().map_err(|cause| corrupt("grants", id, cause))
    });
    let mut grants = read.collect::<Result<Vec<_>, _>>()?;
    grants.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
    Ok(grants)
}

pub(crate) async fn of(
    db: &mut SqliteConnection,
    subject: &Subject,
) -> Result<Vec<Grant>, StoreError> {
    let (kind, id) = (subject.kind(), subject.id());
    let rows = sqlx::query!(
        r#"SELECT app AS "app!", role AS "role!", environments FROM grants
           WHERE subject_kind = ? AND subject = ? AND app IS NOT NULL
           UNION ALL
           SELECT apps.name, role, environments FROM grants
           JOIN apps ON apps.project = grants.project
           WHERE subject_kind = ? AND subject = ? AND grants.project IS NOT NULL"#,
        kind,
        id,
        kind,
        id
    )
    .fetch_all(db)
    .await
    .doing("reading what was granted")?;
    let grant = |app: &str, role: &str, environments: Option<&str>| -> Result<Grant, Cause> {
        Ok(Grant {
            app: app.parse()?,
            role: from_word(role)?,
            environments: environments.map(from_json).transpose()?,
        })
    };
    rows.iter()
        .map(|row| {
            grant(&row.app, &row.role, row.environments.as_deref())
                .map_err(|cause| corrupt("grants", id, cause))
        })
        .collect()
}

async fn has_subject(db: &mut SqliteConnection, subject: &Subject) -> Result<bool, StoreError> {
    const DOING: &str = "looking for who is granted something";
    match subject {
        Subject::Account(id) => {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?) AS "any!: bool""#,
                id
            )
            .fetch_one(db)
            .await
        }
        Subject::Token(id) => {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM tokens WHERE id = ?) AS "any!: bool""#,
                id
            )
            .fetch_one(db)
            .await
        }
    }
    .doing(DOING)
}

async fn has_target(db: &mut SqliteConnection, target: &Target) -> Result<bool, StoreError> {
    const DOING: &str = "looking for what is granted";
    match target {
        Target::App(app) => {
            let app = app.as_str();
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM apps WHERE name = ?) AS "any!: bool""#,
                app
            )
            .fetch_one(db)
            .await
        }
        Target::Project(project) => {
            let project = project.as_str();
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM projects WHERE name = ?) AS "any!: bool""#,
                project
            )
            .fetch_one(db)
            .await
        }
    }
    .doing(DOING)
}

pub(crate) async fn put(db: &mut SqliteConnection, grant: &GrantRecord) -> Result<(), StoreError> {
    const DOING: &str = "storing a grant";
    if !has_subject(&mut *db, &grant.subject).await? {
        return Err(missing(format!("{} of that id", grant.subject.kind())));
    }
    if !has_target(&mut *db, &grant.target).await? {
        return Err(missing(grant.target.to_string()));
    }
    let (kind, subject) = (grant.subject.kind(), grant.subject.id());
    let (app, project) = match &grant.target {
        Target::App(app) => (Some(app.as_str()), None),
        Target::Project(project) => (None, Some(project.as_str())),
    };
    sqlx::query!(
        "DELETE FROM grants WHERE subject_kind = ? AND subject = ? AND app IS ? AND project IS ?",
        kind,
        subject,
        app,
        project
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    let role = to_word(&grant.role)?;
    let environments = grant.environments.as_ref().map(to_json).transpose()?;
    let created_at = to_unix_ms(grant.created_at);
    sqlx::query!(
        "INSERT INTO grants (id, subject_kind, subject, app, project, role, environments,
           created_at, created_by)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        grant.id,
        kind,
        subject,
        app,
        project,
        role,
        environments,
        created_at,
        grant.created_by
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}

pub(crate) async fn delete(db: &mut SqliteConnection, id: &str) -> Result<bool, StoreError> {
    let deleted = sqlx::query!("DELETE FROM grants WHERE id = ?", id)
        .execute(db)
        .await
        .doing("withdrawing a grant")?;
    Ok(deleted.rows_affected() == 1)
}

pub(crate) async fn projects(db: &mut SqliteConnection) -> Result<Vec<ProjectName>, StoreError> {
    let names = sqlx::query_scalar!("SELECT name FROM projects ORDER BY name")
        .fetch_all(db)
        .await
        .doing("reading the projects")?;
    names
        .iter()
        .map(|name| {
            let parsed = name.parse();
            parsed.map_err(|cause: Invalid| corrupt("projects", name, cause))
        })
        .collect()
}

pub(crate) async fn members(
    db: &mut SqliteConnection,
) -> Result<BTreeMap<AppName, ProjectName>, StoreError> {
    let rows =
        sqlx::query!(r#"SELECT name, project AS "project!" FROM apps WHERE project IS NOT NULL"#)
            .fetch_all(db)
            .await
            .doing("reading what is in the projects")?;
    rows.iter()
        .map(|row| {
            let wrong = |cause: Invalid| corrupt("apps", &row.name, cause);
            Ok((
                row.name.parse().map_err(wrong)?,
                row.project.parse().map_err(wrong)?,
            ))
        })
        .collect()
}

/// A project that has lost its last app goes, with what was granted in it.
pub(crate) async fn set_project(
    db: &mut SqliteConnection,
    app: &AppName,
    project: Option<&ProjectName>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    const DOING: &str = "putting an app into a project";
    let (app, project, now) = (
        app.as_str(),
        project.map(ProjectName::as_str),
        to_unix_ms(now),
    );
    if let Some(project) = project {
        sqlx::query!(
            "INSERT INTO projects (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
            project,
            now
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    }
    let set = sqlx::query!("UPDATE apps SET project = ? WHERE name = ?", project, app)
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    if set.rows_affected() == 0 {
        return Err(missing(format!("app {app}")));
    }
    remove_empty(db).await
}

pub(crate) async fn remove_empty(db: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM projects
         WHERE NOT EXISTS (SELECT 1 FROM apps WHERE apps.project = projects.name)"
    )
    .execute(db)
    .await
    .doing("removing empty projects")?;
    Ok(())
}
