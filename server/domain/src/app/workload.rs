//! What a replica needs from the nodes: memory, processor time, a place, volumes, ports.

use serde::{Deserialize, Serialize};

use crate::names::{Invalid, quoted};

/// Most volumes of one environment.
pub(super) const MAX_VOLUMES: usize = 20;
/// Most placement rules of one environment.
pub(super) const MAX_PLACEMENT_RULES: usize = 20;
/// Most published ports of one environment.
pub(super) const MAX_PUBLISHED_PORTS: usize = 20;

/// Limits and reservations of one replica. Absent: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Thousandths of a processor it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit_milli: Option<u32>,
    /// Memory it may use, in MiB; the kernel ends it when it takes more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_mb: Option<u32>,
    /// Thousandths of a processor that a node must have free for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_reservation_milli: Option<u32>,
    /// Memory that a node must have free for it, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation_mb: Option<u32>,
}

impl Resources {
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut range = |name: &str, value: Option<u32>, low: u32, high: u32| {
            if let Some(value) = value
                && !(low..=high).contains(&value)
            {
                faults.push(Invalid::new(
                    format!("resources.{name}"),
                    format!("must be {low} to {high}, not {value}"),
                ));
            }
        };
        range("cpu_limit_milli", self.cpu_limit_milli, 10, 1_024_000);
        // Docker takes no less than 6 MiB.
        range("memory_limit_mb", self.memory_limit_mb, 6, 16_777_216);
        range(
            "cpu_reservation_milli",
            self.cpu_reservation_milli,
            0,
            1_024_000,
        );
        range(
            "memory_reservation_mb",
            self.memory_reservation_mb,
            0,
            16_777_216,
        );
        let above = |reserved: Option<u32>, limit: Option<u32>| matches!((reserved, limit), (Some(reserved), Some(limit)) if reserved > limit);
        if above(self.cpu_reservation_milli, self.cpu_limit_milli) {
            faults.push(Invalid::new(
                "resources.cpu_reservation_milli",
                "must not be above cpu_limit_milli",
            ));
        }
        if above(self.memory_reservation_mb, self.memory_limit_mb) {
            faults.push(Invalid::new(
                "resources.memory_reservation_mb",
                "must not be above memory_limit_mb",
            ));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// Where replicas may run, in Swarm's words: `node.labels.disk == ssd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlacementRule {
    /// `node.hostname`, `node.role`, `node.id`, `node.platform.os`, `node.platform.arch`,
    /// `node.labels.<name>` or `engine.labels.<name>`.
    pub attribute: String,
    /// `==`, else `!=`.
    pub equals: bool,
    pub value: String,
}

impl std::str::FromStr for PlacementRule {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |problem: String| Invalid::new("placement", problem);
        let (attribute, equals, value) = match (text.split_once("=="), text.split_once("!=")) {
            (Some((attribute, value)), None) => (attribute, true, value),
            (None, Some((attribute, value))) => (attribute, false, value),
            _ => {
                return Err(fault(format!(
                    "must look like 'node.labels.disk == ssd', not {}",
                    quoted(text)
                )));
            }
        };
        let (attribute, value) = (attribute.trim(), value.trim());
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 128
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b))
        };
        let known = matches!(
            attribute,
            "node.hostname" | "node.role" | "node.id" | "node.platform.os" | "node.platform.arch"
        ) || attribute
            .strip_prefix("node.labels.")
            .or_else(|| attribute.strip_prefix("engine.labels."))
            .is_some_and(plain);
        if !known {
            return Err(fault(format!(
                "must name node.hostname, node.role, node.id, node.platform.os, node.platform.arch, \
                 node.labels.<name> or engine.labels.<name>, not {}",
                quoted(attribute)
            )));
        }
        if !plain(value) {
            return Err(fault(format!(
                "must compare with letters, digits and - _ . / : only, not {}",
                quoted(value)
            )));
        }
        Ok(Self {
            attribute: attribute.to_owned(),
            equals,
            value: value.to_owned(),
        })
    }
}

impl std::fmt::Display for PlacementRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.equals { "==" } else { "!=" };
        write!(f, "{} {sign} {}", self.attribute, self.value)
    }
}

impl TryFrom<String> for PlacementRule {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<PlacementRule> for String {
    fn from(rule: PlacementRule) -> Self {
        rule.to_string()
    }
}

/// Data that outlives replicas and releases; a Docker volume of the environment's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Unique in the environment: `[a-z0-9-]`, 1 to 32 characters.
    pub name: String,
    /// Absolute path inside the container.
    pub path: String,
    /// Two releases may use it at once. Otherwise the environment is only ever deployed with
    /// `recreate`, one replica at a time.
    #[serde(default)]
    pub shared: bool,
}

impl Volume {
    fn validate(&self) -> Result<(), Invalid> {
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty()
            || self.name.len() > 32
            || !self.name.bytes().all(safe)
            || self.name.starts_with('-')
        {
            return Err(Invalid::new(
                "volumes.name",
                format!(
                    "must have 1 to 32 of the characters a-z, 0-9 and -, not {}",
                    quoted(&self.name)
                ),
            ));
        }
        let clean = self.path.starts_with('/')
            && self.path.len() > 1
            && self.path.len() <= 256
            && self.path.bytes().all(|b| b.is_ascii_graphic() && b != b':')
            && !self.path.split('/').any(|part| part == "..");
        if !clean {
            return Err(Invalid::new(
                "volumes.path",
                format!(
                    "must be an absolute path inside the container, not {}",
                    quoted(&self.path)
                ),
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the node itself that leads to a replica, past the ingress: for what speaks no HTTP.
/// A node's port can be used once, so such an app is deployed with `recreate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port of the node.
    pub published: u16,
    /// Port inside the container.
    pub target: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// All volumes of an environment.
pub(super) fn check_volumes(volumes: &[Volume]) -> Result<(), Invalid> {
    if volumes.len() > MAX_VOLUMES {
        return Err(Invalid::new(
            "volumes",
            format!("must be at most {MAX_VOLUMES}, not {}", volumes.len()),
        ));
    }
    for (index, volume) in volumes.iter().enumerate() {
        volume.validate()?;
        let before = &volumes[..index];
        if before
            .iter()
            .any(|other| other.name == volume.name || other.path == volume.path)
        {
            return Err(Invalid::new(
                "volumes",
                "must not name a volume or a path twice",
            ));
        }
    }
    Ok(())
}

pub(super) fn check_ports(ports: &[PublishedPort]) -> Result<(), Invalid> {
    if ports.len() > MAX_PUBLISHED_PORTS {
        return Err(Invalid::new(
            "published_ports",
            format!("must be at most {MAX_PUBLISHED_PORTS}, not {}", ports.len()),
        ));
    }
    for (index, port) in ports.iter().enumerate() {
        if port.published == 0 || port.target == 0 {
            return Err(Invalid::new("published_ports", "must be 1 to 65535"));
        }
        let taken = |other: &PublishedPort| {
            (other.published, other.protocol) == (port.published, port.protocol)
        };
        if ports[..index].iter().any(taken) {
            return Err(Invalid::new(
                "published_ports",
                format!("must not publish port {} twice", port.published),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_rules_are_read_and_written() {
        let rule: PlacementRule = "node.labels.disk==ssd".parse().unwrap();
        assert_eq!(rule.to_string(), "node.labels.disk == ssd");
        for bad in [
            "",
            "disk == ssd",
            "node.labels. == x",
            "node.role = x",
            "node.role == a b",
        ] {
            assert!(bad.parse::<PlacementRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_stay_inside() {
        let volume = |name: &str, path: &str| Volume {
            name: name.to_owned(),
            path: path.to_owned(),
            shared: false,
        };
        check_volumes(&[volume("data", "/var/data")]).unwrap();
        for bad in [
            volume("Data", "/x"),
            volume("data", "x"),
            volume("data", "/a/../b"),
            volume("data", "/a:ro"),
        ] {
            assert!(check_volumes(&[bad]).is_err());
        }
        assert!(check_volumes(&[volume("a", "/x"), volume("b", "/x")]).is_err());
    }

    #[test]
    fn a_reservation_fits_its_limit() {
        let resources = Resources {
            memory_limit_mb: Some(64),
            memory_reservation_mb: Some(128),
            ..Resources::default()
        };
        assert_eq!(resources.validate().unwrap_err().len(), 1);
    }
}
