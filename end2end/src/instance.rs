//! A real `flukedeploy serve` as a child process, with its own instance name, data directory and ports.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::api::Api;
use crate::engine_proxy::EngineProxy;
use crate::lease::{Lease, Port};
use crate::mcp::{Era, Mcp};
use crate::small_disk::SmallDisk;
use crate::stream::Stream;
use crate::{lease, sweep};

const READY_DEADLINE: Duration = Duration::from_mins(1);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const SHOWN_LOG_LINES: usize = 60;

/// How an instance differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Makes the account `admin`; without it the set-up link is waiting.
    pub admin_password: Option<String>,
    /// Development builds store the change into this phase, and then wait for ever.
    pub hold_in_phase: Option<String>,
    /// Puts [`EngineProxy`] between the instance and the engine.
    pub with_engine_proxy: bool,
    /// Takes the engine for one that has only the classic builder; needs `with_engine_proxy`.
    pub without_buildkit: bool,
    /// Logs lie on a [`SmallDisk`] of their own with so many MiB.
    pub logs_disk_mb: Option<u64>,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// A running (or just stopped) instance. Call [`Instance::finish`] at the end of a test that passed:
/// dropping it instead cleans up as well, but shows and keeps the log.
pub struct Instance {
    pub name: String,
    /// The bootstrap administrator's token.
    pub token: String,
    pub options: Options,
    pub docker: Docker,
    listen: Port,
    stream: Port,
    http: Port,
    https: Port,
    directory: PathBuf,
    engine_proxy: Option<EngineProxy>,
    logs_disk: Option<SmallDisk>,
    child: Option<Child>,
    /// From the start of the process to the first good answer of `/readyz`.
    pub ready_after: Duration,
    lease: Option<Lease>,
    finished: bool,
}

impl Instance {
    /// Starts one and waits until it is ready. `hint` shows in its name: 1 to 6 of `[a-z0-9]`.
    pub async fn start(hint: &str, options: Options) -> Result<Self> {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let docker = crate::docker().await?;
        SWEPT.get_or_init(|| sweep::leftovers(&docker)).await;

        let name = format!("t{hint}{}", crate::random_name(6));
        let lease = Lease::try_take(&format!("instance-{name}"))?
            .with_context(|| format!("the name {name} is taken"))?;
        let directory = lease::directory().join(&name);
        std::fs::create_dir_all(&directory)?;
        let engine_proxy = if options.with_engine_proxy {
            let socket = directory.join("engine.sock");
            Some(if options.without_buildkit {
                EngineProxy::start_without_buildkit(socket, engine_socket()?)?
            } else {
                EngineProxy::start(socket, engine_socket()?)?
            })
        } else {
            None
        };
        let logs_disk = options
            .logs_disk_mb
            .map(|size| SmallDisk::mount(&logs_dir(&directory), size))
            .transpose()?;
        let mut instance = Self {
            name,
            token: format!("test-{}", crate::random_name(32)),
            options,
            docker,
            listen: Port::free()?,
            stream: Port::free()?,
            http: Port::free()?,
            https: Port::free()?,
            directory,
            engine_proxy,
            logs_disk,
            child: None,
            ready_after: Duration::ZERO,
            lease: Some(lease),
            finished: false,
        };
        instance.launch().await?;
        Ok(instance)
    }

    /// Starts the process again after [`Instance::kill_9`] or [`Instance::stop`], and waits until it is
    /// ready. Changes to `options` count from here.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} still runs", self.name);
        self.launch().await
    }

    async fn launch(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut command = self.command("serve")?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        command.stdout(log.try_clone()?).stderr(log);
        if let Some(phase) = &self.options.hold_in_phase {
            command.env("FLUKEDEPLOY_HOLD_IN_PHASE", phase);
        }
        command.args(&self.options.arguments);
        command.envs(self.options.env.iter().map(|(key, value)| (key, value)));
        let child = command.spawn().context("starting flukedeploy serve")?;
        if let (Some(lease), Some(pid)) = (self.lease.as_mut(), child.id()) {
            lease.note(&pid.to_string())?;
        }
        self.child = Some(child);
        self.wait_until_ready(started).await
    }

    /// The program with every setting of this instance in its environment, as its subcommands read them.
    pub fn command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(crate::program()?);
        command
            .arg(subcommand)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy();
            if key.starts_with("FLUKEDEPLOY_") || key.starts_with("FLUKEBASE_") {
                command.env_remove(&*key);
            }
        }
        command
            .env("FLUKEDEPLOY_API_TOKEN", &self.token)
            .env("FLUKEDEPLOY_BASE_DIRECTORY", self.data_dir());
        if subcommand == "serve" {
            // By flag, so that an orphan can be recognised by its command line.
            command
                .args(["--instance", &self.name])
                .args(["--listen", &self.address().to_string()])
                .args(["--stream-listen", &self.stream_address().to_string()])
                .args(["--http-port", &self.http.number.to_string()])
                .args(["--https-port", &self.https.number.to_string()]);
        } else {
            command
                .env("FLUKEDEPLOY_INSTANCE", &self.name)
                .env("FLUKEDEPLOY_LISTEN", self.address().to_string())
                .env(
                    "FLUKEDEPLOY_STREAM_LISTEN",
                    self.stream_address().to_string(),
                )
                .env("FLUKEDEPLOY_URL", self.url());
        }
        if let Some(password) = &self.options.admin_password {
            command.env("FLUKEDEPLOY_ADMIN_PASSWORD", password);
        }
        let engine = match &self.engine_proxy {
            Some(proxy) => Some(format!("unix://{}", proxy.socket().display())),
            None => std::env::var("DOCKER_HOST").ok(),
        };
        if let Some(engine) = engine {
            command.env("FLUKEDEPLOY_DOCKER_API", engine);
        }
        Ok(command)
    }

    async fn wait_until_ready(&mut self, started: Instant) -> Result<()> {
        let url = format!("{}/readyz", self.url());
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()?;
        loop {
            if let Ok(answer) = client.get(&url).send().await
                && answer.status().is_success()
            {
                self.ready_after = started.elapsed();
                return Ok(());
            }
            if let Some(status) = self.exit_status()? {
                self.child = None;
                bail!(
                    "flukedeploy serve ended at once: {status}\n{}",
                    self.log_tail()
                );
            }
            if started.elapsed() > READY_DEADLINE {
                bail!(
                    "{} is not ready after {} s\n{}",
                    self.name,
                    READY_DEADLINE.as_secs(),
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How the process ended, if it has.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        match self.child.as_mut() {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Of the running process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Ends the control plane as a crash does: at once, with nothing said.
    pub async fn kill_9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the instance does not run")?;
        child.kill().await.context("killing the control plane")
    }

    /// Ends the control plane as an init system does, with SIGTERM.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the instance does not run")?;
        let pid = child.id().context("the control plane has ended already")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
        kill_process(pid, Signal::TERM).context("sending SIGTERM")?;
        if let Ok(status) = tokio::time::timeout(STOP_DEADLINE, child.wait()).await {
            return Ok(status?);
        }
        child.kill().await?;
        bail!(
            "the control plane did not end within {} s of SIGTERM",
            STOP_DEADLINE.as_secs()
        )
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.listen.number))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn stream_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.stream.number))
    }

    /// Of the ingress, where the apps answer.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http.number))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// The last lines the server wrote.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n")
    }

    /// What the server wrote since its first start.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.log_path()).context("reading the server's log")
    }

    /// REST as the bootstrap administrator.
    pub fn api(&self) -> Api {
        Api::new(self.url(), Some(self.token.clone()))
    }

    /// REST as somebody else, or as nobody.
    pub fn api_as(&self, token: Option<&str>) -> Api {
        Api::new(self.url(), token.map(str::to_owned))
    }

    /// A subscriber of the log stream; `query` is its first filter, as in `app_name=shop`.
    pub async fn stream(&self, query: &str) -> Result<Stream> {
        Stream::connect(self.stream_address(), query, Some(&self.token)).await
    }

    /// MCP over HTTP.
    pub async fn mcp(&self, era: Era) -> Result<Mcp> {
        Mcp::http(&format!("{}/mcp", self.url()), &self.token, era).await
    }

    /// MCP over standard input and output of `flukedeploy mcp`.
    pub async fn mcp_stdio(&self) -> Result<Mcp> {
        Mcp::stdio(self.command("mcp")?).await
    }

    pub fn logs_disk(&self) -> Result<&SmallDisk> {
        self.logs_disk
            .as_ref()
            .context("the instance was started without `logs_disk_mb`")
    }

    pub fn engine_proxy(&self) -> Result<&EngineProxy> {
        self.engine_proxy
            .as_ref()
            .context("the instance was started without `with_engine_proxy`")
    }

    /// `GET path` of an app through the ingress: status and body.
    pub async fn get_app(&self, app: &str, path: &str) -> Result<(u16, String)> {
        self.get_host(&format!("{app}.localhost"), path).await
    }

    /// `GET path` of any host through the ingress: status and body.
    pub async fn get_host(&self, host: &str, path: &str) -> Result<(u16, String)> {
        let answer = reqwest::Client::new()
            .get(format!("http://{}{path}", self.http_address()))
            .header(reqwest::header::HOST, host)
            .timeout(Duration::from_secs(10))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Stops the instance and removes all of it.
    pub async fn finish(mut self) -> Result<()> {
        if self.child.is_some() && self.exit_status()?.is_none() {
            self.stop().await?;
        }
        sweep::instance(&self.docker, &self.name).await?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.start_kill();
        }
        drop(self.logs_disk.take());
        if self.finished {
            let _ = std::fs::remove_dir_all(&self.directory);
        } else {
            eprintln!(
                "--- {} was not finished; the end of {}:\n{}\n---",
                self.name,
                self.log_path().display(),
                self.log_tail()
            );
            let _ = std::fs::remove_dir_all(self.data_dir());
            sweep_now(self.name.clone());
        }
        if let Some(lease) = self.lease.take() {
            lease.forget();
        }
    }
}

/// Where an instance keeps its logs.
pub(crate) fn logs_dir(instance: &Path) -> PathBuf {
    instance.join("data").join("logs")
}

/// Sweeping is asynchronous, dropping is not: a thread with a runtime of its own does it.
fn sweep_now(name: String) {
    let thread = std::thread::spawn(move || -> Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async { sweep::instance(&crate::docker().await?, &name).await })
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("could not sweep: {error:#}"),
        Err(_) => eprintln!("could not sweep: the thread panicked"),
    }
}

/// The engine's own socket, for [`EngineProxy`] to stand in front of.
fn engine_socket() -> Result<PathBuf> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(PathBuf::from(path)),
            None => bail!("the tests of a hanging engine need a Unix socket, not {host}"),
        },
        Err(_) => Ok(Path::new("/var/run/docker.sock").to_owned()),
    }
}
