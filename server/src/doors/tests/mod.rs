//! The doors in front of a real platform and store; the engine does not answer, so deployments
//! stay where they are.

mod approvals;
mod attacks;
mod audit;
mod log_forwarders;
mod matrix;
mod mcp;
mod outside;
mod people;
mod projects;
mod provider;
mod rest;
mod stream;
mod stream_rights;
mod variables;
mod webhooks;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::access::{Limits, Tier};
use flukedeploy_logs::Logs;
use flukedeploy_platform::config::{BuildsConfig, PlatformConfig};
use flukedeploy_platform::ports::SystemClock;
use flukedeploy_platform::secret::{Secret, random_id};
use flukedeploy_platform::tokens::{self, CreateToken};
use flukedeploy_platform::{Platform, Ports};
use flukedeploy_store::SqliteStore;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{AppState, linked_data_router, mcp_router, probes_router, rest_router};

const ADMIN: &str = "bootstrap-token-of-the-tests";

/// Everything on one router, with its data in a directory of its own.
struct House {
    px: Platform,
    store: SqliteStore,
    state: AppState,
    router: Router,
    directory: PathBuf,
}

impl House {
    async fn new() -> Self {
        Self::fitted(|_, _| {}).await
    }

    /// With other settings and adapters than the usual ones.
    async fn fitted(fit: impl FnOnce(&mut PlatformConfig, &mut Ports)) -> Self {
        let directory = std::env::temp_dir().join(format!("flukedeploy-doors-{}", random_id(12)));
        std::fs::create_dir_all(&directory).unwrap();
        let store = SqliteStore::open(&directory.join("control.db"))
            .await
            .unwrap();
        let mut config = PlatformConfig {
            instance: "doors".parse().unwrap(),
            root_domain: "localhost".parse().unwrap(),
            http_port: 8080,
            public_url: "http://127.0.0.1:3000".to_owned(),
            stream_url: "ws://127.0.0.1:8767".to_owned(),
            bootstrap_token: Some(Secret::new(ADMIN)),
            builds: BuildsConfig::default(),
            sessions: flukedeploy_platform::config::SessionsConfig::default(),
            provider: None,
            flukebase: flukedeploy_platform::config::FlukebaseConfig::default(),
            trusted_proxies: flukedeploy_domain::addresses::Networks::default(),
            version: "0.0.0",
            logs: flukedeploy_platform::config::LogsConfig::default(),
            hold_in_phase: None,
        };
        let mut ports = Ports {
            engine: Arc::new(outside::SilentEngine),
            store: Arc::new(store.clone()),
            log_store: Arc::new(Logs::open(&directory.join("logs")).await.unwrap()),
            traffic: Arc::new(outside::NoIngress),
            builder: Arc::new(flukedeploy_platform::ports::Absent),
            workshop: Arc::new(flukedeploy_platform::ports::Absent),
            inspector: Arc::new(flukedeploy_platform::ports::Absent),
            outgoing: Arc::new(flukedeploy_platform::ports::Absent),
            log_receivers: Arc::new(flukedeploy_platform::ports::Absent),
            identity_provider: Arc::new(flukedeploy_platform::ports::Absent),
            flukebase: Arc::new(flukedeploy_platform::ports::Absent),
            machine: Arc::new(flukedeploy_platform::ports::Absent),
            upkeep: Arc::new(flukedeploy_platform::ports::Absent),
            clock: Arc::new(SystemClock),
        };
        fit(&mut config, &mut ports);
        let px = Platform::new(config, ports);
        let state = AppState::new(px.clone());
        let hosts = vec!["localhost".to_owned()];
        let origins = vec!["http://127.0.0.1:3000".to_owned()];
        let router = rest_router(state.clone())
            .merge(mcp_router(state.clone(), hosts, origins))
            .merge(probes_router(state.clone()))
            .merge(linked_data_router());
        Self {
            px,
            store,
            state,
            router,
            directory,
        }
    }

    /// A token of a tier.
    async fn token(&self, tier: Tier) -> String {
        let cmd = CreateToken {
            name: "test".to_owned(),
            persona: None,
            tier,
            expires_at: None,
            only: None,
            limits: Limits::default(),
        };
        let new = tokens::create_token(&self.px, &Actor::system(), cmd)
            .await
            .unwrap();
        new.secret.expose().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// A request with the administrator's token.
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_as(ADMIN, method, path, body).await
    }

    async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"));
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.px.stopping().cancel();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Text that is no JSON is a JSON string.
    body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// A problem with its status; returns its stable code.
    fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        for name in ["type", "title", "detail", "error", "message"] {
            assert!(self.body[name].is_string(), "{name}: {self:?}");
        }
        assert_eq!(self.body["status"], status);
        self.body["code"].as_str().unwrap()
    }
}
