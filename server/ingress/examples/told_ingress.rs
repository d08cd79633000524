//! An ingress with one fixed route whose requests are told to a control plane in the same process that
//! takes them and does nothing with them, to measure what telling costs:
//! `told_ingress LISTEN HOST THREADS off|errors|all BACKEND…`
//!
//! The control plane's share of the work is in the figure, so that it is an upper bound.

use std::net::SocketAddr;

use flukedeploy_domain::routing::{ControlFrame, IngressFrame};
use flukedeploy_ingress::{ControlToken, Ingress, IngressConfig};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: told_ingress LISTEN HOST THREADS off|errors|all BACKEND…";
    let listen: SocketAddr = arguments.next().ok_or(usage)?.parse()?;
    let host = arguments.next().ok_or(usage)?;
    let threads = arguments.next().ok_or(usage)?.parse()?;
    let access = match arguments.next().ok_or(usage)?.as_str() {
        "off" => Value::Null,
        "errors" => json!({ "slow_ms": 2_000 }),
        "all" => json!({ "slow_ms": 2_000, "sample_permille": 1_000 }),
        _ => return Err(usage.into()),
    };
    let endpoints: Vec<String> = arguments.collect();
    let snapshot = json!({
        "version": 1, "epoch": "static",
        "routes": [{ "app": "app", "environment": "production", "hosts": [host], "access": access,
                     "upstreams": [{ "service": "app", "release": 1, "weight": 1, "port": 80,
                                     "endpoints": endpoints }] }],
    });
    let frame = ControlFrame::Snapshot {
        snapshot: serde_json::from_value(snapshot)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let control = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let mut config = IngressConfig::new(listen, ControlToken::new("unused")?, "told".into());
    config.worker_threads = threads;
    config.control_urls = vec![format!("ws://{}/ingress", control.local_addr()?)];
    let _ingress = Ingress::start(config)?;
    runtime.block_on(take(&control, &frame))
}

/// Takes every batch, for ever.
async fn take(control: &TcpListener, snapshot: &ControlFrame) -> Result<(), Failure> {
    let (mut told, mut left_out) = (0_u64, 0_u64);
    loop {
        let (stream, _) = control.accept().await?;
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        let text = serde_json::to_string(snapshot)?;
        socket.send(Message::text(text)).await?;
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            if let IngressFrame::Requests {
                id,
                requests,
                left_out: more,
            } = serde_json::from_str(&text)?
            {
                told += requests.len() as u64;
                left_out += more.iter().map(|one| one.count).sum::<u64>();
                let taken = serde_json::to_string(&ControlFrame::RequestsTaken { id })?;
                socket.send(Message::text(taken)).await?;
            }
        }
        eprintln!("{told} told, {left_out} left out");
    }
}
