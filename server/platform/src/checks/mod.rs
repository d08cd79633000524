//! What is looked at before a release may run. Each finding has a stable name, says what was seen and
//! what to do about it. Names of variables may be shown; values never are.

mod dockerfile;
mod gather;
mod image;
mod outside;
pub(crate) mod secrets;
mod settings;
mod variables;
mod verdict;

pub(crate) use dockerfile::lint;
pub(crate) use gather::{Subject, Wanted, of_image, of_release, of_unfetched};
pub(crate) use outside::tests as tests_of;
pub(crate) use verdict::{overall, verdict};

// The categories of the contract that are used here.
const DOCKER: &str = "docker";
const NETWORK: &str = "network";
const SECURITY: &str = "security";
const CONFIGURATION: &str = "configuration";

/// Names in a sentence: at most ten of them.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names[..names.len().min(10)].join(", ");
    match names.len().saturating_sub(10) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a list of words, set apart by spaces, holds this one.
fn has_word(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|own| own == word)
}
