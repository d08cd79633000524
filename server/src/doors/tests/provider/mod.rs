//! Signing in elsewhere: a whole dashboard in front of a provider that is honest, or is not.

mod flows;
mod issuer;
mod tokens;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::addresses::AllowedAddresses;
use flukedeploy_domain::audit::AuditFilter;
use flukedeploy_platform::config::ProviderConfig;
use flukedeploy_platform::identity;
use flukedeploy_platform::people::{self, Invite};
use flukedeploy_platform::ports::{AuditOrder, Clock, Store as _, SystemClock};
use flukedeploy_platform::secret::Secret;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use self::issuer::{CLIENT, CLIENT_SECRET, Issuer};
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
        SystemClock.now() + time::Duration::seconds(seconds)
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
        let [_, _, high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Browser {
            router: self.router.clone(),
            peer: SocketAddr::from(([203, 0, high, low], 4711)),
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
        let (all, newest) = (AuditFilter::default(), AuditOrder::NewestBefore(None));
        let rows = self.house.store.audit_entries(&all, newest, 100).await;
        let rows = rows.unwrap();
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
