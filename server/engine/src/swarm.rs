//! The engine itself: what it is, its Swarm, the instance's network.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{LocalNodeState, NetworkCreateRequest, NetworkInspect, SwarmInitRequest};
use bollard::query_parameters::InspectNetworkOptions;
use flukedeploy_platform::ports::{EngineError, EngineInfo, NetworkReady};
use serde::Deserialize;

use crate::engine::Inner;
use crate::error::{absent_is_none, cut, is_conflict, timed_out};

/// Making a Swarm takes a second or two; a machine under load gets more.
const INIT: Duration = Duration::from_secs(30);
/// How long the bridge may take to appear after the Swarm was made.
const BRIDGE: Duration = Duration::from_secs(15);
const GATEWAY_BRIDGE: &str = "docker_gwbridge";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNode {
    #[serde(default)]
    status: RawNodeStatus,
    #[serde(default)]
    spec: RawNodeSpec,
    #[serde(default)]
    description: RawNodeDescription,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawNodeDescription {
    hostname: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawNodeSpec {
    availability: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawNodeStatus {
    state: String,
}

/// How many nodes the Swarm has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    pub(crate) ready: u32,
    /// That may get replicas as soon as they are ready: one that is down comes back.
    pub(crate) members: u32,
    /// Names of those that are not ready.
    pub(crate) down: Vec<String>,
}

/// This node's place in the Swarm.
pub(crate) struct Membership {
    pub(crate) state: LocalNodeState,
    pub(crate) is_manager: bool,
    pub(crate) node_id: Option<String>,
    pub(crate) node_address: Option<IpAddr>,
    /// The engine's words about what is wrong.
    error: String,
    node_name: String,
    architecture: String,
    /// Where the engine keeps what it has.
    pub(crate) directory: Option<PathBuf>,
}

impl Inner {
    pub(crate) async fn info(&self) -> Result<EngineInfo, EngineError> {
        let member = self.membership().await?;
        let met = self.client.met().await?;
        let nodes = if member.is_manager {
            self.nodes().await?
        } else {
            Nodes::default()
        };
        Ok(EngineInfo {
            version: met.version,
            api_version: met.api_version,
            architecture: member.architecture,
            swarm_active: member.state == LocalNodeState::ACTIVE,
            is_manager: member.is_manager,
            nodes: nodes.ready,
            member_nodes: nodes.members,
            down_nodes: nodes.down,
            node_id: member.node_id,
            node_name: member.node_name,
        })
    }

    pub(crate) async fn membership(&self) -> Result<Membership, EngineError> {
        let doing = "asking the engine about itself";
        let info = self.client.call(doing, self.client.docker().info()).await?;
        let swarm = info.swarm.unwrap_or_default();
        self.remember_log_driver(info.logging_driver.as_deref());
        Ok(Membership {
            state: swarm.local_node_state.unwrap_or(LocalNodeState::INACTIVE),
            is_manager: swarm.control_available.unwrap_or_default(),
            node_id: swarm.node_id.filter(|id| !id.is_empty()),
            node_address: swarm.node_addr.and_then(|address| address.parse().ok()),
            error: swarm.error.unwrap_or_default(),
            node_name: info.name.unwrap_or_default(),
            architecture: info.architecture.unwrap_or_default(),
            directory: info.docker_root_dir.map(PathBuf::from),
        })
    }

    pub(crate) async fn nodes(&self) -> Result<Nodes, EngineError> {
        let nodes: Vec<RawNode> = self
            .client
            .call("listing nodes", self.client.get("/nodes"))
            .await?;
        let count = |wanted: &dyn Fn(&RawNode) -> bool| {
            u32::try_from(nodes.iter().filter(|node| wanted(node)).count()).unwrap_or(u32::MAX)
        };
        Ok(Nodes {
            ready: count(&|node| node.status.state == "ready"),
            members: count(&|node| node.spec.availability != "drain"),
            down: nodes
                .iter()
                .filter(|node| node.status.state != "ready")
                .map(|node| node.description.hostname.clone())
                .collect(),
        })
    }

    pub(crate) async fn prepare(&self) -> Result<NetworkReady, EngineError> {
        let mut member = self.membership().await?;
        if member.state == LocalNodeState::INACTIVE {
            self.init_swarm().await?;
            member = self.membership().await?;
        }
        check(&member)?;
        self.ensure_network().await?;
        Ok(NetworkReady {
            host_address: self.host_address().await?,
            node_address: member.node_address,
        })
    }

    /// Makes a Swarm of this one node.
    ///
    /// It advertises the address of the default route, but listens on 127.0.0.1 only: one node
    /// talks to itself, so neither Swarm's control port 2377 nor its gossip port 7946 needs to be
    /// open to the world, and the Swarm comes up again when the machine's address has changed.
    /// Other nodes cannot join such a Swarm. Who wants several makes the Swarm beforehand with
    /// `docker swarm init --advertise-addr ADDRESS`; one that exists is used as it is.
    async fn init_swarm(&self) -> Result<(), EngineError> {
        let address = if self.client.is_local() {
            own_address()
        } else {
            None
        };
        let advertise = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let request = SwarmInitRequest {
            listen_addr: Some("127.0.0.1:2377".to_owned()),
            advertise_addr: Some(advertise.to_string()),
            ..SwarmInitRequest::default()
        };
        let doing = "initialising Swarm";
        let init = self.client.docker().init_swarm(request);
        match self.client.call_within(INIT, doing, init).await {
            Ok(node) => {
                tracing::info!(node, %advertise, "initialised Swarm");
                Ok(())
            }
            // Somebody else was faster.
            Err(EngineError::Refused { message, .. } | EngineError::NoQuorum { message, .. })
                if message.contains("already part of a swarm") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn ensure_network(&self) -> Result<String, EngineError> {
        let name = self.names.network();
        if let Some(network) = self.inspect_network(&name).await? {
            return self.own_network(&name, network);
        }
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("overlay".to_owned()),
            // Only services of ours may join: a `docker run --network` would stand inside.
            attachable: Some(false),
            labels: Some(self.names.owner()),
            ..NetworkCreateRequest::default()
        };
        let doing = format!("creating network {name}");
        let creation = self.client.docker().create_network(request);
        match self.client.call(&doing, creation).await {
            Ok(_) => {}
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        match self.inspect_network(&name).await? {
            Some(network) => self.own_network(&name, network),
            None => Err(EngineError::NotFound { doing }),
        }
    }

    async fn inspect_network(&self, name: &str) -> Result<Option<NetworkInspect>, EngineError> {
        let doing = format!("reading network {name}");
        let reading = self
            .client
            .docker()
            .inspect_network(name, None::<InspectNetworkOptions>);
        absent_is_none(self.client.call(&doing, reading).await)
    }

    fn own_network(&self, name: &str, network: NetworkInspect) -> Result<String, EngineError> {
        // A network that was made this instant has no driver yet.
        let driver = network.driver.as_deref().unwrap_or_default();
        if !self.names.owns(network.labels.as_ref()) || !matches!(driver, "overlay" | "") {
            return Err(EngineError::Refused {
                doing: format!("preparing network {name}"),
                message: "a network of that name exists and is not an overlay of this instance"
                    .to_owned(),
            });
        }
        let id = network.id.unwrap_or_default();
        self.remember_network(Some(id.clone()));
        Ok(id)
    }

    /// The overlay's id, which services are attached to; Swarm stores it in place of the name.
    pub(crate) async fn network_id(&self) -> Result<String, EngineError> {
        match self.known_network() {
            Some(id) => Ok(id),
            None => self.ensure_network().await,
        }
    }

    /// Whether the network that was known as `id` is gone; then its id is no longer remembered.
    pub(crate) async fn forget_network(&self, id: &str) -> Result<bool, EngineError> {
        let gone = self.inspect_network(id).await?.is_none();
        if gone {
            self.remember_network(None);
        }
        Ok(gone)
    }

    /// The bridge appears a moment after the Swarm.
    async fn host_address(&self) -> Result<IpAddr, EngineError> {
        let deadline = tokio::time::Instant::now() + BRIDGE;
        loop {
            if let Some(bridge) = self.inspect_network(GATEWAY_BRIDGE).await?
                && let Some(gateway) = gateway(&bridge)
            {
                return Ok(gateway);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(timed_out("waiting for the network docker_gwbridge", BRIDGE));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn remove_network(&self) -> Result<(), EngineError> {
        let name = self.names.network();
        let Some(network) = self.inspect_network(&name).await? else {
            return Ok(());
        };
        if !self.names.owns(network.labels.as_ref()) {
            return Ok(());
        }
        let doing = format!("removing network {name}");
        let removal = self.client.docker().remove_network(&name);
        absent_is_none(self.client.call(&doing, removal).await)?;
        self.remember_network(None);
        Ok(())
    }
}

/// Whether this node can do what we need of it.
fn check(member: &Membership) -> Result<(), EngineError> {
    let doing = "preparing Swarm".to_owned();
    let problem = match member.state {
        LocalNodeState::ACTIVE if member.is_manager => return Ok(()),
        LocalNodeState::ACTIVE => {
            return Err(EngineError::NoQuorum {
                doing,
                message: "this node is a worker; FlukeDeploy must run on a manager".to_owned(),
            });
        }
        LocalNodeState::PENDING => {
            return Err(EngineError::NoQuorum {
                doing,
                message: "this node is still joining its Swarm".to_owned(),
            });
        }
        LocalNodeState::LOCKED => "the Swarm is locked: run 'docker swarm unlock' first",
        _ => "the engine's Swarm does not start",
    };
    let message = if member.error.is_empty() {
        problem.to_owned()
    } else {
        format!("{problem}: {}", cut(&member.error))
    };
    Err(EngineError::Refused { doing, message })
}

fn gateway(bridge: &NetworkInspect) -> Option<IpAddr> {
    let configs = bridge.ipam.as_ref()?.config.as_ref()?;
    let addresses: Vec<IpAddr> = configs
        .iter()
        .filter_map(|config| config.gateway.as_deref()?.split('/').next()?.parse().ok())
        .collect();
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .copied()
}

/// The source address of the default route. Connecting a datagram socket asks the kernel for the
/// route and sends nothing.
fn own_address() -> Option<IpAddr> {
    for (from, to) in [
        ("0.0.0.0:0", "198.51.100.1:9"),
        ("[::]:0", "[2001:db8::1]:9"),
    ] {
        let found = UdpSocket::bind(from)
            .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
        if let Ok(address) = found
            && !address.ip().is_unspecified()
        {
            return Some(address.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(state: LocalNodeState, is_manager: bool) -> Membership {
        Membership {
            state,
            is_manager,
            node_id: None,
            node_address: None,
            error: "its words".to_owned(),
            node_name: String::new(),
            architecture: String::new(),
            directory: None,
        }
    }

    #[test]
    fn only_an_active_manager_will_do() {
        assert!(check(&member(LocalNodeState::ACTIVE, true)).is_ok());
        assert!(
            check(&member(LocalNodeState::ACTIVE, false))
                .unwrap_err()
                .is_transient()
        );
        assert!(
            check(&member(LocalNodeState::PENDING, false))
                .unwrap_err()
                .is_transient()
        );
        let locked = check(&member(LocalNodeState::LOCKED, false)).unwrap_err();
        assert!(locked.to_string().contains("unlock"), "{locked}");
        let broken = check(&member(LocalNodeState::ERROR, false)).unwrap_err();
        assert!(broken.to_string().contains("its words"), "{broken}");
    }

    #[test]
    fn the_gateway_is_the_first_ipv4_one() {
        let bridge = |config: serde_json::Value| -> NetworkInspect {
            serde_json::from_value(json!({"IPAM": {"Config": config}})).unwrap()
        };
        let both = bridge(
            json!([{"Gateway": "fd00::1"}, {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]),
        );
        assert_eq!(gateway(&both), Some("172.18.0.1".parse().unwrap()));
        assert_eq!(gateway(&bridge(json!([{"Subnet": "172.18.0.0/16"}]))), None);
    }
}
