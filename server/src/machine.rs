//! Facts of the machine, from the kernel's own files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_platform::ports::{DiskFacts, Machine, MachineError, MachineFacts, Reach};
use serde_json::Value;

/// What finding an address and connecting may take together.
const REACH: Duration = Duration::from_secs(5);
const DOCKER_CONFIGURATION: &str = "/etc/docker/daemon.json";

/// This machine, if it is a Linux one.
pub(crate) struct LocalMachine {
    data_dir: PathBuf,
    /// Busy and all ticks of the processor at the last look.
    ticks: Arc<Mutex<Option<(u64, u64)>>>,
}

impl LocalMachine {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            ticks: Arc::default(),
        }
    }
}

#[async_trait]
impl Machine for LocalMachine {
    async fn facts(&self, places: &[String]) -> Result<MachineFacts, MachineError> {
        let mut all = vec![self.data_dir.clone()];
        all.extend(places.iter().map(PathBuf::from));
        let ticks = Arc::clone(&self.ticks);
        // A disk that hangs must not hold a worker.
        tokio::task::spawn_blocking(move || look(&all, &ticks))
            .await
            .map_err(|error| MachineError(error.to_string()))?
    }

    async fn reach(&self, host: &str, port: u16) -> Reach {
        let reaching = async {
            let Ok(found) = tokio::net::lookup_host((host, port)).await else {
                return Reach::Unknown;
            };
            for address in found {
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    return Reach::Connected;
                }
            }
            Reach::Silent
        };
        tokio::time::timeout(REACH, reaching)
            .await
            .unwrap_or(Reach::Silent)
    }
}

fn look(
    places: &[PathBuf],
    ticks: &Mutex<Option<(u64, u64)>>,
) -> Result<MachineFacts, MachineError> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| MachineError(format!("{path}: {error}")))
    };
    let memory = read("/proc/meminfo")?;
    let cpu = read("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let now = ticks_in(&read("/proc/stat")?);
    let before = ticks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(now);
    Ok(MachineFacts {
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        model: model_in(&cpu),
        cpu_percent: busy_percent(before.unwrap_or_default(), now),
        load: load_in(&read("/proc/loadavg")?),
        memory_total: kilobytes_of("MemTotal", &memory) * 1024,
        memory_available: kilobytes_of("MemAvailable", &memory) * 1024,
        disks: disks(places),
        listening: ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .flat_map(|path| listening_in(&read(path).unwrap_or_default()))
            .collect::<BTreeSet<u16>>()
            .into_iter()
            .collect(),
        log_rotation: std::fs::read_to_string(DOCKER_CONFIGURATION)
            .ok()
            .map(|text| rotates(&text)),
    })
}

/// Busy ticks and all of them.
fn ticks_in(stat: &str) -> (u64, u64) {
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        // Guests are counted in the user's already.
        .take(8)
        .filter_map(|word| word.parse().ok())
        .collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all.saturating_sub(idle), all)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than a float holds"
)]
fn busy_percent(before: (u64, u64), now: (u64, u64)) -> f64 {
    let (busy, all) = (
        now.0.saturating_sub(before.0),
        now.1.saturating_sub(before.1),
    );
    if all == 0 {
        return 0.0;
    }
    busy as f64 / all as f64 * 100.0
}

fn load_in(text: &str) -> [f64; 3] {
    let mut load = [0.0; 3];
    for (place, word) in load.iter_mut().zip(text.split_whitespace()) {
        *place = word.parse().unwrap_or(0.0);
    }
    load
}

fn kilobytes_of(name: &str, meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn model_in(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        .unwrap_or_default()
}

/// Local ports in the state LISTEN.
fn listening_in(table: &str) -> Vec<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_listening = *words.get(3)? == "0A";
            let port = words.get(1)?.rsplit_once(':')?.1;
            u16::from_str_radix(port, 16).ok().filter(|_| is_listening)
        })
        .collect()
}

fn rotates(configuration: &str) -> bool {
    let Ok(found) = serde_json::from_str::<Value>(configuration) else {
        return false;
    };
    found["log-driver"].is_string() && found["log-opts"]["max-size"].is_string()
}

/// Places on one disk are told once, under the first of them.
fn disks(places: &[PathBuf]) -> Vec<DiskFacts> {
    let mut seen = BTreeSet::new();
    let mut disks = Vec::new();
    for place in places {
        let Ok(found) = rustix::fs::statvfs(place) else {
            continue;
        };
        if !seen.insert((found.f_fsid, found.f_blocks)) {
            continue;
        }
        disks.push(DiskFacts {
            place: place.display().to_string(),
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
        });
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let before = ticks_in("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n");
        let now = ticks_in("cpu  150 0 150 750 150 0 0 0 50 0\n");
        assert_eq!((before, now), ((200, 1_000), (300, 1_200)));
        assert!((busy_percent(before, now) - 50.0).abs() < 0.01);
        let load = load_in("0.50 1.25 2.00 1/200 4").map(|one| (one * 100.0).round().to_string());
        assert_eq!(load, ["50", "125", "200"]);
        let memory = "MemTotal:       2048 kB\nMemAvailable:    512 kB\n";
        assert_eq!(kilobytes_of("MemAvailable", memory), 512);
        let table = "  sl local rem st\n 0: 00000000:0BB8 00000000:0000 0A 0\n \
                     1: 0100007F:1F90 0100007F:0001 01 0\n";
        assert_eq!(listening_in(table), [3_000]);
        assert!(rotates(
            r#"{"log-driver":"json-file","log-opts":{"max-size":"10m"}}"#
        ));
        assert!(!rotates(r#"{"log-driver":"json-file"}"#));
    }

    #[tokio::test]
    async fn this_machine_has_cores_memory_and_a_disk() {
        let machine = LocalMachine::new(Path::new("/tmp"));
        let facts = machine.facts(&["/".to_owned()]).await.unwrap();
        assert!(facts.cores > 0 && facts.memory_total > facts.memory_available);
        let disk = facts.fullest_disk().unwrap();
        assert!(disk.total > 0 && disk.used_percent() <= 100.0);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(machine.reach("127.0.0.1", port).await, Reach::Connected);
        drop(listener);
        assert_eq!(machine.reach("127.0.0.1", port).await, Reach::Silent);
    }
}
