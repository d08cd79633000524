//! What the platform has to know about where it runs.

use flukedeploy_domain::names::{AppName, Hostname, InstanceName};

use crate::secret::Secret;

#[derive(Debug, Clone)]
pub struct PlatformConfig {
    pub instance: InstanceName,
    /// Apps answer at `<app>.<root domain>`.
    pub root_domain: Hostname,
    /// Port of the ingress on the host; part of app addresses where it is not 80.
    pub http_port: u16,
    /// The dashboard as people reach it, without a slash at the end.
    pub public_url: String,
    /// The log stream, `ws://host:port`.
    pub stream_url: String,
    /// Bootstrap administrator token from the environment.
    pub bootstrap_token: Option<Secret>,
    pub builds: BuildsConfig,
    pub logs: LogsConfig,
    pub sessions: SessionsConfig,
    pub flukebase: FlukebaseConfig,
    /// Proxies in front of the dashboard, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: flukedeploy_domain::addresses::Networks,
    /// Where people may sign in elsewhere.
    pub provider: Option<ProviderConfig>,
    pub version: &'static str,
    /// Waits for ever in this phase; for tests that kill the control plane at a known moment.
    /// Only debug builds can set it.
    pub hold_in_phase: Option<flukedeploy_domain::deployment::PhaseName>,
}

/// An `OpenID` Connect provider that people may sign in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// To the letter as the provider calls itself.
    pub issuer: String,
    pub client_id: String,
    /// `None`: a client without a secret; PKCE alone protects the code.
    pub client_secret: Option<Secret>,
    /// As people know it.
    pub name: String,
}

/// How images are built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildsConfig {
    /// Where built images are pushed, without a slash at the end: `registry.example.com/team`. Needed
    /// as soon as the Swarm has a second node.
    pub registry: Option<String>,
    /// Builds that run at the same time; others wait for their turn.
    pub at_once: usize,
}

impl Default for BuildsConfig {
    fn default() -> Self {
        Self {
            registry: None,
            at_once: 1,
        }
    }
}

/// Where `FlukeBase` is, as far as nobody says otherwise on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlukebaseConfig {
    pub url: flukedeploy_domain::flukebase::FlukebaseUrl,
    pub token: Option<Secret>,
    /// The project of apps that are bound to none.
    pub default_project: Option<flukedeploy_domain::flukebase::ProjectId>,
}

impl FlukebaseConfig {
    pub const DEFAULT_URL: &str = "https://flukebase.me/api/v1";
}

impl Default for FlukebaseConfig {
    fn default() -> Self {
        Self {
            url: Self::DEFAULT_URL.parse().expect("a plain address"),
            token: None,
            default_project: None,
        }
    }
}

/// When people have to sign in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionsConfig {
    /// After this long without a request.
    pub idle: time::Duration,
    /// After this long in any case.
    pub longest: time::Duration,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            idle: time::Duration::days(7),
            longest: time::Duration::days(30),
        }
    }
}

/// How long log entries are kept where an app does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogsConfig {
    pub retain_days: u32,
    /// Of one app, on disk.
    pub retain_mb: u32,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            retain_days: 30,
            retain_mb: 1024,
        }
    }
}

impl PlatformConfig {
    /// Host name of an app's environment: `<app>.<root>`, other environments `<app>-<env>.<root>`.
    pub fn host_of(
        &self,
        app: &AppName,
        environment: &flukedeploy_domain::names::EnvironmentName,
    ) -> Option<Hostname> {
        let label = if environment.is_production() {
            app.to_string()
        } else {
            format!("{app}-{environment}")
        };
        format!("{label}.{}", self.root_domain).parse().ok()
    }

    pub fn url_of(
        &self,
        app: &AppName,
        environment: &flukedeploy_domain::names::EnvironmentName,
    ) -> String {
        let host = self
            .host_of(app, environment)
            .map_or_else(|| app.to_string(), |h| h.to_string());
        if self.http_port == 80 {
            format!("http://{host}/")
        } else {
            format!("http://{host}:{}/", self.http_port)
        }
    }
}
