//! A plain axum WebSocket server that writes and flushes each message to each subscriber: what the
//! log stream is measured beside. Tells its address, then reads `COUNT BYTES` and sends so many
//! messages of so many bytes to everybody.

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::broadcast;

type Messages = broadcast::Sender<Utf8Bytes>;

#[tokio::main]
async fn main() -> Result<()> {
    let messages: Messages = broadcast::channel(1 << 16).0;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("{}\n", listener.local_addr()?);
    tokio::io::stdout().write_all(address.as_bytes()).await?;
    tokio::io::stdout().flush().await?;
    let router = Router::new()
        .fallback(any(upgrade))
        .with_state(messages.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (count, bytes) = line.split_once(' ').context("COUNT BYTES")?;
        let message = Utf8Bytes::from("x".repeat(bytes.parse()?));
        for _ in 0..count.parse::<u32>()? {
            let _ = messages.send(message.clone());
        }
    }
    Ok(())
}

async fn upgrade(State(messages): State<Messages>, upgrade: WebSocketUpgrade) -> Response {
    let incoming = messages.subscribe();
    upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .on_upgrade(|socket| serve(socket, incoming))
}

async fn serve(mut socket: WebSocket, mut incoming: broadcast::Receiver<Utf8Bytes>) {
    while let Ok(message) = incoming.recv().await {
        if socket.send(Message::Text(message)).await.is_err() {
            return;
        }
    }
}
