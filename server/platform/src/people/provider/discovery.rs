//! What the provider says of itself, and its keys: kept for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::token::{self, Keys};
use super::{Failure, ProviderConfig};
use crate::platform::Platform;
use crate::ports::ProviderRequest;

/// How long what was read is believed.
const LASTS: Duration = Duration::from_hours(1);
/// Keys that are not known are looked for this often at most: whoever sends made-up names must not
/// make us ask each time.
const KEYS_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    /// RFC 9207: the answer names who gave it.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether the secret goes into the form, and not into the header.
    pub(super) fn takes_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.is_some_and(|methods| {
            let has = |name: &str| methods.iter().any(|method| method == name);
            has("client_secret_post") && !has("client_secret_basic")
        })
    }

    fn check(&self, config: &ProviderConfig) -> Result<(), Failure> {
        // To the letter: whoever speaks for another issuer could name its own keys.
        if self.issuer != config.issuer {
            return Err(Failure::Odd(
                "it calls itself by another name than the settings do",
            ));
        }
        let secure = config.issuer.starts_with("https://");
        let fits = |address: &String| {
            let known =
                address.starts_with("https://") || (!secure && address.starts_with("http://"));
            known
                && address.len() <= 2048
                && address.bytes().all(|b| b.is_ascii_graphic())
                && !address.contains('#')
        };
        let addresses = [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.jwks_uri,
        ];
        if !addresses.into_iter().all(fits) {
            return Err(Failure::Odd("it names addresses that cannot be used"));
        }
        let algorithms = self.id_token_signing_alg_values_supported.as_deref();
        if algorithms.is_some_and(|all| !all.iter().any(|name| token::is_known_algorithm(name))) {
            return Err(Failure::Odd("it signs with none of RS256, ES256 and EdDSA"));
        }
        let methods = self.code_challenge_methods_supported.as_deref();
        if methods.is_some_and(|all| !all.iter().any(|name| name == "S256")) {
            return Err(Failure::Odd("it does not take a code challenge (S256)"));
        }
        Ok(())
    }
}

/// What was read of the provider, and when.
#[derive(Default)]
pub(crate) struct Known {
    metadata: Mutex<Option<(Instant, Arc<Metadata>)>>,
    keys: Mutex<Option<(Instant, Arc<Keys>)>>,
}

pub(super) async fn metadata(
    px: &Platform,
    config: &ProviderConfig,
) -> Result<Arc<Metadata>, Failure> {
    // Held while it is asked: many at once ask once.
    let mut known = px.parts().provider.known.metadata.lock().await;
    if let Some((at, metadata)) = &*known
        && at.elapsed() < LASTS
    {
        return Ok(Arc::clone(metadata));
    }
    let issuer = config.issuer.trim_end_matches('/');
    let body = get(px, format!("{issuer}/.well-known/openid-configuration")).await?;
    let read: Metadata = serde_json::from_slice(&body)
        .map_err(|_| Failure::Odd("what it says of itself cannot be read"))?;
    read.check(config)?;
    let read = Arc::new(read);
    *known = Some((Instant::now(), Arc::clone(&read)));
    Ok(read)
}

/// The keys; `anew`: those that are known have been tried.
pub(super) async fn keys(
    px: &Platform,
    metadata: &Metadata,
    anew: bool,
) -> Result<Arc<Keys>, Failure> {
    let mut known = px.parts().provider.known.keys.lock().await;
    let lasts = if anew { KEYS_AGAIN } else { LASTS };
    if let Some((at, keys)) = &*known
        && at.elapsed() < lasts
    {
        return Ok(Arc::clone(keys));
    }
    let body = get(px, metadata.jwks_uri.clone()).await?;
    let keys: Keys =
        serde_json::from_slice(&body).map_err(|_| Failure::Odd("its keys cannot be read"))?;
    if keys.is_empty() {
        return Err(Failure::Odd("it has no keys"));
    }
    let keys = Arc::new(keys);
    *known = Some((Instant::now(), Arc::clone(&keys)));
    Ok(keys)
}

async fn get(px: &Platform, url: String) -> Result<bytes::Bytes, Failure> {
    let request = ProviderRequest {
        url,
        form: None,
        authorization: None,
    };
    let answer = px.parts().identity_provider.send(&request).await?;
    if answer.status == 200 {
        Ok(answer.body)
    } else {
        Err(Failure::Odd("it did not answer with what it should"))
    }
}
