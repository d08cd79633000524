//! The machine that the control plane runs on.

use async_trait::async_trait;
use thiserror::Error;

/// Facts of the machine itself, read without asking the engine.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// Load, memory and the disks of the data directory and of `places`. Takes milliseconds.
    ///
    /// # Errors
    /// [`MachineError`] where nothing could be read.
    async fn facts(&self, places: &[String]) -> Result<MachineFacts, MachineError>;

    /// Whether `host` has an address, and `port` there takes a connection. Takes seconds at most.
    async fn reach(&self, host: &str, port: u16) -> Reach;
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineFacts {
    pub cores: u32,
    /// Of the processor; empty where it is not told.
    pub model: String,
    /// Since the last look.
    pub cpu_percent: f64,
    /// Over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    pub memory_total: u64,
    /// What may be had without swapping.
    pub memory_available: u64,
    /// A disk that holds several places comes once.
    pub disks: Vec<DiskFacts>,
    /// TCP ports that are listened on.
    pub listening: Vec<u16>,
    /// Whether Docker's configuration file limits how large its log files get; `None`: there is no
    /// file that could be read.
    pub log_rotation: Option<bool>,
}

/// In bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFacts {
    pub place: String,
    pub total: u64,
    pub free: u64,
}

impl DiskFacts {
    pub fn used_percent(&self) -> f64 {
        percent(self.total.saturating_sub(self.free), self.total)
    }
}

impl MachineFacts {
    pub fn memory_percent(&self) -> f64 {
        let used = self.memory_total.saturating_sub(self.memory_available);
        percent(used, self.memory_total)
    }

    /// The disk that is full first.
    pub fn fullest_disk(&self) -> Option<&DiskFacts> {
        let percent = |disk: &&DiskFacts| disk.used_percent();
        self.disks
            .iter()
            .max_by(|a, b| percent(a).total_cmp(&percent(b)))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than a float holds"
)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64 * 100.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Connected,
    /// The name has no address.
    Unknown,
    /// Nobody takes the connection.
    Silent,
}

#[derive(Debug, Error)]
#[error("the machine cannot be looked at: {0}")]
pub struct MachineError(pub String);
