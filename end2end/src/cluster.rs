//! Two real Docker engines on one machine, each in namespaces of its own, joined to a Swarm, with the
//! product on the manager. The engine of the machine itself is not touched, and need not exist.
//!
//! Everything made here is named after one random name, so that it can be taken away by a test run
//! that knows nothing else of the one that died.

mod parts;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::models::{
    NodeSpecAvailabilityEnum, SwarmInitRequest, SwarmJoinRequest, SwarmSpec, SwarmSpecDispatcher,
};
use bollard::query_parameters::{
    ListNodesOptions, ListTasksOptionsBuilder, PushImageOptionsBuilder, TagImageOptionsBuilder,
    UpdateNodeOptionsBuilder,
};
use futures_util::TryStreamExt;
use tokio::process::Child;

use crate::api::Api;
use crate::images::{Images, Sample};
use crate::lease::{self, Lease};
use crate::wait;
use parts::{
    NODES, REGISTRY_PORT, bridge_address, directory, end_engine, kill_all, leftovers, link,
    make_bridge, make_node, netns, node_address, run, socket, start_engine, start_registry,
    tear_down,
};

const CLAIM: &str = "cluster-";
const UP: Duration = Duration::from_mins(1);
/// Swarm's own is 5 s; a node is taken for dead after three of them.
const HEARTBEAT_NS: i64 = 1_000_000_000;
const API_PORT: u16 = 3000;
const STREAM_PORT: u16 = 3001;
const HTTP_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

/// How a cluster differs from the usual one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// The registry wants [`crate::registry::USER`] and its password; [`Cluster::image`] has neither.
    pub registry_password: bool,
    /// Images that are built go to the registry, below `built/`.
    pub build_registry: bool,
}

/// Both nodes and the product on them; all of it goes when this is dropped.
pub struct Cluster {
    name: String,
    subnet: u8,
    token: String,
    /// Of the manager.
    pub docker: Docker,
    pub worker: Docker,
    /// Swarm's ids of the two nodes.
    pub manager_id: String,
    pub worker_id: String,
    setup: Setup,
    server: Option<Child>,
    registry: Child,
    lease: Option<Lease>,
    _subnet_lease: Lease,
}

/// Why there can be no cluster on this machine, if so.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces, mounts and firewall rules need root".to_owned());
    }
    for program in [
        "ip",
        "iptables",
        "nsenter",
        "unshare",
        "mount",
        "hostname",
        "dockerd",
        "docker-registry",
    ] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .stdout(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            return Some(format!("there is no program '{program}'"));
        }
    }
    // An overlay needs vxlan, a node a bridge, a pair and a namespace; small kernels lack some.
    let probe = format!("fdtp{}", crate::random_name(6));
    for kind in ["bridge", "vxlan id 4001 dstport 0", "veth"] {
        let adding = format!("link add {probe} type {kind}");
        if let Err(error) = run("ip", &adding) {
            return Some(format!("{error:#}"));
        }
        let _ = run("ip", &format!("link del {probe}"));
    }
    let outcome = run("ip", &format!("netns add {probe}"));
    let _ = run("ip", &format!("netns del {probe}"));
    outcome.err().map(|error| format!("{error:#}"))
}

impl Cluster {
    /// Starts both engines, the Swarm over them, a registry and the product.
    pub async fn start() -> Result<Self> {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Result<Self> {
        sweep_leftovers();
        let name = format!("fdtn{}", crate::random_name(5));
        let mut lease = Lease::try_take(&format!("{CLAIM}{name}"))?
            .with_context(|| format!("the name {name} is taken"))?;
        let (subnet, subnet_lease) = free_subnet()?;
        lease.note(&name)?;
        // From here on whatever exists is taken away again, also on an error half-way.
        let mut guard = Guard(Some(name.clone()));
        fs::create_dir_all(directory(&name))?;
        make_bridge(&name, subnet)?;
        let mut engines = Vec::new();
        for (index, node) in NODES.into_iter().enumerate() {
            make_node(&name, node, subnet, index)?;
            start_engine(&name, node, subnet)?;
            engines.push(connect(&name, node).await?);
        }
        let [manager, worker] = engines.as_slice() else {
            bail!("two nodes have two engines");
        };
        form_swarm(manager, worker, subnet).await?;
        let (manager_id, worker_id) = (node_id(manager).await?, node_id(worker).await?);
        let registry = start_registry(&name, subnet, setup.registry_password)?;
        let mut cluster = Self {
            docker: manager.clone(),
            worker: worker.clone(),
            manager_id,
            worker_id,
            token: format!("test-{}", crate::random_name(32)),
            setup,
            server: None,
            registry,
            lease: Some(lease),
            _subnet_lease: subnet_lease,
            subnet,
            name,
        };
        guard.0 = None;
        cluster.start_server().await?;
        Ok(cluster)
    }

    /// Starts the product, also after [`Cluster::kill_server`], and waits until it is ready.
    pub async fn start_server(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let address = node_address(self.subnet, 0);
        let mut command = tokio::process::Command::new("nsenter");
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("FLUKE") {
                command.env_remove(key);
            }
        }
        command
            .arg(format!("--net=/var/run/netns/{}", netns(&self.name, 'm')))
            .arg(crate::program()?)
            .args(["serve", "--instance", &self.name])
            .args(["--listen", &format!("{address}:{API_PORT}")])
            .args(["--stream-listen", &format!("{address}:{STREAM_PORT}")])
            .args(["--http-port", &HTTP_PORT.to_string()])
            .args(["--https-port", &HTTPS_PORT.to_string()]);
        if self.setup.build_registry {
            let place = format!("{}/built", self.registry_address());
            command.args(["--build-registry", &place]);
        }
        command
            .env("FLUKEDEPLOY_API_TOKEN", &self.token)
            .env("FLUKEDEPLOY_BASE_DIRECTORY", self.data_dir())
            .env(
                "FLUKEDEPLOY_DOCKER_API",
                format!("unix://{}", socket(&self.name, 'm').display()),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        self.server = Some(command.spawn().context("starting flukedeploy serve")?);
        let url = format!("{}/readyz", self.url());
        wait::until("the control plane is ready", UP, || async {
            let answer = reqwest::get(&url).await;
            Ok(answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(()))
        })
        .await
        .with_context(|| fs::read_to_string(self.log_path()).unwrap_or_default())
    }

    /// Ends the control plane as a crash does: at once, with nothing said.
    pub async fn kill_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the product does not run")?;
        server.kill().await.context("killing the control plane")
    }

    /// Ends the manager's engine as an init system does, and starts it again with what it has. Its
    /// containers end with it; those that Swarm wants are started anew.
    pub async fn restart_engine(&self) -> Result<()> {
        let (name, subnet) = (self.name.clone(), self.subnet);
        tokio::task::spawn_blocking(move || {
            end_engine(&name, 'm')?;
            start_engine(&name, 'm', subnet)
        })
        .await??;
        connect(&self.name, 'm').await?;
        wait::until("the manager manages again", UP, || async {
            let nodes = self.docker.list_nodes(None::<ListNodesOptions>).await;
            Ok(nodes.is_ok().then_some(()))
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}:{API_PORT}", node_address(self.subnet, 0))
    }

    /// Of the control plane; kept with the engines' logs if the test fails.
    pub fn log_path(&self) -> PathBuf {
        directory(&self.name).join("server.log")
    }

    /// REST as the bootstrap administrator.
    pub fn api(&self) -> Api {
        Api::new(self.url(), Some(self.token.clone()))
    }

    /// Of the ingress on the manager.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from((node_address(self.subnet, 0), HTTP_PORT))
    }

    /// Where the files of the control plane are.
    pub fn data_dir(&self) -> PathBuf {
        directory(&self.name).join("data")
    }

    /// As it is in names of images.
    pub fn registry_address(&self) -> String {
        format!("{}:{REGISTRY_PORT}", bridge_address(self.subnet))
    }

    /// `GET path` of an app through the ingress on the manager: status and body.
    pub async fn get_app(&self, app: &str, path: &str) -> Result<(u16, String)> {
        let answer = reqwest::Client::new()
            .get(format!("http://{}{path}", self.http_address()))
            .header(reqwest::header::HOST, format!("{app}.localhost"))
            .timeout(Duration::from_secs(10))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Whether Swarm may start tasks on the worker; what runs there stays.
    pub async fn open_worker(&self, open: bool) -> Result<()> {
        let node = self.docker.inspect_node(&self.worker_id).await?;
        let version = node.version.and_then(|version| version.index);
        let version = i64::try_from(version.context("a node has a version")?)?;
        let mut spec = node.spec.context("a node has a specification")?;
        spec.availability = Some(if open {
            NodeSpecAvailabilityEnum::ACTIVE
        } else {
            NodeSpecAvailabilityEnum::PAUSE
        });
        let options = UpdateNodeOptionsBuilder::default().version(version).build();
        self.docker
            .update_node(&self.worker_id, spec, options)
            .await
            .context("changing the worker's availability")
    }

    /// Builds an image and pushes it where both nodes can pull it; returns the name to deploy.
    pub async fn image(&self, sample: &Sample, tag: &str) -> Result<String> {
        let local = Images::new(self.docker.clone())?.build(sample).await?;
        let repository = format!("{}/team/sample", self.registry_address());
        let tagging = TagImageOptionsBuilder::default()
            .repo(&repository)
            .tag(tag)
            .build();
        self.docker.tag_image(&local, Some(tagging)).await?;
        let pushing = PushImageOptionsBuilder::default().tag(tag).build();
        self.docker
            .push_image(&repository, Some(pushing), None)
            .try_for_each(|_| async { Ok(()) })
            .await
            .with_context(|| format!("pushing {repository}:{tag}"))?;
        Ok(format!("{repository}:{tag}"))
    }

    /// How many replicas of releases of `app` run on the manager and on the worker, as Swarm sees it.
    pub async fn replicas(&self, app: &str) -> Result<(usize, usize)> {
        let label = format!("com.flukedeploy.app={app}");
        let filters = std::collections::HashMap::from([
            ("label", vec![label.as_str()]),
            ("desired-state", vec!["running"]),
        ]);
        let options = ListTasksOptionsBuilder::default().filters(&filters).build();
        let tasks = self.docker.list_tasks(Some(options)).await?;
        let on = |node: &str| {
            let running = tasks.iter().filter(|task| {
                let state = task.status.as_ref().and_then(|status| status.state);
                task.node_id.as_deref() == Some(node)
                    && state == Some(bollard::models::TaskState::RUNNING)
            });
            running.count()
        };
        Ok((on(&self.manager_id), on(&self.worker_id)))
    }

    /// Ends the worker as a power cut does: from one moment to the next nothing of it answers.
    pub fn kill_worker(&self) -> Result<()> {
        run("ip", &format!("link set {} down", link(&self.name, 'w')))?;
        kill_all(&self.name, 'w');
        Ok(())
    }

    /// Takes everything away, and checks that nothing is left.
    pub async fn finish(mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill().await?;
        }
        self.registry.kill().await?;
        let name = self.name.clone();
        tokio::task::spawn_blocking(move || {
            tear_down(&name);
            let left = leftovers(&name);
            let _ = fs::remove_dir_all(directory(&name));
            ensure!(
                left.is_empty(),
                "the cluster left behind: {}",
                left.join(", ")
            );
            Ok(())
        })
        .await??;
        if let Some(lease) = self.lease.take() {
            lease.forget();
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = self.server.as_mut() {
            let _ = server.start_kill();
        }
        if let Some(lease) = self.lease.take() {
            let kept = lease::directory().join(format!("{}.log", self.name));
            let _ = fs::copy(self.log_path(), &kept);
            eprintln!("--- the cluster was not finished; see {}", kept.display());
            tear_down(&self.name);
            let _ = fs::remove_dir_all(directory(&self.name));
            lease.forget();
        }
    }
}

/// Takes away a cluster that did not come up.
struct Guard(Option<String>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(name) = self.0.take() {
            for node in NODES {
                let log = fs::read_to_string(directory(&name).join(format!("{node}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!(
                    "--- engine {node}:\n{}",
                    lines[lines.len().saturating_sub(20)..].join("\n")
                );
            }
            tear_down(&name);
            let _ = fs::remove_dir_all(directory(&name));
        }
    }
}

fn free_subnet() -> Result<(u8, Lease)> {
    for subnet in 1..=254 {
        if let Some(lease) = Lease::try_take(&format!("subnet-{subnet}"))? {
            return Ok((subnet, lease));
        }
    }
    bail!("every subnet is taken")
}

async fn connect(name: &str, node: char) -> Result<Docker> {
    let socket = socket(name, node);
    let path = socket.to_str().context("an odd path")?;
    wait::until(&format!("engine {node} answers"), UP, || async {
        let docker = Docker::connect_with_unix(path, 120, bollard::API_DEFAULT_VERSION);
        let Ok(docker) = docker else { return Ok(None) };
        Ok(docker.negotiate_version().await.ok())
    })
    .await
}

async fn form_swarm(manager: &Docker, worker: &Docker, subnet: u8) -> Result<()> {
    let (first, second) = (node_address(subnet, 0), node_address(subnet, 1));
    let swarm = SwarmInitRequest {
        listen_addr: Some(format!("{first}:2377")),
        advertise_addr: Some(first.to_string()),
        default_addr_pool: Some(vec!["10.214.0.0/16".to_owned()]),
        subnet_size: Some(24),
        spec: Some(SwarmSpec {
            dispatcher: Some(SwarmSpecDispatcher {
                heartbeat_period: Some(HEARTBEAT_NS),
            }),
            ..SwarmSpec::default()
        }),
        ..SwarmInitRequest::default()
    };
    manager
        .init_swarm(swarm)
        .await
        .context("making the Swarm")?;
    let tokens = manager.inspect_swarm().await?.join_tokens;
    let join = SwarmJoinRequest {
        listen_addr: Some(format!("{second}:2377")),
        advertise_addr: Some(second.to_string()),
        remote_addrs: Some(vec![format!("{first}:2377")]),
        join_token: tokens.and_then(|tokens| tokens.worker),
        ..SwarmJoinRequest::default()
    };
    worker.join_swarm(join).await.context("joining the Swarm")?;
    wait::until("both nodes are ready", UP, || async {
        let nodes = manager.list_nodes(None::<ListNodesOptions>).await?;
        let ready = nodes.iter().filter(|node| {
            let state = node.status.as_ref().and_then(|status| status.state);
            state == Some(bollard::models::NodeState::READY)
        });
        Ok((ready.count() == NODES.len()).then_some(()))
    })
    .await
}

async fn node_id(docker: &Docker) -> Result<String> {
    let swarm = docker.info().await?.swarm;
    swarm
        .and_then(|swarm| swarm.node_id)
        .context("a node has an id")
}

/// Clusters whose test process is gone.
fn sweep_leftovers() {
    for claim in lease::names(CLAIM) {
        if let Ok(Some(lease)) = Lease::try_take(&claim) {
            let name = claim.trim_start_matches(CLAIM);
            tear_down(name);
            let _ = fs::remove_dir_all(directory(name));
            lease.forget();
        }
    }
}
