//! How far the lines of a service have been read, kept with the lines themselves.

use std::collections::HashMap;

use time::{Duration, OffsetDateTime};

use crate::meaning::Printed;
use crate::platform::Platform;
use crate::ports::{ReadTo, StoreError};

/// Times of a replica's two streams may be so much out of order against one another.
const OUT_OF_ORDER: Duration = Duration::milliseconds(10);
/// Where a stream was not read at all.
const NOWHERE: i64 = i64::MIN;

/// A replica's stdout and stderr, in nanoseconds since 1970.
type Places = [i64; 2];

/// Reading one service. What it says belongs into the same write as the entry it was told.
pub(crate) struct Reading {
    prefix: String,
    places: HashMap<String, Places>,
}

impl Reading {
    /// Where reading of a service goes on. Everything recorded so far is stored first.
    pub(crate) async fn of(px: &Platform, service: &str) -> Result<Self, StoreError> {
        px.parts().journal.flush().await;
        let prefix = prefix(service);
        let stored = px.parts().log_store.positions(&prefix).await?;
        let mut places = HashMap::new();
        for (key, value) in stored {
            if let (Some(task), Some(read)) = (key.strip_prefix(&prefix), decode(&value)) {
                places.insert(task.to_owned(), read);
            }
        }
        Ok(Self { prefix, places })
    }

    pub(crate) fn read_to(&self) -> ReadTo {
        let mut read = ReadTo::default();
        for (task, places) in &self.places {
            for (stderr, place) in [(false, places[0]), (true, places[1])] {
                let at = OffsetDateTime::from_unix_timestamp_nanos(place.into());
                if let (Ok(at), true) = (at, place != NOWHERE) {
                    read.insert(task.as_str(), stderr, at);
                }
            }
        }
        read
    }

    /// The position behind what was printed. The other stream of the replica was read as well, up
    /// to what is still held of it: else a stream that is silent for long would be read anew from
    /// where it fell silent.
    pub(crate) fn behind(&mut self, printed: &Printed) -> Option<(String, Vec<u8>)> {
        let task = printed.task_id.as_ref()?;
        let places = self.places.entry(task.clone()).or_insert([NOWHERE; 2]);
        let (own, other) = (usize::from(printed.stderr), usize::from(!printed.stderr));
        places[own] = places[own].max(nanoseconds(printed.last_at));
        let held = printed.beside.map(|at| at - Duration::nanoseconds(1));
        let surely = printed.last_at - OUT_OF_ORDER;
        let beside = held.map_or(surely, |held| held.min(surely));
        places[other] = places[other].max(nanoseconds(beside));
        let value = places
            .iter()
            .flat_map(|place| place.to_be_bytes())
            .collect();
        Some((format!("{}{task}", self.prefix), value))
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

fn nanoseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

fn decode(value: &[u8]) -> Option<Places> {
    let (stdout, stderr) = value.split_first_chunk::<8>()?;
    let stderr = stderr.first_chunk::<8>()?;
    Some([i64::from_be_bytes(*stdout), i64::from_be_bytes(*stderr)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meaning::Meaning;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-02-04 12:00 UTC);

    fn printed(stderr: bool, ms: i64, held_ms: Option<i64>) -> Printed {
        let at = |ms| NOON + Duration::milliseconds(ms);
        Printed {
            task_id: Some("t1".to_owned()),
            node_id: None,
            stderr,
            at: at(ms),
            last_at: at(ms),
            beside: held_ms.map(at),
            meaning: Meaning::of_line("x".to_owned()),
        }
    }

    fn after(told: &[Printed]) -> [Option<i64>; 2] {
        let mut reading = Reading {
            prefix: prefix("shop"),
            places: HashMap::new(),
        };
        let mut stored = HashMap::new();
        for printed in told {
            let (key, value) = reading.behind(printed).unwrap();
            assert_eq!(key, "lines/shop/t1");
            stored.insert("t1".to_owned(), decode(&value).unwrap());
        }
        reading.places = stored;
        let read = reading.read_to().of(Some("t1"));
        read.map(|at| Some(i64::try_from((at? - NOON).whole_milliseconds()).unwrap()))
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
}
