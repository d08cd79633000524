//! Stretches of time that people count in, for bars that are links to less of it.

use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use super::logs_wanted::Wanted;

/// More bars than this are narrower than a finger or a pointer can hit.
const MOST_BARS: i64 = 62;
/// The oldest line that a chart of everything reaches back to.
const LONGEST: Duration = Duration::days(400);

/// Milliseconds.
const WIDTHS: [i64; 32] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_592_000_000,
    31_536_000_000,
];

/// Equal stretches of time, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start: OffsetDateTime,
    pub(super) width: Duration,
    pub(super) count: usize,
}

impl Grid {
    /// Of what the address asks for; `oldest` is the first line's time.
    pub(super) fn of(wanted: &Wanted, oldest: Option<OffsetDateTime>, now: OffsetDateTime) -> Self {
        let oldest = oldest.map_or(now - Duration::HOUR, |oldest| {
            oldest.clamp(now - LONGEST, now)
        });
        match (wanted.has_ends(), wanted.since, wanted.until) {
            (true, Some(since), Some(until)) => Self::exactly(since, until),
            (true, Some(since), None) => Self::from(since, now),
            (true, None, Some(until)) => Self::exactly(oldest.min(until - Duration::SECOND), until),
            _ => match wanted.recent.seconds {
                Some(seconds) => Self::aligned(now - Duration::seconds(seconds), now),
                None => Self::aligned(oldest, now),
            },
        }
    }

    /// Both ends where they are; bars of a width that people count in where one fits.
    fn exactly(since: OffsetDateTime, until: OffsetDateTime) -> Self {
        let span = ms_of(until - since).max(1);
        let fits = |width: &&i64| **width * MOST_BARS >= span && span % **width == 0;
        let width = WIDTHS.iter().find(fits).copied();
        Self::new(since, width.unwrap_or((span + 59) / 60), span)
    }

    /// From a beginning to now or a little later.
    fn from(since: OffsetDateTime, now: OffsetDateTime) -> Self {
        let span = ms_of(now - since).max(1_000);
        Self::new(since, nice(span), span)
    }

    /// A little more at both ends, so that every bar begins where a clock would.
    fn aligned(since: OffsetDateTime, now: OffsetDateTime) -> Self {
        let width = nice(ms_of(now - since).max(1_000));
        let since_ms = unix_ms(since).div_euclid(width) * width;
        let start = from_ms(since_ms);
        Self::new(start, width, unix_ms(now) - since_ms + 1)
    }

    fn new(start: OffsetDateTime, width: i64, span: i64) -> Self {
        let count = usize::try_from((span + width - 1) / width)
            .unwrap_or(1)
            .max(1);
        Self {
            start,
            width: Duration::milliseconds(width),
            count,
        }
    }

    pub(super) fn end(&self) -> OffsetDateTime {
        self.at(self.count)
    }

    /// The beginning of a bar.
    pub(super) fn at(&self, bar: usize) -> OffsetDateTime {
        let bar = i32::try_from(bar).unwrap_or(i32::MAX);
        self.start.saturating_add(self.width * bar)
    }

    /// Where a time is, in thousandths of a bar from the beginning; may be outside.
    pub(super) fn place(&self, time: OffsetDateTime) -> i64 {
        let width = ms_of(self.width).max(1);
        ms_of(time - self.start).saturating_mul(1_000) / width
    }

    /// A time of this chart, as exact as its bars.
    pub(super) fn label(&self, time: OffsetDateTime) -> String {
        let time = time.to_offset(time::UtcOffset::UTC);
        let width = ms_of(self.width);
        let whole = ms_of(self.end() - self.start);
        let text = if width % 1_000 != 0 {
            time.format(format_description!(
                "[hour]:[minute]:[second].[subsecond digits:3]"
            ))
        } else if width % 60_000 != 0 {
            time.format(format_description!("[hour]:[minute]:[second]"))
        } else if whole <= 86_400_000 {
            time.format(format_description!("[hour]:[minute]"))
        } else if width % 86_400_000 != 0 {
            time.format(format_description!(
                "[day padding:none] [month repr:short] [hour]:[minute]"
            ))
        } else {
            time.format(format_description!("[day padding:none] [month repr:short]"))
        };
        text.unwrap_or_default()
    }

    /// "minute", "30 seconds", "3 hours".
    pub(super) fn unit(&self) -> String {
        let ms = ms_of(self.width);
        let (number, one) = match ms {
            ms if ms % 86_400_000 == 0 => (ms / 86_400_000, "day"),
            ms if ms % 3_600_000 == 0 => (ms / 3_600_000, "hour"),
            ms if ms % 60_000 == 0 => (ms / 60_000, "minute"),
            ms if ms % 1_000 == 0 => (ms / 1_000, "second"),
            ms => return format!("{ms} ms"),
        };
        if number == 1 {
            one.to_owned()
        } else {
            format!("{number} {one}s")
        }
    }
}

fn nice(span: i64) -> i64 {
    let wide = |width: &&i64| **width * 60 >= span;
    let widest = WIDTHS[WIDTHS.len() - 1];
    WIDTHS.iter().find(wide).copied().unwrap_or(widest)
}

fn ms_of(duration: Duration) -> i64 {
    i64::try_from(duration.whole_milliseconds()).unwrap_or(i64::MAX)
}

fn unix_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(0)
}

fn from_ms(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn bars_of_a_recent_time_begin_where_a_clock_would() {
        let now = datetime!(2026-02-04 10:13:20.123 UTC);
        let hour = Grid::aligned(now - Duration::HOUR, now);
        assert_eq!(hour.start, datetime!(2026-02-04 09:13 UTC));
        assert_eq!((hour.width, hour.count), (Duration::MINUTE, 61));
        assert_eq!(
            (hour.label(hour.at(2)), hour.unit()),
            ("09:15".to_owned(), "minute".to_owned())
        );
        let week = Grid::aligned(now - Duration::days(7), now);
        assert_eq!(
            (week.unit(), week.label(week.start)),
            ("3 hours".to_owned(), "28 Jan 09:00".to_owned())
        );
        assert!(week.end() > now);
    }

    #[test]
    fn a_bar_is_divided_into_bars_to_the_last() {
        let mut grid = Grid::exactly(
            datetime!(2026-02-04 0:00 UTC),
            datetime!(2026-02-05 0:00 UTC),
        );
        for unit in ["30 minutes", "30 seconds", "500 ms", "10 ms"] {
            assert_eq!(grid.unit(), unit);
            assert!(grid.count <= 62 && grid.place(grid.at(1)) == 1_000);
            grid = Grid::exactly(grid.at(1), grid.at(2));
        }
    }

    #[test]
    fn odd_stretches_have_bars_as_well() {
        let start = datetime!(2026-02-04 10:13 UTC);
        let odd = Grid::exactly(start, start + Duration::milliseconds(97_001));
        assert!(odd.count <= 62 && odd.end() >= start + Duration::milliseconds(97_001));
        let ages = Grid::aligned(start - Duration::days(400), start);
        assert!(ages.count <= 62, "{}", ages.count);
    }
}
