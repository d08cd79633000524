//! Going through blocks: which may hold a wanted line, and which lines of a block are wanted.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use flukedeploy_domain::access::Rights;
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::log_query::TextQuery;

use crate::block::{Block, Columns, Extra, Found, level_of};
use crate::bloom::hash_word;
use crate::encoding::{Decoder, Header};
use crate::origin::{Origin, features_of, service_feature};
use crate::query::{Query, range_of};
use crate::segment::{Segment, Stored, may_have, read_part};
use crate::state::{Shared, State};

/// Segments kept open while one query runs.
const OPEN_FILES: usize = 16;

/// A query, prepared.
pub(crate) struct Wanted<'a> {
    pub(crate) query: &'a Query,
    pub(crate) service: Option<&'a str>,
    pub(crate) since: i64,
    /// Exclusive, but for the end of time.
    pub(crate) until: i64,
    /// What a block's filter must know.
    hashes: Vec<u64>,
    deadline: Option<Instant>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(query: &'a Query, service: Option<&'a str>) -> Self {
        let (since, until) = range_of(query);
        let words = query.text.as_ref().map(TextQuery::required_words);
        let mut hashes: Vec<u64> = words
            .unwrap_or_default()
            .iter()
            .map(|word| hash_word(word.as_bytes()))
            .collect();
        hashes.extend(features_of(&query.filter));
        hashes.extend(service.map(service_feature));
        Self {
            query,
            service,
            since,
            until,
            hashes,
            deadline: query
                .budget
                .and_then(|budget| Instant::now().checked_add(budget)),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn has_time(&self, time: i64) -> bool {
        self.since <= time && (time < self.until || self.until == i64::MAX)
    }

    /// Whether all times of a block are within the query's.
    pub(crate) fn spans(&self, min: i64, max: i64) -> bool {
        self.has_time(min) && self.has_time(max)
    }

    /// Nothing but app, level and time decides: headers can be counted.
    pub(crate) fn is_plain(&self) -> bool {
        let filter = LogFilter {
            app_name: None,
            level: None,
            min_level: None,
            ..self.query.filter.clone()
        };
        filter == LogFilter::default()
            && self.query.shown.is_none()
            && self.query.text.is_none()
            && self.service.is_none()
    }

    fn has_origin(&self, origin: &Origin) -> bool {
        let filter = &self.query.filter;
        let metadata = &origin.metadata;
        let may_be_shown =
            |rights: &Rights| rights.shows(&metadata.app_name, metadata.environment.as_deref());
        filter.matches_origin(&origin.source, metadata)
            && self.query.shown.as_deref().is_none_or(may_be_shown)
            && self
                .service
                .is_none_or(|service| origin.service() == Some(service))
    }

    pub(crate) fn has_level(&self, level: u8) -> bool {
        self.query.filter.matches_level(level_of(level))
    }

    /// Whether level and origin of a line are wanted.
    pub(crate) fn has_row(&self, columns: &Columns, row: usize) -> bool {
        self.has_level(columns.levels[row]) && self.has_origin(columns.origin(row))
    }

    fn may_be_in(&self, header: &Header) -> bool {
        let touches = header.max_time >= self.since
            && (header.min_time < self.until || self.until == i64::MAX);
        touches && self.plain_count(header) > 0
    }

    /// Lines of a block with a wanted level.
    pub(crate) fn plain_count(&self, header: &Header) -> u64 {
        let levels = (0..).zip(header.levels);
        let wanted = levels.filter(|(level, _)| self.has_level(*level));
        wanted.map(|(_, count)| u64::from(count)).sum()
    }
}

/// A block wherever it is.
pub(crate) enum Source {
    /// With the first and the last time of its lines.
    Memory(Arc<Block>, (i64, i64)),
    Stored(Arc<Segment>, usize),
}

impl Source {
    pub(crate) fn times(&self) -> (i64, i64) {
        match self {
            Self::Memory(_, times) => *times,
            Self::Stored(segment, index) => {
                let header = &segment.blocks[*index].header;
                (header.min_time, header.max_time)
            }
        }
    }

    /// The first and the last sequence number of its lines.
    pub(crate) fn sequences(&self) -> (u64, u64) {
        match self {
            // In the order in which they came.
            Self::Memory(block, _) => {
                let sequences = &block.columns.sequences;
                let end = |end: Option<&u64>| end.copied().unwrap_or_default();
                (end(sequences.first()), end(sequences.last()))
            }
            Self::Stored(segment, index) => {
                let header = &segment.blocks[*index].header;
                (header.min_sequence, header.max_sequence)
            }
        }
    }

    pub(crate) fn header(&self) -> Option<&Header> {
        match self {
            Self::Memory(..) => None,
            Self::Stored(segment, index) => Some(&segment.blocks[*index].header),
        }
    }
}

/// All blocks that may hold a wanted line, as they are at this moment, in no order.
pub(crate) fn sources(shared: &Shared, wanted: &Wanted<'_>) -> Vec<Source> {
    sources_in(&shared.read(), wanted)
}

pub(crate) fn sources_in(state: &State, wanted: &Wanted<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    let query = wanted.query;
    for (name, app) in &state.apps {
        let asked = query.filter.app_name.as_ref().is_none_or(|app| app == name);
        let may_be_shown = query
            .shown
            .as_ref()
            .is_none_or(|rights| rights.shows_app(name));
        if !asked || !may_be_shown {
            continue;
        }
        for segment in &app.segments {
            let blocks = (0..segment.blocks.len())
                .filter(|index| wanted.may_be_in(&segment.blocks[*index].header));
            sources.extend(blocks.map(|index| Source::Stored(Arc::clone(segment), index)));
        }
        for block in app.waiting.iter().chain([&app.open]) {
            if let Some(times) = block.times() {
                sources.push(Source::Memory(Arc::clone(block), times));
            }
        }
    }
    sources
}

/// A block as far as it was read.
pub(crate) struct Opened<'a> {
    columns: Loaded<'a, Columns>,
    texts: Option<Loaded<'a, str>>,
    extra: Option<Loaded<'a, Extra>>,
}

enum Loaded<'a, T: ToOwned + ?Sized> {
    Shared(&'a T),
    Own(T::Owned),
}

impl<T: ToOwned + ?Sized> std::ops::Deref for Loaded<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Shared(shared) => shared,
            Self::Own(own) => std::borrow::Borrow::borrow(own),
        }
    }
}

impl Opened<'_> {
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }
}

/// Reads blocks; one per query.
pub(crate) struct Scanner {
    decoder: Decoder,
    files: VecDeque<(Arc<Segment>, Arc<File>)>,
    /// Buffers that go from block to block.
    stored: Vec<u8>,
    texts: String,
    pub(crate) damaged: u64,
}

impl Scanner {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            decoder: Decoder::new()?,
            files: VecDeque::new(),
            stored: Vec::new(),
            texts: String::new(),
            damaged: 0,
        })
    }

    /// The wanted rows of a block, by time and sequence number, and the block as far as it was
    /// read for that. `None`: no row is wanted, or the block is gone or damaged.
    pub(crate) fn rows<'a>(
        &mut self,
        source: &'a Source,
        wanted: &Wanted<'_>,
    ) -> io::Result<Option<(Vec<usize>, Opened<'a>)>> {
        let found = self.try_rows(source, wanted);
        self.settle(source, found)
    }

    /// Fills in what showing lines of a block needs. `false`: it is gone or damaged.
    pub(crate) fn complete<'a>(
        &mut self,
        source: &'a Source,
        opened: &mut Opened<'a>,
    ) -> io::Result<bool> {
        let done = self.try_complete(source, opened).map(Some);
        Ok(self.settle(source, done)?.is_some())
    }

    pub(crate) fn line(opened: &Opened<'_>, row: usize) -> Option<Found> {
        let (extra, texts) = (opened.extra.as_ref()?, opened.texts.as_ref()?);
        Some(Found::of(&opened.columns, extra, texts, row))
    }

    /// A block that retention removed meanwhile, or that the disk spoilt, must not fail a query.
    fn settle<T>(
        &mut self,
        source: &Source,
        found: io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let Err(cause) = found else {
            return found;
        };
        match cause.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
                self.damaged += 1;
                if let Source::Stored(segment, index) = source {
                    tracing::error!(
                        error = %cause,
                        file = %segment.path.display(),
                        block = index,
                        "a block of log lines is damaged and left out"
                    );
                }
                Ok(None)
            }
            _ => Err(cause),
        }
    }

    fn try_rows<'a>(
        &mut self,
        source: &'a Source,
        wanted: &Wanted<'_>,
    ) -> io::Result<Option<(Vec<usize>, Opened<'a>)>> {
        let mut opened = match source {
            Source::Memory(block, _) => Opened {
                columns: Loaded::Shared(&block.columns),
                texts: Some(Loaded::Shared(&block.texts)),
                extra: Some(Loaded::Shared(&block.extra)),
            },
            Source::Stored(segment, index) => {
                let block = &segment.blocks[*index];
                let file = self.file(segment)?;
                if !may_have(&file, block, &wanted.hashes)? {
                    return Ok(None);
                }
                let mut texts = None;
                if let Some(text) = wanted.query.text.as_ref().filter(|text| text.has_lead()) {
                    // First of all, since most blocks have nothing.
                    let own = self.texts(&file, block)?;
                    if text.next_candidate(&own, 0).is_none() {
                        self.texts = own;
                        return Ok(None);
                    }
                    texts = Some(Loaded::Own(own));
                }
                Opened {
                    columns: Loaded::Own(self.columns(&file, block)?),
                    texts,
                    extra: None,
                }
            }
        };
        let fits = fitting(&opened.columns, wanted);
        let mut rows = match &wanted.query.text {
            None => (0..opened.columns.rows())
                .filter(|row| fits(&opened.columns, *row))
                .collect(),
            Some(text) => {
                if !(0..opened.columns.rows()).any(|row| fits(&opened.columns, row)) {
                    return Ok(None);
                }
                self.load_texts(source, &mut opened)?;
                let texts = opened.texts.as_deref().unwrap_or_default();
                let columns = &opened.columns;
                search(columns, texts, text, |row| fits(columns, row))
            }
        };
        if matches!(source, Source::Memory(..)) {
            rows.sort_unstable_by_key(|row| opened.columns.key(*row));
        }
        Ok((!rows.is_empty()).then_some((rows, opened)))
    }

    fn try_complete<'a>(&mut self, source: &'a Source, opened: &mut Opened<'a>) -> io::Result<()> {
        self.load_texts(source, opened)?;
        if let (None, Source::Stored(segment, index)) = (&opened.extra, source) {
            let block = &segment.blocks[*index];
            let file = self.file(segment)?;
            let (start, length) = (block.header.extra_start(), block.header.extra.stored);
            read_part(&file, block, start, length, &mut self.stored)?;
            let extra = self.decoder.extra(&block.header, &self.stored)?;
            opened.extra = Some(Loaded::Own(extra));
        }
        Ok(())
    }

    fn load_texts<'a>(&mut self, source: &'a Source, opened: &mut Opened<'a>) -> io::Result<()> {
        if let (None, Source::Stored(segment, index)) = (&opened.texts, source) {
            let block = &segment.blocks[*index];
            let file = self.file(segment)?;
            let texts = self.texts(&file, block)?;
            opened.texts = Some(Loaded::Own(texts));
        }
        Ok(())
    }

    fn columns(&mut self, file: &File, block: &Stored) -> io::Result<Columns> {
        let (start, length) = (block.header.columns_start(), block.header.columns.stored);
        read_part(file, block, start, length, &mut self.stored)?;
        self.decoder.columns(&block.header, &self.stored)
    }

    fn texts(&mut self, file: &File, block: &Stored) -> io::Result<String> {
        let (start, length) = (block.header.texts_start(), block.header.texts.stored);
        read_part(file, block, start, length, &mut self.stored)?;
        let buffer = std::mem::take(&mut self.texts);
        self.decoder.texts(&block.header, &self.stored, buffer)
    }

    fn file(&mut self, segment: &Arc<Segment>) -> io::Result<Arc<File>> {
        let path: &Path = &segment.path;
        if let Some((_, file)) = self.files.iter().find(|(known, _)| known.path == path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path)?);
        if self.files.len() == OPEN_FILES {
            self.files.pop_front();
        }
        self.files
            .push_back((Arc::clone(segment), Arc::clone(&file)));
        Ok(file)
    }
}

/// A test of single rows: time, level, origin.
fn fitting<'a>(
    columns: &Columns,
    wanted: &'a Wanted<'_>,
) -> impl Fn(&Columns, usize) -> bool + use<'a> {
    let origins: Vec<bool> = columns
        .dictionary
        .list()
        .iter()
        .map(|origin| wanted.has_origin(origin))
        .collect();
    let levels: [bool; 4] = [0, 1, 2, 3].map(|level| wanted.has_level(level));
    move |columns, row| {
        levels[usize::from(columns.levels[row] & 3)]
            && wanted.has_time(columns.times[row])
            && origins[columns.origins[row] as usize]
    }
}

fn search(
    columns: &Columns,
    texts: &str,
    text: &TextQuery,
    fits: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let is_wanted = |row: usize| fits(row) && text.matches(columns.text(row, texts));
    if !text.has_lead() {
        return (0..columns.rows()).filter(|row| is_wanted(*row)).collect();
    }
    let mut rows = Vec::new();
    let mut from = 0;
    while let Some(at) = text.next_candidate(texts, from) {
        let row = columns.ends.partition_point(|end| *end as usize <= at);
        if row == columns.rows() {
            break;
        }
        if is_wanted(row) {
            rows.push(row);
        }
        from = columns.ends[row] as usize;
    }
    rows
}
