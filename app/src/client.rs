//! Where a request comes from, and the cookie of a browser that signed in before.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::response::Response;
use flukedeploy_domain::addresses::client_address;
use flukedeploy_platform::identity::SignedIn;
use flukedeploy_platform::people::{self, Origin};
use flukedeploy_platform::{Error, Platform};
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::paths;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A browser that was not used for this long is strange again.
const DEVICE_SECONDS: u32 = 365 * 24 * 3600;

/// The client's address, past the proxies that are trusted; `None` where the connection is not known.
/// Not `Forwarded`: a proxy that writes the one header passes the other on as the client sent it.
pub fn address(px: &Platform, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let forwarded: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let trusted = &px.config().trusted_proxies;
    Some(client_address(peer.ip(), &forwarded.join(","), trusted))
}

/// Who sends this request, as far as can be told.
pub fn origin(px: &Platform, extensions: &Extensions, headers: &HeaderMap) -> Origin {
    Origin {
        address: address(px, headers, extensions),
        user_agent: headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        device: cookie(headers, &device_cookie(px)).map(ToOwned::to_owned),
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

fn device_cookie(px: &Platform) -> String {
    format!("flukedeploy_{}_device", px.config().instance)
}

/// Lets the browser of a session that began be known at the next sign-in. It is sent there only.
pub(crate) async fn remember(
    px: &Platform,
    session: &SignedIn,
    is_secure: bool,
    mut response: Response,
) -> Result<Response, Error> {
    let token = people::device_token(px, session).await?;
    let secure = if is_secure { "; Secure" } else { "" };
    let value = format!(
        "{}={}; Path={}; Max-Age={DEVICE_SECONDS}; HttpOnly; SameSite=Lax{secure}",
        device_cookie(px),
        token.expose(),
        paths::SIGN_IN
    );
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    Ok(response)
}
