//! An ingress with one fixed route and no control plane, to measure the data plane:
//! `static_ingress LISTEN HOST THREADS BACKEND…`

use std::net::SocketAddr;

use flukedeploy_ingress::{ControlToken, Ingress, IngressConfig};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: static_ingress LISTEN HOST THREADS BACKEND…";
    let listen: SocketAddr = arguments.next().ok_or(usage)?.parse()?;
    let host = arguments.next().ok_or(usage)?;
    let threads = arguments.next().ok_or(usage)?.parse()?;
    let endpoints: Vec<String> = arguments.collect();

    let token = ControlToken::new("unused")?;
    let mut config = IngressConfig::new(listen, token, "static".into());
    config.worker_threads = threads;
    let ingress = Ingress::start(config)?;
    let snapshot = serde_json::from_value(json!({
        "version": 1, "epoch": "static",
        "routes": [{ "app": "app", "environment": "production", "hosts": [host],
                     "upstreams": [{ "service": "app", "release": 1, "weight": 1, "port": 80,
                                     "endpoints": endpoints }] }],
    }))?;
    ingress.apply(&snapshot)?;
    loop {
        std::thread::park();
    }
}
