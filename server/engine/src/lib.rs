//! Docker Swarm behind the platform's [`Engine`](flukedeploy_platform::ports::Engine) port.
//!
//! The only crate that knows Docker. Whatever it makes carries the label
//! `com.flukedeploy.instance`, and whatever does not carry it is never touched.
//!
//! bollard supplies the API's types and most calls. Where a call would carry secrets (bollard
//! writes bodies to its debug log) or bollard leaves out what we need (a task's addresses, the
//! origin of a log line), [`client::Client`] speaks HTTP itself, over the same transport.

mod client;
mod compare;
mod credentials;
mod elf;
mod engine;
mod error;
mod events;
mod examine;
mod images;
mod ingress;
mod jobs;
mod labels;
mod logs;
mod program;
mod progress;
mod purge;
mod registry;
mod services;
mod spec;
mod swarm;
mod tasks;
mod transport;
mod volumes;
mod workload;

pub use engine::{EngineConfig, SwarmEngine};
