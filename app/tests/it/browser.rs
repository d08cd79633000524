//! A browser without scripts: keeps its cookies, says where its requests come from.

use axum::Router;
use axum::body::Body;
use flukedeploy_platform::identity::ensure_admin;
use flukedeploy_platform::secret::Secret;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::Stand;

pub(crate) const PASSWORD: &str = "a-long-enough-password";

pub(crate) struct Browser {
    router: Router,
    cookies: Vec<(String, String)>,
    site: &'static str,
    host: String,
}

pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
}

impl Page {
    pub(crate) fn location(&self) -> &str {
        self.headers
            .get(LOCATION)
            .map_or("", |to| to.to_str().unwrap())
    }

    /// The page holds this text; on failure the page is shown.
    #[track_caller]
    pub(crate) fn has(&self, text: &str) -> &Self {
        assert!(
            self.html.contains(text),
            "{text:?} is not in:\n{}",
            self.html
        );
        self
    }

    #[track_caller]
    pub(crate) fn lacks(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{text:?} is in:\n{}", self.html);
        self
    }
}

impl Browser {
    pub(crate) fn new(stand: &Stand) -> Self {
        Self {
            router: stand.router(),
            cookies: Vec::new(),
            site: "same-origin",
            host: "127.0.0.1:3000".to_owned(),
        }
    }

    pub(crate) async fn signed_in(stand: &Stand) -> Self {
        ensure_admin(&stand.px, Secret::new(PASSWORD))
            .await
            .unwrap();
        let mut browser = Self::new(stand);
        let page = browser
            .post("/sign-in", &[("name", "admin"), ("password", PASSWORD)])
            .await;
        assert_eq!(
            (page.status, page.location()),
            (StatusCode::SEE_OTHER, "/"),
            "{}",
            page.html
        );
        browser
    }

    /// From now on requests come from a page of this site, as `Sec-Fetch-Site` says it.
    pub(crate) fn from(&mut self, site: &'static str) -> &mut Self {
        self.site = site;
        self
    }

    /// From now on requests come to us under this name.
    pub(crate) fn named(&mut self, host: &str) {
        host.clone_into(&mut self.host);
    }

    pub(crate) fn forget_cookies(&mut self) {
        self.cookies.clear();
    }

    /// Another browser with the same cookies: whoever planted or stole them.
    pub(crate) fn twin(&self) -> Self {
        Self {
            router: self.router.clone(),
            cookies: self.cookies.clone(),
            site: self.site,
            host: self.host.clone(),
        }
    }

    pub(crate) fn cookies(&self) -> &[(String, String)] {
        &self.cookies
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.join("&")))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Page {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.parse().unwrap());
        headers.insert("sec-fetch-site", self.site.parse().unwrap());
        if !cookies.is_empty() {
            headers.insert(COOKIE, cookies.join("; ").parse().unwrap());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        for set in parts.headers.get_all(SET_COOKIE) {
            let (name, value) = set
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .split_once('=')
                .unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let html = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            // Leptos marks where one text ends and the next begins; to a reader they are one.
            html: html.replace("<!>", ""),
        }
    }
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
