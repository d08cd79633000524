//! Rights that change while somebody is connected.

use tokio::sync::watch;

use crate::platform::Platform;

/// Announces that somebody's rights may have changed: a token was revoked, a password was set,
/// somebody signed out. Who is connected for long looks again then.
pub(crate) struct Rechecks(watch::Sender<u64>);

impl Default for Rechecks {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Rechecks {
    pub(crate) fn announce(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Changes when a connection has to ask anew whether it may go on. That a token runs out is not
/// announced: its end is known beforehand.
pub fn announced(px: &Platform) -> watch::Receiver<u64> {
    px.parts().rechecks.0.subscribe()
}
