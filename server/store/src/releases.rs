//! Releases: numbered per environment, changed only in `was_healthy`, `withdrawn` and the scale.

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{NewRelease, Scale, StoreError, Switch};
use sqlx::SqliteConnection;

use crate::apps::called;
use crate::columns::{Cause, from_json, to_json};
use crate::error::{Doing, corrupt, missing};
use crate::sealing::{Place, Sealer};

struct Row {
    app: String,
    environment: String,
    number: i64,
    image: String,
    settings: String,
    sealed: Option<String>,
    version: Option<String>,
    was_healthy: bool,
    withdrawn: Option<String>,
    created_at: i64,
}

/// Where the secrets of the settings of `<app>/<environment>/<number>` stand.
fn place(id: &str) -> Place<'_> {
    Place {
        table: "releases",
        column: "settings",
        row: id,
    }
}

impl Row {
    fn read(&self, seal: &Sealer) -> Result<Release, StoreError> {
        let row = self;
        let id = format!("{}/{}/{}", row.app, row.environment, row.number);
        let read = || -> Result<Release, Cause> {
            let mut settings: Settings = from_json(&row.settings)?;
            seal.join(place(&id), &mut settings, row.sealed.as_deref())?;
            Ok(Release {
                app: row.app.parse()?,
                environment: row.environment.parse()?,
                number: ReleaseNo(row.number.try_into()?),
                image: from_json(&row.image)?,
                settings,
                version: row.version.clone(),
                was_healthy: row.was_healthy,
                withdrawn: row.withdrawn.clone(),
                created_at: from_unix_ms(row.created_at),
            })
        };
        read().map_err(|cause| corrupt("releases", &id, cause))
    }
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT app, environment, number AS "number!", image, settings, sealed, version,
                 was_healthy AS "was_healthy: bool", withdrawn, created_at
               FROM releases "# + $rest
            $(, $arg)*
        )
    };
}

pub(crate) async fn create(
    db: &mut SqliteConnection,
    seal: &Sealer,
    new: &NewRelease,
) -> Result<Release, StoreError> {
    const DOING: &str = "creating a release";
    let (app, environment) = (new.app.as_str(), new.environment.as_str());
    let deployment = new.deployment.as_str();
    let made = select!("WHERE deployment = ?", deployment)
        .fetch_optional(&mut *db)
        .await
        .doing(DOING)?;
    if let Some(row) = made {
        return row.read(seal);
    }
    let known = sqlx::query_scalar!("SELECT sequence FROM deployments WHERE id = ?", deployment)
        .fetch_optional(&mut *db)
        .await
        .doing(DOING)?;
    if known.is_none() {
        return Err(missing(format!("the deployment {deployment}")));
    }
    let number = sqlx::query_scalar!(
        "UPDATE environments SET last_release = last_release + 1 WHERE app = ? AND name = ?
         RETURNING last_release",
        app,
        environment
    )
    .fetch_optional(&mut *db)
    .await
    .doing(DOING)?
    .ok_or_else(|| missing(called(&new.app, &new.environment)))?;
    let image = to_json(&new.image)?;
    let id = format!("{app}/{environment}/{number}");
    let (settings, sealed) = seal.split(place(&id), &new.settings)?;
    let created_at = to_unix_ms(new.created_at);
    sqlx::query!(
        "INSERT INTO releases
           (app, environment, number, deployment, image, settings, sealed, version, was_healthy,
            created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        app,
        environment,
        number,
        deployment,
        image,
        settings,
        sealed,
        new.version,
        created_at
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    select!("WHERE deployment = ?", deployment)
        .fetch_one(db)
        .await
        .doing(DOING)?
        .read(seal)
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: &EnvironmentName,
    number: ReleaseNo,
) -> Result<Option<Release>, StoreError> {
    let (app, environment) = (app.as_str(), environment.as_str());
    select!(
        "WHERE app = ? AND environment = ? AND number = ?",
        app,
        environment,
        number.0
    )
    .fetch_optional(db)
    .await
    .doing("reading a release")?
    .map(|row| row.read(seal))
    .transpose()
}

pub(crate) async fn newest(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: &EnvironmentName,
    limit: u32,
) -> Result<Vec<Release>, StoreError> {
    let (app, environment) = (app.as_str(), environment.as_str());
    select!(
        "WHERE app = ? AND environment = ? ORDER BY number DESC LIMIT ?",
        app,
        environment,
        limit
    )
    .fetch_all(db)
    .await
    .doing("reading releases")?
    .into_iter()
    .map(|row| row.read(seal))
    .collect()
}

pub(crate) async fn switch(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    switch: &Switch,
) -> Result<(), StoreError> {
    const DOING: &str = "activating a release";
    let (app_name, name) = (app.as_str(), environment.as_str());
    let number = switch.active.map(|release| release.0);
    let standby = switch.standby.as_ref().map(to_json).transpose()?;
    let probation = switch.probation.as_ref().map(to_json).transpose()?;
    let set = sqlx::query!(
        "UPDATE environments SET active_release = ?, standby = ?, probation = ?
         WHERE app = ? AND name = ?",
        number,
        standby,
        probation,
        app_name,
        name
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    if set.rows_affected() == 0 {
        return Err(missing(called(app, environment)));
    }
    if let Some(number) = number {
        let marked = sqlx::query!(
            "UPDATE releases SET was_healthy = 1
             WHERE app = ? AND environment = ? AND number = ?",
            app_name,
            name,
            number
        )
        .execute(db)
        .await
        .doing(DOING)?;
        if marked.rows_affected() == 0 {
            let environment = called(app, environment);
            return Err(missing(format!("release {number} of {environment}")));
        }
    }
    Ok(())
}

pub(crate) async fn withdraw(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    release: ReleaseNo,
    reason: &str,
) -> Result<(), StoreError> {
    let (app, environment) = (app.as_str(), environment.as_str());
    sqlx::query!(
        "UPDATE releases SET withdrawn = ? WHERE app = ? AND environment = ? AND number = ?",
        reason,
        app,
        environment,
        release.0
    )
    .execute(db)
    .await
    .doing("withdrawing a release")?;
    Ok(())
}

pub(crate) async fn scale(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    scale: Scale,
) -> Result<(), StoreError> {
    let (app_name, name) = (app.as_str(), environment.as_str());
    let scaled = sqlx::query!(
        "UPDATE releases SET settings = json_set(settings, '$.replicas', ?)
         WHERE app = ? AND environment = ? AND number = ?",
        scale.replicas,
        app_name,
        name,
        scale.release.0
    )
    .execute(db)
    .await
    .doing("scaling a release")?;
    if scaled.rows_affected() == 0 {
        let environment = called(app, environment);
        return Err(missing(format!(
            "release {} of {environment}",
            scale.release
        )));
    }
    Ok(())
}
