//! REST under `/api/v1`.

mod apps;
mod deployments;
mod health;
mod logs;
mod path;
mod routes;
mod system;
mod tokens;

pub use routes::rest_router;
