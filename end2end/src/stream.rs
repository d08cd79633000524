//! A subscriber of the WebSocket log stream that keeps every frame it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Default)]
struct Received {
    frames: Vec<Value>,
    /// The close code, 1006 when the connection just ended.
    closed: Option<u16>,
}

/// An open subscription; it ends when this is dropped.
pub struct Stream {
    sender: SplitSink<Socket, Message>,
    received: Arc<Mutex<Received>>,
    reading: JoinHandle<()>,
}

impl Stream {
    /// `query` is the first filter, as in `app_name=shop&level=error`.
    pub async fn connect(address: SocketAddr, query: &str, token: Option<&str>) -> Result<Self> {
        let mut request = format!("ws://{address}/?{query}").into_client_request()?;
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse()?;
            request
                .headers_mut()
                .insert(http::header::AUTHORIZATION, value);
        }
        let (socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .context("connecting to the log stream")?;
        let (sender, incoming) = socket.split();
        let received = Arc::new(Mutex::new(Received::default()));
        let reading = tokio::spawn(read(incoming, Arc::clone(&received)));
        Ok(Self {
            sender,
            received,
            reading,
        })
    }

    /// Sends a JSON text frame.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        self.send_text(&message.to_string()).await
    }

    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.sender
            .send(Message::text(text))
            .await
            .context("sending to the log stream")
    }

    /// Every frame so far.
    pub fn frames(&self) -> Vec<Value> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.frames.clone()
    }

    /// The log entries among the frames so far.
    pub fn entries(&self) -> Vec<Value> {
        let mut frames = self.frames();
        frames.retain(|frame| frame.get("@type").is_some());
        frames
    }

    /// The code the server closed with, if it has.
    pub fn close_code(&self) -> Option<u16> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.closed
    }

    /// Waits for a frame, an earlier one included.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        crate::wait::until(what, deadline, || async {
            Ok(self.frames().into_iter().find(&wanted))
        })
        .await
        .with_context(|| format!("{} frames came", self.frames().len()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut incoming: SplitStream<Socket>, received: Arc<Mutex<Received>>) {
    let mut code = 1006;
    while let Some(Ok(message)) = incoming.next().await {
        match message {
            Message::Text(text) => {
                let frame = serde_json::from_str(text.as_str())
                    .unwrap_or_else(|_| Value::String(text.as_str().to_owned()));
                let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
                received.frames.push(frame);
            }
            Message::Close(frame) => code = frame.map_or(1005, |frame| frame.code.into()),
            _ => {}
        }
    }
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.closed = Some(code);
}
