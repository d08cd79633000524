//! Puts lines together that the engine cut into pieces of 16 KiB.

use std::borrow::Cow;

use flukedeploy_domain::log_entry::cut_note;
use flukedeploy_platform::ports::{FilePlace, LineSpan, RawLine};
use time::OffsetDateTime;

/// Longest line passed on, in bytes; of a longer one it is told how long it was.
const MAX_LINE: usize = 64 * 1024;

/// A line of the container's, or a part of one.
pub(super) struct Piece<'a> {
    pub(super) at: OffsetDateTime,
    pub(super) stderr: bool,
    /// Without the line end.
    pub(super) text: Cow<'a, [u8]>,
    /// The line ends with it.
    pub(super) is_last: bool,
    /// Where it begins and ends, if it stands in a file.
    pub(super) place: Option<(FilePlace, FilePlace)>,
}

/// Begun lines of one replica's stdout and stderr.
#[derive(Default)]
pub(super) struct Lines {
    begun: [Option<Begun>; 2],
}

struct Begun {
    at: OffsetDateTime,
    text: Vec<u8>,
    whole_bytes: usize,
    place: Option<(FilePlace, FilePlace)>,
}

impl Lines {
    pub(super) fn add(&mut self, piece: Piece<'_>, ready: &mut Vec<RawLine>) {
        let slot = &mut self.begun[usize::from(piece.stderr)];
        let line = match slot.take() {
            None => {
                let mut text = piece.text.into_owned();
                let whole_bytes = text.len();
                text.truncate(MAX_LINE);
                Begun {
                    at: piece.at,
                    text,
                    whole_bytes,
                    place: piece.place,
                }
            }
            Some(mut line) => {
                let room = MAX_LINE.saturating_sub(line.text.len());
                let text = &piece.text[..piece.text.len().min(room)];
                line.text.extend_from_slice(text);
                line.whole_bytes += piece.text.len();
                line.at = piece.at;
                line.place = line
                    .place
                    .zip(piece.place)
                    .map(|((begin, _), (_, end))| (begin, end));
                line
            }
        };
        if piece.is_last {
            self.give(piece.stderr, line, ready);
        } else {
            *slot = Some(line);
        }
    }

    /// Gives out what has no line end, and will get none.
    pub(super) fn flush(&mut self, ready: &mut Vec<RawLine>) {
        for stderr in [false, true] {
            if let Some(line) = self.begun[usize::from(stderr)].take() {
                self.give(stderr, line, ready);
            }
        }
    }

    fn give(&self, stderr: bool, mut line: Begun, ready: &mut Vec<RawLine>) {
        if line.whole_bytes > line.text.len() {
            let note = cut_note(line.whole_bytes);
            line.text.extend_from_slice(note.as_bytes());
        } else if line.text.last() == Some(&b'\r') {
            line.text.pop();
        }
        let other = self.begun[usize::from(!stderr)].as_ref();
        let span = line.place.map(|(begin, end)| LineSpan {
            begin,
            end,
            other: other
                .and_then(|other| other.place)
                .map_or(end, |(begin, _)| begin),
        });
        let mut push = |text: String| {
            ready.push(RawLine {
                at: line.at,
                stderr,
                text,
                span,
            });
        };
        if line.text.contains(&b'\n') {
            line.text
                .split(|byte| *byte == b'\n')
                .for_each(|text| push(lossy(text.to_vec())));
        } else {
            push(lossy(line.text));
        }
    }
}

/// Replaces invalid UTF-8, and a character that the limit cut in two.
pub(super) fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> FilePlace {
        FilePlace { file: 1, offset }
    }

    fn piece(stderr: bool, text: &[u8], is_last: bool, from: u64) -> Piece<'_> {
        Piece {
            at: OffsetDateTime::UNIX_EPOCH,
            stderr,
            text: text.into(),
            is_last,
            place: Some((place(from), place(from + 1))),
        }
    }

    #[test]
    fn pieces_become_one_line_of_limited_length() {
        let (mut lines, mut ready) = (Lines::default(), Vec::new());
        let text = "x".repeat(16 * 1024);
        for n in 0..10 {
            lines.add(piece(false, text.as_bytes(), false, n), &mut ready);
            assert!(ready.is_empty());
        }
        lines.add(piece(false, b"end", true, 10), &mut ready);
        lines.add(piece(false, b"next\r", true, 11), &mut ready);
        let note = cut_note(10 * 16 * 1024 + 3);
        assert_eq!(ready[0].text, "x".repeat(MAX_LINE) + &note);
        let span = ready[0].span.unwrap();
        assert_eq!((span.begin, span.end), (place(0), place(11)));
        assert_eq!(ready[1].text, "next");
        lines.add(piece(false, &vec![b'y'; 70_000], true, 12), &mut ready);
        assert_eq!(ready[2].text, "y".repeat(MAX_LINE) + &cut_note(70_000));
    }

    #[test]
    fn stdout_and_stderr_do_not_mix() {
        let (mut lines, mut ready) = (Lines::default(), Vec::new());
        lines.add(piece(false, b"begun", false, 0), &mut ready);
        lines.add(piece(true, b"other", true, 1), &mut ready);
        lines.add(piece(false, b" and ended", true, 2), &mut ready);
        lines.add(piece(true, b"no end", false, 3), &mut ready);
        lines.flush(&mut ready);
        let got: Vec<(bool, &str)> = ready
            .iter()
            .map(|line| (line.stderr, line.text.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                (true, "other"),
                (false, "begun and ended"),
                (true, "no end")
            ]
        );
        // What was begun of the other stream has to be read again.
        assert_eq!(ready[0].span.unwrap().other, place(0));
        assert_eq!(ready[1].span.unwrap().other, place(3));
    }

    #[test]
    fn invalid_utf8_does_no_harm() {
        let (mut lines, mut ready) = (Lines::default(), Vec::new());
        lines.add(piece(false, b"\xff\xfe", true, 0), &mut ready);
        lines.add(piece(false, b"a\nb", true, 1), &mut ready);
        let texts: Vec<_> = ready.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["\u{fffd}\u{fffd}", "a", "b"]);
    }
}
