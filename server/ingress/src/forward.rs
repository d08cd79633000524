//! A request as it comes in and the answer as it goes out; the way between is a `Journey`.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue, UPGRADE};
use http::{Method, Request, Response, request};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use crate::access::{Trace, Watched};
use crate::answer::Refusal;
use crate::body::{Progress, RequestBody, ResponseBody};
use crate::client::Client;
use crate::headers::{Loops, X_REQUEST_ID, given_request_id, host_of, prepare_request};
use crate::journey::Journey;
use crate::service::Service;
use crate::worker::{Open, Worker};

/// An answer, and the service that gave it; `None` if it was the ingress itself.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) response: Response<ResponseBody>,
    pub(crate) service: Option<Arc<Service>>,
}

/// Forwards a client's request. Never fails: what cannot be forwarded gets an answer of our own.
/// Dropping the future closes the connection that the request was sent on.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    open: &Open,
    mut request: Request<Incoming>,
) -> Forwarded {
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (head, incoming) = request.into_parts();
    let body = if incoming.is_end_stream() {
        RequestBody::Empty
    } else {
        let progress = Progress {
            worker: worker.clone(),
            at_ms: worker.now_ms().into(),
            broken: false.into(),
        };
        RequestBody::Stream {
            incoming,
            progress: Rc::new(progress),
        }
    };
    forward_parts(worker, client, open, head, body, on_upgrade).await
}

/// The same for a request from inside this process.
pub(crate) async fn forward_parts(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    open: &Open,
    mut head: request::Parts,
    body: RequestBody,
    on_upgrade: Option<OnUpgrade>,
) -> Forwarded {
    let accept = head.headers.get(ACCEPT).cloned();
    let request_id = given_request_id(&head.headers).unwrap_or_else(|| worker.new_request_id());
    let trace = Trace::default();
    // Dropped with this future if the client leaves, and with the answer's body otherwise.
    let mut watched = None;
    let outcome = match prepare(&mut head, client, &request_id) {
        Ok(host) => {
            watched = Watched::begin(worker, client, &host, &head, &request_id);
            let on_upgrade = on_upgrade.filter(|_| head.headers.contains_key(UPGRADE));
            Journey::new(worker, client, open, &host, &trace)
                .run(head, body, on_upgrade)
                .await
        }
        Err(refusal) => Err(refusal.into()),
    };
    if let Some(watched) = &mut watched {
        match &outcome {
            Ok(forwarded) => {
                let status = forwarded.response.status();
                watched.answered(status, forwarded.service.as_ref(), None, &trace);
            }
            Err(Failure { refusal, service }) => {
                watched.answered(refusal.status(), service.as_ref(), Some(*refusal), &trace);
            }
        }
    }
    let mut forwarded = outcome.unwrap_or_else(|failure| {
        if failure.refusal.is_failure_of_app()
            && !client.is_ourselves()
            && let Some(service) = &failure.service
        {
            service.count_failure();
        }
        Forwarded {
            response: failure.refusal.response(accept.as_ref()),
            service: None,
        }
    });
    forwarded
        .response
        .headers_mut()
        .entry(&X_REQUEST_ID)
        .or_insert(request_id);
    if let Some(watched) = watched {
        forwarded.response = forwarded.response.map(|body| body.with_watched(watched));
    }
    forwarded
}

/// Makes `head` what the app should see, and finds the host it is for.
fn prepare(
    head: &mut request::Parts,
    client: &Client,
    request_id: &HeaderValue,
) -> Result<String, Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::ConnectUnsupported);
    }
    let host = host_of(head).map_err(Refusal::BadHost)?.into_owned();
    // It leaves `Upgrade` in place only where a protocol switch was asked for and is allowed.
    prepare_request(head, &client.address, request_id.clone()).map_err(|Loops| Refusal::Loop)?;
    Ok(host)
}

/// Why a request got no answer from an app, and who is to blame.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    pub(crate) service: Option<Arc<Service>>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            service: None,
        }
    }
}
