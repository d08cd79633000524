//! Lines to instructions, as `BuildKit`'s parser does it (docs.docker.com/reference/dockerfile).

use super::{Dockerfile, Instruction};

/// Never fails: what cannot be read becomes an instruction that no rule knows.
pub(super) fn parse(text: &str) -> Dockerfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let escape = escape_of(&lines);
    let mut found = Dockerfile::default();
    let mut at = 0;
    while at < lines.len() {
        let begin = at;
        let first = lines[at].trim();
        if first.is_empty() || first.starts_with('#') {
            at += 1;
            continue;
        }
        let mut joined = String::new();
        // Comments and empty lines between continued lines are left out.
        loop {
            let line = lines[at];
            let trimmed = line.trim();
            at += 1;
            let is_inside = at - 1 > begin;
            if is_inside && (trimmed.is_empty() || trimmed.starts_with('#')) {
                if at >= lines.len() {
                    break;
                }
                continue;
            }
            let continued = trimmed.strip_suffix(escape);
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(continued.unwrap_or(trimmed).trim());
            if continued.is_none() || at >= lines.len() {
                break;
            }
        }
        let (keyword, rest) = joined
            .split_once(char::is_whitespace)
            .unwrap_or((joined.as_str(), ""));
        let keyword = keyword.to_ascii_uppercase();
        let mut rest = rest.trim().to_owned();
        if matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
            for (name, strips_tabs) in heredocs(&rest) {
                let is_end = |line: &str| {
                    let line = if strips_tabs {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    };
                    line == name
                };
                let Some(length) = lines[at..].iter().position(|line| is_end(line)) else {
                    found.unfinished.get_or_insert(begin + 1);
                    at = lines.len();
                    break;
                };
                for line in &lines[at..at + length] {
                    rest.push('\n');
                    rest.push_str(line);
                }
                at += length + 1;
            }
        }
        found.instructions.push(Instruction {
            line: begin + 1,
            keyword,
            rest,
        });
    }
    found
}

/// Directives are comments of the form `# name=value` before anything else.
fn escape_of(lines: &[&str]) -> char {
    for line in lines {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|comment| comment.split_once('='))
        else {
            break;
        };
        let name = name.trim().to_ascii_lowercase();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric()) || name.is_empty() {
            break;
        }
        if name == "escape" && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// Names of heredocs in a line, and whether they strip tabs.
fn heredocs(rest: &str) -> Vec<(String, bool)> {
    let words = rest.split_whitespace();
    words
        .filter_map(|word| {
            let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
            let word = word.strip_prefix("<<")?;
            let (strips, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let name = name.trim_matches(['"', '\'']);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            let fits = !name.is_empty() && name.len() <= 100 && name.bytes().all(plain);
            fits.then(|| (name.to_owned(), strips))
        })
        .take(10)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(usize, String, String)> {
        parse(text)
            .instructions
            .into_iter()
            .map(|found| (found.line, found.keyword, found.rest))
            .collect()
    }

    fn one(line: usize, keyword: &str, rest: &str) -> (usize, String, String) {
        (line, keyword.to_owned(), rest.to_owned())
    }

    #[test]
    fn continuations_and_comments_are_joined_and_left_out() {
        let text = "# syntax=docker/dockerfile:1\n\nfrom a:1\nRUN one && \\\n  # why\n\n  two \\  \n three\nCMD [\"x\"]\n";
        assert_eq!(
            read(text),
            [
                one(3, "FROM", "a:1"),
                one(4, "RUN", "one && two three"),
                one(9, "CMD", "[\"x\"]"),
            ]
        );
    }

    #[test]
    fn the_escape_can_be_another() {
        let text = "# escape=`\r\nFROM a:1\r\nRUN dir C:\\ `\r\n  x\r\nRUN y";
        assert_eq!(
            read(text),
            [
                one(2, "FROM", "a:1"),
                one(3, "RUN", "dir C:\\ x"),
                one(5, "RUN", "y"),
            ]
        );
        // Too late: the directive has to come first.
        assert_eq!(read("FROM a:1\n# escape=`\nRUN x `\nRUN y").len(), 3);
    }

    #[test]
    fn heredocs_belong_to_their_instruction() {
        let text = "FROM a:1\nRUN <<EOF\nFROM inside\n# no comment\nEOF\nCOPY <<-\"A\" <<B /x/\n\tone\n\tA\ntwo\nB\nCMD x";
        assert_eq!(
            read(text),
            [
                one(1, "FROM", "a:1"),
                one(2, "RUN", "<<EOF\nFROM inside\n# no comment"),
                one(6, "COPY", "<<-\"A\" <<B /x/\n\tone\ntwo"),
                one(11, "CMD", "x"),
            ]
        );
        assert_eq!(parse("FROM a:1\nRUN <<EOF\nnever").unfinished, Some(2));
        assert_eq!(read("FROM a:1\nRUN cat <<<word\nRUN x").len(), 3);
        assert_eq!(read("FROM a:1\nRUN echo $((1<<2))\nRUN x").len(), 3);
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "\\PC*|[ -~\n\t\r\\\\#<`]{0,400}") {
            let found = parse(&text);
            let lines = text.lines().count();
            prop_assert!(found.instructions.iter().all(|found| found.line <= lines));
        }
    }
}
