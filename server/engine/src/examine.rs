//! Why a task is not well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::BytesMut;
use flukedeploy_platform::ports::{EngineError, ReplicaFailure, Task};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{encode, query};
use crate::engine::Inner;
use crate::error::absent_is_none;
use crate::labels::SWARM_SERVICE;
use crate::logs::{Channel, take_frame};
use crate::services::instant;

const LAST_LINES: usize = 20;
/// Longest line passed on, in bytes.
const MAX_LINE: usize = 4 * 1024;
/// Most bytes of log that are looked at.
const MAX_LOG: usize = 2 * 1024 * 1024;
/// Largest table of sockets that is looked at.
const MAX_TABLE: u64 = 1024 * 1024;
/// Exit code of what was ended by SIGKILL.
const KILLED: i64 = 137;
/// How much later than a process's end the engine may hear of the cause.
const LATE: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    exit_code: i64,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(default)]
    pid: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    system_time: String,
}

impl Inner {
    /// A container of another node cannot be looked at from here; its log can.
    pub(crate) async fn examine(&self, task: &Task) -> Result<ReplicaFailure, EngineError> {
        let mut failure = ReplicaFailure {
            exit_code: task.exit_code,
            ..ReplicaFailure::default()
        };
        let Some(id) = task
            .container_id
            .as_deref()
            .filter(|id| is_container_id(id))
        else {
            return Ok(failure);
        };
        let doing = format!("examining a replica of {}", task.service);
        let path = format!("/containers/{id}/json");
        let reading = self.client.get::<Container>(&path);
        let container = absent_is_none(self.client.call(&doing, reading).await)?;
        let logs = match container {
            Some(Container { state }) => {
                failure.oom_killed = state.oom_killed;
                if !state.running {
                    failure.exit_code = Some(state.exit_code);
                } else if self.client.is_local() {
                    failure.listening_ports = listening_ports(id, state.pid);
                }
                format!("/containers/{id}/logs")
            }
            None => format!("/tasks/{}/logs", encode(&task.id)),
        };
        if !failure.oom_killed {
            let of_container = json!({"event": ["oom"], "container": [id]});
            failure.oom_killed = self.has_happened(&doing, &of_container).await;
        }
        if !failure.oom_killed && failure.exit_code == Some(KILLED) {
            // The news of an end and of its cause come to the engine by different ways; and what
            // takes too much in its very first moments can slip past its watch. Other replicas of
            // the release have the same limit.
            tokio::time::sleep(LATE).await;
            let label = format!("{SWARM_SERVICE}={}", task.service);
            let of_service = json!({"event": ["oom"], "label": [label]});
            failure.oom_killed = self.has_happened(&doing, &of_service).await;
        }
        // The rest is worth telling without them.
        match self.last_lines(&doing, &logs).await {
            Ok(lines) => failure.last_lines = lines,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot read the last lines"
                );
            }
        }
        Ok(failure)
    }

    /// Whether the engine remembers such an event; it keeps the last 256. That the kernel ended a
    /// process for its memory shows here even of a process beside the first, and of a container
    /// that Swarm has removed. An exit code of 137 is no proof: anybody may kill.
    async fn has_happened(&self, doing: &str, filters: &Value) -> bool {
        let filters = filters.to_string();
        let reading = async {
            // Until the engine's own present: what it remembers, and not to wait for more.
            let about: About = self.client.get("/info").await?;
            let until = unix_time(&about.system_time)
                .ok_or_else(|| std::io::Error::other("the engine does not tell the time"))?;
            let pairs = [
                ("since", "0"),
                ("until", until.as_str()),
                ("filters", filters.as_str()),
            ];
            let mut body = self
                .client
                .stream(&format!("/events{}", query(&pairs)))
                .await?;
            let first = body.frame().await.transpose()?;
            Ok(first.is_some_and(|frame| frame.is_data()))
        };
        match self.client.call(doing, reading).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot look for events"
                );
                false
            }
        }
    }

    async fn last_lines(&self, doing: &str, path: &str) -> Result<Vec<String>, EngineError> {
        let tail = LAST_LINES.to_string();
        let path = format!(
            "{path}{}",
            query(&[("stdout", "1"), ("stderr", "1"), ("tail", &tail)])
        );
        let reading = async {
            let mut body = self.client.stream(&path).await?;
            let mut buffer = BytesMut::new();
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    buffer.extend_from_slice(&data);
                }
                while let Some(frame) = take_frame(&mut buffer).map_err(std::io::Error::other)? {
                    if frame.channel != Channel::System {
                        text.extend_from_slice(&frame.payload);
                    }
                }
                if text.len() > MAX_LOG {
                    break;
                }
            }
            Ok(text)
        };
        Ok(split(&self.client.call(doing, reading).await?))
    }
}

/// As the engine's filters want it: `<seconds>.<nanoseconds>`.
fn unix_time(text: &str) -> Option<String> {
    let at = instant(text)?;
    Some(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()))
}

fn split(text: &[u8]) -> Vec<String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]).into_owned()
        })
        .collect()
}

fn is_container_id(id: &str) -> bool {
    id.len() >= 12 && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Ports others can reach, read from the kernel's tables of the container's network namespace.
/// Empty where they cannot be read.
fn listening_ports(container: &str, pid: i32) -> Vec<u16> {
    // A process id is only worth something in the engine's own namespace: when we run in a
    // container ourselves, it names somebody else.
    let is_its_process = pid > 0
        && read_limited(&format!("/proc/{pid}/cgroup"))
            .is_some_and(|text| text.contains(container));
    if !is_its_process {
        return Vec::new();
    }
    let mut ports: Vec<u16> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| read_limited(&format!("/proc/{pid}/net/{table}")))
        .flat_map(|table| listeners(&table))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn read_limited(path: &str) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .ok()?
        .take(MAX_TABLE)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Sockets in state LISTEN that are bound to more than loopback (where Docker's DNS listens too).
fn listeners(table: &str) -> Vec<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
            let (address, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            (state == "0A" && !kernel_address(address)?.is_loopback()).then_some(port)
        })
        .collect()
}

/// The kernel prints an address as 32-bit words in the machine's byte order.
fn kernel_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_reachable_listeners_count() {
        let tcp = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:A3D5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0500010A:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4
   4: 0500010A:0BB9 0600010A:0050 01 00000000:00000000 00:00000000 00000000     0        0 5
";
        assert_eq!(listeners(tcp), [8080, 3000]);
        let tcp6 = "\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A
   2: 0000000000000000FFFF00000100007F:0BBA 00000000000000000000000000000000:0000 0A
";
        assert_eq!(listeners(tcp6), [3000]);
        assert!(listeners("nonsense\nmore nonsense\n").is_empty());
    }

    #[test]
    fn the_last_lines_are_split_and_limited() {
        let text = (0..30).map(|number| format!("line {number}\r\n"));
        let text = text.collect::<Vec<_>>().concat();
        let lines = split(text.as_bytes());
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[19].as_str()),
            (20, "line 10", "line 29")
        );
        assert!(split(b"").is_empty());
        assert_eq!(split(&vec![b'x'; 10_000])[0].len(), MAX_LINE);
    }

    #[test]
    fn the_engines_time_becomes_what_its_filters_take() {
        let time = |text: &str| unix_time(text);
        assert_eq!(
            time("2024-05-01T12:20:30.000456789+02:00").as_deref(),
            Some("1714558830.000456789")
        );
        assert_eq!(time("soon"), None);
    }

    #[test]
    fn only_container_ids_get_into_paths() {
        assert!(is_container_id(&"a".repeat(64)));
        for bad in ["", "../x", "abc", &"g".repeat(64)] {
            assert!(!is_container_id(bad), "{bad}");
        }
    }
}
