//! Sends what waits: each webhook's deliveries one after the other, different webhooks at the same
//! time. All that must not be forgotten is in the store; a crash makes an attempt happen twice at
//! worst.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::timestamp;
use flukedeploy_domain::webhook::{Attempt, DeliveryId, WebhookId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc};

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{Answer, Outbound, OutgoingError, OutgoingRequest};
use crate::secret::random_u64;

/// How often it asks whether anything has changed; reading a number in memory.
const EVERY: Duration = Duration::from_millis(250);
/// Between two looks at a store that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Requests under way at the same time.
const AT_ONCE: usize = 8;
/// Longer than an attempt may take: an adapter that hangs must not stop a webhook for good.
const ATTEMPT: Duration = Duration::from_secs(20);
/// How long deliveries that are over are kept.
const RETENTION: time::Duration = time::Duration::days(30);
const TIDY_EVERY: time::Duration = time::Duration::hours(1);

/// Ends when the platform stops; requests under way are cut off and repeated at the next start.
pub(crate) async fn run(px: Platform) {
    let mut busy: HashSet<WebhookId> = HashSet::new();
    let (done, mut ended) = mpsc::unbounded_channel::<WebhookId>();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut seen = None;
    let mut due_at: Option<OffsetDateTime> = None;
    let mut tidied_at: Option<OffsetDateTime> = None;
    loop {
        // Before the reading, so that what changes meanwhile counts as newer.
        let changes = px.parts().store.changes();
        if seen != Some(changes) || due_at.is_some_and(|at| at <= px.now()) {
            match look(&px, &mut busy, &places, &done).await {
                Ok(next) => {
                    due_at = next;
                    seen = Some(changes);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "webhook deliveries could not be read"
                    );
                    tokio::select! {
                        () = px.stopping().cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
        if tidied_at.is_none_or(|at| px.now() - at >= TIDY_EVERY) {
            tidied_at = Some(px.now());
            tidy(&px).await;
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            webhook = ended.recv() => if let Some(webhook) = webhook {
                busy.remove(&webhook);
                seen = None;
            }
        }
    }
}

/// Starts what is due; answers when the next will be.
async fn look(
    px: &Platform,
    busy: &mut HashSet<WebhookId>,
    places: &Arc<Semaphore>,
    done: &mpsc::UnboundedSender<WebhookId>,
) -> Result<Option<OffsetDateTime>, Error> {
    let mut waiting = px.parts().store.waiting_deliveries().await?;
    waiting.retain(|first| !busy.contains(&first.webhook));
    // Who has waited longest comes first, where places are short.
    waiting.sort_by_key(|first| first.due_at);
    let mut next = None;
    for first in waiting {
        let permit = if first.due_at <= px.now() {
            Arc::clone(places).try_acquire_owned().ok()
        } else {
            None
        };
        let Some(permit) = permit else {
            next = next.or(Some(first.due_at));
            continue;
        };
        busy.insert(first.webhook.clone());
        let (px, done) = (px.clone(), done.clone());
        px.clone().parts().tasks.spawn(async move {
            tokio::select! {
                () = px.stopping().cancelled() => {}
                () = send(&px, &first.delivery) => {}
            }
            drop(permit);
            // The receiver is gone only when the platform stops.
            let _ = done.send(first.webhook);
        });
    }
    Ok(next)
}

/// One attempt, noted in the store.
async fn send(px: &Platform, id: &DeliveryId) {
    let outbound = match px.parts().store.outbound(id).await {
        Ok(Some(outbound)) => outbound,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error, delivery = %id,
                "a webhook delivery could not be read"
            );
            tokio::time::sleep(RETRY).await;
            return;
        }
    };
    let request = request(px, &outbound);
    let answered = tokio::time::timeout(ATTEMPT, px.parts().outgoing.post(&request)).await;
    let answered = answered.unwrap_or(Err(OutgoingError::TimedOut(ATTEMPT)));
    let attempt = judge(answered);
    let mut delivery = outbound.delivery;
    match &attempt {
        Attempt::Accepted { status } => tracing::info!(
            delivery = %id, webhook = %delivery.webhook, status,
            "the webhook delivery {id} arrived"
        ),
        Attempt::Failed { why, .. } => tracing::info!(
            delivery = %id, webhook = %delivery.webhook, attempt = delivery.attempts + 1,
            "the webhook delivery {id} did not arrive: {why}"
        ),
    }
    delivery.tried(attempt, px.now(), random_u64());
    // Not stored, it would be sent again at once and for ever.
    while let Err(error) = px.parts().store.save_delivery(&delivery).await {
        tracing::error!(
            error = &error as &dyn std::error::Error, delivery = %id,
            "an attempt of a webhook delivery could not be stored; trying again"
        );
        tokio::time::sleep(RETRY).await;
    }
}

fn request(px: &Platform, outbound: &Outbound) -> OutgoingRequest {
    let Outbound {
        webhook,
        delivery,
        body,
    } = outbound;
    OutgoingRequest {
        url: webhook.url.clone(),
        headers: vec![
            ("X-FlukeDeploy-Event", delivery.event.as_str().to_owned()),
            ("X-FlukeDeploy-Delivery-ID", delivery.id.to_string()),
            (
                "X-FlukeDeploy-Signature",
                signature(&webhook.secret, body.as_bytes()),
            ),
            ("X-FlukeDeploy-Timestamp", timestamp::to_wire(px.now())),
            (
                "User-Agent",
                format!("FlukeDeploy-Webhook/{}", px.config().version),
            ),
        ],
        body: body.clone().into(),
    }
}

/// HMAC-SHA256 of the body's bytes, under the receiver's secret.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn judge(answered: Result<Answer, OutgoingError>) -> Attempt {
    match answered {
        Ok(Answer { status }) if (200..300).contains(&status) => Attempt::Accepted { status },
        Ok(Answer { status }) => Attempt::Failed {
            status: Some(status),
            why: if (300..400).contains(&status) {
                format!("it answered {status}, a redirect; redirects are not followed")
            } else {
                format!("it answered {status}")
            },
            hopeless: false,
        },
        Err(error) => Attempt::Failed {
            status: None,
            why: error.to_string(),
            hopeless: matches!(error, OutgoingError::Refused | OutgoingError::Absent),
        },
    }
}

async fn tidy(px: &Platform) {
    let before = px.now() - RETENTION;
    if let Err(error) = px.parts().store.expire_deliveries(before).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "old webhook deliveries were not removed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_rfc() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn only_success_counts() {
        assert_eq!(
            judge(Ok(Answer { status: 204 })),
            Attempt::Accepted { status: 204 }
        );
        let Attempt::Failed { why, hopeless, .. } = judge(Ok(Answer { status: 302 })) else {
            panic!("a redirect is no success")
        };
        assert!(why.contains("redirects are not followed") && !hopeless);
        assert!(matches!(
            judge(Err(OutgoingError::Refused)),
            Attempt::Failed { hopeless: true, .. }
        ));
    }
}
