//! Foreign text made harmless to look at. Leptos escapes it; this shows what would act or hide.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters, and whatever else turns or hides text, as their numbers:
/// nobody is deceived by what is not seen. Line breaks and tabs stay. `logs.js` does the same for
/// live lines.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "‹U+{:04X}›", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Joiners are left alone: scripts and emoji need them, and they hide nothing.
fn acts(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{feff}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        c => c.is_control(),
    }
}

/// At most so many characters, and whether some are missing.
pub(crate) fn cut(text: &str, limit: usize) -> (&str, bool) {
    match text.char_indices().nth(limit) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_or_hides_is_shown_and_the_rest_is_left_alone() {
        for harmless in [
            "plain",
            "two\nlines\tand a tab",
            "👩‍💻 می‌خواهم שלום",
            "<b>&amp;",
        ] {
            assert_eq!(visible(harmless), harmless);
        }
        assert_eq!(
            visible("\u{1b}[1mred\r\0"),
            "‹U+001B›[1mred‹U+000D›‹U+0000›"
        );
        assert_eq!(
            visible("a\u{202e}b\u{200b}\u{feff}\u{85}"),
            "a‹U+202E›b‹U+200B›‹U+FEFF›‹U+0085›"
        );
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("äöü", 2), ("äö", true));
        assert_eq!(cut("äöü", 3), ("äöü", false));
    }
}
