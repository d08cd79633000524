//! Passwords that attackers try first. Not a list of them, which would be long and soon old, but
//! what they are made of: [common words](self::words), keyboard rows, sequences, repetitions, dates,
//! and the names at hand.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Words at most of which a common password consists.
const MAX_WORDS: usize = 2;
/// Characters at least that have to remain beside what is easily guessed.
const REMAINDER: usize = 6;

/// Rows that fingers and eyes run along.
const ROWS: [&str; 12] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
    "!@#$%^&*()",
    "!\"§$%&/()=",
];

fn words() -> &'static HashSet<&'static str> {
    static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        include_str!("common_words.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
            .collect()
    });
    &WORDS
}

/// Whether a password (in normal form) is one of the first to be tried for a person of these names.
pub(super) fn is_common(password: &str, names: &[&str]) -> bool {
    let lower = password.to_lowercase();
    let distinct: HashSet<char> = lower.chars().collect();
    if distinct.len() < 5 || repeats(&lower) {
        return true;
    }
    let mut without_names = lower.clone();
    let ours = ["flukedeploy", "fluke"];
    for name in names.iter().copied().chain(ours) {
        for part in name.split(|c: char| !c.is_alphanumeric()) {
            let part = part.to_lowercase();
            if part.chars().count() >= 3 {
                without_names = without_names.replace(&part, "");
            }
        }
    }
    let left = without_runs(&without_names);
    if left.chars().filter(|c| !c.is_whitespace()).count() < REMAINDER {
        return true;
    }
    // With the runs still in it as well: `qwerty` is a run and a word.
    [&left, &without_names]
        .into_iter()
        .any(|text| is_made_of_words(text))
}

/// A short unit over and over.
fn repeats(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=6).any(|unit| {
        chars.len() >= 2 * unit && chars.iter().skip(unit).zip(&chars).all(|(a, b)| a == b)
    })
}

/// Without stretches of four and more along a row, forwards or backwards, or of one character.
fn without_runs(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut left = String::new();
    let mut at = 0;
    while at < chars.len() {
        let run = run_from(&chars[at..]);
        if run >= 4 {
            at += run;
        } else {
            left.push(chars[at]);
            at += 1;
        }
    }
    left
}

fn run_from(chars: &[char]) -> usize {
    let follows = |row: &[char]| {
        row.iter()
            .enumerate()
            .filter(|(_, c)| Some(*c) == chars.first())
            .map(|(start, _)| {
                row[start..]
                    .iter()
                    .zip(chars)
                    .take_while(|(a, b)| a == b)
                    .count()
            })
            .max()
            .unwrap_or(0)
    };
    let along = ROWS.iter().map(|row| {
        let forwards: Vec<char> = row.chars().collect();
        let backwards: Vec<char> = row.chars().rev().collect();
        follows(&forwards).max(follows(&backwards))
    });
    let same = chars
        .iter()
        .take_while(|c| Some(*c) == chars.first())
        .count();
    along.max().unwrap_or(0).max(same)
}

/// One or two common words with digits and signs around or between them, letters replaced or not.
fn is_made_of_words(text: &str) -> bool {
    let is_letter = |c: char| c.is_alphabetic();
    let core = text.trim_end_matches(|c| !is_letter(c));
    let plain: String = text.chars().filter(|c| is_letter(*c)).collect();
    let replaced = |text: &str| -> String {
        text.chars()
            .map(unreplaced)
            .filter(|c| is_letter(*c))
            .collect()
    };
    let decoration = text.chars().filter(|c| !is_letter(*c)).count();
    [
        plain,
        replaced(core),
        replaced(core.trim_start_matches(|c| !is_letter(c))),
        replaced(text),
    ]
    .iter()
    .any(|letters| letters.is_empty() || (decoration <= 10 && are_words(letters)))
}

fn unreplaced(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        '9' => 'g',
        other => other,
    }
}

/// The fewest common words that make up all of it.
fn are_words(letters: &str) -> bool {
    let mut fewest: Vec<Option<usize>> = vec![None; letters.len() + 1];
    fewest[0] = Some(0);
    for end in 1..=letters.len() {
        for start in 0..end {
            let word = letters
                .get(start..end)
                .filter(|word| words().contains(word));
            if let (Some(before), Some(_)) = (fewest[start], word)
                && fewest[end].is_none_or(|known| before + 1 < known)
            {
                fewest[end] = Some(before + 1);
            }
        }
    }
    fewest[letters.len()].is_some_and(|count| count <= MAX_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_known() {
        for bad in [
            "password1234",
            "Password2024!",
            "P@$$w0rd1234",
            "p4ssw0rd-2025",
            "passwordpassword",
            "123456789012",
            "098765432109",
            "qwertyuiop12",
            "qwertyuiop[]",
            "1qaz2wsx3edc",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "abc123abc123",
            "abcdefghijkl",
            "iloveyou2024",
            "ILoveYou!!!!!",
            "welcome12345",
            "adminadmin12",
            "Administrator1",
            "letmein123456",
            "Summer2024!!",
            "winter-2023-!",
            "flukedeploy1",
            "FlukeDeploy2026!",
            "annlindqvist1",
            "Ann.Lindqvist!",
            "19840512198405",
            "changeme-now1",
            "!!!!!!!!!!!!!!!",
            "liverpool1892",
            "michael-1987!",
            "asdfghjkl;'12",
        ] {
            assert!(is_common(bad, &["ann", "Ann Lindqvist"]), "{bad}");
        }
    }

    #[test]
    fn what_is_not_common_is_left_alone() {
        for good in [
            "correct horse battery",
            "another horse entirely",
            "violet kettle 9 orbit",
            "gT7#mQ2!xW9z",
            "lanterne sous la pluie",
            "ведро зелёных гаек",
            "k8fp2xqk8fp2xqzz",
            "tea at quarter past four",
        ] {
            assert!(!is_common(good, &["ann", "Ann Lindqvist"]), "{good}");
        }
    }

    #[test]
    fn the_list_is_not_short() {
        let longest_pairs = words().len() * words().len();
        assert!(
            words().len() > 400 && longest_pairs > 160_000,
            "{}",
            words().len()
        );
    }
}
