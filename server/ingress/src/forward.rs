//! One request: where it goes, what happens when that fails, and what comes back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{ACCEPT, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, request};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::body::{Lease, Progress, RequestBody, ResponseBody};
use crate::client::Client;
use crate::config::millis;
use crate::connection_pool::{UpstreamConnection, connect_http};
use crate::endpoint::Endpoint;
use crate::headers::{
    Loops, X_REQUEST_ID, given_request_id, host_of, is_idempotent, prepare_request, set_upgrade,
    strip_hop_by_hop,
};
use crate::routing_state::Pick;
use crate::service::{InFlight, Service};
use crate::tunnel;
use crate::worker::{Open, Worker};

/// How often a request that may be repeated is sent again after it reached a replica.
const MAX_RESENDS: u32 = 2;
/// Pauses while no replica can be reached.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

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
    let outcome = match prepare(&mut head, client, &request_id) {
        Ok(host) => {
            let on_upgrade = on_upgrade.filter(|_| head.headers.contains_key(UPGRADE));
            Journey::new(worker, client, open, &host)
                .run(head, body, on_upgrade)
                .await
        }
        Err(refusal) => Err(refusal.into()),
    };
    let mut forwarded = outcome.unwrap_or_else(|failure| {
        if failure.refusal.is_failure_of_app()
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
struct Failure {
    refusal: Refusal,
    service: Option<Arc<Service>>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            service: None,
        }
    }
}

/// A request head that can be sent again.
#[derive(Debug, Clone)]
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Spare {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Response<Incoming>),
    /// Not one byte of it was sent; the request is as good as new.
    NotSent(Box<Request<RequestBody>>),
    /// The connection ended before an answer; the app may have seen the request.
    Lost,
    /// The replica does not speak HTTP.
    Garbled,
    TimedOut,
    /// The client's body broke off.
    BodyBroken,
}

struct Journey<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    open: &'a Open,
    host: &'a str,
    /// Endpoints that did not work out in this round.
    tried: Vec<SocketAddr>,
    /// The service of the last attempt.
    last: Option<Arc<Service>>,
    /// Set with the first failure.
    give_up_at: Option<Instant>,
    pause: Duration,
}

impl<'a> Journey<'a> {
    fn new(worker: &'a Rc<Worker>, client: &'a Rc<Client>, open: &'a Open, host: &'a str) -> Self {
        Self {
            worker,
            client,
            open,
            host,
            tried: Vec::new(),
            last: None,
            give_up_at: None,
            pause: FIRST_PAUSE,
        }
    }

    async fn run(
        mut self,
        head: request::Parts,
        body: RequestBody,
        on_upgrade: Option<OnUpgrade>,
    ) -> Result<Forwarded, Failure> {
        let idempotent = is_idempotent(&head.method);
        let progress = match &body {
            RequestBody::Empty => None,
            RequestBody::Stream { progress, .. } => Some(progress.clone()),
        };
        let mut request = Request::from_parts(head, body);
        let spare = (idempotent && progress.is_none()).then(|| Spare::of(&request));
        let mut resends = 0;
        loop {
            let flight = match self.next_flight()? {
                Some(flight) => flight,
                None => self.last_resorts().await?,
            };
            // A second try on the same endpoint, if the first was on a connection that had
            // been left open for too long.
            let mut fresh_only = false;
            let lost = loop {
                let Some(mut connection) = self
                    .connection(&flight.endpoint, fresh_only, idempotent)
                    .await
                else {
                    break false;
                };
                match self
                    .attempt(&mut connection, request, progress.as_deref())
                    .await
                {
                    Attempt::Answered(response) => {
                        flight.endpoint.trust();
                        return self.answered(response, flight, connection, on_upgrade);
                    }
                    Attempt::NotSent(unsent) => {
                        request = *unsent;
                        if !connection.reused {
                            flight.endpoint.suspect(self.worker.routing.now_ms());
                            break false;
                        }
                    }
                    Attempt::Lost => {
                        let again = spare.as_ref().filter(|_| resends < MAX_RESENDS);
                        let Some(again) = again else {
                            return Err(self.failed(Refusal::BadAnswer));
                        };
                        resends += 1;
                        request = again.request();
                        if !connection.reused {
                            break true;
                        }
                    }
                    Attempt::Garbled => return Err(self.failed(Refusal::BadAnswer)),
                    Attempt::TimedOut => return Err(self.failed(Refusal::TimedOut)),
                    Attempt::BodyBroken => return Err(self.failed(Refusal::BadRequestBody)),
                }
                fresh_only = true;
            };
            tracing::debug!(
                upstream.service = %flight.service().name,
                upstream.address = %flight.endpoint.address,
                lost,
                "trying another endpoint"
            );
            self.tried.push(flight.endpoint.address);
        }
    }

    /// The next endpoint of the newest table; `None` when all were tried.
    fn next_flight(&mut self) -> Result<Option<InFlight>, Failure> {
        match self
            .worker
            .routing
            .pick(self.host, &self.tried, self.worker.now_ms())
        {
            Pick::Chosen(flight) => {
                self.last = Some(flight.service().clone());
                Ok(Some(flight))
            }
            Pick::Exhausted(_) => Ok(None),
            Pick::NotReady => Err(Refusal::Starting.into()),
            Pick::UnknownHost => Err(Refusal::UnknownHost.into()),
            Pick::Unavailable(service) => {
                let service = service.or_else(|| self.last.take());
                Err(Failure {
                    refusal: Refusal::NoReplica,
                    service,
                })
            }
        }
    }

    /// Every listed endpoint failed. Perhaps the cluster has replaced a replica and nobody could
    /// tell us: ask DNS. If that does not help, wait a little for a new table or a replica that
    /// comes back, and start over.
    async fn last_resorts(&mut self) -> Result<InFlight, Failure> {
        let window = self.worker.limits.retry_window;
        let give_up_at = *self
            .give_up_at
            .get_or_insert_with(|| Instant::now() + window);
        loop {
            let names = match self
                .worker
                .routing
                .pick(self.host, &self.tried, self.worker.now_ms())
            {
                Pick::Exhausted(names) => names,
                Pick::Chosen(flight) => {
                    self.last = Some(flight.service().clone());
                    return Ok(flight);
                }
                Pick::NotReady => return Err(Refusal::Starting.into()),
                Pick::UnknownHost => return Err(Refusal::UnknownHost.into()),
                Pick::Unavailable(service) => {
                    return Err(Failure {
                        refusal: Refusal::NoReplica,
                        service,
                    });
                }
            };
            for (service, port) in names {
                let addresses = self.worker.resolve(&service.name, port).await;
                let fresh = addresses
                    .into_iter()
                    .find(|address| !self.tried.contains(address));
                if let Some(address) = fresh {
                    self.last = Some(service.clone());
                    return Ok(InFlight::begin(Arc::new(Endpoint::unlisted(
                        service, address,
                    ))));
                }
            }
            if Instant::now() + self.pause > give_up_at {
                return Err(self.failed(Refusal::Unreachable));
            }
            let mut changes = self.worker.routing.changes();
            changes.mark_unchanged();
            let _ = tokio::time::timeout(self.pause, changes.changed()).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.tried.clear();
        }
    }

    async fn connection(
        &self,
        endpoint: &Arc<Endpoint>,
        fresh_only: bool,
        idempotent: bool,
    ) -> Option<UpstreamConnection> {
        let limits = &self.worker.limits;
        let max_age = if idempotent {
            limits.upstream_idle_timeout
        } else {
            limits.fresh_for_unsafe
        };
        if !fresh_only && let Some(pooled) = self.worker.pool().take(endpoint, millis(max_age)) {
            return Some(pooled);
        }
        let connecting = connect_http(
            endpoint.address,
            limits.connect_timeout,
            limits.max_header_bytes,
        );
        match connecting.await {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::debug!(
                    upstream.service = %endpoint.service.name,
                    upstream.address = %endpoint.address,
                    %error,
                    "cannot connect"
                );
                endpoint.suspect(self.worker.routing.now_ms());
                None
            }
        }
    }

    async fn attempt(
        &self,
        connection: &mut UpstreamConnection,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Attempt {
        let timeout_ms = millis(self.worker.limits.response_header_timeout);
        let started_ms = self.worker.now_ms();
        let mut answer = pin!(connection.sender.try_send_request(request));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            let moved_ms = progress.map_or(0, |progress| progress.at_ms.get());
            let deadline_ms = started_ms.max(moved_ms) + timeout_ms;
            if self.worker.now_ms() >= deadline_ms {
                return Poll::Ready(None);
            }
            self.client.remember(cx);
            self.client.wake_at_ms.set(deadline_ms);
            Poll::Pending
        })
        .await;
        self.client.wake_at_ms.set(u64::MAX);
        match outcome {
            None => Attempt::TimedOut,
            Some(Ok(response)) => Attempt::Answered(response),
            Some(Err(mut failure)) => match failure.take_message() {
                Some(request) => Attempt::NotSent(Box::new(request)),
                None if progress.is_some_and(|progress| progress.broken.get()) => {
                    Attempt::BodyBroken
                }
                None if failure.error().is_parse() => Attempt::Garbled,
                None => Attempt::Lost,
            },
        }
    }

    fn answered(
        &self,
        response: Response<Incoming>,
        flight: InFlight,
        connection: UpstreamConnection,
        on_upgrade: Option<OnUpgrade>,
    ) -> Result<Forwarded, Failure> {
        let service = flight.service().clone();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client_side) = on_upgrade else {
                return Err(self.failed(Refusal::BadAnswer));
            };
            let response = self.switch(response, client_side, flight, connection);
            service.count_answer(response.status());
            return Ok(Forwarded {
                response,
                service: Some(service),
            });
        }
        service.count_answer(response.status());
        let (mut head, incoming) = response.into_parts();
        head.version = http::Version::HTTP_11;
        strip_hop_by_hop(&mut head.headers);
        let lease = Lease {
            worker: self.worker.clone(),
            flight,
            connection,
        };
        let response = Response::from_parts(head, ResponseBody::upstream(incoming, lease));
        Ok(Forwarded {
            response,
            service: Some(service),
        })
    }

    fn switch(
        &self,
        mut response: Response<Incoming>,
        client_side: OnUpgrade,
        flight: InFlight,
        connection: UpstreamConnection,
    ) -> Response<ResponseBody> {
        let upstream_side = hyper::upgrade::on(&mut response);
        tunnel::join(
            client_side,
            upstream_side,
            flight,
            connection,
            self.open.clone(),
        );
        let (mut head, _) = response.into_parts();
        let protocol = head.headers.get(UPGRADE).cloned();
        strip_hop_by_hop(&mut head.headers);
        set_upgrade(
            &mut head.headers,
            protocol.unwrap_or_else(|| HeaderValue::from_static("websocket")),
        );
        Response::from_parts(head, ResponseBody::empty())
    }

    fn failed(&self, refusal: Refusal) -> Failure {
        Failure {
            refusal,
            service: self.last.clone(),
        }
    }
}
