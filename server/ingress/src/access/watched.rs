//! One request that is watched until it has ended.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flukedeploy_domain::request_record::{AccessRule, MAX_AGENT_BYTES, MAX_PATH_BYTES};
use http::header::USER_AGENT;
use http::{HeaderValue, Method, StatusCode, Uri, request};

use super::Note;
use crate::answer::Refusal;
use crate::client::Client;
use crate::config::millis;
use crate::service::Service;
use crate::worker::Worker;

/// The app had begun to answer, and did not go on.
const BROKE_OFF: &str = "answer_broke_off";

/// Where a request has been so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    upstream: Cell<Option<SocketAddr>>,
    tries: Cell<u32>,
}

impl Trace {
    pub(crate) fn goes_to(&self, upstream: SocketAddr) {
        self.upstream.set(Some(upstream));
        self.is_tried();
    }

    /// Again, at the same replica.
    pub(crate) fn is_tried(&self) {
        self.tries.set(self.tries.get() + 1);
    }
}

/// Dropped when the request has ended, however it did; then it is written down, if it is to be.
#[derive(Debug)]
pub(crate) struct Watched {
    worker: Rc<Worker>,
    rule: AccessRule,
    host: String,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    client: HeaderValue,
    request_id: HeaderValue,
    started: Instant,
    answer: Option<Answer>,
    bytes_out: u64,
    broke_off: bool,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    after: Duration,
    service: Option<Arc<Service>>,
    upstream: Option<SocketAddr>,
    retries: u32,
    refusal: Option<Refusal>,
}

impl Watched {
    /// `None`: nobody wants to be told of requests to this host.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        client: &Client,
        host: &str,
        head: &request::Parts,
        request_id: &HeaderValue,
    ) -> Option<Box<Self>> {
        if client.is_ourselves() {
            return None;
        }
        let rule = worker.routing.access_rule(host)?;
        Some(Box::new(Self {
            worker: worker.clone(),
            rule,
            host: host.to_owned(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            user_agent: head.headers.get(USER_AGENT).cloned(),
            client: client.address.clone(),
            request_id: request_id.clone(),
            started: Instant::now(),
            answer: None,
            bytes_out: 0,
            broke_off: false,
        }))
    }

    /// The answer begins. `refusal`: it is the ingress's own.
    pub(crate) fn answered(
        &mut self,
        status: StatusCode,
        service: Option<&Arc<Service>>,
        refusal: Option<Refusal>,
        trace: &Trace,
    ) {
        self.answer = Some(Answer {
            status,
            after: self.started.elapsed(),
            service: service.cloned(),
            upstream: trace.upstream.get(),
            retries: trace.tries.get().saturating_sub(1),
            refusal,
        });
    }

    /// So many bytes of its body go out.
    pub(crate) fn passes(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    pub(crate) fn breaks_off(&mut self) {
        self.broke_off = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let answer = self.answer.take();
        let waited = answer.as_ref().map_or(took, |answer| answer.after);
        let slow_ms = u64::from(self.rule.slow_ms);
        let slow = slow_ms > 0 && millis(waited) >= slow_ms;
        let failed = self.broke_off
            || answer
                .as_ref()
                .is_some_and(|answer| answer.status.is_server_error());
        let trouble = failed || slow;
        if !trouble && !self.worker.chance(self.rule.sample_permille) {
            return;
        }
        // The app may have gone meanwhile.
        let Some(target) = self.worker.routing.target(&self.host) else {
            return;
        };
        let notebook = self.worker.notebook();
        if trouble && !notebook.has_room_for_trouble(&target, self.worker.now_ms()) {
            return;
        }
        let error_code = if self.broke_off {
            Some(BROKE_OFF)
        } else {
            let refusal = answer.as_ref().and_then(|answer| answer.refusal);
            refusal.map(Refusal::code)
        };
        let path = self.uri.path();
        let path = &path[..path.floor_char_boundary(2 * MAX_PATH_BYTES)];
        let agent = self.user_agent.as_ref().map(|agent| {
            let agent = agent.as_bytes();
            agent[..agent.len().min(MAX_AGENT_BYTES)].into()
        });
        let note = Note {
            ended_at_ms: now_at_ms(),
            target,
            upstream: answer.as_ref().and_then(|answer| answer.upstream),
            method: self.method.clone(),
            path: path.into(),
            status: answer.as_ref().map(|answer| answer.status),
            duration_ms: millis(took),
            first_byte_ms: answer.as_ref().map(|answer| millis(answer.after)),
            bytes_out: self.bytes_out,
            client: self.client.clone(),
            user_agent: agent,
            request_id: self.request_id.as_bytes().into(),
            retries: answer.as_ref().map_or(0, |answer| answer.retries),
            slow,
            error_code,
            service: answer.and_then(|answer| answer.service),
        };
        notebook.write(note, self.worker.routing.outbox());
    }
}

fn now_at_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}
