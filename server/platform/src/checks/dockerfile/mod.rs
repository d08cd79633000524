//! What a Dockerfile's text tells before it is built: a small reader of its own, and rules.

mod files;
mod parse;
mod rules;
mod shell;

pub(crate) use rules::lint;

/// One instruction with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instruction {
    /// Where it begins; the first line is 1.
    line: usize,
    /// In capitals.
    keyword: String,
    /// What follows the keyword, continuations joined by a space, heredocs after a line break.
    rest: String,
}

/// A Dockerfile, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Dockerfile {
    instructions: Vec<Instruction>,
    /// The line of an instruction whose heredoc never ends.
    unfinished: Option<usize>,
}
