//! How far the lines of a service have been read, kept with the lines themselves.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::meaning::Printed;
use crate::platform::Platform;
use crate::ports::{FilePlace, ReadTo, StoreError};

/// Times of a replica's two streams may be so much out of order against one another.
const OUT_OF_ORDER_NS: i64 = 10_000_000;
/// Where a stream was not read at all.
const NOWHERE: i64 = i64::MIN;

/// How far one replica was read.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// Stdout and stderr, in nanoseconds since 1970.
    times: [i64; 2],
    /// Where its lines are read from a file: the same, without a doubt. The times stay beside it, for
    /// the day on which the file is not to be had.
    places: Option<[FilePlace; 2]>,
}

/// Reading one service. What it says belongs into the same write as the entries it was told.
#[derive(Clone)]
pub(crate) struct Reading {
    prefix: String,
    replicas: HashMap<String, Read>,
}

impl Reading {
    /// Where reading of a service goes on. Everything recorded so far is stored first.
    pub(crate) async fn of(px: &Platform, service: &str) -> Result<Self, StoreError> {
        px.parts().journal.flush().await;
        let prefix = prefix(service);
        let stored = px.parts().log_store.positions(&prefix).await?;
        let mut replicas = HashMap::new();
        for (key, value) in stored {
            if let (Some(task), Some(read)) = (key.strip_prefix(&prefix), decode(&value)) {
                replicas.insert(task.to_owned(), read);
            }
        }
        Ok(Self { prefix, replicas })
    }

    pub(crate) fn read_to(&self) -> ReadTo {
        let mut to = ReadTo::default();
        for (task, read) in &self.replicas {
            for stderr in [false, true] {
                let time = read.times[usize::from(stderr)];
                let at = OffsetDateTime::from_unix_timestamp_nanos(time.into());
                if let (Ok(at), true) = (at, time != NOWHERE) {
                    to.insert(task.as_str(), stderr, at);
                }
                if let Some(places) = read.places {
                    to.insert_place(task.as_str(), stderr, places[usize::from(stderr)]);
                }
            }
        }
        to
    }

    /// The positions behind what was printed, one for each replica. The other stream of a replica
    /// was read as well, up to what is still held of it: else a stream that is silent for long would
    /// be read anew from where it fell silent.
    pub(crate) fn behind(&mut self, printed: &[Printed]) -> Vec<(String, Vec<u8>)> {
        let mut positions = HashMap::new();
        for printed in printed.chunk_by(|a, b| a.task_id == b.task_id) {
            let Some(task) = printed.first().and_then(|one| one.task_id.as_deref()) else {
                continue;
            };
            if !self.replicas.contains_key(task) {
                let read = Read {
                    times: [NOWHERE; 2],
                    places: None,
                };
                self.replicas.insert(task.to_owned(), read);
            }
            if let Some(read) = self.replicas.get_mut(task) {
                for one in printed {
                    read.advance(one);
                }
                positions.insert(task, encode(read));
            }
        }
        positions
            .into_iter()
            .map(|(task, value)| (format!("{}{task}", self.prefix), value))
            .collect()
    }
}

impl Reading {
    /// Whether another has read something that this one has not.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        other.replicas.iter().any(|(task, other)| {
            let own = self.replicas.get(task);
            own.is_none_or(|own| own.times[0] < other.times[0] || own.times[1] < other.times[1])
        })
    }

    /// Goes on to where another is, if that has read more.
    pub(crate) fn catch_up(&mut self, other: &Self) {
        for (task, other) in &other.replicas {
            let Some(own) = self.replicas.get_mut(task) else {
                self.replicas.insert(task.clone(), *other);
                continue;
            };
            for stream in 0..2 {
                if own.times[stream] >= other.times[stream] {
                    continue;
                }
                own.times[stream] = other.times[stream];
                own.places = own.places.zip(other.places).map(|(mut own, other)| {
                    own[stream] = other[stream];
                    own
                });
            }
        }
    }

    /// Whether this was read, as far as can be told.
    pub(crate) fn has(&self, printed: &Printed) -> bool {
        let task = printed.task_id.as_deref().unwrap_or_default();
        let Some(read) = self.replicas.get(task) else {
            return false;
        };
        let stream = usize::from(printed.stderr);
        let at = nanoseconds(printed.last_at);
        // Several lines can have one time.
        let is_before = || match read.places.zip(printed.read) {
            Some((read, printed)) => {
                let (read, printed) = (read[stream], printed[stream]);
                read.file != printed.file || printed.offset <= read.offset
            }
            None => true,
        };
        at < read.times[stream] || (at == read.times[stream] && is_before())
    }
}

impl Read {
    fn advance(&mut self, printed: &Printed) {
        let (own, other) = (usize::from(printed.stderr), usize::from(!printed.stderr));
        let last = nanoseconds(printed.last_at);
        self.times[own] = self.times[own].max(last);
        let surely = last.saturating_sub(OUT_OF_ORDER_NS);
        let held = printed.beside.map(|at| nanoseconds(at).saturating_sub(1));
        let beside = held.map_or(surely, |held| held.min(surely));
        self.times[other] = self.times[other].max(beside);
        self.places = printed.read;
    }
}

/// Of a service that is gone.
pub(crate) async fn forget(px: &Platform, service: &str) {
    if let Err(error) = px
        .parts()
        .log_store
        .forget_positions(&prefix(service))
        .await
    {
        tracing::debug!(error = %error, service, "positions of a service that is gone stay");
    }
}

fn prefix(service: &str) -> String {
    format!("lines/{service}/")
}

/// Since 1970. Times past 1677 to 2262 are taken for the nearest that can be.
pub(crate) fn nanoseconds(at: OffsetDateTime) -> i64 {
    let ns = at.unix_timestamp_nanos();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Two times and, behind them, two places if there are any.
fn encode(read: &Read) -> Vec<u8> {
    let mut value = Vec::with_capacity(48);
    for time in read.times {
        value.extend(time.to_be_bytes());
    }
    for place in read.places.iter().flatten() {
        value.extend(place.file.to_be_bytes());
        value.extend(place.offset.to_be_bytes());
    }
    value
}

fn decode(mut value: &[u8]) -> Option<Read> {
    let mut next = || {
        let (first, rest) = value.split_first_chunk::<8>()?;
        value = rest;
        Some(*first)
    };
    let times = [i64::from_be_bytes(next()?), i64::from_be_bytes(next()?)];
    let mut place = || {
        Some(FilePlace {
            file: i64::from_be_bytes(next()?),
            offset: u64::from_be_bytes(next()?),
        })
    };
    let places = place()
        .zip(place())
        .map(|(stdout, stderr)| [stdout, stderr]);
    Some(Read { times, places })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meaning::Meaning;
    use crate::ports::ReplicaRead;
    use time::Duration;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-02-04 12:00 UTC);

    fn printed(stderr: bool, ms: i64, held_ms: Option<i64>) -> Printed {
        let at = |ms| NOON + Duration::milliseconds(ms);
        Printed {
            task_id: Some("t1".into()),
            node_id: None,
            stderr,
            at: at(ms),
            last_at: at(ms),
            beside: held_ms.map(at),
            read: None,
            meaning: Meaning::of_line("x".to_owned()),
        }
    }

    /// What the next reader is told, once the only position of this was stored.
    fn resumed(told: &[Printed]) -> ReplicaRead {
        let mut reading = Reading {
            prefix: prefix("shop"),
            replicas: HashMap::new(),
        };
        let positions = reading.behind(told);
        let [(key, value)] = positions.as_slice() else {
            panic!("{positions:?}")
        };
        assert_eq!(key, "lines/shop/t1");
        reading.replicas = HashMap::from([("t1".to_owned(), decode(value).unwrap())]);
        reading.read_to().of(Some("t1"))
    }

    fn after(told: &[Printed]) -> [Option<i64>; 2] {
        let times = resumed(told).times;
        times.map(|at| Some(i64::try_from((at? - NOON).whole_milliseconds()).unwrap()))
    }

    #[test]
    fn a_stream_is_read_up_to_its_last_line_and_the_other_nearly_so() {
        assert_eq!(after(&[printed(false, 500, None)]), [Some(500), Some(490)]);
        let told = [printed(true, 495, None), printed(false, 500, None)];
        assert_eq!(after(&told), [Some(500), Some(495)]);
    }

    #[test]
    fn what_is_held_is_read_again() {
        let [stdout, stderr] = after(&[printed(false, 500, Some(200))]);
        assert_eq!(stdout, Some(500));
        assert!(stderr.is_some_and(|stderr| stderr < 200), "{stderr:?}");
    }

    #[test]
    fn places_in_a_file_are_exact() {
        let place = |offset| FilePlace { file: 7, offset };
        let mut last = printed(true, 500, None);
        last.read = Some([place(70), place(40)]);
        let read = resumed(&[printed(false, 500, None), last]);
        assert_eq!(read.places, [Some(place(70)), Some(place(40))]);
        // From elsewhere, only the times are known.
        let read = resumed(&[printed(false, 500, None)]);
        assert_eq!(read.places, [None, None]);
    }

    #[test]
    fn each_replica_has_a_position_of_its_own() {
        let mut reading = Reading {
            prefix: prefix("shop"),
            replicas: HashMap::new(),
        };
        let mut told = vec![printed(false, 1, None); 3];
        told[1].task_id = Some("t2".into());
        let mut keys: Vec<_> = reading
            .behind(&told)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        keys.sort();
        assert_eq!(keys, ["lines/shop/t1", "lines/shop/t2"]);
        told[0].task_id = None;
        assert!(reading.behind(&told[..1]).is_empty());
    }
}
