//! The client against a `FlukeBase` that does what the contract says, and against one that lies.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, but not the functions they share"
)]

mod lies;
mod live;
mod routes;
#[expect(dead_code, reason = "the tests of the platform use the rest")]
mod stand_in;

use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::flukebase::ProjectId;
use flukedeploy_flukebase::{Dial, FlukebaseClient, Stream};
use flukedeploy_platform::ports::{Access, OutgoingError};
use flukedeploy_platform::secret::Secret;
use stand_in::{PROJECT, StandIn, TOKEN};

/// Connects to anything; who may be reached is decided elsewhere.
struct Plain;

#[async_trait]
impl Dial for Plain {
    async fn dial(
        &self,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Stream>, OutgoingError> {
        assert!(!tls);
        let stream = tokio::net::TcpStream::connect((host, port)).await;
        Ok(Box::new(stream.map_err(OutgoingError::NotConnected)?))
    }
}

pub(crate) fn client() -> FlukebaseClient {
    FlukebaseClient::new(Arc::new(Plain), "0.0.0")
}

pub(crate) fn access(of: &StandIn) -> Access {
    access_with(of, TOKEN)
}

pub(crate) fn access_with(of: &StandIn, token: &str) -> Access {
    Access {
        url: of.url().parse().unwrap(),
        token: Secret::new(token),
    }
}

pub(crate) fn project() -> ProjectId {
    ProjectId::new(PROJECT).unwrap()
}

pub(crate) fn foreign() -> ProjectId {
    ProjectId::new(8).unwrap()
}
