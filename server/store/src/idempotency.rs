//! Which request an actor sent under which key, for a day.

use flukedeploy_domain::deployment::{Deployment, DeploymentId};
use flukedeploy_domain::timestamp::to_unix_ms;
use flukedeploy_platform::ports::StoreError;
use sqlx::SqliteConnection;
use time::{Duration, OffsetDateTime};

use crate::error::{Doing, corrupt};
use crate::sealing::{Place, Sealer};

const KEPT: Duration = Duration::hours(24);

/// Where the hash of the request of `<actor>/<key>` stands.
fn place(id: &str) -> Place<'_> {
    Place {
        table: "idempotency_keys",
        column: "request_hash",
        row: id,
    }
}

/// The deployment that this key made within the last day, if it was asked for by `request_hash`.
///
/// # Errors
/// [`StoreError::KeyReused`] if it was another request.
pub(crate) async fn find(
    db: &mut SqliteConnection,
    seal: &Sealer,
    actor: &str,
    key: &str,
    request_hash: &str,
    now: OffsetDateTime,
) -> Result<Option<DeploymentId>, StoreError> {
    const DOING: &str = "looking up an idempotency key";
    let oldest = to_unix_ms(now - KEPT);
    let Some(row) = sqlx::query!(
        "SELECT request_hash, deployment FROM idempotency_keys
         WHERE actor = ? AND key = ? AND created_at > ?",
        actor,
        key,
        oldest
    )
    .fetch_optional(db)
    .await
    .doing(DOING)?
    else {
        return Ok(None);
    };
    // Sealed, since what a request held could be guessed from its hash.
    let id = format!("{actor}/{key}");
    let known = seal.open(place(&id), &row.request_hash);
    let known = known.map_err(|cause| corrupt("idempotency_keys", &id, cause))?;
    if known.as_str() != request_hash {
        return Err(StoreError::KeyReused);
    }
    row.deployment
        .parse()
        .map(Some)
        .map_err(|cause| corrupt("idempotency_keys", &row.deployment, cause))
}

/// Keeps the key and drops those that are older than a day.
pub(crate) async fn keep(
    db: &mut SqliteConnection,
    seal: &Sealer,
    deployment: &Deployment,
    key: &str,
    request_hash: &str,
) -> Result<(), StoreError> {
    const DOING: &str = "keeping an idempotency key";
    let oldest = to_unix_ms(deployment.initiated_at - KEPT);
    sqlx::query!("DELETE FROM idempotency_keys WHERE created_at <= ?", oldest)
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    let (actor, id) = (&deployment.initiated_as.id, deployment.id.as_str());
    let created_at = to_unix_ms(deployment.initiated_at);
    let row = format!("{actor}/{key}");
    let request_hash = seal.seal(place(&row), request_hash)?;
    sqlx::query!(
        "INSERT INTO idempotency_keys (actor, key, request_hash, deployment, created_at)
         VALUES (?, ?, ?, ?, ?)",
        actor,
        key,
        request_hash,
        id,
        created_at
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}
