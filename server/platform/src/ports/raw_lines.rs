//! What replicas print, as it is read, and how far it was read.

use std::collections::HashMap;

use time::OffsetDateTime;

/// Lines of one replica, in the order in which they were printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawLines {
    pub task_id: Option<String>,
    pub node_id: Option<String>,
    pub lines: Vec<RawLine>,
}

/// One line that a replica printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLine {
    /// When it was complete.
    pub at: OffsetDateTime,
    pub stderr: bool,
    /// Without the line end; invalid UTF-8 replaced.
    pub text: String,
    /// Where it stands, if it was read from a file.
    pub span: Option<LineSpan>,
}

/// Where a line stands in a replica's log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSpan {
    pub begin: FilePlace,
    /// Behind it.
    pub end: FilePlace,
    /// How far the replica's other stream was read by then: not to the end of this line, if a line
    /// of that stream is not complete yet.
    pub other: FilePlace,
}

/// A place in a replica's log file: exact, where several lines can have one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePlace {
    /// The time of the file's first line, in nanoseconds since 1970. By it a file is known again when
    /// it was renamed or compressed meanwhile, or began anew.
    pub file: i64,
    /// Bytes before the place.
    pub offset: u64,
}

/// How far the lines of a service have been read, for each replica's stdout and stderr by itself,
/// since neither waits for the other: the time of the last line and, of lines from a file, its
/// place, which counts as long as there is such a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadTo {
    replicas: HashMap<String, ReplicaRead>,
}

/// How far stdout and stderr of a replica have been read; `None`: not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaRead {
    pub times: [Option<OffsetDateTime>; 2],
    pub places: [Option<FilePlace>; 2],
}

impl ReadTo {
    /// Up to and including the line of this time.
    pub fn insert(&mut self, task_id: impl Into<String>, stderr: bool, at: OffsetDateTime) {
        self.replicas.entry(task_id.into()).or_default().times[usize::from(stderr)] = Some(at);
    }

    /// The lines before this place.
    pub fn insert_place(&mut self, task_id: impl Into<String>, stderr: bool, place: FilePlace) {
        self.replicas.entry(task_id.into()).or_default().places[usize::from(stderr)] = Some(place);
    }

    pub fn of(&self, task_id: Option<&str>) -> ReplicaRead {
        task_id
            .and_then(|id| self.replicas.get(id))
            .copied()
            .unwrap_or_default()
    }
}
