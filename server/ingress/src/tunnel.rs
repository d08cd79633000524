//! Connections that have switched protocols: bytes both ways until either side ends.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::task::spawn_local;

use crate::connection_pool::UpstreamConnection;
use crate::service::InFlight;
use crate::worker::Open;

/// Joins both ends in the background. It counts as in flight until it is closed.
pub(crate) fn join(
    client: OnUpgrade,
    upstream: OnUpgrade,
    flight: InFlight,
    connection: UpstreamConnection,
    open: Open,
) {
    spawn_local(async move {
        // Held until the end: the worker waits for tunnels when it stops, up to its limit.
        let (_open, _connection) = (open, connection);
        let ends = futures_util::future::try_join(client, upstream).await;
        match ends {
            Ok((client, upstream)) => {
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                if let Err(error) = copy_bidirectional(&mut client, &mut upstream).await {
                    tracing::debug!(%error, "tunnel broke off");
                }
            }
            Err(error) => tracing::debug!(%error, "protocol switch failed"),
        }
        drop(flight);
    });
}
