//! Where one worker writes, without asking anybody.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Note, Outbox};
use crate::table::Target;

/// Notes that are handed over at once, without waiting for the next tick.
const PAGE: usize = 256;
/// Failed and slow requests of one app that one worker writes down in a second; where everything
/// fails, they are all alike.
const TROUBLES_PER_SECOND: u32 = 50;

#[derive(Debug, Default)]
pub(crate) struct Notebook {
    page: RefCell<Page>,
}

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) notes: Vec<Note>,
    /// Requests that should have been written down, and were too many.
    pub(super) left_out: HashMap<Arc<Target>, u64>,
    second: u64,
    troubles: HashMap<Arc<Target>, u32>,
}

impl Notebook {
    /// Whether another failed or slow request of this app is still to be written down, in this second
    /// of the worker's clock.
    pub(super) fn has_room_for_trouble(&self, target: &Arc<Target>, now_ms: u64) -> bool {
        let page = &mut *self.page.borrow_mut();
        let second = now_ms / 1_000;
        if page.second != second {
            page.second = second;
            page.troubles.clear();
        }
        let troubles = page.troubles.entry(target.clone()).or_default();
        *troubles += 1;
        let has_room = *troubles <= TROUBLES_PER_SECOND;
        if !has_room {
            *page.left_out.entry(target.clone()).or_default() += 1;
        }
        has_room
    }

    pub(super) fn write(&self, note: Note, outbox: &Outbox) {
        let mut page = self.page.borrow_mut();
        page.notes.push(note);
        if page.notes.len() >= PAGE {
            outbox.take(&mut page);
        }
    }

    /// Hands over what there is.
    pub(crate) fn hand_over(&self, outbox: &Outbox) {
        let mut page = self.page.borrow_mut();
        if !page.notes.is_empty() || !page.left_out.is_empty() {
            outbox.take(&mut page);
        }
    }
}
