//! Deployments. "Newest" is by order of arrival (`sequence`), not by clock.

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Source, State, Wishes};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{Cause, from_json, from_word, to_json, to_word};
use crate::error::{Doing, corrupt, exists, missing};
use crate::sealing::{Place, Sealer};
use crate::{approvals, apps};

struct Row {
    id: String,
    app: String,
    environment: String,
    cancel_requested: bool,
    initiated_at: i64,
    completed_at: Option<i64>,
    version: Option<String>,
    reason: Option<String>,
    strategy: String,
    replicas: i64,
    replicas_ready: i64,
    health_status: String,
    validation_level: String,
    auto_rollback: bool,
    initiated_by: String,
    release: Option<i64>,
    from_release: Option<i64>,
    source: String,
    initiated_as: String,
    state: String,
    phases: String,
    image: Option<String>,
    wishes: String,
    progress: String,
    receipt: Option<String>,
    preparation: String,
    settings: String,
    sealed: Option<String>,
    source_sealed: Option<String>,
}

/// Where the secrets of a deployment's settings or source stand.
fn place<'a>(column: &'static str, id: &'a str) -> Place<'a> {
    Place {
        table: "deployments",
        column,
        row: id,
    }
}

impl Row {
    fn read(&self, seal: &Sealer) -> Result<Deployment, StoreError> {
        self.opened(seal)
            .map_err(|cause| corrupt("deployments", &self.id, cause))
    }

    fn opened(&self, seal: &Sealer) -> Result<Deployment, Cause> {
        let mut source: Source = from_json(&self.source)?;
        let sealed = self.source_sealed.as_deref();
        seal.join(place("source", &self.id), &mut source, sealed)?;
        let mut settings: Settings = from_json(&self.settings)?;
        let sealed = self.sealed.as_deref();
        seal.join(place("settings", &self.id), &mut settings, sealed)?;
        let release = |number: Option<i64>| -> Result<Option<ReleaseNo>, Cause> {
            Ok(number.map(u32::try_from).transpose()?.map(ReleaseNo))
        };
        Ok(Deployment {
            id: self.id.parse()?,
            app: self.app.parse()?,
            environment: self.environment.parse()?,
            source,
            version: self.version.clone(),
            strategy: from_word(&self.strategy)?,
            replicas: self.replicas.try_into()?,
            validation_level: from_word(&self.validation_level)?,
            auto_rollback: self.auto_rollback,
            reason: self.reason.clone(),
            initiated_by: from_word(&self.initiated_by)?,
            initiated_as: from_json(&self.initiated_as)?,
            initiated_at: from_unix_ms(self.initiated_at),
            completed_at: self.completed_at.map(from_unix_ms),
            state: from_json(&self.state)?,
            phases: from_json(&self.phases)?,
            image: self.image.as_deref().map(from_json).transpose()?,
            release: release(self.release)?,
            from_release: release(self.from_release)?,
            replicas_ready: self.replicas_ready.try_into()?,
            health_status: from_word(&self.health_status)?,
            cancel_requested: self.cancel_requested,
            wishes: from_json(&self.wishes)?,
            progress: from_json(&self.progress)?,
            receipt: self.receipt.as_deref().map(from_json).transpose()?,
            preparation: from_json(&self.preparation)?,
            settings,
        })
    }
}

/// `SELECT` all columns of a deployment, with what comes after `FROM deployments`.
macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, app, environment, cancel_requested AS "cancel_requested: bool",
                 initiated_at, completed_at, version, reason, strategy, replicas, replicas_ready,
                 health_status, validation_level, auto_rollback AS "auto_rollback: bool",
                 initiated_by, release, from_release, source, initiated_as, state, phases, image,
                 wishes, progress, receipt, preparation, settings, sealed, source_sealed
               FROM deployments "# + $rest
            $(, $arg)*
        )
    };
}

fn all(rows: &[Row], seal: &Sealer) -> Result<Vec<Deployment>, StoreError> {
    rows.iter().map(|row| row.read(seal)).collect()
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    seal: &Sealer,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    const DOING: &str = "storing a deployment";
    if apps::environment(&mut *db, seal, &deployment.app, &deployment.environment)
        .await?
        .is_none()
    {
        return Err(missing(apps::called(
            &deployment.app,
            &deployment.environment,
        )));
    }
    let (id, app, environment) = (
        deployment.id.as_str(),
        deployment.app.as_str(),
        deployment.environment.as_str(),
    );
    let status = deployment.state.status();
    let (status, is_final) = (status.as_str(), status.is_final());
    let initiated_at = to_unix_ms(deployment.initiated_at);
    let completed_at = deployment.completed_at.map(to_unix_ms);
    let strategy = to_word(&deployment.strategy)?;
    let health_status = to_word(&deployment.health_status)?;
    let validation_level = to_word(&deployment.validation_level)?;
    let initiated_by = to_word(&deployment.initiated_by)?;
    let release = deployment.release.map(|number| number.0);
    let from_release = deployment.from_release.map(|number| number.0);
    let (source, source_sealed) = seal.split(place("source", id), &deployment.source)?;
    let actor = to_json(&deployment.initiated_as)?;
    let state = to_json(&deployment.state)?;
    let phases = to_json(&deployment.phases)?;
    let image = deployment.image.as_ref().map(to_json).transpose()?;
    let (settings, sealed) = seal.split(place("settings", id), &deployment.settings)?;
    let wishes = to_json(&deployment.wishes)?;
    let progress = to_json(&deployment.progress)?;
    let receipt = deployment.receipt.as_ref().map(to_json).transpose()?;
    let preparation = to_json(&deployment.preparation)?;
    let stored = sqlx::query!(
        "INSERT INTO deployments
           (id, app, environment, status, is_final, cancel_requested, initiated_at, completed_at,
            version, reason, strategy, replicas, replicas_ready, health_status, validation_level,
            auto_rollback, initiated_by, release, from_release, source, initiated_as, state,
            phases, image, wishes, progress, receipt, preparation, settings, sealed, source_sealed)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO NOTHING",
        id,
        app,
        environment,
        status,
        is_final,
        deployment.cancel_requested,
        initiated_at,
        completed_at,
        deployment.version,
        deployment.reason,
        strategy,
        deployment.replicas,
        deployment.replicas_ready,
        health_status,
        validation_level,
        deployment.auto_rollback,
        initiated_by,
        release,
        from_release,
        source,
        actor,
        state,
        phases,
        image,
        wishes,
        progress,
        receipt,
        preparation,
        settings,
        sealed,
        source_sealed
    )
    .execute(db)
    .await
    .doing(DOING)?;
    if stored.rows_affected() == 0 {
        return Err(exists(format!("the deployment {id}")));
    }
    Ok(())
}

/// What was asked (source, actor, times of asking), `cancel_requested` and `wishes` are left alone.
pub(crate) async fn save(
    db: &mut SqliteConnection,
    seal: &Sealer,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    let id = deployment.id.as_str();
    let status = deployment.state.status();
    let (status, is_final) = (status.as_str(), status.is_final());
    let completed_at = deployment.completed_at.map(to_unix_ms);
    let strategy = to_word(&deployment.strategy)?;
    let health_status = to_word(&deployment.health_status)?;
    let release = deployment.release.map(|number| number.0);
    let from_release = deployment.from_release.map(|number| number.0);
    let state = to_json(&deployment.state)?;
    let phases = to_json(&deployment.phases)?;
    let image = deployment.image.as_ref().map(to_json).transpose()?;
    let (settings, sealed) = seal.split(place("settings", id), &deployment.settings)?;
    let progress = to_json(&deployment.progress)?;
    let receipt = deployment.receipt.as_ref().map(to_json).transpose()?;
    let preparation = to_json(&deployment.preparation)?;
    // A cancel that was accepted and a success cannot both be true: who comes first wins.
    let succeeds = deployment.state == State::Success;
    let saved = sqlx::query!(
        "UPDATE deployments
         SET status = ?, is_final = ?, completed_at = ?, version = ?, strategy = ?, replicas = ?,
             replicas_ready = ?, health_status = ?, release = ?, from_release = ?, state = ?,
             phases = ?, image = ?, progress = ?, receipt = ?,
             preparation = ?, settings = ?, sealed = ?
         WHERE id = ? AND NOT (? AND cancel_requested)",
        status,
        is_final,
        completed_at,
        deployment.version,
        strategy,
        deployment.replicas,
        deployment.replicas_ready,
        health_status,
        release,
        from_release,
        state,
        phases,
        image,
        progress,
        receipt,
        preparation,
        settings,
        sealed,
        id,
        succeeds
    )
    .execute(&mut *db)
    .await
    .doing("storing a step of a deployment")?;
    if saved.rows_affected() == 0 {
        return Err(match get(db, seal, &deployment.id).await? {
            Some(_) => StoreError::CancelRequested,
            None => missing(format!("the deployment {id}")),
        });
    }
    Ok(())
}

/// What asking to cancel came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    Requested,
    /// Somebody asked before.
    Already,
    TooLate,
}

pub(crate) async fn request_cancel(
    db: &mut SqliteConnection,
    id: &DeploymentId,
) -> Result<Cancel, StoreError> {
    const DOING: &str = "asking a deployment to stop";
    let text = id.as_str();
    let row = sqlx::query!(
        r#"SELECT is_final AS "is_final: bool", cancel_requested AS "cancel_requested: bool"
           FROM deployments WHERE id = ?"#,
        text
    )
    .fetch_optional(&mut *db)
    .await
    .doing(DOING)?
    .ok_or_else(|| missing(format!("the deployment {id}")))?;
    if row.is_final {
        return Ok(Cancel::TooLate);
    }
    if row.cancel_requested {
        return Ok(Cancel::Already);
    }
    sqlx::query!(
        "UPDATE deployments SET cancel_requested = 1 WHERE id = ?",
        text
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(Cancel::Requested)
}

/// False if it is final already.
pub(crate) async fn set_wishes(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &DeploymentId,
    wishes: &Wishes,
) -> Result<bool, StoreError> {
    let now = get(&mut *db, seal, id)
        .await?
        .ok_or_else(|| missing(format!("the deployment {id}")))?;
    if now.state.is_final() {
        return Ok(false);
    }
    let mut wishes = wishes.clone();
    // Who read it before it was superseded does not undo that.
    wishes.superseded_by = wishes.superseded_by.or(now.wishes.superseded_by);
    let text = id.as_str();
    let wishes = to_json(&wishes)?;
    sqlx::query!(
        "UPDATE deployments SET wishes = ? WHERE id = ?",
        wishes,
        text
    )
    .execute(db)
    .await
    .doing("steering a deployment")?;
    Ok(true)
}

/// Asks all unfinished deployments of the environment to stop in favour of `by`.
pub(crate) async fn supersede(
    db: &mut SqliteConnection,
    seal: &Sealer,
    by: &Deployment,
) -> Result<Vec<DeploymentId>, StoreError> {
    let former = unfinished(&mut *db, seal).await?;
    replace(db, seal, by, former).await
}

/// Asks those of the environment that wait for an approval to stop in favour of `by`: nobody has
/// to decide about what is out of date.
pub(crate) async fn supersede_parked(
    db: &mut SqliteConnection,
    seal: &Sealer,
    by: &Deployment,
) -> Result<Vec<DeploymentId>, StoreError> {
    let mut former = Vec::new();
    for id in approvals::parked(&mut *db).await? {
        former.extend(get(&mut *db, seal, &id).await?);
    }
    replace(db, seal, by, former).await
}

async fn replace(
    db: &mut SqliteConnection,
    seal: &Sealer,
    by: &Deployment,
    all: Vec<Deployment>,
) -> Result<Vec<DeploymentId>, StoreError> {
    let mut superseded = Vec::new();
    for mut former in all {
        let same = former.app == by.app && former.environment == by.environment;
        if !same || former.id == by.id {
            continue;
        }
        request_cancel(&mut *db, &former.id).await?;
        former.wishes.superseded_by = Some(by.id.clone());
        set_wishes(&mut *db, seal, &former.id, &former.wishes).await?;
        superseded.push(former.id);
    }
    Ok(superseded)
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &DeploymentId,
) -> Result<Option<Deployment>, StoreError> {
    let id = id.as_str();
    select!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading a deployment")?
        .map(|row| row.read(seal))
        .transpose()
}

pub(crate) async fn of_app(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: Option<&EnvironmentName>,
    limit: u32,
) -> Result<Vec<Deployment>, StoreError> {
    const DOING: &str = "reading the deployments of an app";
    let app = app.as_str();
    let rows = match environment {
        Some(environment) => {
            let environment = environment.as_str();
            select!(
                "WHERE app = ? AND environment = ? ORDER BY sequence DESC LIMIT ?",
                app,
                environment,
                limit
            )
            .fetch_all(db)
            .await
            .doing(DOING)?
        }
        None => select!("WHERE app = ? ORDER BY sequence DESC LIMIT ?", app, limit)
            .fetch_all(db)
            .await
            .doing(DOING)?,
    };
    all(&rows, seal)
}

/// The deployment of its environment that ended before this one did.
pub(crate) async fn ended_before(
    db: &mut SqliteConnection,
    seal: &Sealer,
    deployment: &Deployment,
) -> Result<Option<Deployment>, StoreError> {
    let (app, environment) = (deployment.app.as_str(), deployment.environment.as_str());
    let id = deployment.id.as_str();
    select!(
        "WHERE app = ? AND environment = ? AND is_final = 1
           AND sequence < (SELECT sequence FROM deployments WHERE id = ?)
         ORDER BY sequence DESC LIMIT 1",
        app,
        environment,
        id
    )
    .fetch_optional(db)
    .await
    .doing("reading the deployment before")?
    .map(|row| row.read(seal))
    .transpose()
}

/// The newest of each environment, one query: the inner part is one step into an index per
/// environment, however many deployments there are.
pub(crate) async fn latest_of_all(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Deployment>, StoreError> {
    let rows = select!(
        "WHERE sequence IN (
           SELECT (SELECT max(d.sequence) FROM deployments d
                   WHERE d.app = e.app AND d.environment = e.name)
           FROM environments e)"
    )
    .fetch_all(db)
    .await
    .doing("reading the newest deployments")?;
    all(&rows, seal)
}

/// The newest of each environment of one app.
pub(crate) async fn latest_of_app(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
) -> Result<Vec<Deployment>, StoreError> {
    let app = app.as_str();
    let rows = select!(
        "WHERE sequence IN (
           SELECT (SELECT max(d.sequence) FROM deployments d
                   WHERE d.app = e.app AND d.environment = e.name)
           FROM environments e WHERE e.app = ?)",
        app
    )
    .fetch_all(db)
    .await
    .doing("reading the newest deployments of an app")?;
    all(&rows, seal)
}

pub(crate) async fn unfinished(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Deployment>, StoreError> {
    let rows = select!("WHERE is_final = 0 ORDER BY sequence")
        .fetch_all(db)
        .await
        .doing("reading the unfinished deployments")?;
    all(&rows, seal)
}

pub(crate) async fn recent(
    db: &mut SqliteConnection,
    seal: &Sealer,
    limit: u32,
) -> Result<Vec<Deployment>, StoreError> {
    let rows = select!("ORDER BY sequence DESC LIMIT ?", limit)
        .fetch_all(db)
        .await
        .doing("reading the recent deployments")?;
    all(&rows, seal)
}

pub(crate) async fn completed_count_of(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<u64, StoreError> {
    let (app, environment) = (app.as_str(), environment.as_str());
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM deployments
           WHERE app = ? AND environment = ? AND is_final = 1"#,
        app,
        environment
    )
    .fetch_one(db)
    .await
    .doing("counting deployments")?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Begun by one of these tokens or accounts since then.
pub(crate) async fn begun_by(
    db: &mut SqliteConnection,
    id: &str,
    since: OffsetDateTime,
) -> Result<u64, StoreError> {
    let since = to_unix_ms(since);
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM deployments
           WHERE begun_by = ? AND initiated_at > ?"#,
        id,
        since
    )
    .fetch_one(db)
    .await
    .doing("counting deployments")?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(crate) async fn completed_count(db: &mut SqliteConnection) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM deployments WHERE is_final = 1"#
    )
    .fetch_one(db)
    .await
    .doing("counting deployments")?;
    Ok(u64::try_from(count).unwrap_or(0))
}
