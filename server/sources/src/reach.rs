//! Whom a repository's host may be: looked up once, checked, and kept to.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::addresses::{AllowedAddresses, is_odd_address};
use flukedeploy_domain::build::{RepositoryUrl, Transport};
use flukedeploy_platform::ports::SourceError;
use futures_util::future::BoxFuture;

use crate::fault::refused;

/// Finds the addresses of a host.
pub type Resolver =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

const LOOK_UP: Duration = Duration::from_secs(10);
const ALLOW_NEXT: &str = "use a repository at a public address, or let an administrator allow this one with \
     --allow-address HOST";

/// Asks the system, as git itself would.
pub fn system_resolver() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// A host that may be called, at an address that was checked. Programs are told to use this address
/// and no other: a name server that answers differently the second time changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// In lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
}

/// # Errors
/// [`SourceError::Refused`] if no address of the host may be called, or only with TLS;
/// [`SourceError::Unreachable`] if it has none.
pub(crate) async fn target(
    repository: &RepositoryUrl,
    allowed: &AllowedAddresses,
    resolver: &Resolver,
) -> Result<Target, SourceError> {
    let host = repository.host();
    if is_odd_address(&host) || host.ends_with('.') {
        return Err(refused(
            format!("{host} is neither a host name nor an address in its usual form"),
            "write the host's name",
        ));
    }
    let port = repository.port().unwrap_or(match repository.transport() {
        Transport::Https => 443,
        Transport::Http => 80,
        Transport::Ssh => 22,
    });
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => match tokio::time::timeout(LOOK_UP, resolver(host.clone())).await {
            Ok(Ok(found)) if !found.is_empty() => found,
            Ok(_) => {
                return Err(SourceError::Unreachable {
                    message: format!("no address is known for the host {host}"),
                });
            }
            Err(_) => {
                return Err(SourceError::Unreachable {
                    message: format!(
                        "the name servers did not tell the address of {host} within {} s",
                        LOOK_UP.as_secs()
                    ),
                });
            }
        },
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in &found {
        if allowed.may_reach(&host, *address) && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let Some(first) = found.first().filter(|_| addresses.is_empty()) else {
        if repository.transport() == Transport::Http {
            addresses.retain(|address| allowed.may_use_plain_http(&host, *address));
            if addresses.is_empty() {
                return Err(refused(
                    format!(
                        "http:// to {host} is not encrypted, and only https:// and ssh:// are used"
                    ),
                    "use https://, or let an administrator allow this host with --allow-address HOST",
                ));
            }
        }
        return Ok(Target {
            host,
            port,
            addresses,
        });
    };
    Err(refused(
        if host == first.to_string() {
            format!("{host} is not a public address, and only those are called")
        } else {
            format!(
                "{host} is at {first}, which is not a public address, and only those are called"
            )
        },
        ALLOW_NEXT,
    ))
}
