//! Telling the outside what happens: the use cases, and the worker that sends what the store has
//! queued.

mod commands;
mod worker;

pub use commands::{
    ChangeWebhook, CreateWebhook, NewWebhook, change_webhook, create_webhook, delete_webhook,
    get_webhook, list_deliveries, list_webhooks, resend, test_webhook,
};
pub(crate) use commands::{check_signing_secret, new_signing_secret};
pub(crate) use worker::{run, signature};
