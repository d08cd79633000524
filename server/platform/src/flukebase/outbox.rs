//! Sends what waits, each project's messages one after the other. All that must not be forgotten is in
//! the store; a crash makes an attempt happen twice at worst, and the second finds what the first did.

use flukedeploy_domain::flukebase::{Attempt, Message, PlannedRoute, Waiting};
use time::{Duration, OffsetDateTime};

use super::link::{self, Closed, Session};
use super::tasks;
use crate::platform::Platform;
use crate::ports::{FlukebaseError, StoreError};
use crate::secret::random_u64;

/// How often it asks whether anything has changed; reading a number in memory.
const EVERY: std::time::Duration = std::time::Duration::from_millis(250);
/// Between two looks at a store that failed.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);
/// Longer than a message may take, with all its requests: an adapter that hangs must not stop it.
const ATTEMPT: std::time::Duration = std::time::Duration::from_mins(3);
/// How long messages that are over are kept.
const RETENTION: Duration = Duration::days(30);
const TIDY_EVERY: Duration = Duration::hours(1);

/// Ends when the platform stops; a request under way is cut off and repeated at the next start.
pub(crate) async fn run(px: Platform) {
    tokio::select! {
        () = px.stopping().cancelled() => {}
        () = work(&px) => {}
    }
}

async fn work(px: &Platform) {
    while let Err(error) = settle(px).await {
        warn(&error);
        tokio::time::sleep(RETRY).await;
    }
    let mut seen = None;
    let mut due_at: Option<OffsetDateTime> = None;
    let mut tidied_at: Option<OffsetDateTime> = None;
    loop {
        // Before the reading, so that what changes meanwhile counts as newer.
        let changes = px.parts().store.changes();
        if seen != Some(changes) || due_at.is_some_and(|at| at <= px.now()) {
            match look(px).await {
                Ok(next) => {
                    due_at = next;
                    seen = Some(changes);
                }
                Err(error) => {
                    warn(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        if tidied_at.is_none_or(|at| px.now() - at >= TIDY_EVERY) {
            tidied_at = Some(px.now());
            let before = px.now() - RETENTION;
            if let Err(error) = px.parts().store.expire_flukebase(before).await {
                warn(&error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = px.parts().flukebase_link.changed.notified() => seen = None,
        }
    }
}

/// The configuration may be another one than at the last start.
async fn settle(px: &Platform) -> Result<(), StoreError> {
    let store = &px.parts().store;
    let settings = store.flukebase_settings().await?;
    if let Some(access) = link::access_of(px, &settings) {
        let token = access.token.expose().to_owned();
        let redaction = px.parts().journal.redaction();
        redaction.learn_values(std::iter::once(&token));
    }
    let effect = link::effect_of(px, &settings);
    store
        .put_flukebase(&settings, effect, &std::collections::BTreeMap::new(), None)
        .await
}

fn warn(error: &StoreError) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "messages to FlukeBase could not be read"
    );
}

/// Sends what is due, one of each project; answers when there is something to do again.
async fn look(px: &Platform) -> Result<Option<OffsetDateTime>, StoreError> {
    let mut waiting = px.parts().store.flukebase_waiting().await?;
    waiting.sort_by_key(|first| first.due_at);
    let Some(first) = waiting.first() else {
        return Ok(None);
    };
    if first.due_at > px.now() {
        return Ok(Some(first.due_at));
    }
    for first in &waiting {
        if first.due_at > px.now() {
            continue;
        }
        // Asked anew for each: it may have gone away in between.
        let session = match link::open(px).await {
            Ok(session) => session,
            // Turned on again, it is looked at anew.
            Err(Closed::Off) => return Ok(None),
            Err(Closed::Until(at)) => return Ok(Some(at)),
            Err(Closed::Store(error)) => return Err(error),
        };
        let sent = tokio::time::timeout(ATTEMPT, send(px, &session, first)).await;
        let attempt = sent.unwrap_or_else(|_| Attempt::Unreached {
            why: "it took too long".to_owned(),
        });
        tell(first, &attempt);
        let ending = first.tried(attempt, px.now(), random_u64());
        px.parts()
            .store
            .end_flukebase(first.sequence, &ending, px.now())
            .await?;
    }
    // There may be more behind each of them.
    Ok(Some(px.now()))
}

fn tell(message: &Waiting, attempt: &Attempt) {
    let (key, project) = (message.message.key(), message.project);
    match attempt {
        Attempt::Delivered => {
            tracing::info!(%key, %project, "FlukeBase has the message {key}");
        }
        Attempt::Skipped { why } => {
            tracing::info!(%key, %project, "the message {key} is not for this FlukeBase: {why}");
        }
        Attempt::Refused { why } | Attempt::Faulty { why } | Attempt::Unreached { why } => {
            tracing::info!(%key, %project, "FlukeBase did not take the message {key}: {why}");
        }
    }
}

async fn send(px: &Platform, session: &Session, waiting: &Waiting) -> Attempt {
    let mut message = waiting.message.clone();
    if let Some(feature) = message.feature()
        && let Some(why) = session.lacks(feature)
    {
        return Attempt::Skipped { why };
    }
    redact(px, &mut message);
    let (port, access, project) = (link::port(px), &session.access, waiting.project);
    let result = match &message {
        Message::Task(news) => tasks::put(px, access, project, news).await,
        Message::Lesson(lesson) => port.remember(access, project, lesson).await,
        Message::Synced { environment, .. } => port.note_sync(access, project, *environment).await,
        Message::Ended { summary } => {
            if !link::has(px, session, PlannedRoute::Deployments).await {
                let why = "it has no route for the ends of deployments".to_owned();
                return Attempt::Skipped { why };
            }
            port.tell_end(access, summary).await
        }
    };
    link::note(px, result.as_ref().err());
    match result {
        Ok(()) => Attempt::Delivered,
        Err(error) => judge(px, session, error).await,
    }
}

async fn judge(px: &Platform, session: &Session, error: FlukebaseError) -> Attempt {
    let why = error.to_string();
    match error {
        FlukebaseError::NotNow { .. } | FlukebaseError::Conflict(_) => Attempt::Unreached { why },
        FlukebaseError::Forbidden { .. } => Attempt::Skipped { why },
        FlukebaseError::NotFound | FlukebaseError::Refused { .. } => Attempt::Refused { why },
        FlukebaseError::TokenRefused => {
            if link::doubt_token(px) {
                Attempt::Unreached { why }
            } else {
                let why = "it refuses here the token that it found good".to_owned();
                Attempt::Faulty { why }
            }
        }
        // The message counts as bad only if the server is well otherwise.
        FlukebaseError::Faulty { why } => match link::port(px).validate(&session.access).await {
            Ok(_) => {
                link::note(px, None);
                Attempt::Faulty { why }
            }
            Err(_) => Attempt::Unreached { why },
        },
    }
}

/// What was known to be secret when it was queued was taken out then; more may be known by now.
fn redact(px: &Platform, message: &mut Message) {
    let app = match message {
        Message::Task(news) => news.app.to_string(),
        Message::Lesson(lesson) => lesson.app.to_string(),
        Message::Ended { summary } => summary["app_name"].as_str().unwrap_or_default().to_owned(),
        Message::Synced { .. } => return,
    };
    let redactor = px.parts().journal.redaction().of(&app);
    message.redact(|text| redactor.in_place(text));
}
