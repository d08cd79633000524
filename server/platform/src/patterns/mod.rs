//! Many log entries in few words: which patterns there are, how often and when, and what failed first.
//!
//! Lines that differ only in numbers, addresses and the like are one pattern. What differs elsewhere
//! is found as Drain does it (He et al., 2017): lines of one length and with the same first words are
//! compared word by word; those that agree in enough of them become one template, with `<*>` where
//! they differ. Log text may be written by an attacker: words, lines, templates and branches have
//! limits, and what exceeds them is counted without a template.

mod excerpt;
mod mask;

use std::collections::{HashMap, HashSet};

use flukedeploy_domain::log_entry::{Level, LogEntry};
use flukedeploy_domain::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

pub use excerpt::{Excerpt, ExcerptLine, fold_trace};

/// Any word.
const ANY: &str = "<*>";
/// Share of words that have to agree, in percent.
const ALIKE_PERCENT: usize = 50;
/// Different words at one place of the tree; further ones go together.
const MAX_BRANCHES: usize = 48;
/// Templates that a line is compared with.
const MAX_COMPARED: usize = 32;
/// Longest example, in bytes.
const MAX_EXAMPLE: usize = 500;

/// How many entries there are of each level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub debug: u64,
    pub info: u64,
    pub warn: u64,
    pub error: u64,
}

impl Counts {
    fn add(&mut self, level: Level) {
        *match level {
            Level::Debug => &mut self.debug,
            Level::Info => &mut self.info,
            Level::Warn => &mut self.warn,
            Level::Error => &mut self.error,
        } += 1;
    }
}

/// Lines of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// `GET /users/<NUM> <NUM> in <DUR>`.
    pub template: String,
    pub level: Level,
    pub count: u64,
    #[serde(with = "timestamp")]
    pub first_seen: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub last_seen: OffsetDateTime,
    /// The message of the first of them, cut to 500 bytes.
    pub example: String,
    /// The id of that entry.
    pub example_id: String,
    /// The release that is compared with has no such line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
}

/// What many entries come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub entries: u64,
    pub counts: Counts,
    /// The worst level first, then the most frequent.
    pub patterns: Vec<Pattern>,
    /// Entries that fit no template, since there are too many templates.
    pub without_pattern: u64,
    /// The first entry of level error and what stands around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<Excerpt>,
    /// The release whose lines these were compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_with_release: Option<u32>,
}

impl Summary {
    /// Marks the patterns that the summary of a former release has not, by the rule by which lines
    /// are grouped.
    pub fn compare(&mut self, former: &Self, release: u32) {
        self.compared_with_release = Some(release);
        for pattern in &mut self.patterns {
            let words: Vec<_> = pattern.template.split(' ').collect();
            pattern.is_new = !former
                .patterns
                .iter()
                .any(|known| known.level == pattern.level && is_alike(&known.template, &words));
        }
    }
}

/// Whether a template and the words of another would have become one.
fn is_alike(template: &str, words: &[&str]) -> bool {
    let mut alike = 0;
    let mut count = 0;
    for own in template.split(' ') {
        let Some(word) = words.get(count) else {
            return false;
        };
        alike += usize::from(own == *word || own == ANY || *word == ANY);
        count += 1;
    }
    count == words.len() && alike * 100 >= ALIKE_PERCENT * count
}

/// Level, number of words, first word, second word: the fixed path to a few templates.
type Path = (Level, usize, String, String);

/// Takes entries in, oldest first, and tells what they come to.
pub struct Patterns {
    limit: usize,
    templates: Vec<Template>,
    leaves: HashMap<Path, Vec<usize>>,
    /// How many branches leave a place of the tree.
    branches: HashMap<(Level, usize, Option<String>), HashSet<String>>,
    entries: u64,
    counts: Counts,
    without_pattern: u64,
    excerpt: excerpt::Finder,
}

struct Template {
    words: Vec<String>,
    pattern: Pattern,
}

impl Patterns {
    /// At most `limit` patterns are told apart.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            templates: Vec::new(),
            leaves: HashMap::new(),
            branches: HashMap::new(),
            entries: 0,
            counts: Counts::default(),
            without_pattern: 0,
            excerpt: excerpt::Finder::default(),
        }
    }

    pub fn add(&mut self, entry: &LogEntry) {
        self.entries += 1;
        self.counts.add(entry.level);
        self.excerpt.add(entry);
        let words = mask::words(&entry.message);
        let path = self.path(entry.level, &words);
        let alike = self.leaves.get(&path).and_then(|leaf| {
            let few = leaf.iter().take(MAX_COMPARED);
            let rated = few.map(|at| (likeness(&self.templates[*at].words, &words), *at));
            rated.max_by_key(|(alike, at)| (*alike, std::cmp::Reverse(*at)))
        });
        match alike {
            Some((alike, at)) if alike * 100 >= ALIKE_PERCENT * words.len() => {
                self.templates[at].take(entry, &words);
            }
            _ if self.templates.len() < self.limit => {
                self.leaves
                    .entry(path)
                    .or_default()
                    .push(self.templates.len());
                self.templates.push(Template::new(entry, words));
            }
            _ => self.without_pattern += 1,
        }
    }

    pub fn finish(self) -> Summary {
        let mut patterns: Vec<Pattern> = self
            .templates
            .into_iter()
            .map(|template| Pattern {
                template: template.words.join(" "),
                ..template.pattern
            })
            .collect();
        patterns.sort_by(|a, b| {
            let by_weight = (b.level, b.count).cmp(&(a.level, a.count));
            by_weight.then_with(|| (a.first_seen, &a.template).cmp(&(b.first_seen, &b.template)))
        });
        Summary {
            entries: self.entries,
            counts: self.counts,
            patterns,
            without_pattern: self.without_pattern,
            first_error: self.excerpt.finish(),
            compared_with_release: None,
        }
    }

    fn path(&mut self, level: Level, words: &[String]) -> Path {
        let count = words.len();
        let first = self.branch((level, count, None), words.first());
        let second = self.branch((level, count, Some(first.clone())), words.get(1));
        (level, count, first, second)
    }

    /// The word to go on by: the line's own, if it has nothing masked and there is room.
    fn branch(&mut self, place: (Level, usize, Option<String>), word: Option<&String>) -> String {
        let Some(word) = word.filter(|word| !word.contains('<')) else {
            return ANY.to_owned();
        };
        // A place is only remembered for what may become a template.
        let places = self.branches.len();
        if !self.branches.contains_key(&place) && places >= self.limit * 4 {
            return ANY.to_owned();
        }
        let branches = self.branches.entry(place).or_default();
        if branches.contains(word) || branches.len() < MAX_BRANCHES {
            branches.insert(word.clone());
            word.clone()
        } else {
            ANY.to_owned()
        }
    }
}

impl Template {
    fn new(entry: &LogEntry, words: Vec<String>) -> Self {
        let message = entry.message.as_str();
        let mut example = message[..message.floor_char_boundary(MAX_EXAMPLE)].to_owned();
        if example.len() < message.len() {
            example.push('…');
        }
        Self {
            words,
            pattern: Pattern {
                template: String::new(),
                level: entry.level,
                count: 1,
                first_seen: entry.timestamp,
                last_seen: entry.timestamp,
                example,
                example_id: entry.id.clone(),
                is_new: false,
            },
        }
    }

    fn take(&mut self, entry: &LogEntry, words: &[String]) {
        for (own, word) in self.words.iter_mut().zip(words) {
            if own != word {
                ANY.clone_into(own);
            }
        }
        let pattern = &mut self.pattern;
        pattern.count += 1;
        pattern.first_seen = pattern.first_seen.min(entry.timestamp);
        pattern.last_seen = pattern.last_seen.max(entry.timestamp);
    }
}

/// How many words agree.
fn likeness(template: &[String], words: &[String]) -> usize {
    let pairs = template.iter().zip(words);
    pairs.filter(|(own, word)| own == word).count()
}

#[cfg(test)]
mod tests;
