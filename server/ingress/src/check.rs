//! Is an ingress alive? For the health check of its container.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::CheckError;

/// Asks the ingress at `address` for a host that cannot exist; any HTTP answer within 3 s will do,
/// since only the ingress itself can have given it.
///
/// # Errors
/// [`CheckError`] saying how far it got.
pub async fn check(address: SocketAddr) -> Result<(), CheckError> {
    let asked = tokio::time::timeout(Duration::from_secs(3), ask(address));
    asked.await.map_err(|_| CheckError::TimedOut)?
}

async fn ask(address: SocketAddr) -> Result<(), CheckError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = b"HEAD / HTTP/1.1\r\nhost: ingress.invalid\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut start = [0u8; 9];
    stream.read_exact(&mut start).await?;
    if &start == b"HTTP/1.1 " {
        Ok(())
    } else {
        Err(CheckError::NotHttp)
    }
}
