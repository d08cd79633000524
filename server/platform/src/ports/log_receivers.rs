use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::forwarder::SyslogAddress;
use flukedeploy_domain::webhook::WebhookUrl;

use super::outgoing::OutgoingError;

/// Log entries to receivers that people named. As with [`Outgoing`](super::Outgoing), addresses
/// that may not be reached are refused after names were resolved, and those that were checked are
/// connected to and no others.
#[async_trait]
pub trait LogReceivers: Send + Sync + 'static {
    /// Sends one `POST`; redirects are never followed. Takes 20 s in all at most.
    async fn post(&self, request: &LogPost) -> Result<LogAnswer, OutgoingError>;
    /// Hands over syslog messages in this order, each without any frame around it. Over TCP and TLS
    /// it succeeds only once the receiver has read all of them and has closed its side; over UDP
    /// nobody can know. Takes 20 s in all at most.
    async fn syslog(&self, to: &SyslogAddress, messages: &[Bytes]) -> Result<(), OutgoingError>;
}

/// `Debug` shows neither values of headers nor the body.
#[derive(Clone)]
pub struct LogPost {
    pub url: WebhookUrl,
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl std::fmt::Debug for LogPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogPost")
            .field("url", &self.url)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogAnswer {
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    pub body: Bytes,
}
