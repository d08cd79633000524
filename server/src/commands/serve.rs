//! `flukedeploy serve`: the control plane.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use flukedeploy_app::{DashboardSettings, accept_session, dashboard_router};
use flukedeploy_engine::{EngineConfig, SwarmEngine};
use flukedeploy_flukebase::FlukebaseClient;
use flukedeploy_logs::Logs;
use flukedeploy_platform::config::{BuildsConfig, PlatformConfig};
use flukedeploy_platform::ports::SystemClock;
use flukedeploy_platform::ports::{Absent, Inspector};
use flukedeploy_platform::{Platform, Ports, identity, tokens};
use flukedeploy_sources::{SourceWorkshop, SourcesConfig};
use flukedeploy_store::SqliteStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Settings;
use crate::config::Config;
use crate::doors;
use crate::files;
use crate::ingress_link::IngressLink;
use crate::listening::{self, Patience};
use crate::machine::LocalMachine;
use crate::outgoing::Network;
use crate::scanner::Scanner;

/// The database, in the data directory; the key of its secrets lies beside it.
pub(super) const DATABASE: &str = "control.db";
/// How long the background work may take to end.
const SHUT_DOWN: Duration = Duration::from_secs(10);
/// How much larger a source may be when unpacked.
const UNPACKED: u64 = 4;
/// Files, folders and links of one source.
const MAX_SOURCE_FILES: u64 = 200_000;
/// For everything that git does for one source.
const GIT_TIMEOUT: Duration = Duration::from_mins(10);
const HOUSEKEEPING: Duration = Duration::from_mins(10);

pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("info");
    let config = Config::new(settings, &|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(4),
        )
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_background();
    result
}

/// Where the engine of these settings is.
pub(super) fn engine(config: &Config) -> anyhow::Result<SwarmEngine> {
    Ok(SwarmEngine::new(EngineConfig {
        instance: config.instance.clone(),
        docker: config.docker.clone(),
        registry_auth_file: config.registry_auth_file.clone(),
        program: std::env::current_exe().context("this program cannot be found")?,
    }))
}

/// Where source files are received, fetched and packed.
fn workshop(config: &Config) -> anyhow::Result<SourceWorkshop> {
    let directory = config.data_dir.join("sources");
    SourceWorkshop::new(SourcesConfig {
        max_upload_bytes: config.max_source_bytes,
        max_tree_bytes: config.max_source_bytes.saturating_mul(UNPACKED),
        max_files: MAX_SOURCE_FILES,
        git_timeout: GIT_TIMEOUT,
        allowed: config.allowed_addresses.clone(),
        // Called by git as its ssh; `main` sees to it.
        ssh_program: std::env::current_exe().context("this program cannot be found")?,
        directory: directory.clone(),
    })
    .with_context(|| format!("the directory {} cannot be used", directory.display()))
}

/// The configured scanner, or nothing that looks.
fn inspector(config: &Config) -> Arc<dyn Inspector> {
    match config.scanner.clone() {
        Some(command) => Arc::new(Scanner::new(
            command,
            config.docker.clone(),
            config.registry_auth_file.as_deref(),
        )),
        None => Arc::new(Absent),
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    files::private_dir(&config.data_dir).with_context(|| {
        format!(
            "the data directory {} cannot be used",
            config.data_dir.display()
        )
    })?;
    let _only_one = lock_data_dir(&config.data_dir)?;
    let store = SqliteStore::open(&config.data_dir.join(DATABASE)).await?;
    // Entries of builds before the log store of today: they may hold what is taken out now.
    for old in ["logs.db", "logs.db-wal", "logs.db-shm"] {
        files::remove(&config.data_dir.join(old))?;
    }
    let options = flukedeploy_logs::Options {
        min_free_bytes: config.log_min_free_bytes,
        ..flukedeploy_logs::Options::default()
    };
    let log_store = Logs::open_with(&config.data_dir.join("logs"), options).await?;
    let sessions = store.sessions(Arc::new(SystemClock));
    let (listener, stream_listener) = (
        bind(config.listen).await?,
        bind(config.stream_listen).await?,
    );
    let stream_address = stream_listener.local_addr()?;
    let engine = engine(&config)?;
    let network = Arc::new(Network::new(config.allowed_addresses.clone())?);
    let px = Platform::new(
        platform_config(&config, stream_address),
        Ports {
            engine: Arc::new(engine.clone()),
            store: Arc::new(store.clone()),
            log_store: Arc::new(log_store),
            traffic: Arc::new(IngressLink::default()),
            builder: Arc::new(engine.clone()),
            workshop: Arc::new(workshop(&config)?),
            inspector: inspector(&config),
            outgoing: network.clone(),
            log_receivers: network.clone(),
            identity_provider: Arc::new(Network::new(config.provider_addresses())?),
            flukebase: Arc::new(FlukebaseClient::new(network, env!("CARGO_PKG_VERSION"))),
            machine: Arc::new(LocalMachine::new(&config.data_dir)),
            upkeep: Arc::new(engine.clone()),
            clock: Arc::new(SystemClock),
        },
    );
    first_things(&px, &config).await?;
    px.start();
    px_housekeeping(&px, sessions.clone());

    let secure = config.public_url.starts_with("https://");
    let dashboard = DashboardSettings {
        cookie_secure: secure,
    };
    let state = doors::AppState::new(px.clone());
    let machine = doors::rest_router(state.clone());
    let machine = accept_session(machine, &px, sessions.clone(), &dashboard);
    let app = Router::new()
        .merge(machine)
        .merge(doors::mcp_router(
            state.clone(),
            allowed_hosts(&config),
            vec![config.public_url.clone()],
        ))
        .merge(doors::probes_router(state.clone()))
        .merge(doors::linked_data_router())
        .merge(dashboard_router(px.clone(), sessions, &dashboard));
    let stream = doors::stream_router(state, stream_address.port());
    tracing::info!(
        listen = %listener.local_addr()?, stream = %stream_address, instance = %config.instance,
        "the control plane is up"
    );
    let main = spawn_server(listener, app, &px);
    let side = spawn_server(stream_listener, stream, &px);
    let ended = wait_for_end(&px, main, side).await;
    if tokio::time::timeout(SHUT_DOWN, px.shut_down())
        .await
        .is_err()
    {
        tracing::warn!("some background work did not end in time; the next start takes it up");
    }
    store.close().await;
    tracing::info!("the control plane has ended");
    ended?;
    Ok(ExitCode::SUCCESS)
}

fn spawn_server(
    listener: TcpListener,
    router: Router,
    px: &Platform,
) -> tokio::task::JoinHandle<std::io::Result<()>> {
    let stopping = px.stopping().clone();
    tokio::spawn(listening::serve(
        listener,
        router,
        Patience::default(),
        stopping,
    ))
}

async fn wait_for_end(
    px: &Platform,
    main: tokio::task::JoinHandle<std::io::Result<()>>,
    side: tokio::task::JoinHandle<std::io::Result<()>>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => tracing::info!("asked to end"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        result = main => result?.context("the main listener ended")?,
        result = side => result?.context("the stream listener ended")?,
    }
    px.stopping().cancel();
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another control plane running, or the port taken?")
    })
}

/// Two control planes on one data directory would undo each other's work.
pub(super) fn lock_data_dir(data_dir: &Path) -> anyhow::Result<std::fs::File> {
    let path = data_dir.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("the lock file {} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
            "a control plane uses the data directory {}",
            data_dir.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

fn platform_config(config: &Config, stream: SocketAddr) -> PlatformConfig {
    PlatformConfig {
        instance: config.instance.clone(),
        root_domain: config.root_domain.clone(),
        http_port: config.http_port,
        public_url: config.public_url.clone(),
        stream_url: format!("ws://{stream}"),
        bootstrap_token: config.api_token.clone(),
        builds: BuildsConfig {
            registry: config.build_registry.clone(),
            at_once: config.builds_at_once,
        },
        logs: config.logs,
        sessions: config.sessions,
        flukebase: config.flukebase.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        provider: config.provider.clone(),
        version: env!("CARGO_PKG_VERSION"),
        hold_in_phase: config.hold_in_phase,
    }
}

/// Names under which MCP may be reached: what the settings name, and this machine.
fn allowed_hosts(config: &Config) -> Vec<String> {
    let mut hosts = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "[::1]".to_owned(),
    ];
    hosts.push(config.listen.ip().to_string());
    if let Ok(uri) = config.public_url.parse::<http::Uri>()
        && let Some(host) = uri.host()
    {
        hosts.push(host.to_owned());
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The administrator from the settings, or a one-time set-up link; the first agent's token.
async fn first_things(px: &Platform, config: &Config) -> anyhow::Result<()> {
    if let Some(password) = config.admin_password.clone() {
        identity::ensure_admin(px, password)
            .await
            .context("FLUKEDEPLOY_ADMIN_PASSWORD")?;
    }
    match identity::new_set_up_token(px).await? {
        Some(token) => {
            files::write_private(&config.set_up_token_file(), token.expose())?;
            tracing::info!(
                "there is no account yet; the one-time set-up link is told by 'flukedeploy up', its token is in {}",
                config.set_up_token_file().display()
            );
        }
        None => files::remove(&config.set_up_token_file())?,
    }
    if let Some(token) = tokens::first_agent_token(px).await? {
        let header = format!("Authorization: Bearer {}\n", token.expose());
        files::write_private(&config.agent_header_file(), &header)?;
    }
    Ok(())
}

/// Expired sessions.
fn px_housekeeping(px: &Platform, sessions: flukedeploy_store::SessionStore) {
    let px = px.clone();
    tokio::spawn(async move {
        loop {
            if let Err(error) = sessions.delete_expired().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "sessions were not expired"
                );
            }
            tokio::select! {
                () = px.stopping().cancelled() => return,
                () = tokio::time::sleep(HOUSEKEEPING) => {}
            }
        }
    });
}
