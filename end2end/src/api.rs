//! A thin REST client. Bodies stay JSON values: a black-box test reads the wire, not our types.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Long enough for three replicas on a busy machine, short enough that a hang is seen as one.
const FINAL_DEADLINE: Duration = Duration::from_mins(2);

/// The dashboard's session of an answer to signing in, as the `Cookie` header takes it. The cookie by
/// which a browser is known again comes along, and is none.
pub fn session_cookie(headers: &http::HeaderMap) -> Result<String> {
    headers
        .get_all(http::header::SET_COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .find(|cookie| {
            let name = cookie.split('=').next();
            name.is_some_and(|name| !name.ends_with("_device"))
        })
        .map(ToOwned::to_owned)
        .context("signing in gave no session")
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    /// Text that is no JSON becomes a JSON string.
    pub body: Value,
}

impl Answer {
    /// The body of a 2xx answer.
    pub fn ok(self) -> Result<Value> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            bail!("refused with {}: {}", self.status, self.body)
        }
    }

    /// The stable code of a refusal: problem+json with `error` and `message`, and no 5xx but 503.
    pub fn problem(&self) -> Result<&str> {
        let is_refusal = (400..500).contains(&self.status) || self.status == 503;
        let message = self.body["message"].as_str().unwrap_or_default();
        match self.body["code"].as_str() {
            Some(code)
                if is_refusal
                    && self.body["error"].is_string()
                    && !message.is_empty()
                    && self.content_type.starts_with("application/problem+json") =>
            {
                Ok(code)
            }
            _ => bail!(
                "not a proper refusal: {} {} {}",
                self.status,
                self.content_type,
                self.body
            ),
        }
    }
}

/// REST with one token.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    token: Option<String>,
    client: Client,
}

impl Api {
    pub fn new(url: String, token: Option<String>) -> Self {
        Self {
            url,
            token,
            client: Client::new(),
        }
    }

    /// A request of any kind; `path` begins behind `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}/api/v1{path}", self.url))
            .timeout(REQUEST_TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request made with [`Api::request`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let answer = request.send().await.context("sending a REST request")?;
        let status = answer.status().as_u16();
        let content_type = answer
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let text = answer.text().await.context("reading a REST answer")?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer {
            status,
            content_type,
            body,
        })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::PATCH, path).json(body))
            .await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// An app on port 8080 with a health check at `/health`.
    pub async fn create_app(&self, app: &str, replicas: u32) -> Result<Value> {
        let body = json!({
            "app_name": app,
            "container_port": 8080,
            "health": {"path": "/health"},
            "replicas": replicas,
        });
        let answer = self.post("/apps", &body).await?;
        answer
            .ok()
            .with_context(|| format!("creating the app {app}"))
    }

    /// Starts a deployment and returns its id.
    pub async fn deploy(&self, app: &str, image: &str) -> Result<String> {
        self.deploy_with(&json!({"app_name": app, "image": image}))
            .await
    }

    pub async fn deploy_with(&self, body: &Value) -> Result<String> {
        let answer = self.post("/deployments", body).await?;
        deployment_id(&answer, 202).context("starting a deployment")
    }

    /// Deploys and waits for the end, which has to be a success.
    pub async fn deploy_and_wait(&self, app: &str, image: &str) -> Result<Value> {
        let id = self.deploy(app, image).await?;
        let summary = self.wait_final(&id).await?;
        if summary["status"] != "success" {
            bail!("deploying {image} to {app} ended otherwise: {summary:#}");
        }
        Ok(summary)
    }

    /// Starts a rollback to the previous successful release and returns the id of its deployment.
    pub async fn rollback(&self, app: &str) -> Result<String> {
        let path = format!("/apps/{app}/rollback");
        let answer = self.post(&path, &json!({"reason": "a test"})).await?;
        deployment_id(&answer, 202).context("starting a rollback")
    }

    pub async fn deployment(&self, id: &str) -> Result<Value> {
        self.get(&format!("/deployments/{id}")).await?.ok()
    }

    pub async fn deployment_logs(&self, id: &str) -> Result<Value> {
        self.get(&format!("/deployments/{id}/logs")).await?.ok()
    }

    pub async fn logs(&self, query: &str) -> Result<Value> {
        self.get(&format!("/logs?{query}")).await?.ok()
    }

    pub async fn history(&self, app: &str) -> Result<Value> {
        self.get(&format!("/apps/{app}/deployments?limit=100"))
            .await?
            .ok()
    }

    /// Waits until the deployment has a final status and returns its summary.
    pub async fn wait_final(&self, id: &str) -> Result<Value> {
        self.wait_deployment(id, "it is final", is_final).await
    }

    /// Waits until `phase` of the deployment is `running`.
    pub async fn wait_running(&self, id: &str, phase: &str) -> Result<Value> {
        let is_running = |summary: &Value| summary["phases"][phase]["status"] == "running";
        self.wait_deployment(id, &format!("{phase} runs"), is_running)
            .await
    }

    async fn wait_deployment(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let last = std::cell::RefCell::new(Value::Null);
        crate::wait::until(
            &format!("deployment {id}: {what}"),
            FINAL_DEADLINE,
            || async {
                let summary = self.deployment(id).await?;
                last.replace(summary.clone());
                Ok(holds(&summary).then_some(summary))
            },
        )
        .await
        .with_context(|| format!("the last state seen: {:#}", last.borrow()))
    }
}

fn is_final(summary: &Value) -> bool {
    matches!(
        summary["status"].as_str(),
        Some("success" | "failed" | "rolled_back")
    )
}

fn deployment_id(answer: &Answer, status: u16) -> Result<String> {
    if answer.status != status {
        bail!("expected {status}, not {}: {}", answer.status, answer.body);
    }
    let id = answer.body["deployment_id"].as_str();
    Ok(id.context("the answer has no deployment_id")?.to_owned())
}
