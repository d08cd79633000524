//! Log entries to receivers that people named: the port [`LogReceivers`] over the network, with the
//! address checks of [`Network`].
//!
//! Syslog knows no answer. Over TCP and TLS each batch has a connection of its own: when all is
//! written, our side is closed, and the batch counts as taken only once the receiver closes its side
//! in return. A receiver that dies before it has read everything resets the connection instead.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flukedeploy_domain::forwarder::{SyslogAddress, SyslogTransport};
use flukedeploy_platform::ports::{LogAnswer, LogPost, LogReceivers, OutgoingError};
use http::header::RETRY_AFTER;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use crate::outgoing::{Connection, Network, Post, broken};

/// From the look-up to the end of the answer.
const WHOLE: Duration = Duration::from_secs(20);
/// Until there is a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest message in a datagram; the rest of a longer one is cut off. What receivers usually take.
const DATAGRAM_BYTES: usize = 8 * 1024;
/// Datagrams sent before a short pause: a receiver's buffer is small, and nobody would know.
const BURST: usize = 32;
const BURST_PAUSE: Duration = Duration::from_millis(2);
/// What a receiver may say back before that is taken for nonsense.
const CHATTER_BYTES: usize = 64 * 1024;

#[async_trait]
impl LogReceivers for Network {
    async fn post(&self, request: &LogPost) -> Result<LogAnswer, OutgoingError> {
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let post = Post {
            url: &request.url,
            content_type: request.content_type,
            headers: &headers,
            body: request.body.clone(),
        };
        let answer = within(self.exchange(post)).await?;
        let retry_after = answer.headers().get(RETRY_AFTER);
        Ok(LogAnswer {
            status: answer.status().as_u16(),
            retry_after: retry_after
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body: answer.into_body(),
        })
    }

    async fn syslog(&self, to: &SyslogAddress, messages: &[Bytes]) -> Result<(), OutgoingError> {
        within(async {
            if to.transport == SyslogTransport::Udp {
                return self.datagrams(to, messages).await;
            }
            let tls = to.transport == SyslogTransport::Tls;
            let connect = self.connect(&to.host, to.port, tls);
            let connection = tokio::time::timeout(CONNECT, connect)
                .await
                .map_err(|_| OutgoingError::TimedOut(CONNECT))??;
            hand_over(connection, framed(messages)).await
        })
        .await
    }
}

async fn within<T>(
    work: impl Future<Output = Result<T, OutgoingError>>,
) -> Result<T, OutgoingError> {
    tokio::time::timeout(WHOLE, work)
        .await
        .unwrap_or(Err(OutgoingError::TimedOut(WHOLE)))
}

/// Octet counting: each message behind its length.
fn framed(messages: &[Bytes]) -> Bytes {
    let length: usize = messages.iter().map(|message| message.len() + 8).sum();
    let mut bytes = BytesMut::with_capacity(length);
    for message in messages {
        bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
        bytes.extend_from_slice(message);
    }
    bytes.freeze()
}

async fn hand_over(mut connection: Connection, bytes: Bytes) -> Result<(), OutgoingError> {
    connection.write_all(&bytes).await.map_err(broken)?;
    connection.shutdown().await.map_err(broken)?;
    let (mut buffer, mut heard) = ([0; 1024], 0);
    loop {
        match connection.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            // TLS that was closed below without a word: closed all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(count) => heard += count,
            Err(error) => return Err(broken(error)),
        }
        if heard > CHATTER_BYTES {
            return Err(OutgoingError::TooLong {
                limit_bytes: CHATTER_BYTES,
            });
        }
    }
}

impl Network {
    async fn datagrams(&self, to: &SyslogAddress, messages: &[Bytes]) -> Result<(), OutgoingError> {
        let found = self.resolve(&to.host, to.port).await?;
        let address = *found.first().ok_or(OutgoingError::Refused)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)
            .await
            .map_err(OutgoingError::NotConnected)?;
        socket
            .connect(address)
            .await
            .map_err(OutgoingError::NotConnected)?;
        for burst in messages.chunks(BURST) {
            for message in burst {
                let message = fitting(message);
                socket
                    .send(message)
                    .await
                    .map_err(OutgoingError::NotConnected)?;
            }
            tokio::time::sleep(BURST_PAUSE).await;
        }
        // Nobody listens there: that may be told by now.
        match socket.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(OutgoingError::NotConnected(error)),
        }
    }
}

/// As much of a message as a datagram takes, ending with a whole character.
fn fitting(message: &[u8]) -> &[u8] {
    if message.len() <= DATAGRAM_BYTES {
        return message;
    }
    let is_inside = |at: usize| message[at] & 0xC0 == 0x80;
    let end = (0..=DATAGRAM_BYTES).rev().find(|at| !is_inside(*at));
    &message[..end.unwrap_or(DATAGRAM_BYTES)]
}

#[cfg(test)]
mod tests;
