//! One request that was written down.

use std::net::SocketAddr;
use std::sync::Arc;

use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::request_record::{MAX_AGENT_BYTES, MAX_PATH_BYTES, RequestRecord};
use http::{HeaderValue, Method, StatusCode};

use crate::service::Service;
use crate::table::Target;

/// Longest name of a method that is told, in bytes.
const MAX_METHOD_BYTES: usize = 32;

/// What the worker copied; made presentable only when it is sent. Nothing here holds on to the
/// buffer that the request was read into.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) ended_at_ms: i64,
    pub(crate) target: Arc<Target>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) method: Method,
    pub(crate) path: Box<str>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) duration_ms: u64,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) bytes_out: u64,
    pub(crate) client: HeaderValue,
    pub(crate) user_agent: Option<Box<[u8]>>,
    pub(crate) request_id: Box<[u8]>,
    pub(crate) retries: u32,
    pub(crate) slow: bool,
    pub(crate) error_code: Option<&'static str>,
}

impl Note {
    pub(super) fn record(&self) -> RequestRecord {
        let method = self.method.as_str();
        RequestRecord {
            ended_at_ms: self.ended_at_ms,
            app: self.target.app.clone(),
            environment: self.target.environment.clone(),
            service: self
                .service
                .as_ref()
                .map(|service| service.name.to_string()),
            release: self.service.as_ref().map(|service| service.release),
            upstream: self.upstream,
            // A method is a token: ASCII without spaces (RFC 9110, 9.1).
            method: method[..method.len().min(MAX_METHOD_BYTES)].to_owned(),
            path: shown_path(&self.path),
            status: self.status.map(|status| status.as_u16()),
            duration_ms: self.duration_ms,
            first_byte_ms: self.first_byte_ms,
            bytes_out: self.bytes_out,
            client: self.client.to_str().unwrap_or_default().to_owned(),
            user_agent: self.user_agent.as_deref().map(shown_agent),
            request_id: String::from_utf8_lossy(&self.request_id).into_owned(),
            retries: self.retries,
            slow: self.slow,
            error_code: self.error_code.map(ToOwned::to_owned),
        }
    }
}

/// A path as it can be shown to anybody: no parameters (`/a;token=…`), nothing but visible ASCII, so
/// that it cannot look like another entry, and not too long.
fn shown_path(path: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut shown = String::with_capacity(path.len());
    let mut in_parameter = false;
    for byte in path.bytes() {
        if shown.len() >= MAX_PATH_BYTES {
            shown.push_str("...");
            break;
        }
        in_parameter = byte == b';' || in_parameter && byte != b'/';
        if in_parameter {
            continue;
        }
        if byte.is_ascii_graphic() {
            shown.push(char::from(byte));
        } else {
            shown.push('%');
            shown.push(char::from(DIGITS[usize::from(byte >> 4)]));
            shown.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    shown
}

fn shown_agent(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut shown = tame(&text, MAX_AGENT_BYTES);
    shown.truncate(shown.floor_char_boundary(MAX_AGENT_BYTES));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_look_like_anything_else() {
        assert_eq!(shown_path("/orders/7"), "/orders/7");
        assert_eq!(shown_path("/a;token=s3cret/b;v=1"), "/a/b");
        assert_eq!(shown_path("/\u{202e}\u{7f} x"), "/%E2%80%AE%7F%20x");
        let long = shown_path(&"/a".repeat(MAX_PATH_BYTES));
        assert_eq!(long.len(), MAX_PATH_BYTES + 3);
    }

    #[test]
    fn a_user_agent_is_text_and_short() {
        assert_eq!(shown_agent(b"curl/8\t(x)\x80"), "curl/8 (x)\u{fffd}");
        assert!(shown_agent(&[b'a'; 1_000]).len() <= MAX_AGENT_BYTES);
        let wide = "€".repeat(300);
        assert!(shown_agent(wide.as_bytes()).len() <= MAX_AGENT_BYTES);
    }
}
