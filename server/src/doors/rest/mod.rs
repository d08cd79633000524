//! REST under `/api/v1`.

mod account;
mod apps;
mod audit;
mod credentials;
mod deployments;
mod environments;
mod grants;
mod health;
mod log_forwarders;
mod logs;
mod path;
mod people;
mod repair;
mod routes;
mod system;
mod tokens;
mod uploads;
mod webhooks;

pub use routes::rest_router;
#[cfg(test)]
pub(crate) use routes::{GUARDED, INSPECTION};
