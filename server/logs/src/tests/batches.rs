//! What the platform brings: entries, and replicas' lines that stand for some.

use std::collections::BTreeMap;
use std::sync::Arc;

use flukedeploy_domain::log_entry::{LogEntry, LogMetadata};
use flukedeploy_platform::ports::{LineOrigin, LogBatch, Logged, ReplicaLine};
use proptest::prelude::*;
use serde_json::json;

use super::{Place, entries, line};
use crate::block::to_ns;

/// A line that stands for an entry, with an origin of its own.
fn line_for(entry: &LogEntry, number: u64) -> ReplicaLine {
    let metadata = LogMetadata {
        stack_trace: None,
        fields: BTreeMap::new(),
        ..entry.flukedeploy_metadata.clone()
    };
    ReplicaLine {
        origin: Arc::new(LineOrigin {
            source: entry.source.clone(),
            metadata,
        }),
        at: to_ns(entry.timestamp),
        number,
        level: entry.level,
        message: entry.message.clone(),
        stack_trace: entry.flukedeploy_metadata.stack_trace.clone(),
        fields: entry.flukedeploy_metadata.fields.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Told live or stored, read at once or after a restart: always the same.
    #[test]
    fn lines_are_stored_as_the_entries_they_stand_for(
        kinds in proptest::collection::vec((0_u8..4, any::<bool>(), any::<bool>(), any::<u64>()), 1..60),
        // Ids are numbers below this; what is above it wraps around.
        shares: bool,
    ) {
        let place = Place::new();
        let (mut logged, mut expected) = (Vec::new(), Vec::new());
        let mut last: Option<Arc<LineOrigin>> = None;
        for (row, (kind, has_trace, has_fields, number)) in (0..).zip(kinds) {
            let like = line(["one", "two"][usize::from(kind % 2)], row);
            let mut metadata = like.flukedeploy_metadata.clone();
            metadata.stack_trace = has_trace.then(|| format!("Error: {row}\n  at f"));
            if has_fields {
                metadata.fields.insert("ms".to_owned(), json!(row));
            }
            let entry = LogEntry::new(like.timestamp, number, like.level, like.message, like.source, metadata);
            if kind < 2 {
                logged.push(Logged::Entry(Box::new(entry.clone())));
            } else {
                let mut line = line_for(&entry, number);
                // As lines of one replica do.
                match &last {
                    Some(known) if shares && **known == *line.origin => line.origin = Arc::clone(known),
                    _ => last = Some(Arc::clone(&line.origin)),
                }
                logged.push(Logged::Line(line));
            }
            expected.push(entry);
        }
        let batch = LogBatch::new(logged, vec![("reader".to_owned(), vec![7])]);
        prop_assert_eq!(batch.entries(), expected.as_slice());
        let store = place.open();
        prop_assert_eq!(store.append_batch(&batch).unwrap(), 1);
        prop_assert_eq!(entries(&store), expected.clone());
        drop(store);
        let store = place.open();
        prop_assert_eq!(entries(&store), expected.clone());
        prop_assert_eq!(store.position("reader"), Some(vec![7]));
        store.flush().unwrap();
        prop_assert_eq!(entries(&store), expected);
    }
}
