//! MCP: the same use cases as tools for agents, over streamable HTTP at `/mcp`, and a bridge to
//! it for clients that speak over standard input and output.

mod calls;
mod endpoint;
mod schemas;
mod server;
pub mod stdio;
mod tools;
mod trim;

pub use endpoint::mcp_router;
