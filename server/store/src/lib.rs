//! `SQLite` behind the platform's `Store` port, and the sessions of the dashboard.
//!
//! The only crate that knows SQL. It decides nothing about apps or people, it hands out no
//! transaction and no row, and it must never log a value that it stores. Values that are secrets are
//! sealed before they reach the file (`sealing.rs` says how, `resealing.rs` lists where).

pub mod schema;

#[cfg(feature = "queries")]
mod accounts;
#[cfg(feature = "queries")]
mod approvals;
#[cfg(feature = "queries")]
mod apps;
#[cfg(feature = "queries")]
mod audit;
#[cfg(feature = "queries")]
mod columns;
#[cfg(feature = "queries")]
mod credentials;
#[cfg(feature = "queries")]
mod database;
#[cfg(feature = "queries")]
mod deployments;
#[cfg(feature = "queries")]
mod environments;
#[cfg(feature = "queries")]
mod error;
#[cfg(feature = "queries")]
mod flukebase;
#[cfg(feature = "queries")]
mod flukebase_outbox;
#[cfg(feature = "queries")]
mod flukebase_port;
#[cfg(feature = "queries")]
mod forwarders;
#[cfg(feature = "queries")]
mod grants;
#[cfg(feature = "queries")]
mod idempotency;
#[cfg(feature = "queries")]
mod identities;
#[cfg(feature = "queries")]
mod invitations;
#[cfg(feature = "queries")]
mod keys;
#[cfg(feature = "queries")]
mod memory;
#[cfg(feature = "queries")]
mod migration;
#[cfg(feature = "queries")]
mod outbox;
#[cfg(feature = "queries")]
mod people;
#[cfg(feature = "queries")]
mod projects;
#[cfg(feature = "queries")]
mod releases;
#[cfg(feature = "queries")]
mod resealing;
#[cfg(feature = "queries")]
mod rotation;
#[cfg(feature = "queries")]
mod sealing;
#[cfg(feature = "queries")]
mod second_factors;
#[cfg(feature = "queries")]
mod sessions;
#[cfg(feature = "queries")]
mod store;
#[cfg(feature = "queries")]
mod tokens;
#[cfg(feature = "queries")]
mod webhooks;

#[cfg(feature = "queries")]
pub use audit::AuditVerdict;
#[cfg(feature = "queries")]
pub use rotation::Rotated;
#[cfg(feature = "queries")]
pub use sessions::SessionStore;
#[cfg(feature = "queries")]
pub use store::SqliteStore;
