//! Pages and forms against the real store, without a network: requests go straight to the router.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod approvals;
mod attacks;
mod browser;
mod credentials;
mod environments;
mod everyday;
mod forms;
mod logs;
mod offers;
mod pages;
mod people;
mod projects;
mod rights;
mod rollouts;
mod session;
mod settings;
mod settings_building;
mod sources;
mod support;
mod variables;
mod webhooks;
