//! What happens is told outside: in order, signed, again after an outage, and never inside.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::wait;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bed::Bed;

const PATIENCE: Duration = Duration::from_mins(1);

struct Heard {
    event: String,
    signature: String,
    id: String,
    body: Bytes,
}

#[derive(Default)]
struct State {
    status: u16,
    heard: Vec<Heard>,
}

/// A real receiver on a port of its own.
#[derive(Clone)]
struct Receiver {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self {
            state: Arc::new(Mutex::new(State {
                status: 200,
                heard: Vec::new(),
            })),
            port: listener.local_addr()?.port(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = serving.clone();
                let service = service_fn(move |request| {
                    let receiver = receiver.clone();
                    async move { receiver.answer(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(receiver)
    }

    async fn answer(
        &self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let (event, signature, id) = (
            header("x-flukedeploy-event"),
            header("x-flukedeploy-signature"),
            header("x-flukedeploy-delivery-id"),
        );
        let body = request.into_body().collect().await?.to_bytes();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.status == 200 {
            state.heard.push(Heard {
                event,
                signature,
                id,
                body,
            });
        }
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = state.status.try_into().unwrap_or_default();
        if (300..400).contains(&state.status) {
            let inside = "http://169.254.169.254/latest/meta-data".try_into();
            answer
                .headers_mut()
                .extend(inside.ok().map(|to| (http::header::LOCATION, to)));
        }
        Ok(answer)
    }

    fn answers(&self, status: u16) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .status = status;
    }

    /// Each delivery once, by its first arrival.
    fn events(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = std::collections::HashSet::new();
        let first = state.heard.iter().filter(|one| seen.insert(one.id.clone()));
        first.map(|one| one.event.clone()).collect()
    }
}

/// Whether somebody else's program finds the signature good.
async fn is_signed(directory: &Path, secret: &str, body: &[u8], signature: &str) -> Result<bool> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify_signature.py");
    let (secret_file, body_file) = (
        directory.join("webhook-secret"),
        directory.join("webhook-body"),
    );
    tokio::fs::write(&secret_file, secret).await?;
    tokio::fs::write(&body_file, body).await?;
    let status = tokio::process::Command::new("python3")
        .arg(script)
        .args([&secret_file, &body_file])
        .arg(signature)
        .status()
        .await
        .context("python3 is needed to check signatures")?;
    Ok(status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_in_order_signed_and_after_an_outage_and_a_crash() -> Result<()> {
    let options = Options {
        arguments: vec!["--allow-address".to_owned(), "127.0.0.1".to_owned()],
        ..Options::default()
    };
    let mut bed = Bed::start("hooks", options).await?;
    let receiver = Receiver::start().await?;
    let url = format!("http://127.0.0.1:{}/in", receiver.port);
    let made = bed
        .api
        .post("/webhooks", &json!({"url": url}))
        .await?
        .ok()?;
    let secret = made["secret"]
        .as_str()
        .context("a secret, once")?
        .to_owned();
    let id = made["id"].as_str().context("an id")?.to_owned();
    // The one inside is refused before anything is sent.
    let inside = json!({"url": "http://10.255.255.1/in"});
    let inside = bed.api.post("/webhooks", &inside).await?.ok()?;
    let inside = inside["id"].as_str().context("an id")?.to_owned();

    bed.app_on_v1("shop", 1).await?;
    let mut all = vec!["app.created", "deployment.started", "deployment.succeeded"];
    let arrived = |all: Vec<&'static str>| {
        let receiver = receiver.clone();
        async move {
            wait::until("every event in order", PATIENCE, || async {
                Ok((receiver.events() == all).then_some(()))
            })
            .await
        }
    };
    arrived(all.clone()).await?;

    // It redirects to where nothing may be sent, then fails, while the control plane dies.
    receiver.answers(302);
    bed.act("shop", "restart", &json!({})).await?;
    let deliveries = format!("/webhooks/{id}/deliveries");
    wait::until("a refused redirect", PATIENCE, || async {
        let told = bed.api.get(&deliveries).await?.ok()?;
        let waits = told["deliveries"].as_array().is_some_and(|all| {
            let text = |one: &Value| one["last_error"].as_str().unwrap_or_default().to_owned();
            all.iter()
                .any(|one| text(one).contains("redirects are not followed"))
        });
        Ok(waits.then_some(()))
    })
    .await?;
    receiver.answers(500);
    bed.instance.kill_9().await?;
    bed.instance.restart().await?;
    receiver.answers(200);
    all.extend(["deployment.started", "deployment.succeeded"]);
    arrived(all.clone()).await?;
    bed.api
        .post(&format!("/webhooks/{id}/test"), &json!({}))
        .await?
        .ok()?;
    all.push("webhook.test");
    arrived(all.clone()).await?;

    let heard: Vec<(Bytes, String)> = {
        let state = receiver
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let both = |one: &Heard| (one.body.clone(), one.signature.clone());
        state.heard.iter().map(both).collect()
    };
    let directory = bed.instance.data_dir();
    for (body, signature) in &heard {
        ensure!(
            is_signed(&directory, &secret, body, signature).await?,
            "{signature}"
        );
        ensure!(!is_signed(&directory, "another secret", body, signature).await?);
    }
    let told = bed
        .api
        .get(&format!("/webhooks/{inside}/deliveries"))
        .await?
        .ok()?;
    let refused = told["deliveries"].as_array().context("a list")?.last();
    let refused = refused.context("an event")?;
    ensure!(
        refused["status"] == "pending"
            && refused["last_error"] == "this address may not be reached",
        "{refused:#}"
    );
    ensure!(
        !bed.instance.log()?.contains(&secret),
        "the secret is in the log"
    );
    bed.finish().await
}
