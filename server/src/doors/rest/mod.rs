//! REST under `/api/v1`.

mod account;
mod approvals;
mod apps;
mod audit;
mod credentials;
mod deployments;
mod environments;
mod flukebase;
mod grants;
mod health;
mod log_forwarders;
mod logs;
mod own_secrets;
mod path;
mod people;
mod projects;
mod repair;
mod routes;
mod system;
mod tokens;
mod uploads;
mod webhooks;

pub use routes::rest_router;
#[cfg(test)]
pub(crate) use routes::{GUARDED, INSPECTION};
