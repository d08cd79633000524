//! One request's way: where it goes, what happens when that fails, and what comes back.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, request};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::access::Trace;
use crate::answer::Refusal;
use crate::body::{Lease, Progress, RequestBody, ResponseBody};
use crate::client::Client;
use crate::config::millis;
use crate::connection_pool::{Silence, UpstreamConnection, connect_http};
use crate::endpoint::Endpoint;
use crate::forward::{Failure, Forwarded};
use crate::headers::{is_idempotent, set_upgrade, strip_hop_by_hop};
use crate::service::{InFlight, Service};
use crate::tunnel::{self, Ends};
use crate::waiting::Patience;
use crate::worker::{Open, Worker};

/// How often a request that may be repeated is sent again after it reached a replica.
const MAX_RESENDS: u32 = 2;
/// A request with a body up to this size is taken in by the replica's kernel whether the app reads
/// it or not, so that a missing acknowledgement means that nobody is there.
const SMALL_BODY_BYTES: u64 = 8 * 1024;

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
    /// The connection ended before an answer; the app may have seen the request. `dead`: not even
    /// its machine could be heard.
    Lost {
        dead: bool,
    },
    /// The replica does not speak HTTP.
    Garbled,
    TimedOut,
    /// The client's body broke off.
    BodyBroken,
}

/// What decides which connections a request may use.
#[derive(Debug, Clone, Copy)]
struct Way {
    idempotent: bool,
    silence: Silence,
}

pub(crate) struct Journey<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) client: &'a Rc<Client>,
    open: &'a Open,
    pub(crate) host: &'a str,
    pub(crate) trace: &'a Trace,
    /// The service whose turn it is.
    pub(crate) turn: Option<Arc<Service>>,
    /// The service of the last attempt.
    pub(crate) last: Option<Arc<Service>>,
    /// When that service was first chosen.
    pub(crate) started: Instant,
    pub(crate) patience: Patience,
}

impl<'a> Journey<'a> {
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        client: &'a Rc<Client>,
        open: &'a Open,
        host: &'a str,
        trace: &'a Trace,
    ) -> Self {
        Self {
            worker,
            client,
            open,
            host,
            trace,
            turn: None,
            last: None,
            started: Instant::now(),
            patience: Patience::default(),
        }
    }

    pub(crate) async fn run(
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
        let small = request.body().size_hint().exact();
        let small = small.is_some_and(|bytes| bytes <= SMALL_BODY_BYTES) && on_upgrade.is_none();
        let way = Way {
            idempotent,
            silence: if small { Silence::Short } else { Silence::Long },
        };
        let mut resends = 0;
        loop {
            let mut flight = self.next_flight(request.headers()).await?;
            // A second try on the same endpoint, if the first was on a connection that had
            // been left open for too long. Where something failed, only a new one tells more.
            let mut fresh_only = !flight.endpoint.is_trusted();
            let lost = loop {
                let Some(mut connection) = self.connection(&flight.endpoint, fresh_only, way).await
                else {
                    break false;
                };
                match self
                    .attempt(&mut connection, request, progress.as_deref())
                    .await
                {
                    Attempt::Answered(response) => {
                        flight.succeeded();
                        return self.answered(response, flight, connection, on_upgrade);
                    }
                    Attempt::NotSent(unsent) => {
                        request = *unsent;
                        if !connection.reused {
                            flight.endpoint.suspect(self.worker.routing.now_ms());
                            break false;
                        }
                    }
                    Attempt::Lost { dead } => {
                        if dead {
                            flight.endpoint.suspect(self.worker.routing.now_ms());
                        }
                        // Several replicas may have been on a machine that died, which says
                        // nothing of what the request does to an app.
                        let again = spare.as_ref().filter(|_| dead || resends < MAX_RESENDS);
                        let Some(again) = again else {
                            return Err(self.failed(Refusal::BadAnswer));
                        };
                        resends += u32::from(!dead);
                        request = again.request();
                        if dead || !connection.reused {
                            break true;
                        }
                        self.trace.is_tried();
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
            self.patience.tried.push(flight.endpoint.address);
        }
    }

    async fn connection(
        &self,
        endpoint: &Arc<Endpoint>,
        fresh_only: bool,
        way: Way,
    ) -> Option<UpstreamConnection> {
        let limits = &self.worker.limits;
        let max_age = if way.idempotent {
            limits.upstream_idle_timeout
        } else {
            limits.fresh_for_unsafe
        };
        let pool = self.worker.pool();
        if !fresh_only && let Some(pooled) = pool.take(endpoint, way.silence, millis(max_age)) {
            return Some(pooled);
        }
        let connecting = connect_http(endpoint.address, limits, way.silence);
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
                None => Attempt::Lost {
                    dead: is_silence(failure.error()),
                },
            },
        }
    }

    fn count(&self, service: &Service, status: StatusCode) {
        if !self.client.is_ourselves() {
            service.count_answer(status, self.started.elapsed());
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
            self.count(&service, response.status());
            return Ok(Forwarded {
                response,
                service: Some(service),
            });
        }
        self.count(&service, response.status());
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
        let (mut head, _) = response.into_parts();
        let protocol = head.headers.get(UPGRADE).cloned();
        let ends = Ends {
            client: client_side,
            upstream: upstream_side,
            is_websocket: protocol
                .as_ref()
                .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket")),
        };
        tunnel::join(self.worker, ends, flight, connection, self.open.clone());
        strip_hop_by_hop(&mut head.headers);
        set_upgrade(
            &mut head.headers,
            protocol.unwrap_or_else(|| HeaderValue::from_static("websocket")),
        );
        Response::from_parts(head, ResponseBody::empty())
    }

    pub(crate) fn failed(&self, refusal: Refusal) -> Failure {
        Failure {
            refusal,
            service: self.last.clone(),
        }
    }
}

/// Whether a connection ended because nothing came back from the other machine.
fn is_silence(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return matches!(
                inner.kind(),
                io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            );
        }
        cause = inner.source();
    }
    false
}
