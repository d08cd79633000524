//! Docker Swarm behind the platform's ports [`Engine`](flukedeploy_platform::ports::Engine) and
//! [`Builder`](flukedeploy_platform::ports::Builder).
//!
//! The only crate that knows Docker. Whatever it makes carries the label
//! `com.flukedeploy.instance`, and whatever does not carry it is never touched.
//!
//! bollard supplies the API's types and most calls. Where a call would carry secrets (bollard
//! writes bodies to its debug log) or bollard leaves out what we need (a task's addresses, the
//! origin of a log line), [`client::Client`] speaks HTTP itself, over the same transport.

mod build_limits;
mod build_session;
mod build_trace;
mod builds;
mod client;
mod compare;
mod credentials;
mod elf;
mod engine;
mod error;
mod events;
mod examine;
mod image_facts;
mod images;
mod ingress;
mod jobs;
mod labels;
mod lines;
mod logs;
mod program;
mod progress;
mod protobuf;
mod purge;
mod push;
mod registry;
mod registry_http;
mod secret_files;
mod secrets;
mod services;
mod signatures;
mod spec;
mod swarm;
mod tasks;
mod transport;
mod upkeep;
mod volumes;
mod workload;

pub use engine::{EngineConfig, SwarmEngine};
