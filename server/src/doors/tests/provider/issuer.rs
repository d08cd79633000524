//! A small `OpenID` Connect provider over HTTP. It signs with real keys, and lies as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flukedeploy_platform::ports::{Clock as _, SystemClock};
use flukedeploy_platform::secret::Secret;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::base64url;

pub(super) const CLIENT: &str = "fluke deploy";
pub(super) const CLIENT_SECRET: &str = "s3cret of: the client";

/// Changes head and claims of a token before it is signed.
type Lie = Box<dyn Fn(&mut Value, &mut Value) + Send>;
/// Makes the token otherwise altogether, of head and claims.
type Forge = Box<dyn Fn(&Value, &Value) -> String + Send>;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Slow,
    Huge,
    Broken,
    /// Sends whoever asks somewhere else.
    Away,
}

pub(super) enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    pub(super) fn ec() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    pub(super) fn ed() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    pub(super) fn public(&self) -> Vec<u8> {
        match self {
            Self::Ec(key) => key.public_key().as_ref().to_vec(),
            Self::Ed(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn published(&self, kid: &str) -> Value {
        let public = self.public();
        match self {
            Self::Ec(_) => json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "alg": "ES256",
                "x": base64url(&public[1..33]), "y": base64url(&public[33..]),
            }),
            Self::Ed(_) => json!({
                "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(&public),
            }),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(key) => key
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

struct Grant {
    subject: String,
    nonce: String,
    challenge: String,
    redirect: String,
    anew: bool,
}

pub(super) struct Inner {
    pub(super) mood: Mood,
    pub(super) keys: Vec<(String, Key)>,
    /// Which of them signs.
    pub(super) signs: usize,
    /// Which of them are published.
    pub(super) published: Vec<usize>,
    pub(super) metadata: Value,
    pub(super) lie: Option<Lie>,
    pub(super) forge: Option<Forge>,
    pub(super) asked: HashMap<&'static str, u32>,
    grants: HashMap<String, Grant>,
}

#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) inner: Arc<Mutex<Inner>>,
}

impl Issuer {
    pub(super) async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize?tenant=a"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        let inner = Inner {
            mood: Mood::Well,
            keys: vec![("k1".to_owned(), Key::ec()), ("k2".to_owned(), Key::ed())],
            signs: 0,
            published: vec![0],
            metadata,
            lie: None,
            forge: None,
            asked: HashMap::new(),
            grants: HashMap::new(),
        };
        let issuer = Self {
            url,
            inner: Arc::new(Mutex::new(inner)),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
    }

    pub(super) fn lie(&self, lie: impl Fn(&mut Value, &mut Value) + Send + 'static) {
        self.change(|inner| inner.lie = Some(Box::new(lie)));
    }

    /// Somebody whom the browser brings signs in there: what it brings back, as a query.
    pub(super) fn visit(&self, address: &str, subject: &str) -> String {
        let (endpoint, query) = address.split_once("?tenant=a&").unwrap();
        assert_eq!(endpoint, format!("{}/authorize", self.url));
        let pairs: HashMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(pairs["response_type"], "code");
        assert_eq!(pairs["client_id"], CLIENT);
        assert_eq!(pairs["code_challenge_method"], "S256");
        assert!(pairs["scope"].split(' ').any(|scope| scope == "openid"));
        let code = Secret::random().expose().to_owned();
        let grant = Grant {
            subject: subject.to_owned(),
            nonce: pairs["nonce"].clone(),
            challenge: pairs["code_challenge"].clone(),
            redirect: pairs["redirect_uri"].clone(),
            anew: pairs.get("max_age").is_some_and(|age| age == "0"),
        };
        self.change(|inner| {
            inner.grants.insert(code.clone(), grant);
        });
        form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &pairs["state"])
            .append_pair("iss", &self.url)
            .finish()
    }

    pub(super) fn asked(&self, what: &'static str) -> u32 {
        *self.inner.lock().unwrap().asked.get(what).unwrap_or(&0)
    }

    async fn moody(&self, what: &'static str) -> Result<(), Response> {
        let mood = {
            let mut inner = self.inner.lock().unwrap();
            *inner.asked.entry(what).or_default() += 1;
            inner.mood
        };
        match mood {
            Mood::Well => Ok(()),
            Mood::Slow => {
                tokio::time::sleep(Duration::from_mins(1)).await;
                Ok(())
            }
            Mood::Huge => Err("x".repeat(1024 * 1024).into_response()),
            Mood::Broken => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            Mood::Away => {
                Err((StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response())
            }
        }
    }
}

async fn configuration(State(issuer): State<Issuer>) -> Response {
    if let Err(answer) = issuer.moody("configuration").await {
        return answer;
    }
    let metadata = issuer.inner.lock().unwrap().metadata.clone();
    Json(metadata).into_response()
}

async fn keys(State(issuer): State<Issuer>) -> Response {
    if let Err(answer) = issuer.moody("keys").await {
        return answer;
    }
    let inner = issuer.inner.lock().unwrap();
    let published: Vec<_> = inner
        .published
        .iter()
        .map(|index| inner.keys[*index].1.published(&inner.keys[*index].0))
        .collect();
    // One of a kind that we do not know is no reason to refuse the others.
    let odd = json!({"kty": "AKP", "kid": "odd", "alg": "ML-DSA-65", "pub": "AA"});
    let keys = [vec![odd], published].concat();
    Json(json!({ "keys": keys })).into_response()
}

async fn token(
    State(issuer): State<Issuer>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    if let Err(answer) = issuer.moody("token").await {
        return answer;
    }
    let refused =
        |why: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response();
    // `client_secret_basic`: each half is encoded before it is joined.
    let right = "Basic Zmx1a2UlMjBkZXBsb3k6czNjcmV0JTIwb2YlM0ElMjB0aGUlMjBjbGllbnQ=";
    if headers
        .get("authorization")
        .is_none_or(|value| value != right)
    {
        return refused("invalid_client");
    }
    let taken = issuer.inner.lock().unwrap().grants.remove(&form["code"]);
    let Some(grant) = taken else {
        return refused("invalid_grant");
    };
    let challenge = base64url(&Sha256::digest(form["code_verifier"].as_bytes()));
    if challenge != grant.challenge || form["redirect_uri"] != grant.redirect {
        return refused("invalid_grant");
    }
    let now = SystemClock.now().unix_timestamp();
    let inner = issuer.inner.lock().unwrap();
    let (kid, key) = &inner.keys[inner.signs];
    let mut head = json!({"alg": key.algorithm(), "kid": kid, "typ": "JWT"});
    let mut claims = json!({
        "iss": issuer.url, "sub": grant.subject, "aud": CLIENT, "iat": now, "exp": now + 300,
        "nonce": grant.nonce, "email": "admin@example.com", "preferred_username": "ann.example",
        "auth_time": if grant.anew { now } else { now - 40_000 },
    });
    if let Some(lie) = &inner.lie {
        lie(&mut head, &mut claims);
    }
    let signed = if let Some(forge) = &inner.forge {
        forge(&head, &claims)
    } else {
        let message = message(&head, &claims);
        let signature = base64url(&key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    };
    Json(json!({"access_token": "unused", "token_type": "Bearer", "id_token": signed}))
        .into_response()
}

/// What is signed.
pub(super) fn message(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}", part(head), part(claims))
}
