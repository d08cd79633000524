//! Takes out of a line what would act on a terminal or a reader instead of being read.

use std::borrow::Cow;

/// Without terminal sequences (ECMA-48), control characters, and characters that turn the writing
/// direction or cannot be seen. Tabs and line ends inside stay; a carriage return becomes a space,
/// since what stood before it would be overwritten and nothing may be hidden so.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(['\r', '\n']);
    // Most lines are plain: one pass over the bytes, which the compiler turns into vector code.
    let odd = |b: u8| (b < 0x20 && b != b'\t') || b >= 0x7f;
    if text.bytes().filter(|b| odd(*b)).count() == 0 {
        return Cow::Borrowed(text);
    }
    let mut rest = text;
    let mut clean = String::with_capacity(text.len());
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\u{1b}' => after_escape(after),
            '\u{9b}' => after_control_sequence(after),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => after_string(after),
            '\r' if !after.starts_with('\n') => {
                clean.push(' ');
                after
            }
            '\t' | '\n' => {
                clean.push(c);
                after
            }
            // Many readers of lines (of ours, or of triples) take these for the end of one.
            '\u{2028}' | '\u{2029}' => {
                clean.push(' ');
                after
            }
            c if c.is_control() || is_unseen(c) => after,
            c => {
                clean.push(c);
                after
            }
        };
    }
    Cow::Owned(clean)
}

/// The same for a `String`, which is only copied if there is something to take out.
pub(crate) fn clean_owned(mut text: String) -> String {
    match clean(&text) {
        Cow::Borrowed(same) => {
            let length = same.len();
            text.truncate(length);
            text
        }
        Cow::Owned(clean) => clean,
    }
}

/// Turns the direction of writing, or is a mark nobody sees (Unicode tags can carry whole hidden
/// sentences). Joiners stay: some scripts and pictures need them.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn after_escape(rest: &str) -> &str {
    let bytes = rest.as_bytes();
    match bytes.first() {
        Some(b'[') => after_control_sequence(&rest[1..]),
        // OSC (window titles, links), DCS, SOS, PM, APC: they go on until they are ended.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => after_string(&rest[1..]),
        // Intermediates, then one final: which character set is used, and the like.
        Some(b) if (0x20..=0x7e).contains(b) => {
            let middle = bytes
                .iter()
                .take(4)
                .take_while(|b| (0x20..=0x2f).contains(*b));
            let end = middle.count();
            let has_final = bytes.get(end).is_some_and(|b| (0x30..=0x7e).contains(b));
            &rest[end + usize::from(has_final)..]
        }
        _ => rest,
    }
}

fn after_control_sequence(rest: &str) -> &str {
    let bytes = rest.as_bytes();
    let end = bytes
        .iter()
        .take(64)
        .take_while(|b| (0x20..=0x3f).contains(*b))
        .count();
    let has_final = bytes.get(end).is_some_and(|b| (0x40..=0x7e).contains(b));
    &rest[end + usize::from(has_final)..]
}

/// A string that is never ended would swallow the line: then only its beginning is taken out.
fn after_string(rest: &str) -> &str {
    let end = rest.char_indices().take(2_048).find_map(|(at, c)| match c {
        '\u{7}' | '\u{9c}' => Some(at + c.len_utf8()),
        '\u{1b}' if rest[at..].starts_with("\u{1b}\\") => Some(at + 2),
        _ => None,
    });
    &rest[end.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_gone() {
        for (raw, shown) in [
            ("one\u{2028}two\u{2029}three", "one two three"),
            ("plain", "plain"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}[38;2;1;2;3mrgb\u{1b}[K", "rgb"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]never ended", "never ended"),
            ("\u{1b}Pq#0\u{1b}\\after", "after"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}=keypad\u{1b}", "keypad"),
            ("\u{9b}31mc1", "c1"),
            ("a\0b\u{7}c\u{8}d\u{7f}e", "abcde"),
            ("10%\r50%\r100%\r\n", "10% 50% 100%"),
            ("tab\tstays", "tab\tstays"),
            ("\u{202e}live\u{202c} \u{e0041}x", "live x"),
            ("Grüße 👩‍👩‍👧 سلام", "Grüße 👩‍👩‍👧 سلام"),
            ("", ""),
        ] {
            assert_eq!(clean(raw), shown, "{raw:?}");
            assert_eq!(clean_owned(raw.to_owned()), shown, "{raw:?}");
        }
        assert!(matches!(clean("nothing to do"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_that_acts_is_left(text in "(\\PC|[\u{0}-\u{20}\u{1b}\\[\\]0-9;m\u{80}-\u{9f}\u{202e}]){0,60}") {
            let once = clean(&text).into_owned();
            prop_assert!(!once.chars().any(|c| c.is_control() && c != '\t' && c != '\n' || is_unseen(c)), "{once:?}");
        }

        #[test]
        fn words_stay_whole(words in "[a-z äöü漢]{0,40}") {
            prop_assert_eq!(clean(&words), words.as_str());
        }
    }
}
