//! REST under `/api/v1`.

mod apps;
mod credentials;
mod deployments;
mod health;
mod logs;
mod path;
mod routes;
mod system;
mod tokens;
mod uploads;

pub use routes::rest_router;
