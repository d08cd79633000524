//! The WebSocket log stream: its own port, and `/api/v1/stream` for those behind a proxy.

mod connection;
mod entrance;
mod frames;
mod listeners;
mod selection;

pub use entrance::stream_router;
pub(super) use entrance::{port_of, route};
pub(super) use listeners::Listeners;
