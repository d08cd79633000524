//! The store against real database files. Each test has a directory of its own.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, but not the functions they share"
)]

mod accounts_and_tokens;
mod apps;
mod audit;
mod concurrency;
mod deployments;
mod environments;
mod files;
mod flukebase;
mod memory;
mod people;
mod plans;
mod releases;
mod rollouts;
mod sealing;
mod sessions;
mod support;
mod upgrade;
mod webhooks;
