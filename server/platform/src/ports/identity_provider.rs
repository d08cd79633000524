use async_trait::async_trait;
use bytes::Bytes;

use super::outgoing::OutgoingError;
use crate::secret::Secret;

/// Requests to the configured sign-in provider. Its own host may be anywhere, since the operator
/// named it; other hosts that it names are reached as far as the settings allow.
#[async_trait]
pub trait IdentityProvider: Send + Sync + 'static {
    /// Reads the whole answer, whatever its status. Redirects are never followed. Takes 5 s to
    /// connect and 10 s in all at most, and 256 KiB.
    async fn send(&self, request: &ProviderRequest) -> Result<ProviderAnswer, OutgoingError>;
}

#[derive(Debug, Clone)]
pub struct ProviderRequest {
    pub url: String,
    /// A form to post; `None`: it is a `GET`.
    pub form: Option<Secret>,
    /// The value of the header.
    pub authorization: Option<Secret>,
}

#[derive(Debug, Clone)]
pub struct ProviderAnswer {
    pub status: u16,
    pub body: Bytes,
}
