//! ID tokens: what a provider signed, checked claim by claim.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// Longest subject: what the specification allows.
const MAX_SUBJECT: usize = 255;
/// How far the provider's clock may be from ours, in seconds.
const SKEW: i64 = 60;
/// Keys that are tried where a token names none.
const MAX_TRIED: usize = 8;

/// The signatures that are believed. Never `none`, and never one that is made with what anybody may
/// know: a symmetric one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// Whether tokens signed so would be believed.
pub(super) fn is_known_algorithm(name: &str) -> bool {
    Algorithm::named(name).is_some()
}

/// A key set as the provider publishes it. Keys of other kinds are passed over.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn fitting<'a>(&'a self, head: &'a Head, algorithm: Algorithm) -> Vec<&'a Key> {
        let named = |key: &&Key| head.kid.is_none() || key.kid == head.kid;
        self.keys
            .iter()
            .filter(named)
            .filter(|key| key.is_for(algorithm))
            .take(MAX_TRIED)
            .collect()
    }
}

impl Key {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::Rs256 => self.kty == "RSA",
            Algorithm::Es256 => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
            Algorithm::EdDsa => self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519"),
        };
        let purpose = self
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose == "sig");
        let alg = self.alg.as_deref();
        kind && purpose && alg.is_none_or(|alg| alg == algorithm.as_str())
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.check(algorithm, message, signature).is_some()
    }

    fn check(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let part = |text: &Option<String>| decoded(text.as_deref()?);
        let known = match algorithm {
            // 2048 bits at least.
            Algorithm::Rs256 => {
                let (n, e) = (part(&self.n)?, part(&self.e)?);
                let key = RsaPublicKeyComponents { n: &n, e: &e };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Algorithm::Es256 => {
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
            }
            Algorithm::EdDsa => UnparsedPublicKey::new(&signature::ED25519, part(&self.x)?)
                .verify(message, signature),
        };
        known.ok()
    }
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<serde_json::Value>,
}

/// What a token says that is used.
#[derive(Debug, Clone, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: Seconds,
    iat: Seconds,
    nbf: Option<Seconds>,
    auth_time: Option<Seconds>,
    nonce: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Seconds since 1970; some write them with a fraction.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Number")]
struct Seconds(i64);

impl TryFrom<serde_json::Number> for Seconds {
    type Error = &'static str;

    fn try_from(number: serde_json::Number) -> Result<Self, Self::Error> {
        if let Some(whole) = number.as_i64() {
            return Ok(Self(whole));
        }
        let seconds = number.as_f64().unwrap_or(f64::NAN);
        if (0.0..1e12).contains(&seconds) {
            #[expect(clippy::cast_possible_truncation, reason = "within the range of i64")]
            return Ok(Self(seconds.floor() as i64));
        }
        Err("a time must be a number of seconds")
    }
}

/// What a token has to fit.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// When the browser was sent to the provider, and what time it is; in seconds.
    pub(super) began_at: i64,
    pub(super) now: i64,
    /// The person had to show there anew who they are.
    pub(super) anew: bool,
}

/// Whom a token vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) subject: String,
    /// As the provider calls the person.
    pub(super) shown: Option<String>,
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No key of that name: the set may be old.
    UnknownKey,
    Wrong(&'static str),
}

/// Checks a token: signature first, since nothing of it counts before.
pub(super) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Vouched, Fault> {
    const UNREADABLE: Fault = Fault::Wrong("the token cannot be read");
    if token.len() > MAX_TOKEN {
        return Err(UNREADABLE);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(UNREADABLE)?;
    let (head, claims) = message.split_once('.').ok_or(UNREADABLE)?;
    let signature = decoded(signature).ok_or(UNREADABLE)?;
    let head: Head = json(head).ok_or(UNREADABLE)?;
    if head.crit.is_some() {
        return Err(Fault::Wrong("the token needs an extension"));
    }
    let algorithm = Algorithm::named(&head.alg).ok_or(Fault::Wrong(
        "the token is not signed with RS256, ES256 or EdDSA",
    ))?;
    let fitting = keys.fitting(&head, algorithm);
    if fitting.is_empty() {
        return Err(Fault::UnknownKey);
    }
    let verifies = |key: &&Key| key.verifies(algorithm, message.as_bytes(), &signature);
    if !fitting.iter().any(verifies) {
        return Err(Fault::Wrong("the signature of the token is wrong"));
    }
    let claims: Claims = json(claims).ok_or(UNREADABLE)?;
    check(&claims, expected).map_err(Fault::Wrong)?;
    let shown = [claims.preferred_username, claims.email, claims.name];
    Ok(Vouched {
        subject: claims.sub,
        shown: shown.iter().flatten().find_map(|text| readable(text)),
    })
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), &'static str> {
    if claims.iss != expected.issuer {
        return Err("the token is of another issuer");
    }
    let audience = claims.aud.all();
    if !audience.iter().any(|one| one == expected.client_id) {
        return Err("the token is for somebody else");
    }
    // Where it is for others as well, it must have been made for us.
    let ours = |azp: &str| azp == expected.client_id;
    match claims.azp.as_deref() {
        Some(azp) if !ours(azp) => return Err("the token was made for somebody else"),
        None if audience.len() > 1 => return Err("the token does not say for whom it was made"),
        _ => {}
    }
    let nonce = claims.nonce.as_deref().unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err("the token belongs to another sign-in");
    }
    let (now, began_at) = (expected.now, expected.began_at);
    if claims.exp.0.saturating_add(SKEW) <= now {
        return Err("the token has expired");
    }
    if claims.iat.0.saturating_sub(SKEW) > now
        || claims
            .nbf
            .is_some_and(|nbf| nbf.0.saturating_sub(SKEW) > now)
    {
        return Err("the token is of the future; check the clocks");
    }
    if claims.iat.0.saturating_add(SKEW) < began_at {
        return Err("the token is older than this sign-in");
    }
    if expected.anew {
        let anew =
            |at: Seconds| at.0.saturating_add(SKEW) >= began_at && at.0.saturating_sub(SKEW) <= now;
        if !claims.auth_time.is_some_and(anew) {
            return Err("the provider did not ask anew who it is");
        }
    }
    let fits = |c: char| c.is_ascii() && !c.is_ascii_control();
    if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT || !claims.sub.chars().all(fits) {
        return Err("the token names nobody");
    }
    Ok(())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&decoded(text)?).ok()
}

/// Foreign text for a page.
fn readable(text: &str) -> Option<String> {
    crate::people::display_name(Some(text)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), &'static str> {
        let mut claims = serde_json::json!({
            "iss": "https://id.example", "sub": "s-1", "aud": "us", "exp": 2_000, "iat": 1_000,
            "nonce": "n",
        });
        change(&mut claims);
        let Ok(claims) = serde_json::from_value::<Claims>(claims) else {
            return Err("unreadable");
        };
        let expected = Expected {
            issuer: "https://id.example",
            client_id: "us",
            nonce: "n",
            began_at: 990,
            now: 1_010,
            anew: false,
        };
        check(&claims, &expected)
    }

    #[test]
    fn every_claim_counts() {
        assert_eq!(claims(|_| {}), Ok(()));
        assert_eq!(claims(|all| all["aud"] = serde_json::json!(["us"])), Ok(()));
        assert_eq!(
            claims(|all| all["exp"] = serde_json::json!(1_950.5)),
            Ok(())
        );
        for (claim, value) in [
            ("iss", serde_json::json!("https://id.example/")),
            ("iss", serde_json::json!("HTTPS://ID.EXAMPLE")),
            ("sub", serde_json::json!("")),
            ("sub", serde_json::json!("a\nb")),
            ("sub", serde_json::json!("x".repeat(256))),
            ("aud", serde_json::json!("them")),
            ("aud", serde_json::json!([])),
            ("aud", serde_json::json!(["us", "them"])),
            ("azp", serde_json::json!("them")),
            ("exp", serde_json::json!(900)),
            ("exp", serde_json::json!("2000")),
            ("exp", serde_json::json!(null)),
            ("iat", serde_json::json!(1_100)),
            ("iat", serde_json::json!(900)),
            ("nbf", serde_json::json!(1_100)),
            ("nonce", serde_json::json!("m")),
            ("nonce", serde_json::json!(null)),
        ] {
            assert!(
                claims(|all| all[claim] = value.clone()).is_err(),
                "{claim} {value}"
            );
        }
        let both = |all: &mut serde_json::Value| {
            all["aud"] = serde_json::json!(["them", "us"]);
            all["azp"] = serde_json::json!("us");
        };
        assert_eq!(claims(both), Ok(()));
    }

    /// Signed by OpenSSL with a key that nobody has any more.
    #[test]
    fn an_rsa_signature_is_checked() {
        let modulus = concat!(
            "vVhnrGcpkc8DTeOtQIoxSlQHkYFAi86FhqBdVtd6WmsvyFyKDOurfr3jhicV4QS6RXFsIlNO7xrFsu-8",
            "JPV0P5RMhBNHy9Fh8obGauRxcxRl2ETSPz6PtyInwuojbEWoBT_7-IIyFAxgGryiZOeIm6Ok7MzXetcp",
            "IWKwwltePl3_nVdJ-ZL8FhZIUN0RIxtyqXkQAWAnrpqmpEyrLJ2CvBwB3J_9xT1nHsEDddkdKzo6VbzK",
            "L2PrWhOqHGMPnMACvIlzrmN9k9WvyfJz6UQIbgNDvkh6uQEU3DQOwv7FEfnfa37rJJ5WauoNRx_kiUnj",
            "g2B9XzZaJlVrKrkNwR4XSQ",
        );
        let token = concat!(
            "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJzdWIi",
            "OiJzLTEiLCJhdWQiOiJ1cyIsImV4cCI6MjAwMCwiaWF0IjoxMDAwLCJub25jZSI6Im4iLCJuYW1lIjoi",
            "QW5uXHUyMDJlRXhhbXBsZSIsImVtYWlsIjoiYW5uQGV4YW1wbGUuY29tIn0.n6lC5ER7KHrnkRB0oLJT",
            "lNOFvPqfRjMi3ep3oQT0DDAfK9TpVekpK2I6cUc-pNv7jXsLjrRQdIbye90hv4Vy27Riy1Tx9tivUjNE",
            "_OwHBhktDJ5h_alJQSfsLWoOdOShp6XbRV3TThd_Gvx_mMcbHKfXvkiwrSxxewdLySStI4aCk7wgzM0N",
            "uepKA0yt-0SCqGMcpgVb5lsqhOOCjIyGIbBGvRM0Pq1D2Hv3g-x7j-gRQXPJ2USMJti5N_mHTQ25O4EX",
            "fsFgHOprbgghDufkF7NJGxj4ACpflY-xOzorZHLlg-yUL60mMMopmjOf-BxyhVUoz8Q40BewpwN1w7kf",
            "mQ",
        );
        let keys = |change: &dyn Fn(&mut serde_json::Value)| -> Keys {
            let mut key = serde_json::json!({
                "kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", "e": "AQAB", "n": modulus,
            });
            change(&mut key);
            serde_json::from_value(serde_json::json!({ "keys": [key] })).unwrap()
        };
        let expected = Expected {
            issuer: "https://id.example",
            client_id: "us",
            nonce: "n",
            began_at: 990,
            now: 1_010,
            anew: false,
        };
        let vouched = verify(token, &keys(&|_| {}), &expected).unwrap();
        assert_eq!(vouched.subject, "s-1");
        assert_eq!(vouched.shown.as_deref(), Some("ann@example.com"));
        // A key for something else is none, whatever its name.
        for (part, value) in [
            ("use", "enc"),
            ("alg", "RS512"),
            ("kty", "oct"),
            ("kid", "r2"),
        ] {
            let other = keys(&|key| key[part] = value.into());
            assert_eq!(
                verify(token, &other, &expected),
                Err(Fault::UnknownKey),
                "{part}"
            );
        }
        for at in [30, 200, token.len() - 20] {
            let mut bent = token.as_bytes().to_vec();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert!(verify(&bent, &keys(&|_| {}), &expected).is_err(), "{at}");
        }
    }
}
