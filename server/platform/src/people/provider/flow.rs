//! To the provider and back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::timestamp::from_unix_ms;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::discovery::{self, Metadata};
use super::token::{self, Expected, Fault, Vouched};
use super::{Failure, ProviderConfig, config};
use crate::error::Error;
use crate::identity::unix_ms;
use crate::people::limits::Attempt;
use crate::people::sign_in::{self, Entered};
use crate::people::{Origin, account, invitations, require_recent_proof};
use crate::platform::Platform;
use crate::ports::{Account, Identity, ProviderRequest};
use crate::secret::{Secret, sha256_hex};

/// How long somebody may take at the provider.
const LASTS: Duration = Duration::from_mins(10);
/// Longest code, in bytes.
const MAX_CODE: usize = 4096;

const NOT_OURS: Error = Error::Unauthenticated {
    why: "this does not belong to a sign-in that was begun in this browser, or it took too long; begin again",
};

/// What somebody goes to the provider for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    SignIn,
    /// To bind the account of whoever is signed in.
    Bind,
    /// To prove that they are still there.
    Confirm,
    /// To make an account with an invitation.
    Accept {
        /// SHA-256 of the link's secret.
        invitation: String,
        name: String,
        display_name: Option<String>,
    },
}

impl Wanted {
    /// With the secret of an invitation's link.
    pub fn accept(secret: &str, name: &str, display_name: Option<&str>) -> Self {
        Self::Accept {
            invitation: sha256_hex(secret),
            name: name.to_owned(),
            display_name: display_name.map(ToOwned::to_owned),
        }
    }
}

/// What the browser's session keeps meanwhile. It is taken out of there before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub wanted: Wanted,
    /// Where to go afterwards.
    pub next: Option<String>,
    issuer: String,
    state: String,
    nonce: String,
    verifier: String,
    /// The session that began it, where somebody was signed in.
    session: Option<String>,
    began_at_ms: i64,
}

/// A flow, and the provider's address to send the browser to.
pub struct Begun {
    pub flow: Flow,
    pub address: String,
}

/// What the browser brings back.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub state: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
    pub iss: Option<String>,
}

/// What came of it.
pub enum Arrived {
    /// Somebody signed in, or owes a code.
    Entered(Entered),
    /// The account of whoever is signed in is bound now.
    Bound,
    /// They proved who they are; the door notes it in the session.
    Confirmed,
}

/// Sends somebody to the provider.
pub async fn begin(
    px: &Platform,
    wanted: Wanted,
    next: Option<String>,
    actor: Option<&Actor>,
    origin: &Origin,
) -> Result<Begun, Error> {
    let config = config(px)?;
    let session = match &wanted {
        Wanted::Bind | Wanted::Confirm => {
            let actor = signed_in(actor)?;
            let (account, session) = account::own(px, actor).await?;
            let store = &px.parts().store;
            let bound = store.identity_of(&account.id, &config.issuer).await?;
            if wanted == Wanted::Bind {
                require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
            }
            match (&wanted, bound.is_some()) {
                (Wanted::Bind, true) => return Err(bound_already()),
                (Wanted::Confirm, false) => {
                    return Err(Error::NotNow("your account is not connected".to_owned()));
                }
                _ => {}
            }
            Some(session.to_owned())
        }
        Wanted::Accept {
            invitation,
            name,
            display_name,
        } => {
            invitations::check_acceptance(px, invitation, name, display_name.as_deref()).await?;
            None
        }
        Wanted::SignIn => None,
    };
    // Each leaves something in the store.
    sign_in::admit(px, &Attempt::elsewhere(&origin.place()))?;
    let metadata = discovery::metadata(px, config)
        .await
        .map_err(|failure| failure.told(config))?;
    let new = || Secret::random().expose().to_owned();
    let flow = Flow {
        next,
        issuer: config.issuer.clone(),
        state: new(),
        nonce: new(),
        verifier: new(),
        session,
        began_at_ms: unix_ms(px.now()),
        wanted,
    };
    let address = address(px, config, &metadata, &flow);
    Ok(Begun { flow, address })
}

fn address(px: &Platform, config: &ProviderConfig, metadata: &Metadata, flow: &Flow) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(flow.verifier.as_bytes()));
    let back = redirect(px);
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", &config.client_id),
        ("redirect_uri", &back),
        ("scope", "openid profile email"),
        ("state", &flow.state),
        ("nonce", &flow.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if flow.wanted == Wanted::Confirm {
        pairs.extend([("prompt", "login"), ("max_age", "0")]);
    }
    let sign = if metadata.authorization_endpoint.contains('?') {
        '&'
    } else {
        '?'
    };
    format!("{}{sign}{}", metadata.authorization_endpoint, form(&pairs))
}

/// Where the provider sends the browser back to; it has to be told so beforehand.
fn redirect(px: &Platform) -> String {
    format!("{}/sign-in/provider/callback", px.config().public_url)
}

/// Somebody came back. `flow` is what this browser's session kept, and keeps no longer.
pub async fn finish(
    px: &Platform,
    flow: Option<Flow>,
    answer: &Answer,
    actor: Option<&Actor>,
    origin: &Origin,
) -> Result<Arrived, Error> {
    let config = config(px)?;
    let Some(flow) = flow else {
        return Err(NOT_OURS);
    };
    let is_in_time = px.now() - from_unix_ms(flow.began_at_ms) < LASTS;
    let state = Secret::new(flow.state.as_str());
    let is_ours = answer
        .state
        .as_deref()
        .is_some_and(|shown| state.matches(shown));
    if !is_ours || !is_in_time || flow.issuer != config.issuer {
        return Err(NOT_OURS);
    }
    if !px.parts().provider.use_up(&flow.state, LASTS) {
        return Err(NOT_OURS);
    }
    let vouched = match vouched(px, config, &flow, answer).await {
        Ok(vouched) => vouched,
        Err(Refusal::Failed(failure)) => return Err(failure.told(config)),
        Err(Refusal::Declined) => {
            return Err(Error::Unauthenticated {
                why: "the provider let nobody in; begin again",
            });
        }
        Err(Refusal::Wrong(why)) => {
            tracing::warn!(issuer = %config.issuer, why, "what the provider vouched for was refused");
            note_refusal(px, None, origin, why, config).await?;
            return Err(Error::Unauthenticated {
                why: "what the provider said of you cannot be believed; the audit trail says why",
            });
        }
    };
    match &flow.wanted {
        Wanted::SignIn => enter(px, config, &vouched, origin).await,
        Wanted::Bind => bind(px, config, &flow, vouched, signed_in(actor)?).await,
        Wanted::Confirm => confirm(px, config, &flow, &vouched, signed_in(actor)?, origin).await,
        Wanted::Accept {
            invitation,
            name,
            display_name,
        } => {
            let identity = identity(px, config, vouched);
            let shown = display_name.as_deref();
            let session =
                invitations::accept_with_identity(px, invitation, name, shown, identity, origin)
                    .await?;
            Ok(Arrived::Entered(Entered::SignedIn(Box::new(session))))
        }
    }
}

enum Refusal {
    Failed(Failure),
    /// The person, or the provider, said no.
    Declined,
    Wrong(&'static str),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Exchanges the code and checks what comes of it.
async fn vouched(
    px: &Platform,
    config: &ProviderConfig,
    flow: &Flow,
    answer: &Answer,
) -> Result<Vouched, Refusal> {
    let metadata = discovery::metadata(px, config).await?;
    match answer.iss.as_deref() {
        Some(iss) if iss != config.issuer => {
            return Err(Refusal::Wrong("another provider answered"));
        }
        None if metadata.authorization_response_iss_parameter_supported => {
            return Err(Refusal::Wrong(
                "the answer does not say which provider gave it",
            ));
        }
        _ => {}
    }
    if answer.error.is_some() {
        return Err(Refusal::Declined);
    }
    let code = answer
        .code
        .as_deref()
        .filter(|code| (1..=MAX_CODE).contains(&code.len()));
    let Some(code) = code else {
        return Err(Refusal::Wrong("the answer holds no code"));
    };
    let token = exchange(px, config, &metadata, flow, code).await?;
    let expected = Expected {
        issuer: &config.issuer,
        client_id: &config.client_id,
        nonce: &flow.nonce,
        began_at: flow.began_at_ms.div_euclid(1000),
        now: px.now().unix_timestamp(),
        anew: flow.wanted == Wanted::Confirm,
    };
    let mut anew = false;
    loop {
        let keys = discovery::keys(px, &metadata, anew).await?;
        match token::verify(token.expose(), &keys, &expected) {
            Ok(vouched) => return Ok(vouched),
            Err(Fault::UnknownKey) if !anew => anew = true,
            Err(Fault::UnknownKey) => {
                return Err(Refusal::Wrong(
                    "the token is signed with a key that the provider does not publish",
                ));
            }
            Err(Fault::Wrong(why)) => return Err(Refusal::Wrong(why)),
        }
    }
}

async fn exchange(
    px: &Platform,
    config: &ProviderConfig,
    metadata: &Metadata,
    flow: &Flow,
    code: &str,
) -> Result<Secret, Refusal> {
    #[derive(Deserialize)]
    struct Tokens {
        id_token: String,
    }
    let back = redirect(px);
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &back),
        ("code_verifier", &flow.verifier),
    ];
    let secret = config.client_secret.as_ref().map(Secret::expose);
    let authorization = match secret {
        Some(secret) if metadata.takes_secret_in_form() => {
            pairs.extend([
                ("client_id", config.client_id.as_str()),
                ("client_secret", secret),
            ]);
            None
        }
        Some(secret) => {
            let pair = format!("{}:{}", encoded(&config.client_id), encoded(secret));
            Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
        }
        None => {
            pairs.push(("client_id", &config.client_id));
            None
        }
    };
    let request = ProviderRequest {
        url: metadata.token_endpoint.clone(),
        form: Some(Secret::new(form(&pairs))),
        authorization,
    };
    let sent = px.parts().identity_provider.send(&request).await;
    let answer = sent.map_err(Failure::from)?;
    match answer.status {
        200 => {}
        400 | 401 => {
            return Err(Refusal::Wrong(
                "the provider did not take the code, or not us",
            ));
        }
        _ => return Err(Failure::Odd("it did not answer with what it should").into()),
    }
    let tokens: Tokens = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::Odd("its answer holds no token"))?;
    Ok(Secret::new(tokens.id_token))
}

/// Signs in whoever is bound to it. Who is not gets no account.
async fn enter(
    px: &Platform,
    config: &ProviderConfig,
    vouched: &Vouched,
    origin: &Origin,
) -> Result<Arrived, Error> {
    let store = &px.parts().store;
    let found = store
        .account_by_identity(&config.issuer, &vouched.subject)
        .await?;
    let Some(account) = found
        .as_ref()
        .filter(|account| account.disabled_at.is_none())
    else {
        let why = if found.is_some() {
            "the account is turned off"
        } else {
            "no account is connected with it"
        };
        note_refusal(px, found.as_ref(), origin, why, config).await?;
        return Err(Error::Unauthenticated {
            why: "no account that may come in is connected with yours there; sign in with a password and connect it on the page of your account, or accept an invitation",
        });
    };
    px.parts()
        .sign_in_limits
        .succeeded(&Attempt::elsewhere(&origin.place()));
    let how = format!("with {}", config.name);
    let entered = sign_in::first_step_done(px, account, origin, &how, true).await?;
    Ok(Arrived::Entered(entered))
}

async fn bind(
    px: &Platform,
    config: &ProviderConfig,
    flow: &Flow,
    vouched: Vouched,
    actor: &Actor,
) -> Result<Arrived, Error> {
    let (account, session) = account::own(px, actor).await?;
    // The proof was asked for when it began; this is the same session, minutes later.
    if flow.session.as_deref() != Some(session) {
        return Err(NOT_OURS);
    }
    let identity = Identity {
        account: account.id.clone(),
        ..identity(px, config, vouched)
    };
    let did = format!("connected the account with {}", config.name);
    let audit = account::audit(px, actor, &account, &did);
    if px.parts().store.bind_identity(&identity, &audit).await? {
        Ok(Arrived::Bound)
    } else {
        Err(bound_already())
    }
}

fn bound_already() -> Error {
    Error::NotNow("this is connected already, with this account or with another".to_owned())
}

async fn confirm(
    px: &Platform,
    config: &ProviderConfig,
    flow: &Flow,
    vouched: &Vouched,
    actor: &Actor,
    origin: &Origin,
) -> Result<Arrived, Error> {
    let (account, session) = account::own(px, actor).await?;
    if flow.session.as_deref() != Some(session) {
        return Err(NOT_OURS);
    }
    let store = &px.parts().store;
    let bound = store.identity_of(&account.id, &config.issuer).await?;
    let right = bound.is_some_and(|identity| identity.subject == vouched.subject);
    let done = format!(
        "{} who it is with {} from {}",
        if right {
            "confirmed"
        } else {
            "failed to confirm"
        },
        config.name,
        origin.shown()
    );
    let audit = account::audit(px, actor, &account, &done);
    store.note(&audit).await?;
    if right {
        Ok(Arrived::Confirmed)
    } else {
        Err(Error::NotNow("that was somebody else".to_owned()))
    }
}

fn identity(px: &Platform, config: &ProviderConfig, vouched: Vouched) -> Identity {
    Identity {
        issuer: config.issuer.clone(),
        subject: vouched.subject,
        account: String::new(),
        shown: vouched.shown,
        bound_at: px.now(),
    }
}

fn signed_in(actor: Option<&Actor>) -> Result<&Actor, Error> {
    actor.ok_or(Error::Unauthenticated {
        why: "sign in first",
    })
}

async fn note_refusal(
    px: &Platform,
    account: Option<&Account>,
    origin: &Origin,
    why: &str,
    config: &ProviderConfig,
) -> Result<(), Error> {
    let why = format!("{why} ({})", config.name);
    sign_in::refused(px, account, origin, &why).await
}

/// A form, or a query: all but the unreserved characters are encoded.
fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encoded(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        out
    })
}
