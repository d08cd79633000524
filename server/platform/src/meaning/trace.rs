//! Stack traces: which lines belong together, and what they say.

use flukedeploy_domain::log_entry::Level;

use super::line::Meaning;

/// Longest name of an error class, in bytes.
const MAX_CLASS: usize = 200;

/// What a line looks like within a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One step of a trace, in any of the languages known here.
    Frame,
    /// Joins parts of a trace: "Caused by: …", "goroutine 7 [running]:".
    Link,
    /// "Traceback (most recent call last):".
    Traceback,
    /// `java.io.IOException: no`, `ValueError: no`.
    Exception,
    /// A Go function call, above its file.
    Call,
    /// Begins with white space.
    Indented,
    Blank,
    /// The `}` after a printed error object.
    Closing,
    Other,
}

impl Shape {
    fn of(line: &str) -> Self {
        let text = line.trim_start_matches([' ', '\t', '|', '+']);
        if text.trim_end().is_empty() {
            return Self::Blank;
        }
        if text.starts_with("Traceback (most recent call last)")
            || text.starts_with("Exception Group Traceback (")
        {
            return Self::Traceback;
        }
        let is_indented = line.starts_with([' ', '\t']);
        if is_frame(text, line, is_indented) {
            return Self::Frame;
        }
        if is_link(text) {
            return Self::Link;
        }
        if is_indented {
            return Self::Indented;
        }
        match text.trim_end() {
            "}" | "}," | "]" => return Self::Closing,
            call if call.ends_with(')') && call.contains('(') && !call.contains(": ") => {
                return Self::Call;
            }
            _ => {}
        }
        if error_class(text).is_some() {
            return Self::Exception;
        }
        Self::Other
    }
}

fn is_frame(text: &str, line: &str, is_indented: bool) -> bool {
    let bytes = text.as_bytes();
    let digits = bytes
        .iter()
        .take(6)
        .take_while(|b| b.is_ascii_digit())
        .count();
    match bytes.first() {
        // Java, .NET, node: "at f (x.js:1:2)"; Java: "... 12 more".
        Some(b'a') if is_indented => text.starts_with("at "),
        Some(b'.') if is_indented => text.starts_with("... "),
        Some(b'F') if is_indented => text.starts_with("File \""),
        Some(b'f') if is_indented => text.starts_with("from ") && text.contains(':'),
        // Go: "\t/app/main.go:12 +0x1d".
        Some(b'/') if line.starts_with('\t') => text.contains(".go:"),
        // PHP: "#0 /app/x.php(12): f()", "#1 {main}".
        Some(b'#') => {
            let number = bytes[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            number > 0 && bytes.get(1 + number) == Some(&b' ')
        }
        // Rust: "   0: core::panicking::panic".
        Some(b'0'..=b'9') if is_indented => text[digits..].starts_with(": "),
        Some(b'(') if is_indented => text.contains(") lib/"),
        _ => false,
    }
}

fn is_link(text: &str) -> bool {
    const BEGINNINGS: [&str; 13] = [
        "Caused by: ",
        "Suppressed: ",
        "During handling of the above exception",
        "The above exception was the direct cause",
        "stack backtrace:",
        "Stack trace:",
        "note: run with `RUST_BACKTRACE",
        "note: Some details are omitted",
        "created by ",
        "[signal ",
        "--- End of ",
        "Wrapped by: ",
        "thrown in ",
    ];
    BEGINNINGS.iter().any(|begin| text.starts_with(begin)) || is_goroutine(text)
}

/// "goroutine 7 [running]:".
fn is_goroutine(text: &str) -> bool {
    text.strip_prefix("goroutine ")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(" ["))
}

/// The class of the error that a line begins with: `java.io.IOException: no`, `ValueError: no`, or
/// the same behind `Exception in thread "main" ` and its like.
pub(super) fn error_class(line: &str) -> Option<&str> {
    let mut text = line;
    for intro in [
        "Caused by: ",
        "Uncaught ",
        "Unhandled exception. ",
        "Unhandled exception: ",
    ] {
        text = text.strip_prefix(intro).unwrap_or(text);
    }
    if let Some(rest) = text.strip_prefix("Exception in thread \"") {
        text = rest.split_once("\" ")?.1;
    }
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return None;
    }
    let named = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$' | b':');
    let end = bytes.iter().take(MAX_CLASS).take_while(named).count();
    // The colon after the class was taken for a part of it, as in `std::bad_alloc`.
    let class = text[..end].trim_end_matches(':');
    let ends_well = match bytes.get(class.len()) {
        None => true,
        Some(b':') => bytes.get(class.len() + 1).is_none_or(|b| *b == b' '),
        // node: "Error [ERR_X]: no", Ruby: "(RuntimeError)".
        Some(b' ') => text[class.len()..].starts_with(" ["),
        Some(_) => false,
    };
    let last = class.rsplit(['.', ':', '$']).next().unwrap_or(class);
    let is_class = last.starts_with(|c: char| c.is_ascii_uppercase())
        && [
            "Error",
            "Exception",
            "Throwable",
            "Interrupt",
            "Panic",
            "Fault",
        ]
        .iter()
        .any(|end| last.ends_with(end));
    (ends_well && is_class).then_some(class)
}

/// The class of the error of a whole trace: of its first such line, or in Python of the last.
pub(super) fn error_code_in<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut found = None;
    let mut is_python = false;
    for line in lines {
        is_python |= line.contains("Traceback (most recent call last)");
        if line.starts_with("panic: ")
            || line.starts_with("thread '") && line.contains(" panicked at ")
        {
            return Some("panic".to_owned());
        }
        if is_python || found.is_none() {
            let text = line.trim_start_matches([' ', '\t', '|']);
            let text = text.strip_prefix("PHP Fatal error:  ").unwrap_or(text);
            found = error_class(text).or_else(|| ruby_class(text)).or(found);
        }
    }
    found.map(str::to_owned)
}

/// The class at the end of `app.rb:1:in 'f': no (RuntimeError)`.
fn ruby_class(line: &str) -> Option<&str> {
    let (_, class) = line.strip_suffix(')')?.rsplit_once(" (")?;
    (line.contains(":in "))
        .then(|| error_class(class))
        .flatten()
}

/// Whether a line may be the first of a trace, so that it is worth waiting for the next.
pub(super) fn may_begin(meaning: &Meaning) -> bool {
    let text = meaning.message.as_str();
    if !meaning.fields.is_empty() || meaning.stack_trace.is_some() {
        // A structured line says all it has to say.
        return false;
    }
    meaning.level >= Level::Warn
        || text.starts_with("panic: ")
        || text.starts_with("fatal error: ")
        || text.starts_with("PHP Fatal error: ")
        || is_goroutine(text)
        // Ruby: "app.rb:1:in `f': no (RuntimeError)".
        || text.ends_with(')') && text.contains(":in ")
        || text.starts_with([' ', '\t']) && matches!(Shape::of(text), Shape::Frame)
}

/// Which language a trace turned out to be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    /// `ends`: the exception's own line was there.
    Python {
        ends: bool,
    },
    Go,
    /// `wants_message`: it stands on the next line.
    Rust {
        wants_message: bool,
    },
}

/// How a line goes with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It belongs to them.
    Yes,
    /// It does if a line after it does.
    Perhaps,
    No,
}

/// What is known of the trace whose lines are coming in.
#[derive(Debug)]
pub(super) struct Trace {
    kind: Kind,
    has_frames: bool,
    /// Within the `{ … }` that node prints after an error.
    in_block: bool,
}

impl Trace {
    /// A trace that may begin with this line.
    pub(super) fn beginning(first: &str) -> Self {
        let kind = if first.starts_with("panic: ")
            || first.starts_with("fatal error: ")
            || is_goroutine(first)
        {
            Kind::Go
        } else if first.starts_with("thread '") {
            Kind::Rust {
                wants_message: first.ends_with(':'),
            }
        } else if matches!(Shape::of(first), Shape::Traceback) {
            Kind::Python { ends: false }
        } else {
            Kind::Any
        };
        Self {
            kind,
            has_frames: matches!(Shape::of(first), Shape::Frame | Shape::Traceback),
            in_block: false,
        }
    }

    pub(super) fn fit(&mut self, line: &str) -> Fit {
        let shape = Shape::of(line);
        if self.in_block {
            self.in_block = !matches!(shape, Shape::Closing);
            if matches!(
                shape,
                Shape::Indented | Shape::Frame | Shape::Closing | Shape::Blank
            ) {
                return Fit::Yes;
            }
            self.in_block = false;
        }
        let joins = match shape {
            Shape::Indented => self.has_frames,
            Shape::Link => self.has_frames || self.kind != Kind::Any,
            _ => false,
        };
        if joins {
            return Fit::Yes;
        }
        match (shape, self.kind) {
            (Shape::Frame, _) => {
                self.has_frames = true;
                self.in_block = line.trim_end().ends_with(" {");
                Fit::Yes
            }
            (Shape::Traceback, _) => {
                let fit = if self.has_frames {
                    Fit::Yes
                } else {
                    Fit::Perhaps
                };
                self.kind = Kind::Python { ends: false };
                self.has_frames = true;
                fit
            }
            (Shape::Exception | Shape::Other | Shape::Call, Kind::Python { ends: false })
                if self.has_frames =>
            {
                self.kind = Kind::Python { ends: true };
                Fit::Yes
            }
            (Shape::Indented | Shape::Call, Kind::Go) | (Shape::Link, _) => Fit::Perhaps,
            // The message of the panic, in one line or more.
            (
                _,
                Kind::Rust {
                    wants_message: true,
                },
            ) => {
                self.kind = Kind::Rust {
                    wants_message: false,
                };
                Fit::Yes
            }
            (Shape::Other | Shape::Call | Shape::Exception, Kind::Rust { .. })
            | (Shape::Other, Kind::Go)
            | (Shape::Exception, Kind::Any)
                if !self.has_frames =>
            {
                Fit::Perhaps
            }
            (Shape::Other, Kind::Go) if line.starts_with("exit status ") => Fit::Yes,
            (Shape::Blank, kind) if self.has_frames || kind != Kind::Any => Fit::Perhaps,
            _ => Fit::No,
        }
    }
}

/// The lines of a trace as one meaning; at least two of them.
pub(super) fn meaning_of(first: Meaning, lines: &[String]) -> Meaning {
    let text = |n: usize| lines[n].as_str();
    let is_python = matches!(Shape::of(text(0)), Shape::Traceback);
    let message = if is_python {
        // What happened stands last.
        let mut last = lines.iter().rev().map(String::as_str);
        last.find(|line| matches!(Shape::of(line), Shape::Exception | Shape::Other))
            .unwrap_or(text(0))
            .to_owned()
    } else if text(0).starts_with("thread '") && text(0).ends_with(':') && lines.len() > 1 {
        format!("{} {}", text(0), text(1).trim())
    } else {
        first.message.trim_start().to_owned()
    };
    let level = if first.level == Level::Warn {
        Level::Warn
    } else {
        Level::Error
    };
    Meaning {
        level,
        message,
        error_code: error_code_in(lines.iter().map(String::as_str)).or(first.error_code),
        stack_trace: Some(lines.join("\n")),
        fields: first.fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_classes_are_told_from_words() {
        for (line, class) in [
            ("java.io.IOException: no", "java.io.IOException"),
            ("ValueError: no", "ValueError"),
            ("KeyboardInterrupt", "KeyboardInterrupt"),
            ("Error: no", "Error"),
            ("Error [ERR_X]: no", "Error"),
            (
                "Exception in thread \"main\" java.lang.Error: x",
                "java.lang.Error",
            ),
            ("Caused by: a.b.CException", "a.b.CException"),
            (
                "Unhandled exception. System.Exception: x",
                "System.Exception",
            ),
            ("a.B$InnerException: x", "a.B$InnerException"),
            ("Foo::BarError: x", "Foo::BarError"),
        ] {
            assert_eq!(error_class(line), Some(class), "{line}");
        }
        for line in [
            "",
            "error: no",
            "Error handling is on",
            "An Error: no",
            "NoErrors: 0",
            "IOException here",
            "http://x/Error: y",
            "Errors",
            "Error:x",
        ] {
            assert_eq!(error_class(line), None, "{line}");
        }
    }
}
