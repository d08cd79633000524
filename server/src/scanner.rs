//! An image scanner that the operator has installed: trivy or grype, run as a child process with an
//! argument list, for a bounded time and a bounded output.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::names::quoted;
use flukedeploy_platform::ports::{InspectError, Inspector, ScanReport};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// How long one scan may take. The first one also fetches the scanner's database.
const TIME_LIMIT: Duration = Duration::from_mins(5);
/// Longest report, in bytes.
const MAX_REPORT: usize = 64 * 1024 * 1024;
/// What is kept of what it says beside the report, in bytes.
const MAX_WORDS: usize = 4 * 1024;
/// Most words of the configured command.
const MAX_ARGUMENTS: usize = 32;
/// Findings that are named.
const WORST: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trivy,
    Grype,
}

/// What to run: a program and arguments of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerCommand {
    kind: Kind,
    program: PathBuf,
    arguments: Vec<String>,
}

impl FromStr for ScannerCommand {
    type Err = String;

    /// Split at white space; the program's file name says which scanner it is.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let program = PathBuf::from(words.next().unwrap_or_default());
        let name = program
            .file_name()
            .map(|name| name.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        let kind = if name.contains("trivy") {
            Kind::Trivy
        } else if name.contains("grype") {
            Kind::Grype
        } else {
            return Err(format!("must run trivy or grype, not {}", quoted(text)));
        };
        let arguments: Vec<String> = words.map(str::to_owned).collect();
        if arguments.len() > MAX_ARGUMENTS {
            return Err(format!("must have at most {MAX_ARGUMENTS} arguments"));
        }
        Ok(Self {
            kind,
            program,
            arguments,
        })
    }
}

/// Runs the configured scanner.
pub(crate) struct Scanner {
    command: ScannerCommand,
    /// Docker endpoint, where it is not the usual one.
    docker: Option<String>,
    /// Folder of Docker's client configuration, which holds credentials of registries.
    docker_config: Option<PathBuf>,
    time_limit: Duration,
}

impl Scanner {
    pub(crate) fn new(
        command: ScannerCommand,
        docker: Option<String>,
        registry_auth_file: Option<&Path>,
    ) -> Self {
        Self {
            command,
            docker,
            // Docker's clients know that file by its folder only.
            docker_config: registry_auth_file
                .filter(|file| file.file_name().is_some_and(|name| name == "config.json"))
                .and_then(Path::parent)
                .map(Path::to_path_buf),
            time_limit: TIME_LIMIT,
        }
    }

    fn name(&self) -> String {
        self.command.program.display().to_string()
    }

    fn failed(&self, message: impl AsRef<str>) -> InspectError {
        InspectError::Failed {
            program: self.name(),
            message: tame(message.as_ref(), 300),
        }
    }

    fn child(&self, image: &PinnedImage) -> Command {
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.arguments);
        match self.command.kind {
            Kind::Trivy => {
                command.args(["image", "--format", "json", "--quiet", &image.pinned]);
            }
            // An image id alone could be taken for a name.
            Kind::Grype if image.local_only => {
                command.args(["-o", "json", &format!("docker:{}", image.pinned)]);
            }
            Kind::Grype => {
                command.args(["-o", "json", &image.pinned]);
            }
        }
        // Our own secrets are none of its business.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FLUKEDEPLOY_") || text.starts_with("FLUKEBASE_") {
                command.env_remove(name);
            }
        }
        if let Some(docker) = &self.docker {
            command.env("DOCKER_HOST", docker);
        }
        if let Some(folder) = &self.docker_config {
            command.env("DOCKER_CONFIG", folder);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    async fn run(&self, image: &PinnedImage) -> Result<ScanReport, InspectError> {
        let not_run = |source| InspectError::NotRun {
            program: self.name(),
            source,
        };
        let mut child = self.child(image).spawn().map_err(not_run)?;
        let mut group = Group(child.id());
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.failed("it has no output"));
        };
        let (report, words) = tokio::try_join!(
            async {
                whole(stdout)
                    .await
                    .map_err(|error| self.failed(error.to_string()))
            },
            async { Ok(last_words(stderr).await) },
        )?;
        let status = child.wait().await.map_err(not_run)?;
        group.0 = None;
        let (kind, name) = (self.command.kind, self.name());
        let parsed = tokio::task::spawn_blocking(move || parse(kind, &name, &report))
            .await
            .map_err(|error| self.failed(error.to_string()))?;
        match parsed {
            Ok(report) if status.success() => Ok(report),
            // Both can be told to end with an error where they find something.
            Ok(report) if report.critical + report.high + report.other > 0 => Ok(report),
            Err(why) if status.success() => Err(self.failed(why)),
            Ok(_) | Err(_) => Err(self.failed(format!("{status}: {words}"))),
        }
    }
}

#[async_trait]
impl Inspector for Scanner {
    async fn scan(&self, image: &PinnedImage) -> Option<Result<ScanReport, InspectError>> {
        let result = tokio::time::timeout(self.time_limit, self.run(image)).await;
        Some(result.unwrap_or_else(|_| {
            Err(InspectError::TimedOut {
                program: self.name(),
                seconds: self.time_limit.as_secs(),
            })
        }))
    }
}

/// Ends what the scanner started too, unless it was waited for.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader.and_then(Pid::from_raw) {
            // Gone already is fine.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn whole(output: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut report = Vec::new();
    let limit = MAX_REPORT as u64 + 1;
    output.take(limit).read_to_end(&mut report).await?;
    if report.len() > MAX_REPORT {
        return Err(std::io::Error::other(format!(
            "its report has more than {} MiB",
            MAX_REPORT / 1024 / 1024
        )));
    }
    Ok(report)
}

/// The end of what it says, in one line.
async fn last_words(mut output: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0_u8; 4096]);
    while let Ok(count) = output.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > MAX_WORDS {
            kept.drain(..kept.len() - MAX_WORDS);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Other,
    High,
    Critical,
}

impl Severity {
    fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" => Self::High,
            _ => Self::Other,
        }
    }
}

struct Finding {
    severity: Severity,
    /// As the scanner says it.
    word: String,
    what: String,
}

/// A report that does not have the form is an error: it must never count as "nothing found".
fn parse(kind: Kind, program: &str, report: &[u8]) -> Result<ScanReport, String> {
    let findings = match kind {
        Kind::Trivy => trivy(report),
        Kind::Grype => grype(report),
    };
    let mut findings = findings.map_err(|error| format!("its report cannot be read: {error}"))?;
    let count = |severity| {
        let found = findings.iter().filter(|found| found.severity == severity);
        u32::try_from(found.count()).unwrap_or(u32::MAX)
    };
    let (critical, high, other) = (
        count(Severity::Critical),
        count(Severity::High),
        count(Severity::Other),
    );
    findings.sort_by_key(|found| Reverse(found.severity));
    let worst = findings.iter().take(WORST).map(|found| {
        let word = found.word.to_ascii_lowercase();
        tame(&format!("{} ({word})", found.what), 120)
    });
    Ok(ScanReport {
        scanner: Path::new(program).file_name().map_or_else(
            || program.to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ),
        critical,
        high,
        other,
        worst: worst.collect(),
    })
}

/// `trivy image --format json`, schema version 2.
fn trivy(report: &[u8]) -> serde_json::Result<Vec<Finding>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Report {
        #[serde(rename = "SchemaVersion")]
        _schema_version: u32,
        // Absent where there is nothing to look into.
        results: Option<Vec<Target>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Target {
        #[serde(rename = "Target", default)]
        name: String,
        vulnerabilities: Option<Vec<Vulnerability>>,
        secrets: Option<Vec<Leak>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Vulnerability {
        #[serde(rename = "VulnerabilityID")]
        id: String,
        #[serde(default)]
        pkg_name: String,
        #[serde(default)]
        installed_version: String,
        #[serde(default)]
        severity: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Leak {
        #[serde(default)]
        title: String,
        #[serde(default)]
        severity: String,
    }
    let report: Report = serde_json::from_slice(report)?;
    let mut findings = Vec::new();
    for target in report.results.into_iter().flatten() {
        for found in target.vulnerabilities.into_iter().flatten() {
            findings.push(Finding {
                severity: Severity::of(&found.severity),
                word: found.severity,
                what: format!(
                    "{} in {} {}",
                    found.id, found.pkg_name, found.installed_version
                ),
            });
        }
        for found in target.secrets.into_iter().flatten() {
            findings.push(Finding {
                severity: Severity::of(&found.severity),
                word: found.severity,
                what: format!("secret: {} in {}", found.title, target.name),
            });
        }
    }
    Ok(findings)
}

/// `grype -o json`.
fn grype(report: &[u8]) -> serde_json::Result<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Report {
        matches: Vec<Match>,
    }
    #[derive(Deserialize)]
    struct Match {
        vulnerability: Vulnerability,
        artifact: Artifact,
    }
    #[derive(Deserialize)]
    struct Vulnerability {
        id: String,
        #[serde(default)]
        severity: String,
    }
    #[derive(Deserialize)]
    struct Artifact {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
    }
    let report: Report = serde_json::from_slice(report)?;
    let findings = report.matches.into_iter().map(|found| {
        let Match {
            vulnerability: Vulnerability { id, severity },
            artifact: Artifact { name, version },
        } = found;
        Finding {
            severity: Severity::of(&severity),
            word: severity,
            what: format!("{id} in {name} {version}"),
        }
    });
    Ok(findings.collect())
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
