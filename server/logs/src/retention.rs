//! What is stored, and removing it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::OffsetDateTime;

use crate::block::{Block, from_ns, to_ns};
use crate::disk::{remove_if_there, sync_directory};
use crate::error::{Doing, Error};
use crate::gone::{self, Span};
use crate::segment::Segment;
use crate::state::{App, lock};
use crate::store::{LogStore, Writer};
use crate::wal::Frame;

/// What an app's lines take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub app: String,
    pub lines: u64,
    /// On disk, in segments.
    pub bytes: u64,
    /// Text that is in memory and the write-ahead log only.
    pub waiting_bytes: u64,
    pub segments: u64,
    pub oldest: Option<OffsetDateTime>,
    pub newest: Option<OffsetDateTime>,
}

/// What retention took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub lines: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

fn usage_of(name: &str, app: &App) -> Usage {
    let blocks = app.waiting.iter().chain([&app.open]);
    let times = app
        .segments
        .iter()
        .filter_map(|segment| segment.times())
        .chain(blocks.clone().filter_map(|block| block.times()));
    let (oldest, newest) = times.fold((None, None), |(oldest, newest), (min, max)| {
        (
            Some(oldest.map_or(min, |oldest: i64| oldest.min(min))),
            newest.max(Some(max)),
        )
    });
    let lines = app
        .segments
        .iter()
        .map(|segment| segment.rows())
        .sum::<u64>();
    Usage {
        app: name.to_owned(),
        lines: lines + blocks.clone().map(|block| block.rows() as u64).sum::<u64>(),
        bytes: app.segments.iter().map(|segment| segment.length).sum(),
        waiting_bytes: blocks.map(|block| block.bytes() as u64).sum(),
        segments: app.segments.len() as u64,
        oldest: oldest.map(from_ns),
        newest: newest.map(from_ns),
    }
}

impl LogStore {
    /// Every app with lines, by name.
    pub fn usage(&self) -> Vec<Usage> {
        let state = self.shared.read();
        let apps = state.apps.iter().filter(|(_, app)| !app.is_empty());
        apps.map(|(name, app)| usage_of(name, app)).collect()
    }

    /// Removes an app's segments that are wholly older than `before`, then its oldest until the
    /// rest takes no more than `most_bytes`. The newest segment is never removed for its size.
    /// Single lines are not removed: a line can stay for as long as a segment spans beyond its
    /// time (see [`Options`](crate::Options)).
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn retain(
        &self,
        app: &str,
        before: Option<OffsetDateTime>,
        most_bytes: Option<u64>,
    ) -> Result<Removed, Error> {
        let before = before.map(to_ns);
        let mut writer = lock(&self.writer);
        let _files = lock(&self.shared.files);
        let (segments, open) = {
            let mut state = self.shared.write();
            let Some(known) = state.apps.get_mut(app) else {
                return Ok(Removed::default());
            };
            let open_is_old = known
                .open
                .times()
                .is_some_and(|(_, max)| Some(max) < before);
            let open = open_is_old.then(|| std::mem::take(&mut known.open));
            (take_expired(known, before, most_bytes), open)
        };
        let mut removed = Removed::default();
        let mut forgotten = Vec::new();
        self.note_gone(&mut writer, app, &segments, open.as_deref());
        if let Some(open) = open {
            writer.dropped_open(open.bytes());
            removed.lines += open.rows() as u64;
            forgotten.extend(open.sequences());
        }
        let mut outcome = Ok(());
        for segment in segments {
            forgotten.extend(segment.sequences());
            removed.lines += segment.rows();
            removed.bytes += segment.length;
            if let Err(cause) = remove_if_there(&segment.path) {
                outcome = Err(Error::io("removing old log lines", cause));
            }
        }
        for (first, last) in forgotten {
            // Only so that lines still in the write-ahead log do not come back for a while after
            // a crash; where there is no space for that, space is being made.
            let mut frame = Frame::forget_lines(app, first, last);
            if let Err(cause) = writer.wal.append(&mut frame) {
                tracing::debug!(error = %cause, app.name = app, "expired log lines could come back");
            }
        }
        outcome.map(|()| removed)
    }

    /// Lines behind this number are still wanted by a reader: what [`retain`](Self::retain) takes
    /// of them from now on is told by [`feed`](Self::feed). `None`: nobody reads.
    pub fn unread_after(&self, sequence: Option<u64>) {
        let number = sequence.unwrap_or(u64::MAX);
        self.read_up_to.store(number, Ordering::Relaxed);
    }

    /// Notes what is about to go before any reader had it, and forgets what all are past.
    fn note_gone(
        &self,
        writer: &mut Writer,
        app: &str,
        segments: &[Arc<Segment>],
        open: Option<&Block>,
    ) {
        let read_up_to = self.read_up_to.load(Ordering::Relaxed);
        let Some(key) = gone::key_of(app) else {
            return;
        };
        let blocks = segments.iter().flat_map(|segment| &segment.blocks);
        let mut spans: Vec<Span> = blocks
            .map(|block| Span {
                first: block.header.min_sequence,
                last: block.header.max_sequence,
                levels: block.header.levels.map(u64::from),
            })
            .collect();
        spans.extend(open.and_then(span_of));
        spans.retain(|span| span.last > read_up_to);
        let mut state = self.shared.write();
        let known = state.positions.get(&key);
        if spans.is_empty() && known.is_none() {
            return;
        }
        let note = gone::note(known, spans, read_up_to);
        if known == Some(&note) {
            return;
        }
        let mut frame = if note.is_empty() {
            state.positions.remove(&key);
            Frame::forget_positions(std::slice::from_ref(&key))
        } else {
            state.positions.insert(key.clone(), note.clone());
            Frame::checkpoint(state.newest + 1, [(&key, &note)].into_iter())
        };
        drop(state);
        // In memory it is known all the same, and goes into the next write-ahead log.
        if let Err(cause) = writer.wal.append(&mut frame) {
            tracing::debug!(error = %cause, app.name = app, "what is gone is not noted on disk yet");
        }
    }

    /// [`retain`](Self::retain) by age for all apps.
    ///
    /// # Errors
    /// As there; the other apps' lines are removed all the same.
    pub fn expire(&self, before: OffsetDateTime) -> Result<Removed, Error> {
        let names: Vec<String> = self.shared.read().apps.keys().cloned().collect();
        let mut removed = Removed::default();
        let mut outcome = Ok(());
        for name in names {
            match self.retain(&name, Some(before), None) {
                Ok(more) => removed += more,
                Err(error) => outcome = Err(error),
            }
        }
        outcome.map(|()| removed)
    }

    /// Removes every line of an app. Its readers' positions stay: they are forgotten by key.
    ///
    /// # Errors
    /// A file cannot be removed, or the deed cannot be noted for want of space: try again.
    pub fn delete_app(&self, app: &str) -> Result<Removed, Error> {
        let mut writer = lock(&self.writer);
        let _files = lock(&self.shared.files);
        let known = self.shared.write().apps.remove(app);
        let known = known.unwrap_or_else(|| App::new(&self.shared.root, app));
        writer.dropped_open(known.open.bytes());
        let usage = usage_of(app, &known);
        match fs::remove_dir_all(&known.directory) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("removing an app's log lines", cause));
            }
            _ => {}
        }
        sync_directory(&self.shared.root.join("apps")).doing("removing an app's log lines")?;
        if writer.next_sequence > 1 {
            let mut frame = Frame::forget_lines(app, 0, writer.next_sequence - 1);
            writer
                .wal
                .append(&mut frame)
                .doing("noting that an app's log lines are gone")?;
        }
        Ok(Removed {
            lines: usage.lines,
            bytes: usage.bytes,
        })
    }
}

fn span_of(block: &Block) -> Option<Span> {
    let (first, last) = block.sequences()?;
    let mut levels = [0; 4];
    for level in &block.columns.levels {
        levels[usize::from(level & 3)] += 1;
    }
    Some(Span {
        first,
        last,
        levels,
    })
}

fn take_expired(app: &mut App, before: Option<i64>, most_bytes: Option<u64>) -> Vec<Arc<Segment>> {
    let is_old = |segment: &Segment| segment.times().is_some_and(|(_, max)| Some(max) < before);
    let mut expired = Vec::new();
    app.segments.retain(|segment| {
        let old = is_old(segment);
        expired.extend(old.then(|| Arc::clone(segment)));
        !old
    });
    if let Some(most) = most_bytes {
        let mut bytes: u64 = app.segments.iter().map(|segment| segment.length).sum();
        while bytes > most && app.segments.len() > 1 {
            let oldest = app.segments.remove(0);
            bytes -= oldest.length;
            expired.push(oldest);
        }
    }
    expired
}
