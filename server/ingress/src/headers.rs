//! What may pass between a client and an app, and what may not.

use std::borrow::Cow;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Method, Version, request};

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// How many times an ingress has forwarded this request. Not `Via`, which makes some app servers
/// stop compressing.
static HOPS: HeaderName = HeaderName::from_static("x-flukedeploy-hops");

const MAX_HOPS: usize = 8;
const HOP_VALUES: [&str; MAX_HOPS] = ["1", "2", "3", "4", "5", "6", "7", "8"];

/// Why a request cannot be routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostProblem {
    Missing,
    Ambiguous,
    Malformed,
}

/// The host a request is for: lower case, without port or trailing dot. An absolute-form target
/// wins over the `Host` header (RFC 9112 section 3.2.2).
pub(crate) fn host_of(head: &request::Parts) -> Result<Cow<'_, str>, HostProblem> {
    let mut values = head.headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(HostProblem::Ambiguous);
    }
    if header.is_none() && head.version == Version::HTTP_11 {
        return Err(HostProblem::Missing);
    }
    let text = match (head.uri.authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(value)) => value.to_str().map_err(|_| HostProblem::Malformed)?,
        (None, None) => return Err(HostProblem::Missing),
    };
    bare_host(text).ok_or(HostProblem::Malformed)
}

fn bare_host(text: &str) -> Option<Cow<'_, str>> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (
            address,
            after.strip_prefix(':').or(after.is_empty().then_some("")),
        )
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("")),
        }
    };
    let port = port?;
    if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
        return None;
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}

/// Removes what concerns one connection only (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    remove_present(headers, is_hop_by_hop);
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// What an app must not see of a client's request; the ingress sets some of these itself.
fn is_stripped_from_requests(name: &HeaderName) -> bool {
    is_hop_by_hop(name)
        || matches!(
            name.as_str(),
            // `Expect` is answered by us when the app's connection takes the body.
            "proxy-authorization"
                | "expect"
                | "forwarded"
                | "x-forwarded-port"
                | "x-forwarded-host"
        )
}

/// One pass over the few headers there are is cheaper than a lookup for every unwanted name.
fn remove_present(headers: &mut HeaderMap, unwanted: fn(&HeaderName) -> bool) {
    let mut found: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if unwanted(name) {
            found.push(name.clone());
        }
    }
    if found.contains(&CONNECTION) {
        found.extend(named_by_connection(headers));
    }
    for name in found {
        headers.remove(name);
    }
}

/// Header fields that `Connection` declares to be hop-by-hop, except for those that we need to
/// route and to frame the message ourselves.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            let usual = [&b"keep-alive"[..], b"close", b"upgrade"];
            if token.is_empty() || usual.iter().any(|known| token.eq_ignore_ascii_case(known)) {
                continue;
            }
            if let Ok(name) = HeaderName::from_bytes(token)
                && name != HOST
                && name != CONTENT_LENGTH
            {
                named.push(name);
            }
        }
    }
    named
}

/// The protocol a client wants to switch to, if it may. `h2c` may not: requests inside of it
/// would not be routed by us.
fn wanted_upgrade(head: &request::Parts) -> Option<HeaderValue> {
    let protocol = head.headers.get(UPGRADE)?;
    let connection = head.headers.get_all(CONNECTION).iter();
    let asked = connection
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let mut names = protocol.as_bytes().split(|b| *b == b',');
    let allowed = names.all(|name| !name.trim_ascii().eq_ignore_ascii_case(b"h2c"));
    let possible = head.version == Version::HTTP_11 && head.method != Method::CONNECT;
    (asked && allowed && possible).then(|| protocol.clone())
}

/// Puts back what a protocol switch needs on the next hop.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Too many of our kind have forwarded this request already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loops;

/// Makes the head of a request what the app should see. The client's own claims about who it is
/// and how it came are replaced: nobody in front of us is trusted.
pub(crate) fn prepare_request(
    head: &mut request::Parts,
    client_address: &HeaderValue,
    request_id: HeaderValue,
) -> Result<(), Loops> {
    let hops = match head.headers.get(&HOPS) {
        None => 0,
        Some(value) => HOP_VALUES
            .iter()
            .position(|known| value == known)
            .map_or(MAX_HOPS, |p| p + 1),
    };
    let hops = HOP_VALUES.get(hops).ok_or(Loops)?;
    let upgrade = wanted_upgrade(head);
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    if let Some(authority) = head.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(HOST, host);
        }
        head.uri = head
            .uri
            .path_and_query()
            .cloned()
            .map(Into::into)
            .unwrap_or_default();
    }
    head.version = Version::HTTP_11;

    let headers = &mut head.headers;
    remove_present(headers, is_stripped_from_requests);
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(&X_FORWARDED_HOST, host);
    }
    headers.insert(&X_FORWARDED_FOR, client_address.clone());
    headers.insert(&X_REAL_IP, client_address.clone());
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(&HOPS, HeaderValue::from_static(hops));
    headers.insert(&X_REQUEST_ID, request_id);
    if chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol);
    }
    Ok(())
}

/// The request id a client sent, if it is harmless.
pub(crate) fn given_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(&X_REQUEST_ID)?;
    let harmless = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
    let usable = (1..=128).contains(&value.len()) && value.as_bytes().iter().all(harmless);
    usable.then(|| value.clone())
}

/// RFC 9110 section 9.2.2.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_are_found() {
        for (text, host) in [
            ("Shop.LocalHost:8080", "shop.localhost"),
            ("shop.localhost.", "shop.localhost"),
            ("[::1]:80", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(bare_host(text).as_deref(), Some(host), "{text}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:80:90",
            "[::1",
            "[x]",
            "<b>",
        ] {
            assert_eq!(bare_host(bad), None, "{bad}");
        }
        let parts = head("http://B.test/x?y", &[("host", "a.test")]);
        assert_eq!(host_of(&parts).unwrap(), "b.test");
        let parts = head("/", &[("host", "a"), ("host", "b")]);
        assert_eq!(host_of(&parts), Err(HostProblem::Ambiguous));
        assert_eq!(host_of(&head("/", &[])), Err(HostProblem::Missing));
    }

    #[test]
    fn the_client_is_not_believed() {
        let mut parts = head(
            "http://a.test/p?q=1",
            &[
                ("host", "other.test"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.test"),
                ("forwarded", "for=6.6.6.6"),
                ("connection", "X-Secret, host, close"),
                ("x-secret", "1"),
                ("te", "trailers"),
                ("proxy-connection", "keep-alive"),
                ("accept", "*/*"),
            ],
        );
        let me = HeaderValue::from_static("10.1.1.1");
        prepare_request(&mut parts, &me, HeaderValue::from_static("id")).unwrap();
        assert_eq!(parts.uri, "/p?q=1");
        let mut seen: Vec<(String, String)> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        seen.sort();
        let expected = [
            ("accept", "*/*"),
            ("host", "a.test"),
            ("x-flukedeploy-hops", "1"),
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "10.1.1.1"),
            ("x-request-id", "id"),
        ];
        assert_eq!(
            seen,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn loops_end() {
        let me = HeaderValue::from_static("10.1.1.1");
        let mut parts = head("/", &[("host", "a.test")]);
        for _ in 0..MAX_HOPS {
            prepare_request(&mut parts, &me, HeaderValue::from_static("id")).unwrap();
        }
        let again = prepare_request(&mut parts, &me, HeaderValue::from_static("id"));
        assert_eq!(again, Err(Loops));
        let mut odd = head("/", &[("host", "a.test"), ("x-flukedeploy-hops", "many")]);
        assert_eq!(
            prepare_request(&mut odd, &me, HeaderValue::from_static("id")),
            Err(Loops)
        );
    }

    #[test]
    fn upgrades_pass_except_for_h2c() {
        let websocket = head(
            "/",
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
            ],
        );
        assert_eq!(wanted_upgrade(&websocket).unwrap(), "websocket");
        let h2c = head(
            "/",
            &[
                ("connection", "upgrade, http2-settings"),
                ("upgrade", "h2c"),
            ],
        );
        assert_eq!(wanted_upgrade(&h2c), None);
        assert_eq!(
            wanted_upgrade(&head("/", &[("upgrade", "websocket")])),
            None
        );
    }

    #[test]
    fn request_ids_are_kept_if_harmless() {
        let given = |id| given_request_id(&head("/", &[("x-request-id", id)]).headers);
        assert_eq!(given("abc-1").unwrap(), "abc-1");
        assert_eq!(given("<script>"), None);
        assert_eq!(given(&"x".repeat(129)), None);
    }
}
