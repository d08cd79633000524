//! The `flukedeploy` program: configuration, wiring, doors, command line.

pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod doors;
mod files;
mod http_client;
mod ingress_link;
mod listening;
mod log_receivers;
mod machine;
mod outgoing;
mod scanner;
mod telemetry;
