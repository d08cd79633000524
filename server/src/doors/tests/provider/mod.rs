//! Signing in elsewhere: a whole dashboard in front of a provider that is honest, or is not.

mod issuer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::addresses::AllowedAddresses;
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_platform::config::ProviderConfig;
use flukedeploy_platform::identity;
use flukedeploy_platform::people::{self, Invite};
use flukedeploy_platform::ports::{Clock, People as _, Store as _};
use flukedeploy_platform::secret::Secret;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use self::issuer::{CLIENT, CLIENT_SECRET, Issuer, Key, Mood, message};
use super::House;
use super::people::whole;
use crate::outgoing::Network;

const PASSWORD: &str = "correct horse battery";
const CALLBACK: &str = "/sign-in/provider/callback";

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Time that can be moved.
#[derive(Default)]
struct Moved(AtomicU32);

impl Clock for Moved {
    fn now(&self) -> time::OffsetDateTime {
        let seconds = i64::from(self.0.load(Ordering::Relaxed));
        time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds)
    }
}

struct Stage {
    house: House,
    issuer: Issuer,
    clock: Arc<Moved>,
    router: Router,
}

impl Stage {
    async fn set() -> Self {
        let issuer = Issuer::open().await;
        let clock = Arc::new(Moved::default());
        let allowed = AllowedAddresses::parse(&["127.0.0.1"]).unwrap();
        let network = Network::with_roots(allowed, rustls::RootCertStore::empty()).unwrap();
        let house = House::fitted(|config, ports| {
            config.provider = Some(ProviderConfig {
                issuer: issuer.url.clone(),
                client_id: CLIENT.to_owned(),
                client_secret: Some(Secret::new(CLIENT_SECRET)),
                name: "Example ID".to_owned(),
            });
            ports.identity_provider = Arc::new(network);
            ports.clock = clock.clone();
        })
        .await;
        identity::ensure_admin(&house.px, Secret::new(PASSWORD))
            .await
            .unwrap();
        let router = whole(&house);
        Self {
            house,
            issuer,
            clock,
            router,
        }
    }

    /// One in which the administrator is connected already, as `s-admin`.
    async fn connected() -> Self {
        let stage = Self::set().await;
        let mut browser = stage.browser();
        browser.sign_in().await;
        let back = stage
            .bring(&mut browser, "/account/provider", &[], "s-admin")
            .await;
        assert_eq!(
            (back.status.as_u16(), back.location()),
            (303, "/account"),
            "{}",
            back.html
        );
        stage
    }

    /// Each in a place of its own: attempts are counted by place.
    fn browser(&self) -> Browser {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Browser {
            router: self.router.clone(),
            peer: SocketAddr::from(([203, 0, (number >> 8) as u8, number as u8], 4711)),
            cookies: BTreeMap::new(),
        }
    }

    /// To the provider and back.
    async fn bring(
        &self,
        browser: &mut Browser,
        from: &str,
        fields: &[(&str, &str)],
        subject: &str,
    ) -> Page {
        let address = browser.leave(from, fields).await;
        let query = self.issuer.visit(&address, subject);
        browser.get(&format!("{CALLBACK}?{query}")).await
    }

    /// A sign-in of the connected administrator.
    async fn try_to_enter(&self) -> (Browser, Page) {
        let mut browser = self.browser();
        let page = self
            .bring(&mut browser, "/sign-in/provider", &[], "s-admin")
            .await;
        (browser, page)
    }

    /// It came to nothing, and nobody is signed in.
    async fn assert_refused(&self, status: u16, text: &str) {
        let (mut browser, page) = self.try_to_enter().await;
        page.refused(status, text);
        assert_eq!(
            browser.get("/account").await.status,
            303,
            "somebody is signed in"
        );
    }

    async fn trail(&self) -> String {
        let rows = self.house.store.audit_entries(100, None).await.unwrap();
        let lines = rows.iter().map(|row| {
            format!(
                "{:?} {} {}\n",
                row.entry.outcome, row.entry.actor.name, row.entry.summary
            )
        });
        lines.collect()
    }

    async fn invitation(&self, name: &str) -> String {
        let cmd = Invite {
            name: Some(name.to_owned()),
            ..Invite::default()
        };
        let new = people::invite(&self.house.px, &Actor::system(), cmd)
            .await
            .unwrap();
        new.link.expose().rsplit_once("3000").unwrap().1.to_owned()
    }
}

struct Browser {
    router: Router,
    peer: SocketAddr,
    cookies: BTreeMap<String, String>,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    html: String,
}

impl Page {
    fn location(&self) -> &str {
        self.headers
            .get("location")
            .map_or("", |to| to.to_str().unwrap())
    }

    #[track_caller]
    fn refused(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{}", self.html);
        assert!(self.html.contains(text), "{text:?} is not in {}", self.html);
    }
}

impl Browser {
    async fn get(&mut self, path: &str) -> Page {
        // Followed from a foreign page.
        let request = Request::get(path).header("sec-fetch-site", "cross-site");
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let request = Request::post(path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.finish())).unwrap())
            .await
    }

    async fn send(&mut self, mut request: Request<Body>) -> Page {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(a, b)| format!("{a}={b}"))
            .collect();
        request
            .headers_mut()
            .insert("cookie", cookies.join("; ").parse().unwrap());
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (head, body) = response.into_parts();
        let html = body.collect().await.unwrap().to_bytes();
        Page {
            status: head.status,
            headers: head.headers,
            html: String::from_utf8(html.to_vec()).unwrap(),
        }
    }

    /// With a password.
    async fn sign_in(&mut self) {
        let page = self
            .post("/sign-in", &[("name", "admin"), ("password", PASSWORD)])
            .await;
        assert_eq!(page.status, 303, "{}", page.html);
    }

    /// Presses a button that leads to the provider: its address.
    async fn leave(&mut self, from: &str, fields: &[(&str, &str)]) -> String {
        let page = self.post(from, fields).await;
        assert_eq!(page.status, 200, "{}", page.html);
        assert_eq!(page.headers["cache-control"], "no-store");
        let refresh = page.headers["refresh"].to_str().unwrap();
        refresh.strip_prefix("0; url=").unwrap().to_owned()
    }

    async fn is_signed_in(&mut self) -> bool {
        self.get("/account").await.status == 200
    }
}

#[tokio::test]
async fn whoever_connected_their_account_comes_in_with_it() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let fields = [("next", "/people")];
    let page = stage
        .bring(&mut browser, "/sign-in/provider", &fields, "s-admin")
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/people"),
        "{}",
        page.html
    );
    assert!(browser.is_signed_in().await);
    let account = browser.get("/account").await;
    assert!(
        account
            .html
            .contains("ann.example at Example ID lets you in here"),
        "{}",
        account.html
    );
    let trail = stage.trail().await;
    assert!(
        trail.contains("admin signed in with Example ID from 203."),
        "{trail}"
    );
    assert!(
        trail.contains("connected the account with Example ID"),
        "{trail}"
    );
    // What was read of it is kept: four ways there and back asked once.
    assert_eq!(stage.issuer.asked("configuration"), 1);
    assert_eq!(stage.issuer.asked("keys"), 1);
    // Of it nothing shows that lets anybody in.
    for hidden in [CLIENT_SECRET, "id_token"] {
        assert!(!account.html.contains(hidden) && !trail.contains(hidden));
    }
}

#[tokio::test]
async fn a_session_of_before_is_worth_nothing_after_the_sign_in() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let planted = browser.cookies.clone();
    let query = stage.issuer.visit(&address, "s-admin");
    browser.get(&format!("{CALLBACK}?{query}")).await;
    assert!(browser.is_signed_in().await);
    let mut attacker = Browser {
        cookies: planted,
        ..stage.browser()
    };
    assert!(!attacker.is_signed_in().await);
}

#[tokio::test]
async fn signing_in_makes_no_account_and_an_email_address_finds_none() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    // The same address as the administrator's, which the provider vouches for.
    stage
        .issuer
        .lie(|_, claims| claims["email_verified"] = json!(true));
    let page = stage
        .bring(&mut browser, "/sign-in/provider", &[], "s-stranger")
        .await;
    page.refused(401, "No account that may come in is connected with yours");
    assert!(!browser.is_signed_in().await);
    let accounts = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    assert_eq!(accounts.len(), 1);
    assert!(
        stage
            .trail()
            .await
            .contains("Denied FlukeDeploy refused to sign in somebody unknown"),
        "{}",
        stage.trail().await
    );
}

#[tokio::test]
async fn a_state_counts_once_in_the_browser_that_it_was_made_for() {
    const NOT_OURS: &str = "does not belong to a sign-in that was begun in this browser";
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    let callback = format!("{CALLBACK}?{query}");

    // Somebody is led there with the answer that another one got.
    let mut victim = stage.browser();
    victim.get(&callback).await.refused(401, NOT_OURS);
    victim.leave("/sign-in/provider", &[]).await;
    victim.get(&callback).await.refused(401, NOT_OURS);
    assert_eq!(stage.issuer.asked("token"), 1, "a foreign code was sent on");

    // The thief who has the cookies as well comes too late: it was used.
    let mut thief = Browser {
        cookies: browser.cookies.clone(),
        ..stage.browser()
    };
    assert_eq!(browser.get(&callback).await.status, 303);
    browser.get(&callback).await.refused(401, NOT_OURS);
    thief.get(&callback).await.refused(401, NOT_OURS);
    assert_eq!(stage.issuer.asked("token"), 2);

    for query in [
        "",
        "state=",
        "code=x",
        "state=a&state=b&code=c",
        "error=access_denied",
    ] {
        let mut browser = stage.browser();
        browser.leave("/sign-in/provider", &[]).await;
        browser
            .get(&format!("{CALLBACK}?{query}"))
            .await
            .refused(401, NOT_OURS);
    }
    // And nobody takes longer than ten minutes.
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    stage.clock.0.store(601, Ordering::Relaxed);
    browser
        .get(&format!("{CALLBACK}?{query}"))
        .await
        .refused(401, NOT_OURS);
}

#[tokio::test]
async fn of_many_who_bring_the_same_answer_at_once_one_gets_in() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let callback = format!("{CALLBACK}?{}", stage.issuer.visit(&address, "s-admin"));
    let all = (0..6).map(|_| {
        let mut twin = Browser {
            cookies: browser.cookies.clone(),
            ..stage.browser()
        };
        let callback = callback.clone();
        tokio::spawn(async move { twin.get(&callback).await.status.as_u16() })
    });
    let mut answers = Vec::new();
    for one in all.collect::<Vec<_>>() {
        answers.push(one.await.unwrap());
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 303).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(stage.issuer.asked("token"), 2);
}

#[tokio::test]
async fn a_code_is_worth_nothing_twice_nor_without_its_verifier() {
    let stage = Stage::connected().await;
    // The code of one flow, brought back with the state of another: an injected code.
    let (mut one, mut other) = (stage.browser(), stage.browser());
    let of_one = stage
        .issuer
        .visit(&one.leave("/sign-in/provider", &[]).await, "s-admin");
    let of_other = stage
        .issuer
        .visit(&other.leave("/sign-in/provider", &[]).await, "s-other");
    let part = |query: &str, name: &str| {
        let found = query
            .split('&')
            .find(|pair| pair.starts_with(name))
            .unwrap();
        found.to_owned()
    };
    let iss = part(&of_one, "iss=");
    let injected = format!(
        "{CALLBACK}?{}&{}&{iss}",
        part(&of_one, "code="),
        part(&of_other, "state=")
    );
    other
        .get(&injected)
        .await
        .refused(401, "cannot be believed");
    assert!(!other.is_signed_in().await);
    assert!(
        stage
            .trail()
            .await
            .contains("the provider did not take the code")
    );
}

/// What a token must not say: each sentence stands in the audit trail.
#[tokio::test]
async fn a_token_that_is_not_what_it_should_be_lets_nobody_in() {
    type Change = fn(&mut Value, &mut Value);
    let lies: [(&str, Change); 16] = [
        ("belongs to another sign-in", |_, c| {
            c["nonce"] = json!("another")
        }),
        ("belongs to another sign-in", |_, c| {
            c.as_object_mut().unwrap().remove("nonce");
        }),
        ("is for somebody else", |_, c| c["aud"] = json!("them")),
        ("is for somebody else", |_, c| c["aud"] = json!([])),
        ("does not say for whom", |_, c| {
            c["aud"] = json!([CLIENT, "them"])
        }),
        ("made for somebody else", |_, c| c["azp"] = json!("them")),
        ("of another issuer", |_, c| {
            c["iss"] = json!("https://accounts.example")
        }),
        ("of another issuer", |_, c| {
            c["iss"] = json!(format!("{}/", c["iss"].as_str().unwrap()))
        }),
        ("has expired", |_, c| {
            c["exp"] = json!(c["iat"].as_i64().unwrap() - 61)
        }),
        ("of the future", |_, c| {
            c["iat"] = json!(c["iat"].as_i64().unwrap() + 120)
        }),
        ("of the future", |_, c| {
            c["nbf"] = json!(c["iat"].as_i64().unwrap() + 120)
        }),
        ("older than this sign-in", |_, c| {
            c["iat"] = json!(c["iat"].as_i64().unwrap() - 120)
        }),
        ("cannot be read", |_, c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        ("cannot be read", |_, c| c["exp"] = json!("9999999999")),
        ("cannot be read", |_, c| c["sub"] = json!(17)),
        ("needs an extension", |h, _| h["crit"] = json!(["b64"])),
    ];
    let stage = Stage::connected().await;
    for (why, lie) in lies {
        stage.issuer.lie(lie);
        stage.assert_refused(401, "cannot be believed").await;
        let trail = stage.trail().await;
        let first = trail.lines().next().unwrap();
        assert!(
            first.contains(why) && first.starts_with("Denied"),
            "{why}: {first}"
        );
    }
    stage.issuer.change(|inner| inner.lie = None);
    assert_eq!(stage.try_to_enter().await.1.status, 303);
}

#[tokio::test]
async fn no_signature_but_a_real_one_counts() {
    let stage = Stage::connected().await;
    let public = stage.issuer.inner.lock().unwrap().keys[0].1.public();
    let with_alg = |head: &Value, alg: &str| {
        let mut head = head.clone();
        head["alg"] = json!(alg);
        head
    };
    let none = move |head: &Value, claims: &Value| {
        format!("{}.", message(&with_alg(head, "none"), claims))
    };
    let confused = move |head: &Value, claims: &Value| {
        let message = message(&with_alg(head, "HS256"), claims);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
        let signature = ring::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", base64url(signature.as_ref()))
    };
    let strange = move |head: &Value, claims: &Value| {
        let message = message(head, claims);
        let Key::Ec(key) = Key::ec() else {
            unreachable!()
        };
        let signed = key
            .sign(&ring::rand::SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", base64url(signed.as_ref()))
    };
    let blank = move |head: &Value, claims: &Value| {
        format!("{}.{}", message(head, claims), base64url(&[0; 64]))
    };
    let cut = move |head: &Value, claims: &Value| message(head, claims);
    let huge = move |head: &Value, _: &Value| format!("{}.{}.x", head, "x".repeat(20_000));
    type Forge = Box<dyn Fn(&Value, &Value) -> String + Send>;
    let forged: [(&str, Forge); 6] = [
        ("not signed with RS256, ES256 or EdDSA", Box::new(none)),
        ("not signed with RS256, ES256 or EdDSA", Box::new(confused)),
        ("signature of the token is wrong", Box::new(strange)),
        ("signature of the token is wrong", Box::new(blank)),
        ("cannot be read", Box::new(cut)),
        ("cannot be read", Box::new(huge)),
    ];
    for (why, forge) in forged {
        stage.issuer.change(|inner| inner.forge = Some(forge));
        stage.assert_refused(401, "cannot be believed").await;
        let trail = stage.trail().await;
        assert!(
            trail.lines().next().unwrap().contains(why),
            "{why}: {trail}"
        );
    }
}

#[tokio::test]
async fn new_keys_are_found_and_unknown_ones_are_not_asked_for_each_time() {
    let stage = Stage::connected().await;
    assert_eq!(stage.issuer.asked("keys"), 1);
    // The provider signs with its next key, of another kind, which it publishes.
    stage.issuer.change(|inner| {
        inner.signs = 1;
        inner.published = vec![0, 1];
    });
    // What was read a moment ago is not read again: somebody may be making names up.
    stage.assert_refused(401, "cannot be believed").await;
    let begun = Instant::now();
    let mut browser = loop {
        let (browser, page) = stage.try_to_enter().await;
        if page.status == 303 {
            break browser;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", page.html);
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(browser.is_signed_in().await);
    assert_eq!(stage.issuer.asked("keys"), 2);
    for _ in 0..5 {
        stage.issuer.lie(|head, _| head["kid"] = json!("made-up"));
        stage.assert_refused(401, "cannot be believed").await;
    }
    assert!(
        stage
            .trail()
            .await
            .contains("a key that the provider does not publish")
    );
    assert_eq!(stage.issuer.asked("keys"), 2);
}

#[tokio::test]
async fn a_provider_that_is_away_slow_or_odd_lets_nobody_in_and_is_said_to_be() {
    let stage = Stage::connected().await;
    for (mood, why) in [
        (Mood::Broken, "did not answer with what it should"),
        (Mood::Huge, "answered more than 262144 bytes"),
        (Mood::Away, "did not answer with what it should"),
        (Mood::Slow, "did not answer within 10 s"),
    ] {
        let mut browser = stage.browser();
        let address = browser.leave("/sign-in/provider", &[]).await;
        let query = stage.issuer.visit(&address, "s-admin");
        stage.issuer.change(|inner| inner.mood = mood);
        let page = browser.get(&format!("{CALLBACK}?{query}")).await;
        page.refused(503, why);
        assert!(
            page.html.contains("Sign in with Example ID"),
            "the way back is shown"
        );
        stage.issuer.change(|inner| inner.mood = Mood::Well);
    }
    // With a password one comes in all the while.
    stage.browser().sign_in().await;
}

#[tokio::test]
async fn a_provider_that_is_another_than_the_settings_say_is_not_gone_to() {
    for (name, value, why) in [
        ("issuer", json!("https://accounts.example"), "another name"),
        (
            "token_endpoint",
            json!("file:///etc/passwd"),
            "cannot be used",
        ),
        ("jwks_uri", json!("http://x\ny/"), "cannot be used"),
        ("code_challenge_methods_supported", json!(["plain"]), "S256"),
        (
            "id_token_signing_alg_values_supported",
            json!(["HS256", "none"]),
            "signs with none of",
        ),
        ("authorization_endpoint", json!(null), "cannot be read"),
    ] {
        let stage = Stage::set().await;
        stage.issuer.change(|inner| inner.metadata[name] = value);
        let page = stage.browser().post("/sign-in/provider", &[]).await;
        page.refused(503, why);
        assert!(!page.headers.contains_key("refresh"));
    }
}

#[tokio::test]
async fn addresses_inside_that_the_provider_names_are_not_reached() {
    let stage = Stage::set().await;
    stage
        .issuer
        .change(|inner| inner.metadata["token_endpoint"] = json!("http://169.254.169.254/latest"));
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    let page = browser.get(&format!("{CALLBACK}?{query}")).await;
    page.refused(503, "this address may not be reached");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken_for_ours() {
    let stage = Stage::connected().await;
    for change in ["&iss=https%3A%2F%2Faccounts.example", ""] {
        let mut browser = stage.browser();
        let address = browser.leave("/sign-in/provider", &[]).await;
        let query = stage.issuer.visit(&address, "s-admin");
        let (ours, _) = query.split_once("&iss=").unwrap();
        let asked = stage.issuer.asked("token");
        let page = browser.get(&format!("{CALLBACK}?{ours}{change}")).await;
        page.refused(401, "cannot be believed");
        assert_eq!(
            stage.issuer.asked("token"),
            asked,
            "the code was handed over"
        );
    }
}

#[tokio::test]
async fn an_identity_lets_into_one_account_and_is_bound_by_its_owner_only() {
    let stage = Stage::connected().await;
    let link = stage.invitation("bob").await;
    let mut bob = stage.browser();
    let fields = [
        ("password", "violet kettle orbit"),
        ("password_again", "violet kettle orbit"),
    ];
    assert_eq!(bob.post(&link, &fields).await.status, 303);

    // Bound to the administrator's already, whoever asks.
    let page = stage
        .bring(&mut bob, "/account/provider", &[], "s-admin")
        .await;
    page.refused(409, "connected already");
    let page = stage
        .bring(&mut bob, "/account/provider", &[], "s-bob")
        .await;
    assert_eq!(page.location(), "/account", "{}", page.html);
    bob.post("/account/provider", &[])
        .await
        .refused(409, "connected already");

    // Begun in one session, it is not for another: neither a stranger's nor the same person's.
    let mut admin = stage.browser();
    admin.sign_in().await;
    admin.post("/account/provider/disconnect", &[]).await;
    let address = admin.leave("/account/provider", &[]).await;
    let callback = format!("{CALLBACK}?{}", stage.issuer.visit(&address, "s-new"));
    admin.sign_in().await;
    admin
        .get(&callback)
        .await
        .refused(401, "begun in this browser");
    let found = stage
        .house
        .store
        .account_by_identity(&stage.issuer.url, "s-new")
        .await;
    assert!(found.unwrap().is_none());

    // A form from elsewhere binds nothing, and an old proof is none.
    let forged = Request::post("/account/provider")
        .header("sec-fetch-site", "same-site")
        .header("content-type", "application/x-www-form-urlencoded");
    let forged = admin.send(forged.body(Body::empty()).unwrap()).await;
    assert_eq!(forged.status, 403);
    stage.clock.0.store(700, Ordering::Relaxed);
    let page = admin.post("/account/provider", &[]).await;
    page.refused(403, "Confirm that it is you");
}

#[tokio::test]
async fn an_invitation_is_accepted_without_a_password() {
    let stage = Stage::set().await;
    let link = stage.invitation("ann").await;
    let mut ann = stage.browser();
    let page = ann.get(&link).await;
    assert!(
        page.html
            .contains("Without a password: sign in with Example ID"),
        "{}",
        page.html
    );
    let page = stage
        .bring(&mut ann, &format!("{link}/provider"), &[], "s-ann")
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/"),
        "{}",
        page.html
    );
    assert!(stage.trail().await.contains("ann accepted the invitation"));

    // Used up; the same identity makes no second account.
    assert_eq!(
        stage
            .browser()
            .post(&format!("{link}/provider"), &[])
            .await
            .status,
        403
    );
    let other = stage.invitation("ann2").await;
    let mut again = stage.browser();
    let page = stage
        .bring(&mut again, &format!("{other}/provider"), &[], "s-ann")
        .await;
    page.refused(409, "connected with yours there already");

    // There is no password, so none is right; and the only way in cannot be taken away.
    for guess in ["-", "", "violet kettle orbit"] {
        let page = stage
            .browser()
            .post("/sign-in", &[("name", "ann"), ("password", guess)])
            .await;
        page.refused(401, "name or the password is wrong");
    }
    ann.post("/account/provider/disconnect", &[])
        .await
        .refused(409, "only way into your account");

    // A proof is one of the provider's, made anew; then a password may be set.
    stage.clock.0.store(700, Ordering::Relaxed);
    let page = ann
        .post(
            "/account/password",
            &[
                ("password", "lantern under rain"),
                ("password_again", "lantern under rain"),
            ],
        )
        .await;
    page.refused(403, "Confirm with Example ID");
    let stale = stage.issuer.clone();
    stale.lie(|_, claims| {
        claims["auth_time"] = json!(1);
        for time in ["iat", "exp"] {
            claims[time] = json!(claims[time].as_i64().unwrap() + 700);
        }
    });
    let page = stage
        .bring(&mut ann, "/account/confirm/provider", &[], "s-ann")
        .await;
    page.refused(401, "cannot be believed");
    stage.issuer.lie(|_, claims| {
        for time in ["iat", "exp", "auth_time"] {
            claims[time] = json!(claims[time].as_i64().unwrap() + 700);
        }
    });
    let page = stage
        .bring(&mut ann, "/account/confirm/provider", &[], "s-somebody")
        .await;
    page.refused(409, "somebody else");
    let page = stage
        .bring(
            &mut ann,
            "/account/confirm/provider",
            &[("next", "/account")],
            "s-ann",
        )
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/account"),
        "{}",
        page.html
    );
    let page = ann
        .post(
            "/account/password",
            &[
                ("password", "lantern under rain"),
                ("password_again", "lantern under rain"),
            ],
        )
        .await;
    assert_eq!(page.status, 303, "{}", page.html);
    let page = ann.post("/account/provider/disconnect", &[]).await;
    assert_eq!(page.status, 303, "{}", page.html);
    let page = stage
        .browser()
        .post(
            "/sign-in",
            &[("name", "ann"), ("password", "lantern under rain")],
        )
        .await;
    assert_eq!(page.status, 303, "{}", page.html);
}

#[tokio::test]
async fn an_account_that_is_turned_off_does_not_come_in() {
    let stage = Stage::set().await;
    let link = stage.invitation("ann").await;
    let mut ann = stage.browser();
    stage
        .bring(&mut ann, &format!("{link}/provider"), &[], "s-ann")
        .await;
    let people = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    let id = &people
        .iter()
        .find(|person| person.name == "ann")
        .unwrap()
        .id;
    people::switch_person(&stage.house.px, &Actor::system(), id, true)
        .await
        .unwrap();
    assert!(!ann.is_signed_in().await);
    let page = stage
        .bring(&mut ann, "/sign-in/provider", &[], "s-ann")
        .await;
    page.refused(401, "No account that may come in");
    assert!(stage.trail().await.contains("refused to sign in ann"));
}

#[tokio::test]
async fn who_has_a_second_factor_owes_a_code_all_the_same() {
    let stage = Stage::connected().await;
    let people = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    let (store, id) = (&stage.house.store, &people[0].id);
    let secret = Secret::new("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    assert!(store.offer_second_factor(id, &secret).await.unwrap());
    let audit = AuditEntry::new(
        stage.house.px.now(),
        &Actor::system(),
        Action::ChangeOwnAccount,
        "account:admin",
        "turned the second factor on",
    );
    assert!(
        store
            .confirm_second_factor(id, 1, &[], &audit)
            .await
            .unwrap()
    );
    let mut browser = stage.browser();
    let page = stage
        .bring(
            &mut browser,
            "/sign-in/provider",
            &[("next", "/people")],
            "s-admin",
        )
        .await;
    assert_eq!(
        page.location(),
        "/sign-in/code?next=/people",
        "{}",
        page.html
    );
    assert!(!browser.is_signed_in().await);
    browser
        .post("/sign-in/code", &[("code", "000000")])
        .await
        .refused(401, "code is wrong");
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn there_and_back_is_counted_by_place() {
    let stage = Stage::set().await;
    let mut browser = stage.browser();
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(browser.post("/sign-in/provider", &[]).await.status.as_u16());
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        30,
        "{answers:?}"
    );
    assert!(answers.ends_with(&[429]), "{answers:?}");
    assert_eq!(
        stage.browser().post("/sign-in/provider", &[]).await.status,
        200
    );
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_one() {
    let house = House::new().await;
    identity::ensure_admin(&house.px, Secret::new(PASSWORD))
        .await
        .unwrap();
    let mut browser = Browser {
        router: whole(&house),
        peer: SocketAddr::from(([203, 1, 0, 1], 4711)),
        cookies: BTreeMap::new(),
    };
    assert!(
        !browser
            .get("/sign-in")
            .await
            .html
            .contains("/sign-in/provider")
    );
    assert_eq!(browser.post("/sign-in/provider", &[]).await.status, 404);
    assert_eq!(browser.get(CALLBACK).await.status, 404);
}
