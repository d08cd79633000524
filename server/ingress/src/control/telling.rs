//! Telling the control plane of requests: one batch at a time, the next when it has taken the last.

use std::sync::Arc;

use crate::access::Outbox;

/// What one link has told.
#[derive(Debug)]
pub(super) struct Telling<'a> {
    outbox: &'a Outbox,
    /// What was sent on this link and not taken yet.
    sent: Option<u64>,
    /// There may be something to send. At once on a new link.
    is_due: bool,
}

impl<'a> Telling<'a> {
    pub(super) fn new(outbox: &'a Outbox) -> Self {
        Self {
            outbox,
            sent: None,
            is_due: true,
        }
    }

    /// Waits until there may be a batch to send. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        if self.sent.is_some() {
            std::future::pending::<()>().await;
        }
        if !self.is_due {
            self.outbox.news().await;
            // Even if what follows is given up.
            self.is_due = true;
        }
    }

    /// The frame to send now, as text.
    pub(super) fn take(&mut self) -> Option<Arc<str>> {
        self.is_due = false;
        let (id, text) = self.outbox.batch()?;
        self.sent = Some(id);
        Some(text)
    }

    pub(super) fn taken(&mut self, id: u64) {
        self.outbox.taken(id);
        if self.sent == Some(id) {
            self.sent = None;
            self.is_due = true;
        }
    }
}
