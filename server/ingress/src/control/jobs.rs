//! Questions of the control plane that take a while to answer.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use flukedeploy_domain::names::Hostname;
use flukedeploy_domain::routing::{ControlFrame, IngressFrame};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http_body_util::BodyExt;

use super::probe::probe;
use crate::body::RequestBody;
use crate::forward::forward_parts;
use crate::worker::Worker;

/// The longest any question may take, whatever the frame says.
const LONGEST: Duration = Duration::from_hours(1);
/// How much of an answer's body is read, so that its connection can be used again.
const DRAIN_BYTES: usize = 64 * 1024;

/// Answers a frame; `None` for frames that take no time and are answered by the link itself.
pub(super) async fn answer(worker: Rc<Worker>, frame: ControlFrame) -> Option<IngressFrame> {
    match frame {
        ControlFrame::Snapshot { .. }
        | ControlFrame::ReportTraffic { .. }
        | ControlFrame::RequestsTaken { .. } => None,
        ControlFrame::Probe {
            id,
            target,
            probe: how,
            timeout_ms,
        } => {
            let outcome = probe(target, &how, limit(timeout_ms)).await;
            Some(IngressFrame::Probed { id, outcome })
        }
        ControlFrame::AwaitDrained {
            id,
            service,
            timeout_ms,
            close_after_ms,
        } => {
            let in_flight = match worker.routing.service(&service) {
                Some(service) => match close_after_ms {
                    Some(after_ms) => {
                        let after = Duration::from_millis(after_ms);
                        service.drained_closing(limit(timeout_ms), after).await
                    }
                    None => service.drained(limit(timeout_ms)).await,
                },
                None => 0,
            };
            Some(IngressFrame::Drained { id, in_flight })
        }
        ControlFrame::Request {
            id,
            host,
            path,
            timeout_ms,
        } => {
            let asked = request(&worker, &host, &path);
            let served = match tokio::time::timeout(limit(timeout_ms), asked).await {
                Ok(Ok(served)) => served,
                Ok(Err(problem)) => Served::failed(problem),
                Err(_) => Served::failed("no answer in time"),
            };
            let Served {
                status,
                service,
                error,
            } = served;
            Some(IngressFrame::Served {
                id,
                status,
                service,
                error,
            })
        }
    }
}

fn limit(timeout_ms: u64) -> Duration {
    Duration::from_millis(timeout_ms).min(LONGEST)
}

struct Served {
    status: Option<u16>,
    service: Option<String>,
    error: Option<String>,
}

impl Served {
    fn failed(problem: &str) -> Self {
        Self {
            status: None,
            service: None,
            error: Some(problem.to_owned()),
        }
    }
}

/// Sends a request the way a client's goes, on this thread's own pool.
async fn request(worker: &Rc<Worker>, host: &Hostname, path: &str) -> Result<Served, &'static str> {
    let host = HeaderValue::from_str(host.as_str()).map_err(|_| "the host is not valid")?;
    if !path.starts_with('/') {
        return Err("the path must start with '/'");
    }
    let request = http::Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "flukedeploy-ingress")
        .body(())
        .map_err(|_| "the path is not valid")?;
    let registered = worker.register(IpAddr::V4(Ipv4Addr::LOCALHOST), None);
    let client = &registered.client;
    let _turn = crate::client::Turn::begin(client.clone(), worker.clone());
    let open = worker.open(None);
    let (head, ()) = request.into_parts();
    let forwarded = forward_parts(worker, client, &open, head, RequestBody::Empty, None).await;
    let status = forwarded.response.status().as_u16();
    let error = forwarded
        .service
        .is_none()
        .then(|| "the ingress answered by itself".to_owned());
    let service = forwarded.service.map(|service| service.name.to_string());
    let mut body = forwarded.response.into_body();
    let mut read = 0;
    while read < DRAIN_BYTES {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(Served {
        status: Some(status),
        service,
        error,
    })
}
