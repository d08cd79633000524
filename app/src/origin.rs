//! Where a request came from, as the audit trail keeps it.

use std::net::IpAddr;
use std::sync::Arc;

use flukedeploy_domain::access::Origin;
use flukedeploy_platform::Platform;
use flukedeploy_platform::secret::random_id;
use http::{Extensions, HeaderMap};

use crate::client;

/// Header in which an agent may say why it does what it does.
const INTENT: &str = "x-flukedeploy-intent";
/// Header with the id that a proxy, say, has given a request.
const REQUEST_ID: &str = "x-request-id";

/// Longest intent, in characters.
const MAX_INTENT: usize = 200;
/// Longest request id, in bytes.
const MAX_REQUEST_ID: usize = 64;

/// Of a request.
pub fn origin_of(px: &Platform, headers: &HeaderMap, extensions: &Extensions) -> Arc<Origin> {
    let address = client::address(px, headers, extensions);
    Arc::new(said_by(headers, address))
}

fn said_by(headers: &HeaderMap, address: Option<IpAddr>) -> Origin {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let request_id = text(REQUEST_ID)
        .filter(is_plain)
        .map_or_else(|| random_id(16), ToOwned::to_owned);
    let intent = text(INTENT)
        .map(|text| flukedeploy_domain::diagnosis::tame(text, MAX_INTENT))
        .filter(|text| !text.is_empty());
    Origin {
        address: address.map(|address| address.to_canonical().to_string()),
        request_id: Some(request_id),
        intent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_says_of_itself_is_kept_short_and_plain() {
        let mut headers = HeaderMap::new();
        headers.insert(INTENT, "x".repeat(900).parse().unwrap());
        headers.insert(REQUEST_ID, "a b".parse().unwrap());
        let origin = said_by(&headers, None);
        assert!(origin.intent.as_ref().unwrap().chars().count() <= MAX_INTENT + "…".len());
        assert_ne!(origin.request_id.as_deref(), Some("a b"));
        headers.insert(REQUEST_ID, "req-42".parse().unwrap());
        let origin = said_by(&headers, None);
        assert_eq!(origin.request_id.as_deref(), Some("req-42"));
        assert_eq!(origin.address, None);
    }
}
