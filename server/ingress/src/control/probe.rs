//! Health probes, from where requests come from.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::routing::ProbeOutcome;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::connection_pool::connect_tcp;

const BODY_START_BYTES: usize = 512;

/// Asks one replica on a connection of its own.
pub(super) async fn probe(
    target: SocketAddr,
    probe: &HealthProbe,
    limit: Duration,
) -> ProbeOutcome {
    let connected = Cell::new(false);
    match tokio::time::timeout(limit, ask(target, probe, limit, &connected)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => describe(&error),
        Err(_) => ProbeOutcome::TimedOut {
            connected: connected.get(),
        },
    }
}

async fn ask(
    target: SocketAddr,
    probe: &HealthProbe,
    limit: Duration,
    connected: &Cell<bool>,
) -> io::Result<ProbeOutcome> {
    let stream = connect_tcp(target, limit, limit).await?;
    connected.set(true);
    let HealthProbe::Http {
        path,
        expect_status,
    } = probe
    else {
        return Ok(ProbeOutcome::Healthy { status: None });
    };
    let request = http::Request::get(path.as_str())
        .header(HOST, target.to_string())
        .header(USER_AGENT, "flukedeploy-probe")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else {
        return Ok(ProbeOutcome::Failed {
            detail: "the probe's path is not valid".into(),
        });
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // In a set of its own, so that the connection ends with this probe.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(connection);
    let response = sender.send_request(request).await.map_err(io_cause)?;
    let status = response.status().as_u16();
    let wanted = expect_status.map_or((200..400).contains(&status), |wanted| status == wanted);
    if wanted {
        return Ok(ProbeOutcome::Healthy {
            status: Some(status),
        });
    }
    let body_start = body_start(response.into_body()).await;
    Ok(ProbeOutcome::WrongAnswer { status, body_start })
}

async fn body_start(mut body: Incoming) -> String {
    let mut start = Vec::new();
    while start.len() < BODY_START_BYTES {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        if let Ok(bytes) = frame.into_data() {
            start.extend_from_slice(&bytes[..bytes.len().min(BODY_START_BYTES)]);
        }
    }
    printable(&start)
}

/// Text that can be shown and logged: no control characters, at most 512 bytes.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        let letter = if letter.is_whitespace() { ' ' } else { letter };
        if letter.is_control() || is_direction_mark(letter) {
            continue;
        }
        if text.len() + letter.len_utf8() > BODY_START_BYTES {
            break;
        }
        text.push(letter);
    }
    text.trim().to_owned()
}

/// Marks that make text read otherwise than it is stored.
fn is_direction_mark(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The operating system's error inside of hyper's, where there is one.
fn io_cause(error: hyper::Error) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(inner.kind(), "the connection broke off");
        }
        cause = inner.source();
    }
    if error.is_incomplete_message() {
        return io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed without an answer",
        );
    }
    if error.is_parse() {
        return io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    }
    io::Error::other(error)
}

fn describe(error: &io::Error) -> ProbeOutcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => ProbeOutcome::Refused,
        io::ErrorKind::TimedOut => ProbeOutcome::TimedOut { connected: false },
        _ => ProbeOutcome::Failed {
            detail: printable(error.to_string().as_bytes()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_starts_are_harmless_text() {
        assert_eq!(printable(b"a\x1b[31mb\r\nc\0"), "a[31mb  c");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "xy");
        let long = "ä".repeat(600);
        assert_eq!(printable(long.as_bytes()).len(), 512);
        assert!(printable(&[0xff, 0xfe]).len() <= 512);
    }
}
