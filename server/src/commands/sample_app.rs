//! `flukedeploy sample-app`: a small web app that can be well or ill on request, to try things
//! on. Set by environment variables, as deployed apps are.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// File in the data directory that names who started on it.
const STARTS: &str = "starts";
/// Longest text that it prints on request.
const MAX_SAID_BYTES: usize = 256 * 1024;

struct Sample {
    version: String,
    health: Health,
    /// Of a hundred requests for `/version`, so many are answered with 500.
    errors_percent: u64,
    /// How long `/version` takes.
    latency: Duration,
    /// Where it keeps what outlives it.
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Fails,
    Hangs,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &str) -> anyhow::Result<Option<T>> {
    variable(name)
        .map(|text| {
            text.parse()
                .map_err(|_| anyhow::anyhow!("{name} must be a number, not '{text}'"))
        })
        .transpose()
}

/// Takes so much memory, page by page, and keeps it.
fn eat(megabytes: usize) {
    let mut eaten = Vec::new();
    for _ in 0..megabytes {
        let mut block = vec![0_u8; 1024 * 1024];
        for page in block.chunks_mut(4096) {
            page[0] = 1;
        }
        eaten.push(block);
    }
    std::mem::forget(eaten);
}

pub fn run() -> anyhow::Result<ExitCode> {
    if let Some(code) = number::<u8>("SAMPLE_EXIT_CODE")? {
        eprintln!("ERROR the sample app was told to end with code {code}");
        return Ok(ExitCode::from(code));
    }
    let port = match number::<u16>("SAMPLE_LISTEN_PORT")? {
        Some(port) => port,
        None => number("PORT")?.unwrap_or(8080),
    };
    let sample = Sample {
        version: variable("SAMPLE_VERSION").unwrap_or_else(|| "1".to_owned()),
        health: match variable("SAMPLE_HEALTH").as_deref() {
            None | Some("ok") => Health::Well,
            Some("fail") => Health::Fails,
            Some("hang") => Health::Hangs,
            Some(other) => anyhow::bail!("SAMPLE_HEALTH must be ok, fail or hang, not '{other}'"),
        },
        errors_percent: number("SAMPLE_ERROR_PERCENT")?.unwrap_or(0),
        latency: Duration::from_millis(number("SAMPLE_LATENCY_MS")?.unwrap_or(0)),
        data_dir: variable("SAMPLE_DATA_DIR").map(PathBuf::from),
    };
    if let Some(dir) = &sample.data_dir {
        // Who started on this volume, in order.
        let mut starts = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(STARTS))
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        writeln!(starts, "{}", sample.version)?;
    }
    if let Some(megabytes) = number::<usize>("SAMPLE_EAT_MEMORY_MB")? {
        eat(megabytes);
    }
    if let Some(ms) = number("SAMPLE_CRASH_AFTER_MS")? {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(ms));
            eprintln!("ERROR the sample app was told to end after {ms} ms");
            std::process::exit(1);
        });
    }
    let drains = match variable("SAMPLE_ON_TERM").as_deref() {
        None | Some("exit") => false,
        Some("drain") => true,
        Some(other) => anyhow::bail!("SAMPLE_ON_TERM must be exit or drain, not '{other}'"),
    };
    let delay = Duration::from_millis(number("SAMPLE_START_DELAY_MS")?.unwrap_or(0));
    let mut lines: u64 = number("SAMPLE_LOG_LINES")?.unwrap_or(0);
    if let Some(rate) = number("SAMPLE_LOG_RATE")? {
        let after = Duration::from_millis(number("SAMPLE_LOG_AFTER_MS")?.unwrap_or(0));
        let count = std::mem::take(&mut lines);
        std::thread::spawn(move || print(count, rate, after));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(sample, port, drains, delay, lines))
}

/// Prints lines, so many a second, while requests are answered.
fn print(lines: u64, rate: u64, after: Duration) {
    std::thread::sleep(after);
    let begun = Instant::now();
    let mut printed = 0;
    let mut text = Vec::new();
    while printed < lines {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = lines.min(ms.saturating_mul(rate) / 1_000);
        text.clear();
        for line in printed + 1..=due {
            let _ = writeln!(text, "line {line} of {lines}");
        }
        printed = due;
        let _ = std::io::stdout().write_all(&text);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[expect(clippy::print_stdout, reason = "an app's log is its standard output")]
async fn serve(
    sample: Sample,
    port: u16,
    drains: bool,
    delay: Duration,
    lines: u64,
) -> anyhow::Result<ExitCode> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::time::sleep(delay).await;
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?
        .tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
    println!("sample app {} listens on port {port}", sample.version);
    for line in 1..=lines {
        println!("line {line} of {lines}");
    }
    let asked = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if drains {
        axum::serve(listener, router(sample))
            .with_graceful_shutdown(asked)
            .await?;
    } else {
        // Ends at once, in the middle of whatever it does: the rudest app there is.
        tokio::select! {
            result = axum::serve(listener, router(sample)) => result?,
            () = asked => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn router(sample: Sample) -> Router {
    let health = sample.health;
    let version = sample.version;
    let plain = version.clone();
    let (errors_percent, latency) = (sample.errors_percent, sample.latency);
    let count = Arc::new(AtomicU64::new(0));
    let starts = sample.data_dir.map(|dir| dir.join(STARTS));
    Router::new()
        .route(
            "/data",
            get(move || async move {
                match starts.map(std::fs::read_to_string) {
                    Some(Ok(text)) => text.into_response(),
                    Some(Err(_)) | None => StatusCode::NOT_FOUND.into_response(),
                }
            }),
        )
        .route(
            "/",
            get(move |headers: HeaderMap| async move { front_page(&headers, &version) }),
        )
        .route(
            "/version",
            get(move || {
                let turn = count.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(latency).await;
                    // Evenly spread: the hundredth part of a hundred in a row.
                    let fails = turn * errors_percent / 100 != (turn + 1) * errors_percent / 100;
                    if fails {
                        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
                    }
                    plain.into_response()
                }
            }),
        )
        .route(
            "/health",
            get(move || async move {
                match health {
                    Health::Well => (StatusCode::OK, "ok"),
                    Health::Fails => (StatusCode::INTERNAL_SERVER_ERROR, "told to fail"),
                    Health::Hangs => std::future::pending().await,
                }
            }),
        )
        // Something to look for in the log.
        .route(
            "/say",
            post(|words: axum::body::Bytes| async move {
                let mut out = std::io::stdout().lock();
                let said = out.write_all(&words).and_then(|()| out.write_all(b"\n"));
                match said.and_then(|()| out.flush()) {
                    Ok(()) => StatusCode::NO_CONTENT,
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
                }
            })
            .layer(DefaultBodyLimit::max(MAX_SAID_BYTES)),
        )
        .route(
            "/ws",
            get(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move {
                    while let Some(Ok(message)) = socket.recv().await {
                        let echo = matches!(message, Message::Text(_) | Message::Binary(_));
                        if echo && socket.send(message).await.is_err() {
                            return;
                        }
                    }
                })
            }),
        )
}

/// A page for browsers, the bare version for everyone else.
fn front_page(headers: &HeaderMap, version: &str) -> Response {
    let wants_page = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !wants_page {
        return version.to_owned().into_response();
    }
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width,initial-scale=1'>\
         <title>Sample app {version}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;display:grid;place-content:center;\
         min-height:100vh;margin:0;color:#1d2733;background:#f6f8fa}}main{{max-width:34rem;padding:2rem}}\
         h1{{margin:0 0 .5rem}}@media(prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}}}</style>\
         <main><h1>It works</h1><p>This is the sample app, version <b>{version}</b>, answered by replica \
         <code>{host}</code>.</p><p>Deploy it again with another <code>SAMPLE_VERSION</code>, or with \
         <code>SAMPLE_HEALTH=fail</code> to see what a failure looks like.</p></main></html>",
        version = escape(version),
        host = escape(&host),
    ))
    .into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
