//! Environments beside production: made, given a time, removed; and what they leave behind.

use flukedeploy_domain::app::Environment;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::timestamp::to_unix_ms;
use flukedeploy_platform::ports::{LeftoverVolume, StoreError};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::apps::{called, claim_hosts, place};
use crate::columns::{Cause, to_i64, to_json};
use crate::error::{Doing, corrupt, exists, missing};
use crate::sealing::Sealer;

/// The app has to be there already.
pub(crate) async fn create(
    db: &mut SqliteConnection,
    seal: &Sealer,
    environment: &Environment,
) -> Result<(), StoreError> {
    const DOING: &str = "creating an environment";
    let (app, name) = (environment.app.as_str(), environment.name.as_str());
    refuse_taken_address(&mut *db, &environment.app, &environment.name).await?;
    // A new environment of that name must not get a volume that is about to be removed.
    let leftover = sqlx::query_scalar!(
        "SELECT volume FROM leftover_volumes WHERE app = ? AND environment = ? LIMIT 1",
        app,
        name
    )
    .fetch_optional(&mut *db)
    .await
    .doing(DOING)?;
    if let Some(volume) = leftover {
        let former = called(&environment.app, &environment.name);
        return Err(exists(format!(
            "the volume {volume} of {former} as it was before"
        )));
    }
    let id = format!("{app}/{name}");
    let (settings, sealed) = seal.split(place(&id), &environment.settings)?;
    let settings_version = to_i64(environment.settings_version);
    let active_release = environment.active_release.map(|number| number.0);
    let run_mode = to_json(&environment.mode)?;
    let standby = environment.standby.as_ref().map(to_json).transpose()?;
    let probation = environment.probation.as_ref().map(to_json).transpose()?;
    let expires_at = environment.expires_at.map(to_unix_ms);
    let created_at = to_unix_ms(environment.created_at);
    let made = sqlx::query!(
        "INSERT INTO environments
           (app, name, settings, sealed, settings_version, active_release, mode, standby, probation,
            expires_at, created_at)
         SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM apps WHERE apps.name = ?
         ON CONFLICT (app, name) DO NOTHING",
        app,
        name,
        settings,
        sealed,
        settings_version,
        active_release,
        run_mode,
        standby,
        probation,
        expires_at,
        created_at,
        app
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    if made.rows_affected() == 0 {
        let known = sqlx::query_scalar!("SELECT name FROM apps WHERE name = ?", app)
            .fetch_optional(&mut *db)
            .await
            .doing(DOING)?;
        return Err(match known {
            Some(_) => exists(called(&environment.app, &environment.name)),
            None => missing(format!("the app {app}")),
        });
    }
    claim_hosts(
        db,
        &environment.app,
        &environment.name,
        &environment.settings,
    )
    .await
}

/// Production answers at `<app>`, others at `<app>-<name>`: two of different apps may come to the
/// same, and only one can have it.
async fn refuse_taken_address(
    db: &mut SqliteConnection,
    app: &AppName,
    name: &EnvironmentName,
) -> Result<(), StoreError> {
    let address = if name.is_production() {
        app.to_string()
    } else {
        format!("{app}-{name}")
    };
    let (app, name) = (app.as_str(), name.as_str());
    let owner = sqlx::query!(
        "SELECT app, name FROM environments
         WHERE CASE name WHEN 'production' THEN app ELSE app || '-' || name END = ?
           AND NOT (app = ? AND name = ?)",
        address,
        app,
        name
    )
    .fetch_optional(db)
    .await
    .doing("looking who has an address")?;
    match owner {
        Some(owner) => Err(exists(format!(
            "the address {address} (app {}, environment {})",
            owner.app, owner.name
        ))),
        None => Ok(()),
    }
}

/// `None`: it stays until it is deleted.
pub(crate) async fn set_expiry(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    expires_at: Option<OffsetDateTime>,
) -> Result<(), StoreError> {
    let (app_name, name) = (app.as_str(), environment.as_str());
    let expires_at = expires_at.map(to_unix_ms);
    let set = sqlx::query!(
        "UPDATE environments SET expires_at = ? WHERE app = ? AND name = ?",
        expires_at,
        app_name,
        name
    )
    .execute(db)
    .await
    .doing("changing the time of an environment")?;
    if set.rows_affected() == 0 {
        return Err(missing(called(app, environment)));
    }
    Ok(())
}

/// Everything that refers to it goes with it, and its volumes are leftovers from then on. With
/// `over_at` only if its time was over by then; false if it is not (or no longer) there.
pub(crate) async fn delete(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    over_at: Option<OffsetDateTime>,
) -> Result<bool, StoreError> {
    let (app, name) = (app.as_str(), environment.as_str());
    let over_at = over_at.map(to_unix_ms);
    note_leftovers(&mut *db, app, name).await?;
    let gone = sqlx::query!(
        "DELETE FROM environments WHERE app = ? AND name = ? AND name != 'production'
           AND (? IS NULL OR expires_at <= ?)",
        app,
        name,
        over_at,
        over_at
    )
    .execute(db)
    .await
    .doing("deleting an environment")?;
    Ok(gone.rows_affected() > 0)
}

pub(crate) async fn previews_of(
    db: &mut SqliteConnection,
    app: &AppName,
) -> Result<Vec<String>, StoreError> {
    let app = app.as_str();
    sqlx::query_scalar!(
        "SELECT name FROM environments WHERE app = ? AND expires_at IS NOT NULL",
        app
    )
    .fetch_all(db)
    .await
    .doing("reading the previews of an app")
}

/// Every volume that the settings, a release or a deployment of the environment ever named.
pub(crate) async fn note_leftovers(
    db: &mut SqliteConnection,
    app: &str,
    environment: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT OR IGNORE INTO leftover_volumes (app, environment, volume)
         SELECT ?, ?, json_extract(volume.value, '$.name') FROM (
             SELECT settings FROM environments WHERE app = ? AND name = ?
             UNION ALL SELECT settings FROM releases WHERE app = ? AND environment = ?
             UNION ALL SELECT settings FROM deployments WHERE app = ? AND environment = ?
         ) AS kept, json_each(kept.settings, '$.volumes') AS volume",
        app,
        environment,
        app,
        environment,
        app,
        environment,
        app,
        environment
    )
    .execute(db)
    .await
    .doing("noting volumes that are left over")?;
    Ok(())
}

pub(crate) async fn leftovers(
    db: &mut SqliteConnection,
) -> Result<Vec<LeftoverVolume>, StoreError> {
    let rows = sqlx::query!(
        "SELECT app, environment, volume FROM leftover_volumes ORDER BY app, environment, volume"
    )
    .fetch_all(db)
    .await
    .doing("reading volumes that are left over")?;
    rows.into_iter()
        .map(|row| {
            let read = || -> Result<LeftoverVolume, Cause> {
                Ok(LeftoverVolume {
                    app: row.app.parse()?,
                    environment: row.environment.parse()?,
                    volume: row.volume.clone(),
                })
            };
            let id = format!("{}/{}/{}", row.app, row.environment, row.volume);
            read().map_err(|cause| corrupt("leftover_volumes", id, cause))
        })
        .collect()
}

pub(crate) async fn forget_leftover(
    db: &mut SqliteConnection,
    volume: &LeftoverVolume,
) -> Result<(), StoreError> {
    let (app, environment) = (volume.app.as_str(), volume.environment.as_str());
    sqlx::query!(
        "DELETE FROM leftover_volumes WHERE app = ? AND environment = ? AND volume = ?",
        app,
        environment,
        volume.volume
    )
    .execute(db)
    .await
    .doing("forgetting a volume that was left over")?;
    Ok(())
}
