//! The command line: what was typed. [`crate::config`] makes of it what we need.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod client;

pub use client::*;

/// Ship applications onto your own machines.
#[derive(Debug, Parser)]
#[command(name = "flukedeploy", version, about, long_about = None, after_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane in the foreground; brings up Swarm, network and ingress
    Serve(Settings),
    /// Start the control plane in the background and print where everything is
    Up(Up),
    /// Stop the control plane, the ingress and the apps; keeps data
    Down(Down),
    /// Look for what is wrong on this node
    Doctor(Settings),
    #[command(flatten)]
    Client(ClientCommand),
    /// Check that the audit trail is as it was written
    Audit(Audit),
    /// Change the key that secrets in the database are sealed with
    Secrets(Secrets),
    /// Speak MCP on standard input and output, for agents on this machine
    Mcp(Mcp),
    /// Run the ingress (started by the control plane inside a container)
    Ingress(Ingress),
    /// Run the small app that comes along to try things on
    SampleApp,
}

/// Settings of a control plane. Each flag has an environment variable; the flag wins.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Where data is kept [default: /var/lib/flukedeploy, or /var/lib/flukedeploy-<instance>]
    #[arg(long, env = "FLUKEDEPLOY_BASE_DIRECTORY", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the dashboard, REST and MCP
    #[arg(
        long,
        env = "FLUKEDEPLOY_LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "ADDR"
    )]
    pub listen: SocketAddr,
    /// Address of the log stream (WebSocket)
    #[arg(
        long,
        env = "FLUKEDEPLOY_STREAM_LISTEN",
        default_value = "127.0.0.1:8767",
        value_name = "ADDR"
    )]
    pub stream_listen: SocketAddr,
    /// Docker endpoint, unix:// or tcp:// [default: the local socket]
    #[arg(long, env = "FLUKEDEPLOY_DOCKER_API", value_name = "URL")]
    pub docker: Option<String>,
    /// Port of the ingress for HTTP on every node
    #[arg(
        long,
        env = "FLUKEDEPLOY_HOST_HTTP_PORT",
        default_value_t = 80,
        value_name = "PORT"
    )]
    pub http_port: u16,
    /// Port of the ingress for HTTPS; kept free for it, not served yet
    #[arg(
        long,
        env = "FLUKEDEPLOY_HOST_HTTPS_PORT",
        default_value_t = 443,
        value_name = "PORT"
    )]
    pub https_port: u16,
    /// Apps answer at <app>.<root domain>
    #[arg(
        long,
        env = "FLUKEDEPLOY_ROOT_DOMAIN",
        default_value = "localhost",
        value_name = "DOMAIN"
    )]
    pub root_domain: String,
    /// Prefix of everything made in Docker, so that several instances can share one engine
    #[arg(
        long,
        env = "FLUKEDEPLOY_INSTANCE",
        default_value = "main",
        value_name = "NAME"
    )]
    pub instance: String,
    /// The dashboard's address as people reach it; it answers under this name, localhost and plain
    /// addresses only [default: http://<listen>]
    #[arg(long, env = "FLUKEDEPLOY_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Docker client configuration with registry credentials [default: ~/.docker/config.json]
    #[arg(long, env = "FLUKEDEPLOY_REGISTRY_AUTH_FILE", value_name = "FILE")]
    pub registry_auth_file: Option<PathBuf>,
    /// Where images built here are pushed: `registry.example.com/team`. Needed with several nodes
    #[arg(long, env = "FLUKEDEPLOY_BUILD_REGISTRY", value_name = "REGISTRY/PATH")]
    pub build_registry: Option<String>,
    /// Builds that may run at the same time
    #[arg(
        long,
        env = "FLUKEDEPLOY_BUILDS_AT_ONCE",
        default_value_t = 1,
        value_name = "NUMBER"
    )]
    pub builds_at_once: usize,
    /// Host, address or network (`10.1.0.0/16`) beside the public internet that repositories,
    /// webhooks and log forwarders may name; give it again for more
    #[arg(
        long = "allow-address",
        env = "FLUKEDEPLOY_ALLOW_ADDRESSES",
        value_delimiter = ',',
        value_name = "ADDRESS"
    )]
    pub allow_addresses: Vec<String>,
    /// Largest source archive, in MiB; four times that when unpacked, or fetched with git
    #[arg(
        long,
        env = "FLUKEDEPLOY_MAX_SOURCE_MB",
        default_value_t = 500,
        value_name = "MIB"
    )]
    pub max_source_mb: u32,
    /// Days for which log entries are kept where an app does not set it
    #[arg(
        long,
        env = "FLUKEDEPLOY_LOG_RETAIN_DAYS",
        default_value_t = 30,
        value_name = "DAYS"
    )]
    pub log_retain_days: u32,
    /// What the log entries of one app may take on disk where it does not set it, in MiB
    #[arg(
        long,
        env = "FLUKEDEPLOY_LOG_RETAIN_MB",
        default_value_t = 1024,
        value_name = "MIB"
    )]
    pub log_retain_mb: u32,
    /// Space on the disk, in MiB, that logs leave to others, but a twentieth of the disk at most:
    /// with less than that free none are stored, and below twice that the oldest go; 0: none
    #[arg(
        long,
        env = "FLUKEDEPLOY_LOG_MIN_FREE_MB",
        default_value_t = 512,
        value_name = "MIB"
    )]
    pub log_min_free_mb: u32,
    /// Address or network of a proxy in front of the dashboard, whose `X-Forwarded-For` is believed;
    /// give it again for more
    #[arg(
        long = "trusted-proxy",
        env = "FLUKEDEPLOY_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORK"
    )]
    pub trusted_proxies: Vec<String>,
    /// Days without a request after which people sign in again
    #[arg(
        long,
        env = "FLUKEDEPLOY_SESSION_IDLE_DAYS",
        default_value_t = 7,
        value_name = "DAYS"
    )]
    pub session_idle_days: u32,
    /// Days after which people sign in again in any case
    #[arg(
        long,
        env = "FLUKEDEPLOY_SESSION_DAYS",
        default_value_t = 30,
        value_name = "DAYS"
    )]
    pub session_days: u32,
    /// `OpenID` Connect provider that people may sign in with, to the letter as it calls itself
    #[arg(long, env = "FLUKEDEPLOY_OIDC_ISSUER", value_name = "URL")]
    pub oidc_issuer: Option<String>,
    /// What the provider calls this control plane
    #[arg(long, env = "FLUKEDEPLOY_OIDC_CLIENT_ID", value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// File with the secret that the provider gave (or set `FLUKEDEPLOY_OIDC_CLIENT_SECRET`)
    #[arg(long, env = "FLUKEDEPLOY_OIDC_CLIENT_SECRET_FILE", value_name = "FILE")]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// The provider's name on the sign-in page [default: its host]
    #[arg(long, env = "FLUKEDEPLOY_OIDC_NAME", value_name = "NAME")]
    pub oidc_name: Option<String>,
    /// Image scanner that validation runs: `trivy` or `grype`, a program and its own arguments
    #[arg(long, env = "FLUKEDEPLOY_SCANNER", value_name = "COMMAND")]
    pub scanner: Option<String>,
    /// Base address of the `FlukeBase` API
    #[arg(
        long,
        env = "FLUKEBASE_API_URL",
        default_value = "https://flukebase.me/api/v1",
        value_name = "URL"
    )]
    pub flukebase_url: String,
    /// File with the token of `FlukeBase` (or set `FLUKEBASE_API_TOKEN`); nothing is sent without one
    #[arg(long, env = "FLUKEBASE_API_TOKEN_FILE", value_name = "FILE")]
    pub flukebase_token_file: Option<PathBuf>,
    /// Number of the `FlukeBase` project of apps that are bound to none
    #[arg(long, env = "FLUKEBASE_PROJECT_ID", value_name = "NUMBER")]
    pub flukebase_project: Option<i64>,
    /// File with the password of the account `admin` (or set `FLUKEDEPLOY_ADMIN_PASSWORD`)
    #[arg(long, env = "FLUKEDEPLOY_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// File with the bootstrap administrator token (or set `FLUKEDEPLOY_API_TOKEN`)
    #[arg(long, env = "FLUKEDEPLOY_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub settings: Settings,
    /// Do not deploy the sample app on the very first start
    #[arg(long)]
    pub no_sample: bool,
    /// Asked by the launcher; nothing is asked here
    #[arg(long, short = 'y', hide = true)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    pub settings: Settings,
    /// Remove everything of this instance: apps, data, images, networks
    #[arg(long)]
    pub purge: bool,
    /// Asked by the launcher; nothing is asked here
    #[arg(long, short = 'y', hide = true)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find the first entry that was changed, moved or removed; exit code 2 if there is one. The control
    /// plane may run meanwhile
    Verify(DataPlace),
}

#[derive(Debug, Args)]
pub struct Secrets {
    #[command(subcommand)]
    pub command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Make a new key, seal everything anew with it, and remove the old one. The control plane must
    /// not run meanwhile; apps go on serving
    Rotate(DataPlace),
}

/// Where the data of a control plane is.
#[derive(Debug, Args)]
pub struct DataPlace {
    /// Where data is kept [default: /var/lib/flukedeploy, or /var/lib/flukedeploy-<instance>]
    #[arg(long, env = "FLUKEDEPLOY_BASE_DIRECTORY", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Whose data it is, where the directory is not given
    #[arg(
        long,
        env = "FLUKEDEPLOY_INSTANCE",
        default_value = "main",
        value_name = "NAME"
    )]
    pub instance: String,
}

#[derive(Debug, Args)]
pub struct Mcp {
    #[command(flatten)]
    pub client: Client,
}

#[derive(Debug, Args)]
pub struct Ingress {
    /// Address for HTTP
    #[arg(
        long,
        env = "FLUKEDEPLOY_INGRESS_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,
    /// Where the control plane waits for us, tried in turn
    #[arg(
        long,
        env = "FLUKEDEPLOY_INGRESS_CONTROL_URLS",
        value_delimiter = ',',
        required = true
    )]
    pub control_urls: Vec<String>,
    /// File with what to show the control plane
    #[arg(long, env = "FLUKEDEPLOY_INGRESS_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Last good routes, kept over restarts
    #[arg(long, env = "FLUKEDEPLOY_INGRESS_SNAPSHOT")]
    pub snapshot: Option<PathBuf>,
    /// Name of this ingress
    #[arg(long, env = "FLUKEDEPLOY_INGRESS_ID", default_value = "ingress")]
    pub id: String,
    /// Name of the node it runs on
    #[arg(long, env = "FLUKEDEPLOY_INGRESS_NODE", default_value = "")]
    pub node: String,
}
