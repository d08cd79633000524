//! The log stream: one core's entries to a thousand subscribers, beside a plain server that flushes
//! each message.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::figures::{NOT_MEASURED, Report, spread};
use crate::images::{Images, Sample};
use crate::instance::{Instance, Options};

const SUBSCRIBERS: u32 = 1_000;
/// So many may share one token.
const OF_ONE_TOKEN: u32 = 250;
const ROUNDS: usize = 3;
const LINES: u32 = 4_000;
const DEAF: usize = 10;
const APP: &str = "stream";
const DEADLINE: Duration = Duration::from_mins(2);
/// A frame of at least so many bytes is an entry; control frames are shorter.
const ENTRY_BYTES: usize = 200;
/// Processors of the servers, and of those who listen.
const SERVERS: &str = "0";
const CLIENTS: &str = "1";

pub(super) async fn run(report: &mut Report) -> Result<()> {
    let mut instance = Instance::start("stream", Options::default()).await?;
    let api = instance.api();
    let images = Images::new(instance.docker.clone())?;
    let image = images.build(&Sample::version("quiet")).await?;
    api.create_app(APP, 1).await?;
    api.deploy_and_wait(APP, &image).await?;
    let server = instance.pid().context("the control plane runs")?;
    if !(pin(server, SERVERS).await && pin(std::process::id(), CLIENTS).await) {
        return report.line("log stream, 1,000 subscribers", NOT_MEASURED, "");
    }
    let mut tokens = Vec::new();
    for number in 0..SUBSCRIBERS.div_ceil(OF_ONE_TOKEN) {
        let wanted = json!({"name": format!("stream {number}"), "tier": "extended"});
        let token = api.post("/tokens", &wanted).await?.ok()?;
        tokens.push(token["token"].as_str().context("no token")?.to_owned());
    }
    let before = resident_kb(server)?;
    let (mut ours, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let listening = Listening::start(instance.stream_address(), &tokens).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = (resident_kb(server)? - before) / f64::from(SUBSCRIBERS);
    for round in 0..ROUNDS {
        let sample = Sample::version(&format!("loud-{round}")).logs_lines(LINES);
        let image = images.build(&sample).await?;
        let rate = rate_while(&listening, api.deploy_and_wait(APP, &image)).await?;
        ours.push(rate);
        let bytes = listening.counted.entry_bytes();
        let by_peer = flushing_each(bytes).await?;
        peers.push(by_peer);
        ratios.push(rate / by_peer);
    }
    let used = (resident_kb(server)? - before) / f64::from(SUBSCRIBERS);
    let bytes = listening.counted.entry_bytes();
    let notices = listening.counted.notices.load(Ordering::Relaxed);
    report.line(
        "log stream, 1,000 subscribers, one core",
        &format!("{} M/s, frames of {bytes} B", spread(&mut ours)),
        ">= 1.5 M deliveries/s",
    )?;
    let figure = format!("{} M/s", spread(&mut peers));
    report.line("plain server that flushes each", &figure, "")?;
    let figure = format!("{} ({notices} gap notices)", spread(&mut ratios));
    report.line("ratio", &figure, "")?;
    let figure = format!("{idle:.1} KB, {used:.1} KB after bursts");
    report.line("memory per idle subscriber", &figure, "<= 32 KB")?;

    // Some who read nothing, beside the others.
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        deaf.push(
            open(instance.stream_address(), Some(&instance.token))
                .await?
                .0,
        );
    }
    let sample = Sample::version("loud-deaf").logs_lines(LINES);
    let image = images.build(&sample).await?;
    let rate = rate_while(&listening, api.deploy_and_wait(APP, &image)).await?;
    let median = ours[ours.len() / 2];
    let figure = format!("{rate:.2} M/s, {:.2} of the above", rate / median);
    report.line("the same beside 10 who never read", &figure, ">= 0.9")?;
    drop((deaf, listening));
    pin(std::process::id(), "0-63").await;
    instance.stop().await?;
    instance.finish().await
}

/// Millions of entries per second while something makes them.
async fn rate_while<T>(
    listening: &Listening,
    work: impl Future<Output = Result<T>>,
) -> Result<f64> {
    let (rate, done) = tokio::join!(listening.counted.rate(), work);
    done?;
    rate
}

/// Whether a process runs on these processors alone from now on.
async fn pin(pid: u32, processors: &str) -> bool {
    let pinned = Command::new("taskset")
        .args(["-a", "-c", "-p", processors])
        .arg(pid.to_string())
        .stdout(Stdio::null())
        .status()
        .await;
    pinned.is_ok_and(|status| status.success())
}

fn resident_kb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmRSS")?.parse()?)
}

/// Deliveries per second, in millions, of the peer: every message is written and flushed to each.
async fn flushing_each(bytes: usize) -> Result<f64> {
    let mut peer = Peer::start().await?;
    let listening = Listening::start(peer.address, &[String::new()]).await?;
    peer.send(LINES, bytes).await?;
    let rate = listening.counted.rate().await;
    peer.child.kill().await?;
    rate
}

struct Peer {
    child: Child,
    input: ChildStdin,
    address: SocketAddr,
}

impl Peer {
    async fn start() -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("stream-peer");
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting stream-peer")?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let address = BufReader::new(output).lines().next_line().await?;
        let address = address.context("no address")?.parse()?;
        let pid = child.id().context("the peer runs")?;
        ensure!(pin(pid, SERVERS).await, "the peer could not be pinned");
        Ok(Self {
            child,
            input,
            address,
        })
    }

    async fn send(&mut self, count: u32, bytes: usize) -> Result<()> {
        let wanted = format!("{count} {bytes}\n");
        self.input.write_all(wanted.as_bytes()).await?;
        Ok(self.input.flush().await?)
    }
}

#[derive(Default)]
struct Counted {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Frames that are no entries.
    notices: AtomicU64,
}

impl Counted {
    fn entry_bytes(&self) -> usize {
        let entries = self.entries.load(Ordering::Relaxed).max(1);
        usize::try_from(self.bytes.load(Ordering::Relaxed) / entries).unwrap_or(0)
    }

    /// Millions of entries per second, between a twentieth and nineteen of all that will come.
    async fn rate(&self) -> Result<f64> {
        let began = Instant::now();
        let at_first = self.entries.load(Ordering::Relaxed);
        let all = u64::from(LINES) * u64::from(SUBSCRIBERS);
        let mut start = None;
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let count = self.entries.load(Ordering::Relaxed) - at_first;
            match start {
                None if count >= all / 20 => start = Some((Instant::now(), count)),
                Some((started, before)) if count >= all / 20 * 19 => {
                    let took = Instant::now().duration_since(started).as_secs_f64();
                    let count = u32::try_from(count - before)?;
                    return Ok(f64::from(count) / took / 1e6);
                }
                _ if began.elapsed() > DEADLINE => bail!("{count} of {all} entries came"),
                _ => {}
            }
        }
    }
}

/// Those who listen, all in this process.
struct Listening {
    counted: Arc<Counted>,
    _tasks: JoinSet<()>,
}

impl Listening {
    async fn start(address: SocketAddr, tokens: &[String]) -> Result<Self> {
        let counted = Arc::new(Counted::default());
        let mut tasks = JoinSet::new();
        for number in 0..SUBSCRIBERS {
            let of_one = usize::try_from(number / OF_ONE_TOKEN)?;
            let token = tokens.get(of_one).filter(|token| !token.is_empty());
            let (stream, rest) = open(address, token.map(String::as_str)).await?;
            tasks.spawn(count(stream, rest, Arc::clone(&counted)));
        }
        Ok(Self {
            counted,
            _tasks: tasks,
        })
    }
}

/// A WebSocket by hand: reading must cost nearly nothing. Also what came behind the handshake.
async fn open(address: SocketAddr, token: Option<&str>) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await?;
    let token = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{token}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            ensure!(answer.starts_with(b"HTTP/1.1 101"), "no WebSocket");
            return Ok((stream, answer.split_off(end + 4)));
        }
        ensure!(stream.read_buf(&mut answer).await? > 0, "it hung up");
    }
}

async fn count(mut stream: TcpStream, first: Vec<u8>, counted: Arc<Counted>) {
    let mut frames = Frames::default();
    frames.read(&first, &counted);
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        frames.read(&buffer[..read], &counted);
    }
}

/// Counts a server's frames (RFC 6455 section 5.2), which are not masked.
#[derive(Default)]
struct Frames {
    header: [u8; 10],
    has: usize,
    /// Of the payload, which is not looked at.
    left: usize,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], counted: &Counted) {
        let (mut entries, mut size, mut notices) = (0, 0, 0);
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            self.header[self.has] = *byte;
            self.has += 1;
            bytes = rest;
            let Some(length) = self.length() else {
                continue;
            };
            self.has = 0;
            self.left = length;
            if self.header[0] & 0x0f != 1 {
                continue;
            }
            if length >= ENTRY_BYTES {
                entries += 1;
                size += length as u64;
            } else {
                notices += 1;
            }
        }
        counted.entries.fetch_add(entries, Ordering::Relaxed);
        counted.bytes.fetch_add(size, Ordering::Relaxed);
        counted.notices.fetch_add(notices, Ordering::Relaxed);
    }

    /// Of the payload, once the header is here.
    fn length(&self) -> Option<usize> {
        let header = &self.header[..self.has];
        match (header.get(1)?, header.len()) {
            (127, 10) => {
                let bytes = header[2..10].try_into().unwrap_or_default();
                Some(usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX))
            }
            (126, 4) => Some(usize::from(u16::from_be_bytes([header[2], header[3]]))),
            (126 | 127, _) => None,
            (short, _) => Some(usize::from(*short)),
        }
    }
}
