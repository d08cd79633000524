//! The use cases of `FlukeDeploy`, once, for every door.
//!
//! Doors parse, call a function here and render. The outside (Docker, `SQLite`, the ingress, the
//! clock) is behind [`ports`]. This crate must never name bollard, sqlx, axum or leptos.

mod ahead;
pub mod approvals;
pub mod apps;
pub mod audit;
pub mod authorise;
pub mod budgets;
mod changes;
mod checks;
mod collector;
pub mod config;
pub mod credentials;
mod denials;
pub mod deployments;
mod drift;
pub mod environments;
pub mod error;
mod fleet;
pub mod flukebase;
pub mod follow;
pub mod forwarders;
pub mod grants;
pub mod health;
mod health_entries;
pub mod identity;
mod ingress_news;
mod journal;
mod journal_batch;
mod keeper;
pub mod live;
pub mod logs;
mod meaning;
pub mod patterns;
pub mod people;
mod platform;
pub mod ports;
pub mod projects;
mod reach;
mod reading;
pub mod rechecks;
mod reconcile;
mod redaction;
pub mod repairs;
mod request_entries;
mod retention;
mod routes;
mod runner;
pub mod secret;
mod since;
pub mod summary;
pub mod system;
pub mod tokens;
pub mod uploads;
pub mod validate;
mod variable_views;
pub mod views;
pub mod webhooks;

pub use error::{Error, Kind};
pub use platform::{Platform, Ports};
