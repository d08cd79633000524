//! What waits to be told `FlukeBase`, in the order in which it happened.

use flukedeploy_domain::deployment::{Deployment, State};
use flukedeploy_domain::flukebase::{
    Ending, MAX_WAITING, Message, MessageStatus, ProjectId, Waiting,
};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_platform::ports::{OutboxCounts, StoreError};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{Cause, from_json, to_json};
use crate::error::{Doing, corrupt};
use crate::sealing::Sealer;
use crate::{deployments, flukebase};

const DOING: &str = "queueing a message to FlukeBase";
/// Projects that are looked at in one go.
const PROJECTS: i64 = 1_000;

/// Tells that a deployment was made, if its app belongs to a project.
pub(crate) async fn note_opened(
    db: &mut SqliteConnection,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    let Some(project) = flukebase::project_of(&mut *db, &deployment.app).await? else {
        return Ok(());
    };
    let message = Message::of_opened(deployment);
    queue(db, project, &message, deployment.initiated_at).await
}

/// Tells of a step of a deployment, if it is one that is told.
pub(crate) async fn note_step(
    db: &mut SqliteConnection,
    seal: &Sealer,
    before: &State,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    if before.status() == deployment.state.status() {
        return Ok(());
    }
    let Some(project) = flukebase::project_of(&mut *db, &deployment.app).await? else {
        return Ok(());
    };
    let previous = if deployment.state.is_final() {
        deployments::ended_before(&mut *db, seal, deployment).await?
    } else {
        None
    };
    let at = deployment
        .phases
        .iter()
        .filter_map(|phase| phase.completed_at.or(phase.started_at))
        .chain(deployment.completed_at)
        .max()
        .unwrap_or(deployment.initiated_at);
    for message in Message::of_step(before, deployment, previous.as_ref()) {
        queue(&mut *db, project, &message, at).await?;
    }
    Ok(())
}

/// Puts a message at the end of a project's queue, unless it is there already.
pub(crate) async fn queue(
    db: &mut SqliteConnection,
    project: ProjectId,
    message: &Message,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM flukebase_outbox WHERE status = 'waiting'"#
    )
    .fetch_one(&mut *db)
    .await
    .doing(DOING)?;
    let at = to_unix_ms(at);
    let (status, due, error) = if waiting >= i64::from(MAX_WAITING) {
        let why = format!("{MAX_WAITING} messages waited already");
        (MessageStatus::Dropped, None, Some(why))
    } else {
        (MessageStatus::Waiting, Some(at), None)
    };
    let (key, text, project) = (message.key(), to_json(message)?, project.number());
    let status = status.as_str();
    sqlx::query!(
        "INSERT INTO flukebase_outbox
           (key, project, message, status, next_attempt_at, last_error, queued_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key) DO NOTHING",
        key,
        project,
        text,
        status,
        due,
        error,
        at
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}

/// The first of each project's queue.
pub(crate) async fn waiting(db: &mut SqliteConnection) -> Result<Vec<Waiting>, StoreError> {
    const DOING: &str = "looking for messages to FlukeBase";
    let rows = sqlx::query!(
        r#"SELECT o.sequence AS "sequence!: i64", o.project, o.message, o.attempts,
             o.next_attempt_at, o.queued_at
           FROM (SELECT min(sequence) AS first
                 FROM flukebase_outbox INDEXED BY flukebase_outbox_waiting
                 WHERE status = 'waiting' GROUP BY project LIMIT ?) f
           JOIN flukebase_outbox o ON o.sequence = f.first"#,
        PROJECTS
    )
    .fetch_all(db)
    .await
    .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let read = || -> Result<Waiting, Cause> {
                Ok(Waiting {
                    sequence: row.sequence,
                    project: ProjectId::new(row.project)?,
                    message: from_json(&row.message)?,
                    attempts: row.attempts.try_into()?,
                    due_at: from_unix_ms(row.next_attempt_at.unwrap_or(0)),
                    queued_at: from_unix_ms(row.queued_at),
                })
            };
            read().map_err(|cause| corrupt("flukebase_outbox", row.sequence.to_string(), cause))
        })
        .collect()
}

pub(crate) async fn end(
    db: &mut SqliteConnection,
    sequence: i64,
    ending: &Ending,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let status = ending.status.as_str();
    let next_attempt_at = ending.next_attempt_at.map(to_unix_ms);
    let is_over = ending.status != MessageStatus::Waiting;
    let ended_at = is_over.then(|| to_unix_ms(at));
    sqlx::query!(
        "UPDATE flukebase_outbox
         SET status = ?, attempts = ?, next_attempt_at = ?, last_error = ?, ended_at = ?
         WHERE sequence = ? AND status = 'waiting'",
        status,
        ending.attempts,
        next_attempt_at,
        ending.last_error,
        ended_at,
        sequence
    )
    .execute(db)
    .await
    .doing("storing what became of a message to FlukeBase")?;
    Ok(())
}

pub(crate) async fn counts(db: &mut SqliteConnection) -> Result<OutboxCounts, StoreError> {
    const DOING: &str = "counting messages to FlukeBase";
    let mut counts = OutboxCounts::default();
    for status in MessageStatus::ALL {
        let word = status.as_str();
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!: i64" FROM flukebase_outbox WHERE status = ?"#,
            word
        )
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
        counts
            .by_status
            .insert(status, u64::try_from(count).unwrap_or(0));
    }
    let waits = sqlx::query!(
        "SELECT queued_at, last_error FROM flukebase_outbox WHERE status = 'waiting'
         ORDER BY sequence LIMIT 1"
    )
    .fetch_optional(&mut *db)
    .await
    .doing(DOING)?;
    if let Some(row) = waits {
        counts.oldest_waiting_at = Some(from_unix_ms(row.queued_at));
        counts.last_error = row.last_error;
    }
    if counts.last_error.is_none() {
        let refused = sqlx::query_scalar!(
            "SELECT last_error FROM flukebase_outbox WHERE status = 'refused'
             ORDER BY sequence DESC LIMIT 1"
        )
        .fetch_optional(db)
        .await
        .doing(DOING)?;
        counts.last_error = refused.flatten();
    }
    Ok(counts)
}

/// Removes what is over and older than this; returns how many.
pub(crate) async fn expire(
    db: &mut SqliteConnection,
    before: OffsetDateTime,
) -> Result<u64, StoreError> {
    let before = to_unix_ms(before);
    let gone = sqlx::query!(
        "DELETE FROM flukebase_outbox WHERE queued_at < ? AND status <> 'waiting'",
        before
    )
    .execute(db)
    .await
    .doing("removing old messages to FlukeBase")?;
    Ok(gone.rows_affected())
}
