use async_trait::async_trait;
use flukedeploy_domain::image::PinnedImage;
use thiserror::Error;

/// What looks at images from outside: scanners and signatures.
#[async_trait]
pub trait Inspector: Send + Sync + 'static {
    /// Runs the configured scanner on an image; `None` if none is configured.
    async fn scan(&self, image: &PinnedImage) -> Option<Result<ScanReport, InspectError>>;
}

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// Name of the program.
    pub scanner: String,
    pub critical: u32,
    pub high: u32,
    pub other: u32,
    /// The worst, at most ten: "CVE-2026-0001 in libx 1.2 (critical)".
    pub worst: Vec<String>,
}

#[derive(Debug, Error)]
pub enum InspectError {
    #[error("the scanner {program} could not be run")]
    NotRun {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the scanner {program} took longer than {seconds} s")]
    TimedOut { program: String, seconds: u64 },
    #[error("the scanner {program} failed: {message}")]
    Failed { program: String, message: String },
}
