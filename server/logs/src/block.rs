//! Lines of one app, column by column, as they are gathered in memory.

use std::borrow::Cow;
use std::sync::Arc;

use flukedeploy_domain::log_entry::{CONTEXT, Level, LogEntry, TYPE};
use time::OffsetDateTime;

use crate::codec::to_u32;
use crate::origin::{Origin, Origins};

/// Lines a block may have at most, however short they are.
pub(crate) const MAX_ROWS: usize = 1 << 16;
/// Stands for an id that is not of the usual form; its text is kept aside.
pub(crate) const ODD: u64 = u64::MAX;
const NS_PER_MS: i64 = 1_000_000;
const ID_DIGITS: usize = 9;
const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

/// Times past 1677 to 2262 are kept as the nearest that can be.
pub(crate) fn to_ns(at: OffsetDateTime) -> i64 {
    let ns = at.unix_timestamp_nanos();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) fn from_ns(ns: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// As stored: a number never changes its meaning.
pub(crate) fn level_number(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Warn => 2,
        Level::Error => 3,
    }
}

pub(crate) fn level_of(number: u8) -> Level {
    LEVELS[usize::from(number & 3)]
}

/// `dep-<unix ms>-<9 base36>` with the line's own time is kept as a number of 47 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    Usual(u64),
    Odd(&'a str),
}

impl<'a> Id<'a> {
    pub(crate) fn of(id: &'a str, time: i64) -> Self {
        Self::number(id, time).map_or(Self::Odd(id), Self::Usual)
    }

    fn number(id: &str, time: i64) -> Option<u64> {
        // Every line has one: each byte is looked at once.
        let rest = id.as_bytes().strip_prefix(b"dep-")?;
        let (rest, digits) = rest.split_last_chunk::<ID_DIGITS>()?;
        let ms = rest.strip_suffix(b"-")?;
        if ms.is_empty() || ms.len() > 18 || ms[0] == b'0' && ms.len() > 1 {
            return None;
        }
        let mut value = 0;
        for digit in ms {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        (value == time / NS_PER_MS)
            .then(|| number_of(digits))
            .flatten()
    }
}

/// Of digits to the base 36, of which the first counts least.
fn number_of(digits: &[u8; ID_DIGITS]) -> Option<u64> {
    let value = |at: usize| u64::from(DIGIT_VALUES[usize::from(digits[at])]);
    let is_odd = digits
        .iter()
        .fold(0, |all, digit| all | DIGIT_VALUES[usize::from(*digit)])
        & NO_DIGIT
        != 0;
    // Three at a time: one multiplication waits for another.
    let three = |at: usize| value(at) + 36 * value(at + 1) + 36 * 36 * value(at + 2);
    let number = three(0) + 36_u64.pow(3) * three(3) + 36_u64.pow(6) * three(6);
    (!is_odd).then_some(number)
}

const NO_DIGIT: u8 = 0x80;
/// Of each byte as a digit to the base 36.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 36 {
        let digit = if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        };
        values[digit as usize] = value;
        value += 1;
    }
    values
};

/// One line, borrowed, without its sequence number and origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) time: i64,
    pub(crate) level: u8,
    pub(crate) id: Id<'a>,
    pub(crate) duration: Option<u64>,
    pub(crate) message: &'a str,
    pub(crate) trace: Option<&'a str>,
    /// As JSON.
    pub(crate) fields: Option<&'a str>,
}

/// What queries look at first. All vectors are as long as there are lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    pub(crate) times: Vec<i64>,
    pub(crate) sequences: Vec<u64>,
    pub(crate) levels: Vec<u8>,
    /// Indexes into `dictionary`.
    pub(crate) origins: Vec<u32>,
    /// Where each text ends in all the texts.
    pub(crate) ends: Vec<u32>,
    pub(crate) dictionary: Origins,
}

impl Columns {
    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn text<'a>(&self, row: usize, texts: &'a str) -> &'a str {
        let start = row
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        texts
            .get(start..self.ends[row] as usize)
            .unwrap_or_default()
    }

    pub(crate) fn key(&self, row: usize) -> (i64, u64) {
        (self.times[row], self.sequences[row])
    }

    pub(crate) fn origin(&self, row: usize) -> &Arc<Origin> {
        &self.dictionary.list()[self.origins[row] as usize]
    }
}

/// What is needed only of lines that are shown. Rows ascend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    pub(crate) ids: Vec<u64>,
    pub(crate) odd_ids: Vec<(u32, String)>,
    pub(crate) durations: Vec<(u32, u64)>,
    /// Of lines whose text is more than a message.
    pub(crate) tails: Vec<(u32, Tail)>,
}

/// How a text divides: a message, then perhaps a stack trace, then perhaps fields, with a line
/// break before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) message_bytes: u32,
    pub(crate) trace_bytes: Option<u32>,
}

impl Tail {
    /// Message, stack trace, fields. Bytes that do not divide so are all message.
    fn split(self, text: &str) -> (&str, Option<&str>, Option<&str>) {
        let Some((message, mut rest)) = text.split_at_checked(self.message_bytes as usize) else {
            return (text, None, None);
        };
        let mut trace = None;
        if let Some(bytes) = self.trace_bytes {
            let tail = rest.strip_prefix('\n').unwrap_or(rest);
            let Some((own, behind)) = tail.split_at_checked(bytes as usize) else {
                return (text, None, None);
            };
            (trace, rest) = (Some(own), behind);
        }
        (message, trace, rest.strip_prefix('\n'))
    }
}

fn parts<'a>(
    extra: &Extra,
    row: usize,
    text: &'a str,
) -> (&'a str, Option<&'a str>, Option<&'a str>) {
    at(&extra.tails, row).map_or((text, None, None), |tail| tail.split(text))
}

fn at<T>(list: &[(u32, T)], row: usize) -> Option<&T> {
    let found = list.binary_search_by_key(&to_u32(row), |(row, _)| *row);
    found.ok().map(|place| &list[place].1)
}

/// A line as a query hands it on, made into an entry when it is certain to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) time: i64,
    pub(crate) sequence: u64,
    level: u8,
    message: String,
    id: u64,
    odd_id: Option<String>,
    duration: Option<u64>,
    trace: Option<String>,
    fields: Option<String>,
    origin: Arc<Origin>,
}

impl Found {
    pub(crate) fn of(columns: &Columns, extra: &Extra, texts: &str, row: usize) -> Self {
        let (message, trace, fields) = parts(extra, row, columns.text(row, texts));
        Self {
            time: columns.times[row],
            sequence: columns.sequences[row],
            level: columns.levels[row],
            message: message.to_owned(),
            id: extra.ids[row],
            odd_id: at(&extra.odd_ids, row).cloned(),
            duration: at(&extra.durations, row).copied(),
            trace: trace.map(str::to_owned),
            fields: fields.map(str::to_owned),
            origin: Arc::clone(columns.origin(row)),
        }
    }

    /// Of message, stack trace and fields, in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        let more = [&self.trace, &self.fields].into_iter().flatten();
        self.message.len() + more.map(String::len).sum::<usize>()
    }

    pub(crate) fn into_entry(self) -> LogEntry {
        let timestamp = from_ns(self.time);
        let mut metadata = self.origin.metadata.clone();
        metadata.duration_ms = self.duration;
        metadata.stack_trace = self.trace;
        if let Some(fields) = self.fields {
            metadata.fields = serde_json::from_str(&fields).unwrap_or_default();
        }
        LogEntry {
            context: CONTEXT.to_owned(),
            kind: TYPE.to_owned(),
            id: self
                .odd_id
                .unwrap_or_else(|| LogEntry::make_id(timestamp, self.id)),
            timestamp,
            level: level_of(self.level),
            message: self.message,
            source: self.origin.source.clone(),
            flukedeploy_metadata: metadata,
            tags: self.origin.tags.clone(),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) columns: Columns,
    pub(crate) extra: Extra,
    /// What text queries look at, one after the other: messages, with stack traces and fields.
    pub(crate) texts: String,
}

impl Block {
    pub(crate) fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// Text in it, with what the columns take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.texts.len() + self.columns.dictionary.bytes() + self.rows() * 16
    }

    /// An empty one with room for as much as is in this one: growing to that size by doubling
    /// copies everything once more.
    pub(crate) fn next(&self) -> Self {
        let rows = self.rows();
        Self {
            columns: Columns {
                times: Vec::with_capacity(rows),
                sequences: Vec::with_capacity(rows),
                levels: Vec::with_capacity(rows),
                origins: Vec::with_capacity(rows),
                ends: Vec::with_capacity(rows),
                dictionary: Origins::default(),
            },
            extra: Extra {
                ids: Vec::with_capacity(rows),
                ..Extra::default()
            },
            texts: String::with_capacity(self.texts.len()),
        }
    }

    pub(crate) fn push(&mut self, sequence: u64, origin: u32, line: Line<'_>) {
        let row = to_u32(self.rows());
        self.columns.times.push(line.time);
        self.columns.sequences.push(sequence);
        self.columns.levels.push(line.level);
        self.columns.origins.push(origin);
        self.texts.push_str(line.message);
        for part in [line.trace, line.fields].into_iter().flatten() {
            self.texts.push('\n');
            self.texts.push_str(part);
        }
        if line.trace.is_some() || line.fields.is_some() {
            let tail = Tail {
                message_bytes: to_u32(line.message.len()),
                trace_bytes: line.trace.map(|trace| to_u32(trace.len())),
            };
            self.extra.tails.push((row, tail));
        }
        self.columns.ends.push(to_u32(self.texts.len()));
        self.extra.ids.push(match line.id {
            Id::Usual(number) => number,
            Id::Odd(text) => {
                self.extra.odd_ids.push((row, text.to_owned()));
                ODD
            }
        });
        if let Some(duration) = line.duration {
            self.extra.durations.push((row, duration));
        }
    }

    pub(crate) fn line(&self, row: usize) -> Line<'_> {
        let text = self.columns.text(row, &self.texts);
        let (message, trace, fields) = parts(&self.extra, row, text);
        Line {
            time: self.columns.times[row],
            level: self.columns.levels[row],
            id: match self.extra.ids[row] {
                ODD => Id::Odd(at(&self.extra.odd_ids, row).map_or("", String::as_str)),
                number => Id::Usual(number),
            },
            duration: at(&self.extra.durations, row).copied(),
            message,
            trace,
            fields,
        }
    }

    /// Earliest and latest time.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        let times = &self.columns.times;
        Some((*times.iter().min()?, *times.iter().max()?))
    }

    /// First and last sequence number.
    pub(crate) fn sequences(&self) -> Option<(u64, u64)> {
        let sequences = &self.columns.sequences;
        Some((*sequences.iter().min()?, *sequences.iter().max()?))
    }

    /// The lines whose sequence number is not within these.
    pub(crate) fn without(self: &Arc<Self>, first: u64, last: u64) -> Arc<Self> {
        let sequences = &self.columns.sequences;
        let is_kept = |sequence: u64| sequence < first || last < sequence;
        if sequences.iter().all(|sequence| is_kept(*sequence)) {
            return Arc::clone(self);
        }
        let kept = (0..self.rows()).filter(|row| is_kept(sequences[*row]));
        Arc::new(self.only(kept))
    }

    fn only(&self, rows: impl Iterator<Item = usize>) -> Self {
        let mut kept = Self::default();
        kept.texts.reserve(self.texts.len());
        kept.columns.dictionary = self.columns.dictionary.clone();
        for row in rows {
            let (sequence, origin) = (self.columns.sequences[row], self.columns.origins[row]);
            kept.push(sequence, origin, self.line(row));
        }
        kept
    }

    /// The same lines by time, then sequence number.
    pub(crate) fn sorted(&self) -> Cow<'_, Self> {
        let columns = &self.columns;
        if (1..self.rows()).all(|row| columns.key(row - 1) < columns.key(row)) {
            return Cow::Borrowed(self);
        }
        let mut rows: Vec<usize> = (0..self.rows()).collect();
        rows.sort_unstable_by_key(|row| columns.key(*row));
        Cow::Owned(self.only(rows.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_ids_become_numbers_and_others_stay() {
        let at = from_ns(1_770_200_000_123_456_789);
        for random in [0, 35, 36, 1 << 40, 36_u64.pow(9) - 1] {
            let id = LogEntry::make_id(at, random);
            assert_eq!(Id::of(&id, to_ns(at)), Id::Usual(random), "{id}");
        }
        for odd in [
            "",
            "dep-1770200000124-000000000",
            "dep-01770200000123-000000000",
            "dep-1770200000123-00000000",
            "dep-1770200000123-00000000A",
            "dep-1770200000123-0000000000",
        ] {
            assert_eq!(Id::of(odd, to_ns(at)), Id::Odd(odd));
        }
        assert_eq!(
            to_ns(time::macros::datetime!(9000-01-01 0:00 UTC)),
            i64::MAX
        );
    }
}
