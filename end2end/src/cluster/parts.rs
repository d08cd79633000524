//! The parts of a cluster on this machine: a bridge, and for each node a namespace, a pair of links,
//! control groups and an engine. All of them are found by the cluster's name alone.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::registry;

/// How long an engine may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(15);
pub(super) const REGISTRY_PORT: u16 = 5000;
/// The manager and the worker.
pub(super) const NODES: [char; 2] = ['m', 'w'];

/// Short: paths of Unix sockets have a limit of 107 bytes.
pub(super) fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

pub(super) fn socket(name: &str, node: char) -> PathBuf {
    directory(name).join(format!("{node}.sock"))
}

fn pid_file(name: &str, node: char) -> PathBuf {
    directory(name).join(format!("{node}.pid"))
}

/// The namespace, the host name and the parent of the node's control groups.
pub(super) fn netns(name: &str, node: char) -> String {
    format!("{name}{node}")
}

/// The end of the node's pair in the bridge.
pub(super) fn link(name: &str, node: char) -> String {
    format!("{name}-{node}")
}

pub(super) fn bridge_address(subnet: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, subnet, 1)
}

pub(super) fn node_address(subnet: u8, index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, subnet, if index == 0 { 11 } else { 12 })
}

/// Words are separated by spaces.
pub(super) fn run(program: &str, arguments: &str) -> Result<String> {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(super) fn make_bridge(name: &str, subnet: u8) -> Result<()> {
    run("ip", &format!("link add {name} type bridge"))?;
    run(
        "ip",
        &format!("addr add {}/24 dev {name}", bridge_address(subnet)),
    )?;
    run("ip", &format!("link set {name} up"))?;
    // Where an engine runs on the machine itself, it lets nothing else through.
    for direction in ["-i", "-o"] {
        run(
            "iptables",
            &format!("-w -I FORWARD {direction} {name} -j ACCEPT"),
        )?;
    }
    Ok(())
}

pub(super) fn make_node(name: &str, node: char, subnet: u8, index: usize) -> Result<()> {
    let (namespace, link) = (netns(name, node), link(name, node));
    run("ip", &format!("netns add {namespace}"))?;
    run(
        "ip",
        &format!("link add {link} type veth peer name eth0 netns {namespace}"),
    )?;
    run("ip", &format!("link set {link} master {name} up"))?;
    let address = node_address(subnet, index);
    for arguments in [
        "link set lo up".to_owned(),
        format!("addr add {address}/24 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", bridge_address(subnet)),
    ] {
        run("ip", &format!("-n {namespace} {arguments}"))?;
    }
    Ok(())
}

/// With a `/run` of its own, where engines keep the state of their networks, and a host name.
pub(super) fn start_engine(name: &str, node: char, subnet: u8) -> Result<()> {
    let (namespace, directory) = (netns(name, node), directory(name));
    let script = format!(
        "hostname {namespace} && mount -t tmpfs tmpfs /run && exec dockerd \
         --data-root {root}/{node}.data --exec-root {root}/{node}.exec \
         --host unix://{socket} --pidfile {pid} --cgroup-parent /{namespace} \
         --insecure-registry {registry}:{REGISTRY_PORT}",
        root = directory.display(),
        socket = socket(name, node).display(),
        pid = pid_file(name, node).display(),
        registry = bridge_address(subnet),
    );
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join(format!("{node}.log")))?;
    Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{namespace}"))
        .args(["unshare", "--uts", "--mount", "sh", "-c", &script])
        .env_remove("DOCKER_HOST")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting an engine")?;
    Ok(())
}

/// Asks an engine to end, and waits until it has: it stops its containers first.
pub(super) fn end_engine(name: &str, node: char) -> Result<()> {
    let pid = running(name, &pid_file(name, node)).context("the engine does not run")?;
    kill_process(pid, Signal::TERM).context("asking an engine to end")?;
    let asked = Instant::now();
    while lives(pid) {
        ensure!(asked.elapsed() < 4 * ENDING, "engine {node} does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // A child of this process stays until it is waited for.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub(super) fn start_registry(name: &str, subnet: u8, with_password: bool) -> Result<Child> {
    let directory = directory(name);
    let mut config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": directory.join("registry")}},
        "http": {"addr": format!("{}:{REGISTRY_PORT}", bridge_address(subnet))},
    });
    if with_password {
        let users = directory.join("registry.users");
        fs::write(&users, registry::users())?;
        config["auth"] = serde_json::json!({"htpasswd": {"realm": "test", "path": users}});
    }
    // YAML reads JSON.
    let path = directory.join("registry.yml");
    fs::write(&path, config.to_string())?;
    let log = File::create(directory.join("registry.log"))?;
    let registry = tokio::process::Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("starting docker-registry")?;
    // It runs in no namespace of ours, so this is how an orphan is found.
    let pid = registry.id().context("the registry ended at once")?;
    fs::write(directory.join("registry.pid"), pid.to_string())?;
    Ok(registry)
}

/// In this order: engines that end by themselves tidy up most. What they leave running is found by
/// its namespace (containerd and its shims) and by its control group (containers, which have
/// namespaces of their own).
pub(super) fn tear_down(name: &str) {
    let registry = running(name, &directory(name).join("registry.pid"));
    let engines: Vec<Pid> = NODES
        .iter()
        .filter_map(|&node| running(name, &pid_file(name, node)))
        .chain(registry)
        .collect();
    for engine in &engines {
        let _ = kill_process(*engine, Signal::TERM);
    }
    let asked = Instant::now();
    while engines.iter().copied().any(lives) && asked.elapsed() < ENDING {
        std::thread::sleep(Duration::from_millis(50));
    }
    for node in NODES {
        kill_all(name, node);
        for group in groups(name, node) {
            remove_group(&group);
        }
        let _ = run("ip", &format!("link del {}", link(name, node)));
        let _ = run("ip", &format!("netns del {}", netns(name, node)));
    }
    let _ = run("ip", &format!("link del {name}"));
    for direction in ["-i", "-o"] {
        let _ = run(
            "iptables",
            &format!("-w -D FORWARD {direction} {name} -j ACCEPT"),
        );
    }
}

/// The process of a file, if the number is not somebody else's by now.
fn running(name: &str, pid_file: &Path) -> Option<Pid> {
    let number = fs::read_to_string(pid_file).ok()?;
    let pid = Pid::from_raw(number.trim().parse().ok()?)?;
    let command = fs::read_to_string(format!("/proc/{}/cmdline", number.trim())).ok()?;
    command.contains(name).then_some(pid)
}

/// Everything of a node, at once.
pub(super) fn kill_all(name: &str, node: char) {
    // What dies may have been starting something.
    for _ in 0..20 {
        let mut pids = run("ip", &format!("netns pids {}", netns(name, node))).unwrap_or_default();
        for group in groups(name, node) {
            collect(&group, &mut pids);
        }
        let pids: Vec<Pid> = pids
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .filter(|pid| Some(*pid) != Some(rustix::process::getpid()))
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The node's control groups: one of each controller, or one for all.
fn groups(name: &str, node: char) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten();
    std::iter::once(root.to_owned())
        .chain(controllers.map(|controller| controller.path()))
        .map(|controller| controller.join(netns(name, node)))
        .filter(|group| group.is_dir())
        .collect()
}

fn collect(group: &Path, pids: &mut String) {
    pids.push('\n');
    pids.push_str(&fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default());
    for inner in inner_groups(group) {
        collect(&inner, pids);
    }
}

fn inner_groups(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn remove_group(group: &Path) {
    for inner in inner_groups(group) {
        remove_group(&inner);
    }
    let _ = fs::remove_dir(group);
}

/// What is still there of a cluster.
pub(super) fn leftovers(name: &str) -> Vec<String> {
    let mut left = Vec::new();
    for (what, program, arguments) in [
        ("namespaces", "ip", "netns list"),
        ("links", "ip", "-o link"),
        ("rules", "iptables", "-w -S FORWARD"),
        ("mounts", "cat", "/proc/mounts"),
        ("processes", "ps", "-eo args"),
    ] {
        let text = run(program, arguments).unwrap_or_default();
        // The test itself may have the name among its arguments; what belongs to it has more.
        if let Some(line) = text.lines().find(|line| line.contains(name)) {
            left.push(format!("{what}: {line}"));
        }
    }
    for node in NODES {
        left.extend(
            groups(name, node)
                .iter()
                .map(|group| group.display().to_string()),
        );
    }
    left
}
