use std::net::IpAddr;

/// Where a sign-in comes from, as far as the door can tell.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    /// As the browser calls itself.
    pub user_agent: String,
    /// What [`device_token`](super::device_token) gave this browser before.
    pub device: Option<String>,
}

/// Of a browser's name for itself, this many characters are kept.
const USER_AGENT: usize = 200;

impl Origin {
    /// The address for people to read.
    pub(crate) fn shown(&self) -> String {
        match self.address {
            Some(address) => address.to_canonical().to_string(),
            None => "an unknown address".to_owned(),
        }
    }

    /// Whoever has one IPv6 address has 2^64 of them.
    pub(crate) fn place(&self) -> String {
        match self.address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            None => "unknown".to_owned(),
        }
    }

    pub(crate) fn browser(&self) -> String {
        let shown = |c: &char| !c.is_control();
        self.user_agent
            .chars()
            .filter(shown)
            .take(USER_AGENT)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> String {
        Origin {
            address: Some(address.parse().unwrap()),
            ..Origin::default()
        }
        .place()
    }

    #[test]
    fn one_network_is_one_place() {
        assert_eq!(place("203.0.113.9"), "203.0.113.9");
        assert_eq!(place("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(place("2001:db8:1:2::1"), place("2001:db8:1:2:ffff::9"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
    }
}
