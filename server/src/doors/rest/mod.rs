//! REST under `/api/v1`.

mod account;
mod apps;
mod credentials;
mod deployments;
mod environments;
mod health;
mod log_forwarders;
mod logs;
mod path;
mod people;
mod routes;
mod system;
mod tokens;
mod uploads;
mod webhooks;

pub use routes::rest_router;
