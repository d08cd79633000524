use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::webhook::WebhookUrl;
use thiserror::Error;

/// Requests to addresses that people typed. The adapter refuses addresses that may not be reached,
/// after names were resolved, and connects to those that it checked and to no others.
#[async_trait]
pub trait Outgoing: Send + Sync + 'static {
    /// Sends one `POST` and reads the answer, of which only the status counts. Redirects are never
    /// followed. Takes 5 s to connect and 10 s in all at most.
    async fn post(&self, request: &OutgoingRequest) -> Result<Answer, OutgoingError>;
}

#[derive(Debug, Clone)]
pub struct OutgoingRequest {
    pub url: WebhookUrl,
    /// Beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
}

/// Never names the address: its path may be a secret.
#[derive(Debug, Error)]
pub enum OutgoingError {
    #[error("this address may not be reached")]
    Refused,
    #[error("its host name is not known")]
    UnknownHost(#[source] std::io::Error),
    #[error("it could not be connected to")]
    NotConnected(#[source] std::io::Error),
    #[error("no encrypted connection could be made; check its certificate")]
    NotEncrypted(#[source] std::io::Error),
    #[error("it did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("it answered more than {limit_bytes} bytes")]
    TooLong { limit_bytes: usize },
    #[error("the connection broke before there was an answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("this server sends nothing out")]
    Absent,
}
