//! A minimal MCP client, pinned to one era of the protocol: with the `initialize` handshake, or stateless.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// Which protocol the client speaks, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Revision 2025-06-18: `initialize` first.
    Handshake,
    /// Revision 2026-07-28: every request says all about itself.
    Stateless,
}

impl Era {
    fn revision(self) -> &'static str {
        match self {
            Self::Handshake => "2025-06-18",
            Self::Stateless => "2026-07-28",
        }
    }
}

enum Transport {
    Http {
        client: reqwest::Client,
        url: String,
        token: String,
        session: Option<String>,
    },
    Stdio(Box<StdioServer>),
}

struct StdioServer {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    // Ends with the client.
    _child: Child,
}

/// A connected client.
pub struct Mcp {
    transport: Transport,
    era: Era,
    next_id: u64,
    /// The answer of `initialize`, or of `server/discover`.
    pub server: Value,
}

impl Mcp {
    pub async fn http(url: &str, token: &str, era: Era) -> Result<Self> {
        let transport = Transport::Http {
            client: reqwest::Client::new(),
            url: url.to_owned(),
            token: token.to_owned(),
            session: None,
        };
        Self::open(transport, era).await
    }

    /// `command` is the server; its standard input and output are the connection.
    pub async fn stdio(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the MCP server")?;
        let stdin = child.stdin.take().context("the server has no input")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let transport = Transport::Stdio(Box::new(StdioServer {
            stdin,
            lines: BufReader::new(stdout).lines(),
            _child: child,
        }));
        Self::open(transport, Era::Handshake).await
    }

    async fn open(transport: Transport, era: Era) -> Result<Self> {
        let mut mcp = Self {
            transport,
            era,
            next_id: 1,
            server: Value::Null,
        };
        match era {
            Era::Handshake => {
                let params = json!({
                    "protocolVersion": era.revision(),
                    "capabilities": {},
                    "clientInfo": {"name": "flukedeploy-end2end", "version": "1"},
                });
                mcp.server = mcp.request("initialize", params).await?;
                let agreed = &mcp.server["protocolVersion"];
                ensure!(*agreed == era.revision(), "the server wants {agreed}");
                mcp.notify("notifications/initialized").await?;
            }
            Era::Stateless => mcp.server = mcp.request("server/discover", json!({})).await?,
        }
        Ok(mcp)
    }

    /// The tools, as `tools/list` gives them.
    pub async fn tools(&mut self) -> Result<Vec<Value>> {
        let result = self.request("tools/list", json!({})).await?;
        let tools = result["tools"].as_array();
        Ok(tools.context("tools/list has no tools")?.clone())
    }

    /// Calls a tool; the result may be one with `isError`.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value> {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", params).await
    }

    /// Calls a tool that has to succeed and returns its structured content.
    pub async fn call_ok(&mut self, tool: &str, arguments: Value) -> Result<Value> {
        let result = self.call(tool, arguments).await?;
        ensure!(result["isError"] != true, "{tool} failed: {result:#}");
        let content = &result["structuredContent"];
        ensure!(
            content.is_object(),
            "{tool} has no structured content: {result:#}"
        );
        Ok(content.clone())
    }

    /// Calls a tool that has to refuse, in the way an agent gets to read; returns the problem.
    pub async fn call_refused(&mut self, tool: &str, arguments: Value) -> Result<Value> {
        let result = self.call(tool, arguments).await?;
        ensure!(
            result["isError"] == true,
            "{tool} did not refuse: {result:#}"
        );
        Ok(result["structuredContent"].clone())
    }

    async fn request(&mut self, method: &str, mut params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        if self.era == Era::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.era.revision(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo":
                    {"name": "flukedeploy-end2end", "version": "1"},
            });
        }
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = tokio::time::timeout(CALL_TIMEOUT, self.exchange(&message, Some(id)))
            .await
            .with_context(|| format!("no answer to {method} in {CALL_TIMEOUT:?}"))??;
        let answer = answer.with_context(|| format!("an empty answer to {method}"))?;
        match answer.get("error") {
            Some(error) => bail!("{method} failed: {error}"),
            None => Ok(answer["result"].clone()),
        }
    }

    async fn notify(&mut self, method: &str) -> Result<()> {
        let message = json!({"jsonrpc": "2.0", "method": method});
        self.exchange(&message, None).await?;
        Ok(())
    }

    /// Sends a message; with an id, returns the message that answers it.
    async fn exchange(&mut self, message: &Value, id: Option<u64>) -> Result<Option<Value>> {
        let era = self.era;
        match &mut self.transport {
            Transport::Stdio(server) => {
                let StdioServer { stdin, lines, .. } = server.as_mut();
                stdin.write_all(format!("{message}\n").as_bytes()).await?;
                stdin.flush().await?;
                let Some(id) = id else { return Ok(None) };
                while let Some(line) = lines.next_line().await? {
                    let answer: Value = serde_json::from_str(&line)
                        .with_context(|| format!("no JSON on standard output: {line}"))?;
                    if answer["id"] == id {
                        return Ok(Some(answer));
                    }
                }
                bail!("the server ended")
            }
            Transport::Http {
                client,
                url,
                token,
                session,
            } => {
                let mut request = client
                    .post(url.as_str())
                    .bearer_auth(token.as_str())
                    .header("Accept", "application/json, text/event-stream")
                    .json(message);
                let method = message["method"].as_str().unwrap_or_default();
                if method != "initialize" {
                    request = request.header("MCP-Protocol-Version", era.revision());
                }
                if era == Era::Stateless {
                    request = request.header("Mcp-Method", method);
                    if let Some(name) = message["params"]["name"].as_str() {
                        request = request.header("Mcp-Name", name);
                    }
                }
                if let Some(session) = &session {
                    request = request.header("Mcp-Session-Id", session);
                }
                let answer = request.send().await.context("sending an MCP request")?;
                let status = answer.status();
                if let Some(new) = answer.headers().get("Mcp-Session-Id") {
                    *session = Some(new.to_str()?.to_owned());
                }
                let text = answer.text().await?;
                ensure!(status.is_success(), "{method}: status {status}: {text}");
                match id {
                    Some(id) => find_answer(&text, id).map(Some),
                    None => Ok(None),
                }
            }
        }
    }
}

/// The answer to `id` in a JSON body or a stream of server-sent events.
fn find_answer(text: &str, id: u64) -> Result<Value> {
    let whole = std::iter::once(text);
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    whole
        .chain(events)
        .filter_map(|json| serde_json::from_str::<Value>(json.trim()).ok())
        .find(|message| message["id"] == id)
        .with_context(|| format!("no answer to {id} in: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_answers_in_both_kinds_of_body() {
        let json = r#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#;
        assert_eq!(find_answer(json, 7).unwrap()["result"]["a"], 1);
        let events = format!(
            ": hello\n\nevent: message\ndata: {{\"method\":\"x\"}}\n\nevent: message\ndata: {json}\n\n"
        );
        assert_eq!(find_answer(&events, 7).unwrap()["result"]["a"], 1);
        assert!(find_answer(&events, 8).is_err());
    }
}
