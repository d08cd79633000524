//! What a page gets to work with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::authorise::authorise;
use flukedeploy_platform::{Error, Platform};
use leptos::prelude::{expect_context, use_context};
use leptos_axum::ResponseOptions;
use time::OffsetDateTime;

use crate::forms::Typed;
use crate::offers::Offers;

/// The visitor's choice of colours, kept in a cookie so that the first paint is right.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|theme| theme.as_str() == text)
            .unwrap_or_default()
    }
}

/// Who looks; found out before anything is rendered.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    pub(crate) actor: Option<Actor>,
    pub(crate) theme: Theme,
}

/// Everything a signed-in page needs, taken before its first `await`.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) px: Platform,
    pub(crate) actor: Actor,
    pub(crate) theme: Theme,
    pub(crate) now: OffsetDateTime,
    /// What was typed, if this page answers a form.
    pub(crate) typed: Typed,
    pub(crate) answer: Answer,
    /// Approvals that wait for this visitor's word.
    pub(crate) to_decide: usize,
}

impl Desk {
    /// # Panics
    /// On a page that the sign-in gate does not guard: a fault in the list of routes.
    pub(crate) fn take() -> Self {
        let px = expect_context::<Platform>();
        let visitor = expect_context::<Visitor>();
        Self {
            now: px.now(),
            px,
            actor: visitor
                .actor
                .expect("the gate lets only the signed-in through"),
            theme: visitor.theme,
            typed: use_context::<Typed>().unwrap_or_default(),
            answer: Answer::take(),
            to_decide: 0,
        }
    }
}

impl Desk {
    /// For the page of a form: who may not send it is not shown it either.
    ///
    /// # Errors
    /// As the use case that the form leads to.
    pub(crate) fn require(&self, action: Action, resource: Resource<'_>) -> Result<(), Error> {
        authorise(&self.px, &self.actor, action, resource)
    }

    pub(crate) fn offers(&self, app: &AppName, environment: &EnvironmentName) -> Offers {
        Offers::new(&self.actor, app, environment)
    }
}

/// What a page may say about its own answer, also after its data came.
#[derive(Clone)]
pub(crate) struct Answer {
    response: ResponseOptions,
    refresh: Refresh,
}

impl Answer {
    pub(crate) fn take() -> Self {
        Self {
            response: expect_context(),
            refresh: expect_context(),
        }
    }

    /// Sets the status that fits a failure.
    pub(crate) fn failed(&self, error: &Error) {
        self.response.set_status(crate::render::status_of(error));
    }

    pub(crate) fn not_found(&self) {
        self.response.set_status(http::StatusCode::NOT_FOUND);
    }

    /// Where there is no JavaScript, the browser loads the page again after two seconds.
    pub(crate) fn refresh_without_script(&self) {
        self.refresh.0.store(true, Ordering::Relaxed);
    }
}

/// Asked for by a page while it renders, read when its head is written.
#[derive(Clone, Default)]
pub(crate) struct Refresh(Arc<AtomicBool>);

impl Refresh {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
