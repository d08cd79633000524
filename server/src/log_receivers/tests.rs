//! Against real sockets.

use std::sync::Arc;

use flukedeploy_domain::addresses::AllowedAddresses;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate for `localhost` that signed itself, and its key: made for these tests.
const CERTIFICATE: &[u8] = include_bytes!("certificate.pem");
const KEY: &[u8] = include_bytes!("key.pem");

fn network(roots: RootCertStore) -> Network {
    let allowed = AllowedAddresses::parse(&["127.0.0.1", "localhost"]).unwrap();
    Network::with_roots(allowed, roots).unwrap()
}

fn trusting() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    roots.add(certificate).unwrap();
    roots
}

fn messages() -> Vec<Bytes> {
    let texts = [
        "<11>1 - - - - - - \u{feff}größer",
        "<11>1 - - - - - - \u{feff}two\nlines",
        "<11>1 - - - - - - \u{feff}",
    ];
    let bytes = texts.map(|text| Bytes::from_static(text.as_bytes()));
    bytes.to_vec()
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn address(text: &str) -> SyslogAddress {
    text.parse().unwrap()
}

/// Reads frames as a receiver does: a length, a space, as many bytes.
fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let length = std::str::from_utf8(&bytes[..space]).unwrap();
        assert!(!length.starts_with('0'), "a length has no zeros before it");
        let end = space + 1 + length.parse::<usize>().unwrap();
        frames.push(bytes[space + 1..end].to_vec());
        bytes = &bytes[end..];
    }
    frames
}

#[tokio::test]
async fn syslog_over_tcp_is_framed_by_octets_and_waits_until_it_was_read() {
    let (listener, port) = listener().await;
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let to = address(&format!("tcp://127.0.0.1:{port}"));
    let network = network(RootCertStore::empty());
    network.syslog(&to, &messages()).await.unwrap();
    let bytes = reading.await.unwrap();
    assert_eq!(unframed(&bytes), messages());
    assert!(bytes.starts_with("29 <11>1 - - - - - - \u{feff}größer30 <11>1".as_bytes()));
}

#[tokio::test]
async fn a_receiver_that_dies_before_it_has_read_all_has_not_got_it() {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 10];
        stream.read_exact(&mut some).await.unwrap();
        // Closed with bytes unread: the system sends a reset.
    });
    let to = address(&format!("tcp://127.0.0.1:{port}"));
    let many: Vec<Bytes> = (0..2_000)
        .map(|n| Bytes::from(format!("line {n}")))
        .collect();
    let network = network(RootCertStore::empty());
    let failed = network.syslog(&to, &many).await;
    assert!(
        matches!(failed, Err(OutgoingError::Broken(_))),
        "{failed:?}"
    );
    // Nobody there at all.
    let failed = network.syslog(&to, &many).await;
    assert!(
        matches!(failed, Err(OutgoingError::NotConnected(_))),
        "{failed:?}"
    );
}

#[tokio::test]
async fn syslog_over_tls_reaches_only_whom_the_roots_vouch_for() {
    let (listener, port) = listener().await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                stream.read_to_end(&mut heard).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
        heard
    });
    let to = address(&format!("tls://localhost:{port}"));
    let failed = network(RootCertStore::empty())
        .syslog(&to, &messages())
        .await;
    assert!(
        matches!(failed, Err(OutgoingError::NotEncrypted(_))),
        "{failed:?}"
    );
    network(trusting()).syslog(&to, &messages()).await.unwrap();
    assert_eq!(unframed(&reading.await.unwrap()), messages());
}

#[tokio::test]
async fn syslog_over_udp_is_one_datagram_a_message_and_long_ones_are_cut() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let to = address(&format!("udp://127.0.0.1:{port}"));
    let mut sent = messages();
    sent.push(Bytes::from(format!("x{}", "ü".repeat(6_000))));
    let network = network(RootCertStore::empty());
    network.syslog(&to, &sent).await.unwrap();
    let mut buffer = vec![0; 65_536];
    for message in &sent {
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], fitting(message));
        assert!(std::str::from_utf8(&buffer[..length]).is_ok() && length <= DATAGRAM_BYTES);
    }
}

#[tokio::test]
async fn an_answer_is_read_with_its_wish_and_its_words() {
    let (listener, port) = listener().await;
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let mut length = 0;
        while !seen[..length].ends_with(b"{\"a\":1}\n") {
            length += stream.read(&mut seen[length..]).await.unwrap();
        }
        let answer = "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(seen[..length].to_vec()).unwrap()
    });
    let request = LogPost {
        url: format!("http://127.0.0.1:{port}/v1/logs").parse().unwrap(),
        content_type: "application/x-ndjson",
        headers: vec![("Authorization".to_owned(), "Bearer x".to_owned())],
        body: Bytes::from_static(b"{\"a\":1}\n"),
    };
    let network = network(RootCertStore::empty());
    let answer = LogReceivers::post(&network, &request).await.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (429, Some("7"))
    );
    assert_eq!(&answer.body[..], b"busy");
    let asked = reading.await.unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("post /v1/logs http/1.1\r\n"), "{asked}");
    assert!(asked.contains("content-type: application/x-ndjson\r\n"));
    assert!(asked.contains("authorization: bearer x\r\n"));
}

#[tokio::test]
async fn nothing_goes_to_addresses_inside() {
    let (listener, port) = listener().await;
    let strict = Network::with_roots(AllowedAddresses::default(), RootCertStore::empty()).unwrap();
    for scheme in ["tcp", "tls", "udp"] {
        for host in ["127.0.0.1", "localhost", "169.254.169.254", "0x7f000001"] {
            let to = address(&format!("{scheme}://{host}:{port}"));
            let refused = strict.syslog(&to, &messages()).await;
            assert!(
                matches!(refused, Err(OutgoingError::Refused)),
                "{scheme} {host}: {refused:?}"
            );
        }
    }
    drop(listener);
}
