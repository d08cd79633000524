//! What we need to run, made from what was typed. Reports every fault at once, before anything
//! starts.

mod provider;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use flukedeploy_domain::addresses::{AllowedAddresses, Networks};
use flukedeploy_domain::app::LogSettings;
use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_domain::flukebase::ProjectId;
use flukedeploy_domain::names::{Hostname, InstanceName};
use flukedeploy_platform::config::{FlukebaseConfig, LogsConfig, ProviderConfig, SessionsConfig};
use flukedeploy_platform::secret::Secret;

use crate::cli::Settings;
use crate::scanner::ScannerCommand;

/// Longest secret read from a file or variable, in bytes.
const MAX_SECRET: usize = 4096;

#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub stream_listen: SocketAddr,
    pub docker: Option<String>,
    pub http_port: u16,
    pub root_domain: Hostname,
    pub instance: InstanceName,
    pub public_url: String,
    pub registry_auth_file: Option<PathBuf>,
    pub build_registry: Option<String>,
    pub builds_at_once: usize,
    pub scanner: Option<ScannerCommand>,
    /// What repositories and webhooks may name beside the public internet.
    pub allowed_addresses: AllowedAddresses,
    /// The same as they were typed.
    allow_addresses: Vec<String>,
    /// Of a source archive as it comes in.
    pub max_source_bytes: u64,
    pub logs: LogsConfig,
    pub sessions: SessionsConfig,
    pub trusted_proxies: Networks,
    pub provider: Option<ProviderConfig>,
    pub flukebase: FlukebaseConfig,
    /// Left to others on the disk of the logs.
    pub log_min_free_bytes: u64,
    pub admin_password: Option<Secret>,
    pub api_token: Option<Secret>,
    pub hold_in_phase: Option<PhaseName>,
}

impl Config {
    /// Where the sign-in provider may be asked.
    pub(crate) fn provider_addresses(&self) -> AllowedAddresses {
        match &self.provider {
            Some(provider) => provider::reachable(provider, &self.allow_addresses),
            None => AllowedAddresses::default(),
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

impl Config {
    /// Reads settings, and secrets from `environment` (a look-up by name) or their files.
    ///
    /// # Errors
    /// [`Faults`], all of them.
    pub fn new(
        settings: &Settings,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let instance = take(&mut faults, settings.instance.parse::<InstanceName>());
        let root_domain = take(
            &mut faults,
            settings
                .root_domain
                .to_ascii_lowercase()
                .parse::<Hostname>(),
        );
        if settings.http_port == 0 {
            faults.push("--http-port must be 1 to 65535, not 0".to_owned());
        }
        if settings.https_port == 0 {
            faults.push("--https-port must be 1 to 65535, not 0".to_owned());
        }
        if settings.http_port == settings.https_port {
            faults.push("--http-port and --https-port must differ".to_owned());
        }
        if settings.listen == settings.stream_listen && settings.listen.port() != 0 {
            faults.push("--listen and --stream-listen must differ".to_owned());
        }
        if let Some(docker) = &settings.docker {
            let known = ["unix://", "tcp://", "http://"];
            if !known.iter().any(|scheme| docker.starts_with(scheme)) && !docker.starts_with('/') {
                faults.push(format!(
                    "--docker must start with unix://, tcp:// or http://, not {}",
                    flukedeploy_domain::names::quoted(docker)
                ));
            }
        }
        let admin_password = secret(
            &mut faults,
            environment("FLUKEDEPLOY_ADMIN_PASSWORD"),
            "FLUKEDEPLOY_ADMIN_PASSWORD",
            settings.admin_password_file.as_deref(),
        );
        let api_token = secret(
            &mut faults,
            environment("FLUKEDEPLOY_API_TOKEN"),
            "FLUKEDEPLOY_API_TOKEN",
            settings.api_token_file.as_deref(),
        );
        if api_token
            .as_ref()
            .is_some_and(|token| token.expose().len() < 16)
        {
            faults.push("FLUKEDEPLOY_API_TOKEN must have at least 16 characters".to_owned());
        }
        let public_url = settings
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", settings.listen))
            .trim_end_matches('/')
            .to_owned();
        if !public_url.starts_with("http://") && !public_url.starts_with("https://") {
            faults.push("--public-url must start with http:// or https://".to_owned());
        }
        if let Some(registry) = &settings.build_registry
            && format!("{registry}/app")
                .parse::<flukedeploy_domain::image::ImageRef>()
                .is_err()
        {
            faults.push(format!(
                "--build-registry must look like registry.example.com/team, not {}",
                flukedeploy_domain::names::quoted(registry)
            ));
        }
        if !(1..=64).contains(&settings.builds_at_once) {
            faults.push(format!(
                "--builds-at-once must be 1 to 64, not {}",
                settings.builds_at_once
            ));
        }
        let allowed_addresses =
            AllowedAddresses::parse(&settings.allow_addresses).unwrap_or_else(|problems| {
                faults.extend(
                    problems
                        .iter()
                        .map(|fault| format!("--allow-address {}", fault.problem)),
                );
                AllowedAddresses::default()
            });
        if !(1..=1_000_000).contains(&settings.max_source_mb) {
            faults.push(format!(
                "--max-source-mb must be 1 to 1000000, not {}",
                settings.max_source_mb
            ));
        }
        let logs = LogSettings {
            retain_days: Some(settings.log_retain_days),
            retain_mb: Some(settings.log_retain_mb),
            ..LogSettings::default()
        };
        for fault in logs.validate().err().into_iter().flatten() {
            let flag = fault.field.replace("logs.", "--log-").replace('_', "-");
            faults.push(format!("{flag} {}", fault.problem));
        }
        let trusted_proxies =
            Networks::parse(&settings.trusted_proxies).unwrap_or_else(|problems| {
                faults.extend(
                    problems
                        .iter()
                        .map(|fault| format!("--trusted-proxy {}", fault.problem)),
                );
                Networks::default()
            });
        for (flag, days) in [
            ("--session-idle-days", settings.session_idle_days),
            ("--session-days", settings.session_days),
        ] {
            if !(1..=365).contains(&days) {
                faults.push(format!("{flag} must be 1 to 365, not {days}"));
            }
        }
        let scanner = settings.scanner.as_deref().filter(|text| !text.is_empty());
        let scanner = scanner.and_then(|text| {
            text.parse::<ScannerCommand>()
                .map_err(|fault| faults.push(format!("--scanner {fault}")))
                .ok()
        });
        let provider = provider::settings(&mut faults, settings, environment);
        let flukebase = flukebase(&mut faults, settings, environment);
        let hold_in_phase = hold(&mut faults, environment);
        match (instance, root_domain) {
            (Some(instance), Some(root_domain)) if faults.is_empty() => Ok(Self {
                data_dir: settings
                    .data_dir
                    .clone()
                    .unwrap_or_else(|| default_dir(&instance)),
                listen: settings.listen,
                stream_listen: settings.stream_listen,
                docker: settings.docker.clone().map(|docker| {
                    if docker.starts_with('/') {
                        format!("unix://{docker}")
                    } else {
                        docker
                    }
                }),
                http_port: settings.http_port,
                root_domain,
                instance,
                public_url,
                build_registry: settings.build_registry.clone(),
                builds_at_once: settings.builds_at_once,
                scanner,
                allowed_addresses,
                allow_addresses: settings.allow_addresses.clone(),
                max_source_bytes: u64::from(settings.max_source_mb) * 1024 * 1024,
                registry_auth_file: settings.registry_auth_file.clone().or_else(|| {
                    environment("HOME").map(|home| Path::new(&home).join(".docker/config.json"))
                }),
                logs: LogsConfig {
                    retain_days: settings.log_retain_days,
                    retain_mb: settings.log_retain_mb,
                },
                sessions: SessionsConfig {
                    idle: time::Duration::days(i64::from(settings.session_idle_days)),
                    longest: time::Duration::days(i64::from(settings.session_days)),
                },
                trusted_proxies,
                provider,
                flukebase,
                log_min_free_bytes: u64::from(settings.log_min_free_mb) << 20,
                admin_password,
                api_token,
                hold_in_phase,
            }),
            _ => Err(Faults(faults)),
        }
    }

    /// One-time set-up token of a control plane without accounts; mode 0600.
    pub fn set_up_token_file(&self) -> PathBuf {
        self.data_dir.join("set-up-token")
    }

    /// `Authorization: Bearer …` of the first agent's token, for `curl -H @FILE`; mode 0600.
    pub fn agent_header_file(&self) -> PathBuf {
        self.data_dir.join("agent.header")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.data_dir.join("flukedeploy.pid")
    }

    pub fn log_file(&self) -> PathBuf {
        self.data_dir.join("flukedeploy.log")
    }
}

/// The data directory of an instance, for commands that need no other setting.
pub(crate) fn data_dir(given: Option<PathBuf>, instance: &str) -> anyhow::Result<PathBuf> {
    match given {
        Some(directory) => Ok(directory),
        None => Ok(default_dir(&instance.parse()?)),
    }
}

fn default_dir(instance: &InstanceName) -> PathBuf {
    if instance.as_str() == "main" {
        PathBuf::from("/var/lib/flukedeploy")
    } else {
        PathBuf::from(format!("/var/lib/flukedeploy-{instance}"))
    }
}

fn take<T>(
    faults: &mut Vec<String>,
    parsed: Result<T, flukedeploy_domain::names::Invalid>,
) -> Option<T> {
    parsed.map_err(|fault| faults.push(fault.to_string())).ok()
}

fn flukebase(
    faults: &mut Vec<String>,
    settings: &Settings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> FlukebaseConfig {
    let mut config = FlukebaseConfig {
        token: secret(
            faults,
            environment("FLUKEBASE_API_TOKEN"),
            "FLUKEBASE_API_TOKEN",
            settings.flukebase_token_file.as_deref(),
        ),
        ..FlukebaseConfig::default()
    };
    match settings.flukebase_url.parse() {
        Ok(url) => config.url = url,
        Err(fault) => faults.push(format!("--flukebase-url {}", fault.problem)),
    }
    match settings.flukebase_project.map(ProjectId::new).transpose() {
        Ok(project) => config.default_project = project,
        Err(fault) => faults.push(format!("--flukebase-project {}", fault.problem)),
    }
    config
}

/// The variable, or the content of the file. Its value never shows in a fault.
fn secret(
    faults: &mut Vec<String>,
    value: Option<String>,
    name: &str,
    file: Option<&Path>,
) -> Option<Secret> {
    let text = match (value.filter(|value| !value.is_empty()), file) {
        (Some(value), _) => value,
        (None, None) => return None,
        (None, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                faults.push(format!("{name}_FILE {}: {error}", file.display()));
                return None;
            }
        },
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || text.len() > MAX_SECRET || text.chars().any(char::is_control) {
        faults.push(format!(
            "{name} must be one line of 1 to {MAX_SECRET} characters"
        ));
        return None;
    }
    Some(Secret::new(text))
}

/// Only debug builds can be held: tests kill them at a known moment.
fn hold(
    faults: &mut Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<PhaseName> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let wanted = environment("FLUKEDEPLOY_HOLD_IN_PHASE").filter(|phase| !phase.is_empty())?;
    let found = PhaseName::ALL
        .into_iter()
        .find(|phase| phase.as_str() == wanted);
    if found.is_none() {
        faults.push("FLUKEDEPLOY_HOLD_IN_PHASE must name one of the five phases".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn settings(args: &[&str]) -> Settings {
        let cli =
            crate::cli::Cli::try_parse_from(["flukedeploy", "serve"].iter().chain(args)).unwrap();
        match cli.command {
            crate::cli::Command::Serve(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_faults_are_told_at_once_and_no_secret_is_shown() {
        let settings = settings(&[
            "--instance",
            "No Good",
            "--http-port",
            "443",
            "--docker",
            "ftp://x",
        ]);
        let environment =
            |name: &str| (name == "FLUKEDEPLOY_API_TOKEN").then(|| "short-secret".to_owned());
        let faults = Config::new(&settings, &environment).unwrap_err();
        assert_eq!(faults.0.len(), 4, "{faults}");
        assert!(!faults.to_string().contains("short-secret"));
    }

    #[test]
    fn proxies_are_networks_and_sessions_last_days() {
        let typed = settings(&[
            "--trusted-proxy",
            "10.0.0.0/8,::1",
            "--session-idle-days",
            "2",
        ]);
        let config = Config::new(&typed, &|_| None).unwrap();
        assert!(config.trusted_proxies.contain("10.1.2.3".parse().unwrap()));
        assert_eq!(config.sessions.idle, time::Duration::days(2));
        assert_eq!(config.sessions.longest, time::Duration::days(30));
        let typed = settings(&["--trusted-proxy", "proxy.internal", "--session-days", "0"]);
        let faults = Config::new(&typed, &|_| None).unwrap_err();
        assert_eq!(faults.0.len(), 2, "{faults}");
    }

    #[test]
    fn defaults_are_local_and_per_instance() {
        let config = Config::new(&settings(&["--instance", "blue"]), &|_| None).unwrap();
        assert!(config.listen.ip().is_loopback() && config.stream_listen.ip().is_loopback());
        assert_eq!(config.data_dir, Path::new("/var/lib/flukedeploy-blue"));
        assert_eq!(config.public_url, "http://127.0.0.1:3000");
    }
}
