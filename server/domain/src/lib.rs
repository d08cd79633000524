//! The words and rules of `FlukeDeploy`.
//!
//! Pure: no I/O, no async, no clock, no randomness. Everything here can be tested by calling a
//! function. It must never learn about Docker, SQL or HTTP; the names on the wire come from the
//! wire contract and are written here once, as serde names.

pub mod access;
pub mod addresses;
pub mod app;
pub mod approval;
pub mod audit;
pub mod build;
pub mod check;
pub mod credential;
pub mod deployment;
pub mod diagnosis;
pub mod flukebase;
pub mod forwarder;
pub mod health;
pub mod image;
pub mod issue;
pub mod job;
pub mod log_entry;
pub mod log_query;
pub mod names;
pub mod release;
pub mod repair;
pub mod request_record;
pub mod routing;
pub mod timestamp;
pub mod traffic;
pub mod webhook;
