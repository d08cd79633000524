//! The log stream: WebSocket on its own port, and at `/api/v1/stream` for those behind a proxy;
//! server-sent events at `/api/v1/logs/stream`.

mod connection;
mod credential;
mod entrance;
mod frames;
mod listeners;
mod selection;
mod server_sent;

/// Longest message of a client.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

pub use entrance::stream_router;
pub(super) use entrance::{port_of, route};
pub(super) use listeners::Listeners;
pub(super) use server_sent::read as server_sent_events;
