//! An open-loop load generator: requests start by the clock, whether earlier ones were answered or not,
//! and latency counts from the moment a request was due. A server that stalls therefore cannot hide the
//! stall by slowing the generator down.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// More open requests than this are not started but counted as failed.
const MOST_IN_FLIGHT: usize = 4_000;
const MOST_BODY_BYTES: usize = 64 * 1024;

/// What to send, and how fast.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    pub path: String,
    /// Half of them over connections that are kept, half over a new connection each.
    pub requests_per_second: u32,
    /// From the moment a request is due to the last byte of its answer.
    pub timeout: Duration,
}

impl LoadOptions {
    /// 400 requests a second for `/version` of `host`.
    pub fn new(address: SocketAddr, host: impl Into<String>) -> Self {
        Self {
            address,
            host: host.into(),
            path: "/version".to_owned(),
            requests_per_second: 400,
            timeout: Duration::from_secs(10),
        }
    }
}

/// One request that did not get a 2xx answer in time.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When the request was due, counted from the start of the load.
    pub due: Duration,
    pub kept_connection: bool,
    pub reason: String,
}

/// What became of every request that was due.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Requests that were due; each is either in `ok` or in `failed`.
    pub sent: usize,
    pub ok: usize,
    pub failed: Vec<Failure>,
    /// Answers with status 2xx by their body.
    pub by_version: BTreeMap<String, usize>,
    /// When a body was first and last answered, counted from the start of the load.
    pub seen: BTreeMap<String, (Duration, Duration)>,
    /// Kept connections that the server had closed before the request was written: as any client
    /// does, the request went out over another one.
    pub reopened: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub slowest: Duration,
    pub lasted: Duration,
}

impl LoadReport {
    pub fn requests_per_second(&self) -> f64 {
        let seconds = self.lasted.as_secs_f64();
        if seconds > 0.0 {
            f64::from(u32::try_from(self.sent).unwrap_or(u32::MAX)) / seconds
        } else {
            0.0
        }
    }

    /// An error that names the first failures, unless every request of a real load was answered.
    pub fn expect_no_failure(&self, least_per_second: f64) -> Result<()> {
        ensure!(
            self.failed.is_empty(),
            "{} of {} requests failed:\n{self}",
            self.failed.len(),
            self.sent
        );
        ensure!(
            self.requests_per_second() >= least_per_second,
            "the load was too small to prove anything: {self}"
        );
        Ok(())
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s ({:.0}/s): {} ok, {} failed; p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms; by answer {:?}; {} reopened",
            self.sent,
            self.lasted.as_secs_f64(),
            self.requests_per_second(),
            self.ok,
            self.failed.len(),
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.slowest.as_secs_f64() * 1e3,
            self.by_version,
            self.reopened,
        )?;
        for failure in self.failed.iter().take(20) {
            writeln!(
                f,
                "  at {:.3} s, {} connection: {}",
                failure.due.as_secs_f64(),
                if failure.kept_connection {
                    "kept"
                } else {
                    "new"
                },
                failure.reason
            )?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Tally {
    report: LoadReport,
    latencies: Vec<Duration>,
}

/// A running load, on a thread of its own so that a busy test does not slow it.
#[must_use = "a load runs until it is stopped"]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    started: Instant,
}

impl Load {
    pub fn start(options: LoadOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let thread = std::thread::spawn({
            let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
            move || generate(options, &stop, &tally)
        });
        Self {
            stop,
            tally,
            thread: Some(thread),
            started: Instant::now(),
        }
    }

    /// How often `version` was answered so far.
    pub fn answers(&self, version: &str) -> usize {
        let tally = lock(&self.tally);
        tally.report.by_version.get(version).copied().unwrap_or(0)
    }

    pub fn failures(&self) -> usize {
        lock(&self.tally).report.failed.len()
    }

    /// Waits until `version` is answered at least `times` more often than now.
    pub async fn wait_for_answers(
        &self,
        version: &str,
        times: usize,
        deadline: Duration,
    ) -> Result<()> {
        let goal = self.answers(version) + times;
        crate::wait::until(
            &format!("{times} answers of '{version}' under load"),
            deadline,
            || async { Ok((self.answers(version) >= goal).then_some(())) },
        )
        .await
        .with_context(|| format!("so far: {}", lock(&self.tally).report))
    }

    /// Starts no further request, waits for the open ones, and reports.
    pub async fn stop(mut self) -> Result<LoadReport> {
        let lasted = self.started.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was stopped already")?;
        match tokio::task::spawn_blocking(move || thread.join()).await? {
            Ok(outcome) => outcome.context("running the load generator")?,
            Err(_) => bail!("the load generator panicked"),
        }
        let mut tally = std::mem::take(&mut *lock(&self.tally));
        tally.latencies.sort_unstable();
        let mut report = tally.report;
        report.lasted = lasted;
        report.p50 = percentile(&tally.latencies, 50);
        report.p99 = percentile(&tally.latencies, 99);
        report.slowest = tally.latencies.last().copied().unwrap_or_default();
        report.failed.sort_by_key(|failure| failure.due);
        ensure!(
            report.ok + report.failed.len() == report.sent,
            "the load generator lost count: {report}"
        );
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn generate(
    options: LoadOptions,
    stop: &AtomicBool,
    tally: &Arc<Mutex<Tally>>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let client = Rc::new(Client {
            options,
            idle: RefCell::new(VecDeque::new()),
            open_requests: RefCell::new(0),
            started: tokio::time::Instant::now(),
            tally: Arc::clone(tally),
        });
        let interval = Duration::from_secs(1) / client.options.requests_per_second.max(1);
        let mut due = client.started;
        let mut kept = true;
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep_until(due).await;
            lock(tally).report.sent += 1;
            if *client.open_requests.borrow() >= MOST_IN_FLIGHT {
                client.fail(
                    due,
                    kept,
                    format!("not sent: {MOST_IN_FLIGHT} requests were open"),
                );
            } else {
                *client.open_requests.borrow_mut() += 1;
                tokio::task::spawn_local(Rc::clone(&client).request(due, kept));
            }
            due += interval;
            kept = !kept;
        }
        // Each open request ends by its own time-out at the latest.
        while *client.open_requests.borrow() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    Ok(())
}

struct Client {
    options: LoadOptions,
    idle: RefCell<VecDeque<SendRequest<Empty<Bytes>>>>,
    open_requests: RefCell<usize>,
    started: tokio::time::Instant,
    tally: Arc<Mutex<Tally>>,
}

impl Client {
    async fn request(self: Rc<Self>, due: tokio::time::Instant, kept: bool) {
        let deadline = due + self.options.timeout;
        let answer = tokio::time::timeout_at(deadline, self.exchange(kept)).await;
        let latency = due.elapsed();
        *self.open_requests.borrow_mut() -= 1;
        match answer {
            Ok(Ok((status, body))) if status.is_success() => {
                let mut tally = lock(&self.tally);
                let at = due.duration_since(self.started) + latency;
                tally.latencies.push(latency);
                tally.report.ok += 1;
                let version = body.trim().to_owned();
                let (first, last) = tally.report.seen.entry(version.clone()).or_insert((at, at));
                *first = (*first).min(at);
                *last = (*last).max(at);
                *tally.report.by_version.entry(version).or_default() += 1;
            }
            Ok(Ok((status, body))) => {
                let start: String = body.chars().take(200).collect();
                self.fail(due, kept, format!("status {status}: {start}"));
            }
            Ok(Err(error)) => self.fail(due, kept, format!("{error:#}")),
            Err(_) => self.fail(
                due,
                kept,
                format!("no whole answer in {:?}", self.options.timeout),
            ),
        }
    }

    fn fail(&self, due: tokio::time::Instant, kept_connection: bool, reason: String) {
        lock(&self.tally).report.failed.push(Failure {
            due: due.duration_since(self.started),
            kept_connection,
            reason,
        });
    }

    async fn exchange(&self, kept: bool) -> Result<(StatusCode, String)> {
        let mut request = Request::get(self.options.path.as_str())
            .header(http::header::HOST, self.options.host.as_str());
        if !kept {
            request = request.header(http::header::CONNECTION, "close");
        }
        let mut request = request.body(Empty::new()).context("building the request")?;
        loop {
            let reused = kept.then(|| self.idle.borrow_mut().pop_front()).flatten();
            let is_reused = reused.is_some();
            let mut connection = match reused {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            if let Err(error) = connection.ready().await {
                ensure!(is_reused, "a new connection was closed at once: {error}");
                lock(&self.tally).report.reopened += 1;
                continue;
            }
            let response = match connection.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written, so sending it again is no second attempt.
                    Some(unsent) if is_reused => {
                        lock(&self.tally).report.reopened += 1;
                        request = unsent;
                        continue;
                    }
                    _ => return Err(error.into_error()).context("sending the request"),
                },
            };
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BODY_BYTES)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("reading the answer ({status}): {error}"))?
                .to_bytes();
            if kept && !connection.is_closed() {
                self.idle.borrow_mut().push_back(connection);
            }
            return Ok((status, String::from_utf8_lossy(&body).into_owned()));
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.options.address)
            .await
            .context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .context("connecting")?;
        // Whatever ends the connection also ends its request, which reports it.
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use http::Response;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// Serves `answer(n)` for the n-th request; `None` closes the connection instead.
    async fn server<F, Fut>(answer: F) -> SocketAddr
    where
        F: Fn(usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<(u16, &'static str)>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    assert_eq!(request.headers()[http::header::HOST], "app.localhost");
                    let answer = answer(count.fetch_add(1, Ordering::Relaxed));
                    async move {
                        match answer.await {
                            Some((status, body)) => Ok(Response::builder()
                                .status(status)
                                .body(Full::new(Bytes::from_static(body.as_bytes())))
                                .unwrap()),
                            None => Err("closing without an answer"),
                        }
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    async fn run(address: SocketAddr, lasting: Duration) -> LoadReport {
        let load = Load::start(LoadOptions {
            timeout: Duration::from_secs(2),
            ..LoadOptions::new(address, "app.localhost")
        });
        tokio::time::sleep(lasting).await;
        load.stop().await.unwrap()
    }

    #[tokio::test]
    async fn counts_every_answer_by_its_body() {
        let address = server(|n| async move { Some((200, if n < 100 { "v1" } else { "v2\n" })) });
        let report = run(address.await, Duration::from_secs(1)).await;
        report.expect_no_failure(300.0).unwrap();
        assert_eq!(report.by_version["v1"], 100);
        assert_eq!(report.by_version["v2"], report.sent - 100);
        assert!(report.seen["v2"].0 > Duration::from_millis(100), "{report}");
        assert!(report.p50 <= report.p99 && report.p99 <= report.slowest);
    }

    #[tokio::test]
    async fn counts_bad_statuses_and_closed_connections() {
        let address = server(|n| async move {
            match n % 10 {
                0 => Some((503, "no healthy task")),
                1 => None,
                _ => Some((200, "v1")),
            }
        });
        let report = run(address.await, Duration::from_secs(1)).await;
        assert!(report.expect_no_failure(1.0).is_err());
        let with = |text: &str| {
            let wanted = |failure: &&Failure| failure.reason.contains(text);
            report.failed.iter().filter(wanted).count()
        };
        let statuses = with("status 503 Service Unavailable: no healthy task");
        let closed = with("sending the request");
        assert_eq!(statuses + closed, report.failed.len(), "{report}");
        assert!(statuses.abs_diff(report.sent / 10) <= 1, "{report}");
        assert!(closed.abs_diff(report.sent / 10) <= 1, "{report}");
    }

    #[tokio::test]
    async fn nobody_listening_fails_every_request_on_schedule() {
        let port = crate::lease::Port::free().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        let report = run(address, Duration::from_secs(1)).await;
        assert_eq!(report.ok, 0);
        assert!(report.sent.abs_diff(400) < 40, "{report}");
        assert!(report.failed[0].reason.contains("connecting"), "{report}");
    }

    #[tokio::test]
    async fn a_stall_of_the_server_shows_in_the_latencies() {
        let started = Instant::now();
        let stalled = Duration::from_millis(400)..Duration::from_millis(800);
        let address = server(move |_| {
            let since = started.elapsed();
            let rest = stalled
                .contains(&since)
                .then(|| stalled.end.saturating_sub(since));
            async move {
                tokio::time::sleep(rest.unwrap_or_default()).await;
                Some((200, "v1"))
            }
        });
        let report = run(address.await, Duration::from_secs(1)).await;
        report.expect_no_failure(300.0).unwrap();
        // A closed loop would have met the stall with a handful of requests; two fifths of ours did.
        assert!(report.p99 > Duration::from_millis(300), "{report}");
        assert!(report.p50 < Duration::from_millis(300), "{report}");
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_a_failure() {
        let address = server(|_| std::future::pending::<Option<(u16, &'static str)>>());
        let report = run(address.await, Duration::from_millis(200)).await;
        assert_eq!(report.failed.len(), report.sent);
        assert!(report.failed[0].reason.contains("no whole answer"));
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
