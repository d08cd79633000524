use async_trait::async_trait;
use flukedeploy_platform::ports::OutgoingError;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections, to where they may go.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    async fn dial(
        &self,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Stream>, OutgoingError>;
}
