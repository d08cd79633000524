//! What is known of the other side at this moment; all of it is found out anew after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flukedeploy_domain::flukebase::{
    Breaker, Capability, Feature, PlannedRoute, ProjectId, RemoteEnvironment,
};
use time::{Duration, OffsetDateTime};
use tokio::sync::Notify;

use crate::platform::Platform;
use crate::ports::{
    Access, Flukebase, FlukebaseEffect, FlukebaseError, FlukebaseSettings, StoreError, TokenFacts,
};
use crate::secret::random_u64;

/// How long what a token is good for is believed.
const BELIEVED: Duration = Duration::hours(1);
/// A token that was refused is not tried again for so long.
const REFUSED: Duration = Duration::minutes(5);
/// How long what a server has of the planned routes is believed.
const PROBED: Duration = Duration::days(1);

#[derive(Default)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// Somebody wants the outbox, or everything, looked at now.
    pub(super) changed: Notify,
    /// Variables that a deployment would like to have fresh.
    wanted: Mutex<BTreeSet<(ProjectId, RemoteEnvironment)>>,
    pub(super) variables_wanted: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) session: Option<Session>,
    pub(super) refused_until: Option<OffsetDateTime>,
    /// Why the last call failed, if it did.
    pub(super) last_failure: Option<String>,
    pub(super) last_success_at: Option<OffsetDateTime>,
    pub(super) capabilities: BTreeMap<PlannedRoute, Capability>,
    pub(super) probed_at: Option<OffsetDateTime>,
    pub(super) live: super::commands::LiveState,
    /// Under which id a heart beats, by project.
    pub(super) agents: BTreeMap<ProjectId, String>,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) access: Access,
    pub(super) facts: TokenFacts,
    pub(super) checked_at: OffsetDateTime,
}

/// Why nothing can be asked right now.
pub(super) enum Closed {
    Off,
    /// Not before then.
    Until(OffsetDateTime),
    Store(StoreError),
}

impl From<StoreError> for Closed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Link {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn want(&self, project: ProjectId, environment: RemoteEnvironment) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert((project, environment));
        drop(wanted);
        self.variables_wanted.notify_one();
    }

    pub(super) fn take_wanted(&self) -> BTreeSet<(ProjectId, RemoteEnvironment)> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *wanted)
    }

    /// Everything is found out anew: another token, another address.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
        self.changed.notify_waiters();
        self.variables_wanted.notify_one();
    }
}

/// What counts: what was set by hand, or else what is configured. `None`: there is no token.
pub(super) fn access_of(px: &Platform, settings: &FlukebaseSettings) -> Option<Access> {
    let configured = &px.config().flukebase;
    let token = settings
        .token
        .clone()
        .or_else(|| configured.token.clone())?;
    let url = settings.url.clone().unwrap_or(configured.url.clone());
    Some(Access { url, token })
}

pub(super) fn effect_of(px: &Platform, settings: &FlukebaseSettings) -> FlukebaseEffect {
    let configured = &px.config().flukebase;
    FlukebaseEffect {
        is_on: settings.active.unwrap_or(true) && access_of(px, settings).is_some(),
        other_apps: settings.default_project.or(configured.default_project),
    }
}

/// The access, with a token that is known to be good.
pub(super) async fn open(px: &Platform) -> Result<Session, Closed> {
    let settings = px.parts().store.flukebase_settings().await?;
    let on = effect_of(px, &settings).is_on;
    let Some(access) = access_of(px, &settings).filter(|_| on) else {
        return Err(Closed::Off);
    };
    let link = &px.parts().flukebase_link;
    let now = px.now();
    {
        let state = link.state();
        if let Some(until) = state.refused_until.filter(|until| *until > now) {
            return Err(Closed::Until(until));
        }
        if !state.breaker.lets_through(now) {
            return Err(Closed::Until(state.breaker.open_until().unwrap_or(now)));
        }
        if let Some(session) = &state.session
            && session.access == access
            && now - session.checked_at < BELIEVED
        {
            return Ok(session.clone());
        }
    }
    let found = px.parts().flukebase.validate(&access).await;
    let now = px.now();
    note(px, found.as_ref().err());
    let mut state = link.state();
    match found {
        Ok(facts) => {
            let session = Session {
                access,
                facts,
                checked_at: now,
            };
            state.session = Some(session.clone());
            state.refused_until = None;
            Ok(session)
        }
        Err(FlukebaseError::NotNow { .. } | FlukebaseError::Faulty { .. }) => {
            let soon = now + Duration::seconds(1);
            Err(Closed::Until(state.breaker.open_until().unwrap_or(soon)))
        }
        // It answered, and it is a no.
        Err(_) => {
            state.session = None;
            state.refused_until = Some(now + REFUSED);
            Err(Closed::Until(now + REFUSED))
        }
    }
}

/// Notes what a call came to, for the breaker and for those who ask how it is.
pub(super) fn note(px: &Platform, failure: Option<&FlukebaseError>) {
    let link = &px.parts().flukebase_link;
    let now = px.now();
    let mut state = link.state();
    match failure {
        Some(FlukebaseError::NotNow { why, wait }) => {
            let wish = wait.and_then(|wait| wait.try_into().ok());
            state.breaker.failed(now, wish, random_u64());
            state.last_failure = Some(why.clone());
        }
        Some(FlukebaseError::Faulty { why }) => {
            state.breaker.failed(now, None, random_u64());
            state.last_failure = Some(why.clone());
        }
        Some(error) => {
            // It works, and said no.
            state.breaker.succeeded();
            state.last_failure = Some(error.to_string());
        }
        None => {
            state.breaker.succeeded();
            state.last_failure = None;
            state.last_success_at = Some(now);
        }
    }
}

/// The next call makes sure that the token is still good. `false`: it was found good a moment ago.
pub(super) fn doubt_token(px: &Platform) -> bool {
    let mut state = px.parts().flukebase_link.state();
    let fresh = Duration::minutes(1);
    let was_fresh = state
        .session
        .as_ref()
        .is_some_and(|session| px.now() - session.checked_at < fresh);
    if !was_fresh {
        state.session = None;
    }
    !was_fresh
}

impl Session {
    /// Why a feature is off; `None`: it is on.
    pub(super) fn lacks(&self, feature: Feature) -> Option<String> {
        let missing = feature.missing_in(&self.facts.scopes)?;
        Some(format!("the token lacks the scope {missing}"))
    }
}

/// Whether the server has a planned route; asked for once a day.
pub(super) async fn has(px: &Platform, session: &Session, route: PlannedRoute) -> bool {
    let link = &px.parts().flukebase_link;
    let is_due = {
        let state = link.state();
        let probed = state.probed_at;
        probed.is_none_or(|at| px.now() - at >= PROBED)
    };
    if is_due {
        link.state().probed_at = Some(px.now());
        for route in PlannedRoute::ALL {
            let found = px.parts().flukebase.probe(&session.access, route).await;
            let mut state = link.state();
            match found {
                Ok(found) => {
                    state.capabilities.insert(route, found);
                }
                // Asked again at the next occasion.
                Err(_) => state.probed_at = None,
            }
        }
    }
    let state = link.state();
    state.capabilities.get(&route) == Some(&Capability::Present)
}

pub(super) fn port(px: &Platform) -> &dyn Flukebase {
    px.parts().flukebase.as_ref()
}
