//! MCP over standard input and output: a bridge to a server's `/mcp`.
//!
//! Standard output carries JSON-RPC and nothing else. Every request gets an answer: when the
//! server is down, the client's model reads why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use bytes::Bytes;
use flukedeploy_platform::secret::Secret;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::http_client;

/// The first revision in which each request says its own version.
const STATELESS: &str = "2026-07-28";
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
/// Longer than any tool waits.
const ANSWER_TIME: Duration = Duration::from_mins(2);
/// Requests under way at a time.
const MAX_REQUESTS: usize = 32;

/// JSON-RPC's own codes, and one of the range for servers.
const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const UNREACHABLE: i64 = -32_000;

/// Serves standard input and output until input ends.
///
/// # Errors
/// The address cannot be used, or standard input or output fails.
pub async fn run_stdio_bridge(url: String, token: Secret) -> anyhow::Result<()> {
    let server = Server::new(&url, &token)?;
    bridge(
        server,
        BufReader::new(tokio::io::stdin()),
        tokio::io::stdout(),
    )
    .await
}

/// The bridge between any two ends.
pub(in crate::doors) async fn bridge(
    server: Server,
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<()> {
    let server = Arc::new(server);
    let (answers, outbox) = mpsc::channel(MAX_REQUESTS);
    let writing = tokio::spawn(write(outbox, output));
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    let mut under_way = JoinSet::new();
    let mut lines = input.lines();
    while let Some(line) = lines.next_line().await.context("reading standard input")? {
        if line.trim().is_empty() {
            continue;
        }
        let message = match parse(&line) {
            Ok(message) => message,
            Err(refusal) => {
                answers
                    .send(refusal)
                    .await
                    .context("standard output is closed")?;
                continue;
            }
        };
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .context("the bridge is ending")?;
        let (server, answers) = (Arc::clone(&server), answers.clone());
        // Each on its own: a call that waits for a deployment must not hold up the others.
        under_way.spawn(async move {
            for answer in server.exchange(&message).await {
                if answers.send(answer).await.is_err() {
                    break;
                }
            }
            drop(place);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    drop(answers);
    writing.await.context("writing to standard output")?
}

async fn write(
    mut outbox: mpsc::Receiver<Value>,
    mut output: impl AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    while let Some(message) = outbox.recv().await {
        output.write_all(format!("{message}\n").as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}

/// A JSON-RPC message, or the answer to something that is none.
fn parse(line: &str) -> Result<Value, Value> {
    match serde_json::from_str::<Value>(line) {
        Ok(message) if message.is_object() => Ok(message),
        Ok(_) => Err(error(
            &Value::Null,
            INVALID_REQUEST,
            "a message must be a JSON object",
        )),
        Err(_) => Err(error(&Value::Null, PARSE_ERROR, "this line is not JSON")),
    }
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// Where messages go.
pub(in crate::doors) struct Server {
    /// Of `/mcp`, with scheme and host.
    address: String,
    authorization: HeaderValue,
    /// What `initialize` agreed on.
    version: Mutex<Option<String>>,
}

struct Answer {
    status: StatusCode,
    is_event_stream: bool,
    body: Bytes,
}

impl Server {
    pub(in crate::doors) fn new(url: &str, token: &Secret) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("'{url}' is not an address"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => bail!(
                "https addresses are not supported yet; use the http address of FlukeDeploy on \
                 this machine or through a tunnel, e.g. http://127.0.0.1:3000"
            ),
            _ => bail!("'{url}' must begin with http://"),
        }
        if uri.host().is_none() {
            bail!("'{url}' names no host");
        }
        let mut authorization: HeaderValue = format!("Bearer {}", token.expose())
            .parse()
            .ok()
            .context("the token holds characters that no token has")?;
        authorization.set_sensitive(true);
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/mcp").unwrap_or(base);
        Ok(Self {
            address: format!("{base}/mcp"),
            authorization,
            version: Mutex::new(None),
        })
    }

    /// Sends one message and returns what is to be written for it. A request gets an answer in
    /// any case; a notification never does.
    async fn exchange(&self, message: &Value) -> Vec<Value> {
        let sent = self.send(message).await;
        let id = message
            .get("id")
            .filter(|_| message.get("method").is_some());
        let failure = match sent {
            Ok(answer) => match messages_of(&answer) {
                Some(messages) => {
                    self.note_version(message, &messages);
                    return messages;
                }
                None => refusal(&answer),
            },
            Err(failure) => format!("{failure:#}"),
        };
        if let Some(id) = id {
            return vec![error(id, UNREACHABLE, &failure)];
        }
        tracing::warn!(%failure, "a notification could not be delivered");
        Vec::new()
    }

    async fn send(&self, message: &Value) -> anyhow::Result<Answer> {
        let response = http_client::send(self.request(message)?, ANSWER_TIME)
            .await
            .with_context(|| {
                format!(
                    "FlukeDeploy at {} cannot be reached; is it running ('flukedeploy up')?",
                    self.address
                )
            })?;
        let content_type = response.headers().get(CONTENT_TYPE);
        Ok(Answer {
            status: response.status(),
            is_event_stream: content_type
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with("text/event-stream")),
            body: response.into_body(),
        })
    }

    fn request(&self, message: &Value) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::post(self.address.as_str())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json, text/event-stream")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(message.to_string())))?;
        let agreed = self
            .version
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (name, value) in mcp_headers(message, agreed.as_deref()) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        Ok(request)
    }

    /// Remembers the version that `initialize` agreed on; later requests have to repeat it.
    fn note_version(&self, message: &Value, answers: &[Value]) {
        if message["method"] != "initialize" {
            return;
        }
        let version = answers
            .iter()
            .find_map(|a| a["result"]["protocolVersion"].as_str());
        if let Some(version) = version {
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.to_owned());
        }
    }
}

/// The headers that repeat parts of the body, so that proxies need not read it.
fn mcp_headers(message: &Value, agreed: Option<&str>) -> Vec<(&'static str, String)> {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let version = match params["_meta"][VERSION_KEY].as_str() {
        Some(version) => Some(version),
        None if method == "initialize" => None,
        None => agreed,
    };
    let Some(version) = version else {
        return Vec::new();
    };
    let mut headers = vec![("mcp-protocol-version", version.to_owned())];
    // Revisions are dates, so their order is that of the text.
    if version >= STATELESS && !method.is_empty() {
        headers.push(("mcp-method", method.to_owned()));
        let name = match method {
            "tools/call" | "prompts/get" => params["name"].as_str(),
            "resources/read" => params["uri"].as_str(),
            _ => None,
        };
        headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
    }
    headers
}

/// The JSON-RPC messages of an answer; `None` if it is no such answer.
fn messages_of(answer: &Answer) -> Option<Vec<Value>> {
    if answer.is_event_stream {
        let text = String::from_utf8_lossy(&answer.body);
        return Some(
            events(&text)
                .iter()
                .filter_map(|data| json_rpc(data))
                .collect(),
        );
    }
    if answer.status == StatusCode::ACCEPTED || answer.status == StatusCode::NO_CONTENT {
        return Some(Vec::new());
    }
    let text = std::str::from_utf8(&answer.body).ok()?;
    json_rpc(text).map(|message| vec![message])
}

fn json_rpc(text: &str) -> Option<Value> {
    serde_json::from_str::<Value>(text)
        .ok()
        .filter(|message| message["jsonrpc"] == "2.0")
}

/// The data of server-sent events; comments and other fields do not matter here.
fn events(text: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if let Some(part) = line.strip_prefix("data:") {
            data.push(part.strip_prefix(' ').unwrap_or(part));
        } else if line.is_empty() && !data.is_empty() {
            events.push(data.join("\n"));
            data.clear();
        }
    }
    events
}

/// Why the server did not answer with JSON-RPC, for somebody who can act on it.
fn refusal(answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = problem["detail"].as_str().unwrap_or("no reason was given");
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            format!("FlukeDeploy refused the token: {said}; make a new one and configure it")
        }
        StatusCode::FORBIDDEN => format!("FlukeDeploy refused the request: {said}"),
        status => format!(
            "FlukeDeploy answered with status {}: {said}",
            status.as_u16()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            is_event_stream: content_type == "text/event-stream",
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_starts() {
        let token = Secret::new("t");
        let address = |url: &str| Server::new(url, &token).unwrap().address;
        assert_eq!(address("http://[::1]:3000/"), "http://[::1]:3000/mcp");
        assert_eq!(address("http://a/mcp"), "http://a/mcp");
        let https = Server::new("https://a", &token).err().unwrap().to_string();
        assert!(https.contains("not supported yet"), "{https}");
        assert!(Server::new("localhost:3000", &token).is_err());
        assert!(Server::new("http://a", &Secret::new("a\nb")).is_err());
    }

    #[test]
    fn headers_repeat_what_the_body_says() {
        let call = json!({"method": "tools/call", "params": {"name": "deploy_app"}});
        assert!(mcp_headers(&call, None).is_empty());
        assert_eq!(
            mcp_headers(&call, Some("2025-06-18")),
            [("mcp-protocol-version", "2025-06-18".to_owned())]
        );
        let mut stateless = call;
        stateless["params"]["_meta"] = json!({VERSION_KEY: "2026-07-28"});
        assert_eq!(
            mcp_headers(&stateless, None),
            [
                ("mcp-protocol-version", "2026-07-28".to_owned()),
                ("mcp-method", "tools/call".to_owned()),
                ("mcp-name", "deploy_app".to_owned()),
            ]
        );
        let first = json!({"method": "initialize", "params": {"protocolVersion": "2025-06-18"}});
        assert!(mcp_headers(&first, Some("2025-06-18")).is_empty());
    }

    #[test]
    fn answers_come_as_json_or_as_events() {
        let json = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert_eq!(
            messages_of(&answer(200, "application/json", json))
                .unwrap()
                .len(),
            1
        );
        let stream = format!(": hello\n\nevent: message\ndata: {json}\n\nid: 2\ndata:{json}\n");
        assert_eq!(
            messages_of(&answer(200, "text/event-stream", &stream))
                .unwrap()
                .len(),
            2
        );
        assert!(messages_of(&answer(202, "", "")).unwrap().is_empty());
        let refused = answer(
            401,
            "application/problem+json",
            r#"{"detail":"it has expired"}"#,
        );
        assert!(messages_of(&refused).is_none());
        assert!(refusal(&refused).contains("it has expired"));
    }

    #[tokio::test]
    async fn without_a_server_requests_are_answered_and_notifications_are_not() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let server = Server::new(&format!("http://{free}"), &Secret::new("t")).unwrap();
        let input = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}\n\
            not json\n\
            {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        bridge(server, BufReader::new(&input[..]), theirs)
            .await
            .unwrap();
        let mut lines = BufReader::new(ours).lines();
        let mut answers = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            answers.push(serde_json::from_str::<Value>(&line).unwrap());
        }
        assert_eq!(answers.len(), 2, "{answers:?}");
        let down = answers.iter().find(|answer| answer["id"] == 7).unwrap();
        assert!(
            down["error"]["message"]
                .as_str()
                .unwrap()
                .contains("cannot be reached")
        );
        assert!(
            answers
                .iter()
                .any(|answer| answer["error"]["code"] == PARSE_ERROR)
        );
    }

    #[tokio::test]
    async fn a_message_goes_to_the_server_and_its_answer_comes_back() {
        use axum::extract::Request as AxumRequest;
        let seen = |request: AxumRequest| async move {
            let (parts, body) = request.into_parts();
            let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
            let (token, accept) = (header("authorization"), header("accept"));
            let body = body.collect().await.unwrap().to_bytes();
            let id = serde_json::from_slice::<Value>(&body).unwrap()["id"].clone();
            axum::Json(json!({"jsonrpc": "2.0", "id": id, "result": [token, accept]}))
        };
        let app = axum::Router::new().route("/mcp", axum::routing::post(seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let server = Server::new(&url, &Secret::new("fd_a_b")).unwrap();
        let request = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/list"});
        let answers = server.exchange(&request).await;
        assert_eq!(answers[0]["id"], "x");
        assert_eq!(answers[0]["result"][0], "Bearer fd_a_b");
        assert_eq!(
            answers[0]["result"][1],
            "application/json, text/event-stream"
        );
    }
}
