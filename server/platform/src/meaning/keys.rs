//! Private keys that are printed line by line.

/// Most lines of one key.
const MAX_LINES: u16 = 400;
const BEGIN: &str = "-----BEGIN ";
/// What stands in the place of a key's lines.
const IN_ITS_PLACE: &str = "[redacted:private key]";

/// Watches one stream (of one replica, of one build) for PEM private keys (RFC 7468) and takes
/// their lines out, one for one: nothing else of the stream is lost or moved.
///
/// A watch that begins in the middle of a key, after a restart, still knows its lines by their
/// form, until the first that has another.
#[derive(Debug)]
pub(crate) struct KeyWatch {
    /// Lines of a key that may still come.
    left: u16,
    /// Nothing was seen yet.
    is_new: bool,
}

impl Default for KeyWatch {
    fn default() -> Self {
        Self {
            left: 0,
            is_new: true,
        }
    }
}

impl KeyWatch {
    /// The line, or what stands in its place.
    pub(crate) fn mask(&mut self, line: String) -> String {
        if self.left > 0 || self.is_new {
            let is_open = self.left > 0;
            let inside = inside(&line);
            self.left = self.left.saturating_sub(1);
            match inside {
                Inside::Key if is_open || has_body_length(&line) => return IN_ITS_PLACE.to_owned(),
                Inside::Header if is_open => return line,
                _ => (self.left, self.is_new) = (0, false),
            }
        }
        // `contains` is much quicker than `find`, and most lines hold none.
        if line.contains(BEGIN)
            && let Some(at) = line.find(BEGIN)
        {
            let rest = &line[at + BEGIN.len()..];
            let end = rest.find("-----");
            let is_private = end.is_some_and(|end| rest[..end].contains("PRIVATE KEY"));
            if is_private && !rest.contains("-----END ") {
                self.left = MAX_LINES;
            }
        }
        line
    }
}

enum Inside {
    Key,
    /// `Proc-Type: 4,ENCRYPTED`, or an empty line.
    Header,
    Other,
}

fn inside(line: &str) -> Inside {
    let text = line.trim();
    let text = text
        .trim_end_matches("\\n")
        .trim_matches(['"', '\'', ',', '+', ' ']);
    let is_code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    if text.is_empty() || text.starts_with("Proc-Type:") || text.starts_with("DEK-Info:") {
        Inside::Header
    } else if text.len() >= 4 && text.len().is_multiple_of(4) && text.bytes().all(is_code) {
        Inside::Key
    } else {
        Inside::Other
    }
}

/// As long as tools make a key's lines, and as mixed: a checksum in hex is not.
fn has_body_length(line: &str) -> bool {
    let bytes = line.trim().as_bytes();
    matches!(bytes.len(), 64 | 76)
        && bytes.iter().any(u8::is_ascii_uppercase)
        && bytes.iter().any(u8::is_ascii_lowercase)
        && bytes.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str]) -> Vec<String> {
        let mut watch = KeyWatch::default();
        lines
            .iter()
            .map(|line| watch.mask((*line).to_owned()))
            .collect()
    }

    /// Put together here, so that no scanner takes this file for a leak.
    fn body() -> String {
        "MIIEow1BAAKCAQEA".repeat(4)
    }

    #[test]
    fn a_keys_lines_are_taken_out_and_nothing_else() {
        let body = body();
        let lines = [
            "before",
            "key: -----BEGIN RSA PRIVATE KEY-----",
            "Proc-Type: 4,ENCRYPTED",
            "",
            &body,
            &body,
            "abcd",
            "-----END RSA PRIVATE KEY-----",
            "after",
            &body,
        ];
        let shown = run(&lines);
        assert_eq!(shown.len(), lines.len());
        assert_eq!(&shown[..4], &lines[..4]);
        assert_eq!(&shown[4..7], [IN_ITS_PLACE; 3]);
        assert_eq!(&shown[7..], &lines[7..], "no key any more");
    }

    #[test]
    fn mentions_and_certificates_are_let_be() {
        let body = body();
        for lines in [
            ["cannot read -----BEGIN PRIVATE KEY----- in x", "and so on"],
            ["x", &body],
            ["-----BEGIN CERTIFICATE-----", &body],
            [
                "-----BEGIN PRIVATE KEY-----MIIE-----END PRIVATE KEY-----",
                &body,
            ],
        ] {
            assert_eq!(run(&lines), lines);
        }
    }

    #[test]
    fn a_watch_that_begins_within_a_key_knows_it() {
        let body = body();
        let shown = run(&[&body, &body, "-----END PRIVATE KEY-----", &body]);
        assert_eq!(shown[0], IN_ITS_PLACE);
        assert_eq!(shown[1], IN_ITS_PLACE);
        assert_eq!(shown[3], body);
        let checksum = "0123456789abcdef".repeat(4);
        assert_eq!(run(&[&checksum]), [checksum]);
    }

    #[test]
    fn a_key_that_never_ends_does_not_hide_the_rest_for_ever() {
        let mut watch = KeyWatch::default();
        watch.mask("-----BEGIN PRIVATE KEY-----".to_owned());
        let hidden = (0..10_000)
            .filter(|_| watch.mask("abcdefgh".to_owned()) != "abcdefgh")
            .count();
        assert!(hidden <= usize::from(MAX_LINES));
    }
}
