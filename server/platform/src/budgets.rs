//! How much a token may do in a time: requests, and deployments. The limits of those it was made
//! with hold too, and what one of them began counts for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flukedeploy_domain::access::Actor;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::StoredToken;

const MINUTE: Duration = Duration::from_mins(1);
/// Tokens whose requests are counted at a time.
const COUNTED: usize = 10_000;

#[derive(Default)]
pub(crate) struct Budgets {
    requests: Mutex<HashMap<String, Window>>,
    /// Held from the look at the budget until the deployment is stored.
    deploying: tokio::sync::Mutex<()>,
}

struct Window {
    since: Instant,
    count: u32,
}

/// Counts a request.
///
/// # Errors
/// [`Error::TooManyAttempts`] if the actor has had those of this minute.
pub fn admit(px: &Platform, actor: &Actor) -> Result<(), Error> {
    let limited = || {
        let chain = actor.chain.iter();
        chain.filter_map(|(id, limits)| Some((id, limits.requests_per_minute?)))
    };
    if limited().next().is_none() {
        return Ok(());
    }
    let budgets = &px.parts().budgets;
    let mut requests = budgets
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if requests.len() >= COUNTED {
        requests.retain(|_, window| window.since.elapsed() < MINUTE);
    }
    let now = Instant::now();
    for (id, limit) in limited() {
        let window = requests.entry(id.clone()).or_insert(Window {
            since: now,
            count: 0,
        });
        let age = now.duration_since(window.since);
        if age >= MINUTE {
            *window = Window {
                since: now,
                count: 0,
            };
        } else if window.count >= limit {
            return Err(Error::TooManyAttempts {
                retry_after_seconds: MINUTE.saturating_sub(age).as_secs() + 1,
            });
        }
    }
    for (id, _) in limited() {
        if let Some(window) = requests.get_mut(id) {
            window.count += 1;
        }
    }
    Ok(())
}

/// A turn to begin a deployment, for those who may begin only so many: nobody else of them does
/// before it is stored.
pub(crate) type Turn<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

/// Whether the actor may begin another deployment now. What a repeated request began before is no
/// other one.
///
/// # Errors
/// [`Error::BudgetSpent`] if it has begun as many as it may.
pub(crate) async fn allow_deployment<'a>(
    px: &'a Platform,
    actor: &Actor,
    idempotency: Option<&(String, String)>,
) -> Result<Turn<'a>, Error> {
    let limited = |(_, limits): &&(String, flukedeploy_domain::access::Limits)| {
        limits.deploys_per_hour.is_some() || limits.deploys_per_day.is_some()
    };
    if actor.chain.iter().filter(limited).count() == 0 {
        return Ok(None);
    }
    let turn = px.parts().budgets.deploying.lock().await;
    if let Some((key, hash)) = idempotency {
        let store = &px.parts().store;
        let begun = store.replayed(&actor.id, (key, hash), px.now()).await?;
        if begun.is_some() {
            return Ok(Some(turn));
        }
    }
    let tokens = px.parts().store.tokens().await?;
    for (id, limits) in actor.chain.iter().filter(limited) {
        let family = family(&tokens, id);
        let spans = [
            (limits.deploys_per_hour, time::Duration::hours(1)),
            (limits.deploys_per_day, time::Duration::days(1)),
        ];
        for (limit, span) in spans {
            let Some(limit) = limit else { continue };
            let since = px.now() - span;
            let begun = px.parts().store.deployments_begun(&family, since).await?;
            if begun >= u64::from(limit) {
                // When the oldest of them is out of the span is not worth a search.
                let wait = span.whole_seconds().unsigned_abs() / 10;
                return Err(Error::BudgetSpent {
                    limit,
                    hours: span.whole_hours().unsigned_abs(),
                    retry_after_seconds: wait,
                });
            }
        }
    }
    Ok(Some(turn))
}

/// A token with all that were made with it.
fn family(tokens: &[StoredToken], id: &str) -> Vec<String> {
    use flukedeploy_domain::access::Subject;
    let mut family = vec![id.to_owned()];
    let mut at = 0;
    while let Some(parent) = family.get(at).cloned() {
        let made = tokens.iter().filter(
            |token| matches!(&token.maker, Some(Subject::Token(maker)) if *maker == parent),
        );
        for token in made {
            if !family.contains(&token.id) {
                family.push(token.id.clone());
            }
        }
        at += 1;
    }
    family
}
