//! Which addresses the platform may call on somebody's behalf.
//!
//! Repositories and webhooks are named by users; the control plane stands inside a network that
//! users may not see. So only public addresses are called, unless the configuration allows more.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::{Invalid, quoted};

/// Networks that are no part of the public internet (IANA special-purpose registry), and the
/// address at which Azure answers its guests, which is a public one by number.
const CLOSED_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// Of the global unicast range `2000::/3`: protocol assignments (with Teredo), documentation, 6to4
/// (an IPv4 address in disguise) and documentation again.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// NAT64: an IPv4 address is in the last 32 bits.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What the configuration allows besides the public internet: hosts by name, addresses, networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAddresses {
    /// In lower case.
    hosts: BTreeSet<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl AllowedAddresses {
    /// Reads entries like `git.internal`, `10.1.2.3`, `10.1.0.0/16`, `fd00::/8`; empty ones are
    /// skipped.
    ///
    /// # Errors
    /// One [`Invalid`] an entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<Invalid>> {
        let mut allowed = Self::default();
        let mut faults = Vec::new();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if entry.is_empty() {
                continue;
            }
            if let Some(network) = network(entry) {
                allowed.networks.push(network);
            } else if is_host_name(entry) {
                allowed.hosts.insert(entry.to_ascii_lowercase());
            } else {
                faults.push(Invalid::new(
                    "allow_address",
                    format!(
                        "must be a host name, an address or a network like 10.1.0.0/16, not {}",
                        quoted(entry)
                    ),
                ));
            }
        }
        if faults.is_empty() {
            Ok(allowed)
        } else {
            Err(faults)
        }
    }

    /// `host`, which was found at `address`, may be called.
    pub fn may_reach(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.names(host, address)
    }

    /// `host`, which was found at `address`, may be called without TLS.
    pub fn may_use_plain_http(&self, host: &str, address: IpAddr) -> bool {
        self.names(host, address)
    }

    fn names(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.hosts.contains(&host.to_ascii_lowercase())
            || self
                .networks
                .iter()
                .any(|(network, bits)| contains(*network, *bits, address))
    }
}

/// Networks, and single addresses as the smallest of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Reads entries like `10.1.2.3`, `10.1.0.0/16`, `fd00::/8`; empty ones are skipped.
    ///
    /// # Errors
    /// One [`Invalid`] an entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<Invalid>> {
        let entries = entries.iter().map(|entry| entry.as_ref().trim());
        let (mut networks, mut faults) = (Vec::new(), Vec::new());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match network(entry) {
                Some(network) => networks.push(network),
                None => faults.push(Invalid::new(
                    "network",
                    format!(
                        "must be an address or a network like 10.1.0.0/16, not {}",
                        quoted(entry)
                    ),
                )),
            }
        }
        if faults.is_empty() {
            Ok(Self(networks))
        } else {
            Err(faults)
        }
    }

    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|(network, bits)| contains(*network, *bits, address))
    }
}

/// Who sent a request: the peer, or, where the peer is a proxy that is trusted, whom the proxies say
/// it came from. `forwarded` is `X-Forwarded-For`, the nearest proxy's note last; it is believed from
/// there on backwards, as long as trusted proxies wrote it.
pub fn client_address(peer: IpAddr, forwarded: &str, trusted: &Networks) -> IpAddr {
    let mut address = peer.to_canonical();
    let mut notes = forwarded.split(',').rev();
    while trusted.contain(address)
        && let Some(note) = notes.next()
    {
        let note = note.trim();
        let found = note.parse::<IpAddr>().ok().or_else(|| {
            // Some write the port along.
            note.parse::<std::net::SocketAddr>()
                .ok()
                .map(|socket| socket.ip())
        });
        match found {
            Some(found) => address = found.to_canonical(),
            None => break,
        }
    }
    address
}

/// The address is part of the public internet: not loopback, private, link-local (where cloud
/// metadata is served), shared (CGNAT), multicast, reserved, or one of those written as IPv6.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !CLOSED_V4
            .iter()
            .any(|(network, bits)| contains((*network).into(), *bits, address.into())),
        IpAddr::V6(address) => {
            if contains(NAT64.0.into(), NAT64.1, address.into()) {
                let [.., a, b, c, d] = address.octets();
                return is_public(Ipv4Addr::new(a, b, c, d).into());
            }
            contains(GLOBAL_UNICAST.0.into(), GLOBAL_UNICAST.1, address.into())
                && !CLOSED_V6
                    .iter()
                    .any(|(network, bits)| contains((*network).into(), *bits, address.into()))
        }
    }
}

/// Some programs read `127.1`, `0x7f000001` or `2130706433` as an address, others do not. What ends
/// in a number and is not a plain address is taken by nobody here.
pub fn is_odd_address(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return false;
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let hex = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && !text.starts_with(['-', '.'])
        && !text.ends_with('.')
        && !is_odd_address(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some((address, bits))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for open in [
            "1.1.1.1",
            "140.82.121.4",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "2606:4700:4700::1111",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
        for closed in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
    }

    #[test]
    fn the_configuration_allows_hosts_addresses_and_networks() {
        let allowed = AllowedAddresses::parse(&[
            "Git.Internal",
            "10.1.0.0/16",
            "192.168.5.7",
            "fd00::/8",
            "",
        ])
        .unwrap();
        let reach = |host: &str, address: &str| allowed.may_reach(host, address.parse().unwrap());
        assert!(reach("git.internal", "127.0.0.1"));
        assert!(reach("GIT.internal", "10.9.9.9"));
        assert!(reach("other", "10.1.255.1"));
        assert!(reach("other", "::ffff:10.1.2.3"));
        assert!(reach("other", "192.168.5.7"));
        assert!(reach("other", "fdab::1"));
        assert!(reach("other", "9.9.9.9"));
        assert!(!reach("other", "10.2.0.1"));
        assert!(!reach("other", "192.168.5.8"));
        assert!(!reach("sub.git.internal", "10.9.9.9"));
        let plain = |host: &str, ip: &str| allowed.may_use_plain_http(host, ip.parse().unwrap());
        assert!(plain("git.internal", "9.9.9.9"));
        assert!(plain("10.1.2.3", "10.1.2.3"));
        assert!(!plain("other", "9.9.9.9"));
    }

    #[test]
    fn anything_else_is_no_entry() {
        let faults = AllowedAddresses::parse(&["a b", "10.0.0.0/33", "http://x", "127.1", "-x"])
            .unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(AllowedAddresses::parse(&["0.0.0.0/0"]).is_ok());
    }

    #[test]
    fn addresses_in_odd_spellings_are_seen() {
        for odd in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "a.1",
            "1.2.3.4.",
        ] {
            assert!(is_odd_address(odd), "{odd}");
        }
        for plain in ["127.0.0.1", "git.example.com", "a1", "x.1a", "localhost"] {
            assert!(!is_odd_address(plain), "{plain}");
        }
    }

    #[test]
    fn a_proxys_word_is_taken_only_from_those_that_are_trusted() {
        let trusted = Networks::parse(&["10.0.0.0/8", "::1"]).unwrap();
        let of = |peer: &str, forwarded: &str| {
            client_address(peer.parse().unwrap(), forwarded, &trusted).to_string()
        };
        // Nobody's but the proxy's: anybody can send the header.
        assert_eq!(of("203.0.113.9", "198.51.100.7"), "203.0.113.9");
        assert_eq!(of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(of("10.0.0.1", "198.51.100.7:4711"), "198.51.100.7");
        assert_eq!(of("::1", "2001:db8::5"), "2001:db8::5");
        // What the client wrote itself stands further left.
        assert_eq!(of("10.0.0.1", "1.2.3.4, 198.51.100.7"), "198.51.100.7");
        assert_eq!(
            of("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.0.0.2"),
            "198.51.100.7"
        );
        assert_eq!(of("10.0.0.1", "unknown"), "10.0.0.1");
        assert_eq!(of("10.0.0.1", ""), "10.0.0.1");
        assert!(Networks::parse(&["proxy.internal"]).is_err());
    }
}
