//! `.dockerignore`, with Docker's own rules (moby's `patternmatcher`): the last pattern that matches
//! a name or a folder above it decides; `*` stops at `/`, `**` does not.

/// Largest file that is heeded, in bytes, and most patterns.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
const MAX_PATTERNS: usize = 2_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Begins with `!`.
    keeps: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: one character but `/`.
    One,
    /// `*`: characters but `/`.
    Many,
    /// `**` in the end: anything.
    Rest,
    /// `**/`: nothing, or anything that ends with `/`.
    Folders,
    /// `[a-z]`, `[^a-z]`.
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    /// # Errors
    /// The line that makes no sense, and why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                if keeps {
                    return Err("a line has nothing after '!'".to_owned());
                }
                continue;
            }
            let cleaned = clean(pattern);
            let cleaned = match cleaned.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest,
                _ => &cleaned,
            };
            let tokens = tokens(cleaned).ok_or_else(|| {
                format!(
                    "the pattern {} has a '[' or '\\' that leads nowhere",
                    flukedeploy_domain::names::quoted(pattern)
                )
            })?;
            patterns.push(Pattern { keeps, tokens });
            if patterns.len() > MAX_PATTERNS {
                return Err(format!("it has more than {MAX_PATTERNS} patterns"));
            }
        }
        Ok(Self { patterns })
    }

    /// Something below an excluded folder may be kept all the same.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keeps)
    }

    /// The name, relative to the context and without a `/` in the end, is left out.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        let chars: Vec<char> = name.chars().collect();
        // The name itself, and each folder above it.
        let ends: Vec<usize> = chars
            .iter()
            .enumerate()
            .filter(|(_, c)| **c == '/')
            .map(|(at, _)| at)
            .chain([chars.len()])
            .collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            if pattern.keeps == excluded
                && ends
                    .iter()
                    .any(|end| matches(&pattern.tokens, &chars[..*end]))
            {
                excluded = !pattern.keeps;
            }
        }
        excluded
    }
}

/// Go's `path.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        found.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    Token::Rest
                } else {
                    Token::Folders
                }
            }
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next()?),
            '[' => {
                let not = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match chars.next()? {
                        ']' if !ranges.is_empty() => break,
                        ']' | '-' => return None,
                        '\\' => chars.next()?,
                        c => c,
                    };
                    let high = if chars.next_if_eq(&'-').is_some() {
                        match chars.next()? {
                            ']' | '-' => return None,
                            '\\' => chars.next()?,
                            c => c,
                        }
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
                Token::Class { not, ranges }
            }
            c => Token::Literal(c),
        });
    }
    Some(found)
}

/// All tokens at once over the text, so that no pattern takes long: steps are tokens times characters.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    // at[i]: the tokens so far can end before character i.
    let mut at = vec![false; text.len() + 1];
    at[0] = true;
    for token in tokens {
        let mut next = vec![false; text.len() + 1];
        match token {
            Token::Literal(_) | Token::One | Token::Class { .. } => {
                for (i, c) in text.iter().enumerate() {
                    next[i + 1] = at[i] && takes(token, *c);
                }
            }
            Token::Many => {
                let mut open = false;
                for i in 0..=text.len() {
                    open = at[i] || (open && i > 0 && text[i - 1] != '/');
                    next[i] = open;
                }
            }
            Token::Rest => {
                let mut open = false;
                for i in 0..=text.len() {
                    open |= at[i];
                    next[i] = open;
                }
            }
            Token::Folders => {
                let mut open = false;
                for i in 0..=text.len() {
                    next[i] = at[i] || (open && i > 0 && text[i - 1] == '/');
                    open |= at[i];
                }
            }
        }
        at = next;
    }
    at[text.len()]
}

fn takes(token: &Token, c: char) -> bool {
    match token {
        Token::Literal(literal) => *literal == c,
        Token::One => c != '/',
        Token::Class { not, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *not
        }
        Token::Many | Token::Rest | Token::Folders => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn excluded(patterns: &str, name: &str) -> bool {
        Ignore::parse(patterns).unwrap().excludes(name)
    }

    // The rules and examples of https://docs.docker.com/build/concepts/context/#dockerignore-files.
    #[test]
    fn the_documented_examples_hold() {
        let example = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        for gone in [
            "somedir/temporary.txt",
            "somedir/temp",
            "somedir/subdir/temporary.txt",
            "tempa",
            "tempb",
            "somedir/temp/deep/inside",
        ] {
            assert!(excluded(example, gone), "{gone}");
        }
        for kept in ["temp", "temporary.txt", "a/b/c/temp", "# comment", "tempab"] {
            assert!(!excluded(example, kept), "{kept}");
        }
        assert!(excluded("**/*.go", "main.go"));
        assert!(excluded("**/*.go", "a/b/main.go"));
        assert!(!excluded("**/*.go", "a/b/main.gob"));
        let readme = "*.md\n!README.md\n";
        assert!(excluded(readme, "CHANGES.md") && !excluded(readme, "README.md"));
        let secret = "*.md\n!README*.md\nREADME-secret.md\n";
        assert!(excluded(secret, "README-secret.md"));
        assert!(!excluded(secret, "README-other.md"));
        let undone = "*.md\nREADME-secret.md\n!README*.md\n";
        assert!(!excluded(undone, "README-secret.md"));
    }

    // Cases of moby's own tests (patternmatcher_test.go).
    #[test]
    fn patterns_match_as_in_docker() {
        for (pattern, name, gone) in [
            ("**", "file", true),
            ("**", "file/", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/file", true),
            ("**file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abc/def", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("./bar/", "bar", true),
            ("/bar", "bar/x", true),
            ("bar/../foo", "foo", true),
            ("*", "a/b", true),
            (".", "a", false),
        ] {
            assert_eq!(excluded(pattern, name), gone, "{pattern} {name}");
        }
    }

    #[test]
    fn exceptions_reach_into_excluded_folders() {
        let text = "\u{feff}node_modules\n!node_modules/keep/me.js\n  spaced  \n";
        assert!(excluded(text, "node_modules/other.js"));
        assert!(!excluded(text, "node_modules/keep/me.js"));
        assert!(excluded(text, "node_modules/keep"));
        assert!(excluded(text, "spaced"));
        assert!(!excluded("docs\n!docs/\n", "docs/a"));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in ["!", "a[", "a[]b", "[a-]", "a\\", "! "] {
            assert!(Ignore::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_plain_name_excludes_itself_and_what_is_below(
            name in "[a-z]{1,5}(/[a-z]{1,5}){0,3}", below in "[a-z*\\[]{1,5}"
        ) {
            prop_assert!(excluded(&name, &name));
            let deeper = format!("{name}/{below}");
            prop_assert!(excluded(&name, &deeper));
        }
    }
}
