//! The doors that machines use: REST, the log stream and MCP. They parse, call a use case and
//! render; they decide nothing.

mod answers;
pub mod auth;
mod body;
mod fields;
mod linked_data;
pub mod mcp;
pub mod probes;
mod problem;
mod query;
mod requests;
mod rest;
mod rights_requests;
mod sources;
mod standing;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod variables;

pub use linked_data::linked_data_router;
pub use mcp::mcp_router;
pub use probes::probes_router;
pub use problem::Problem;
pub use rest::rest_router;
pub use state::AppState;
pub use stream::stream_router;
