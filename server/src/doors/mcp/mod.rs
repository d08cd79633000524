//! MCP: the same use cases as tools for agents, over streamable HTTP at `/mcp`, and a bridge to
//! it for clients that speak over standard input and output.

mod arguments;
mod calls;
mod endpoint;
mod outcome;
mod schemas;
mod server;
pub mod stdio;
mod tools;
mod trim;

pub use endpoint::mcp_router;
#[cfg(test)]
pub(in crate::doors) use tools::TOOLS;
