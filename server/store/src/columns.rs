//! Between domain types and column types. Reading answers the plain cause; the caller knows table
//! and id and makes a `Corrupt` of it.

use flukedeploy_platform::ports::StoreError;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::{Deserialize, Serialize};

use crate::error::Doing;

pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).doing("encoding a value as JSON")
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Cause> {
    Ok(serde_json::from_str(text)?)
}

/// A unit variant as its one serde word, without JSON's quotes.
pub(crate) fn to_word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value).doing("encoding a word")? {
        serde_json::Value::String(word) => Ok(word),
        _ => Err("not a plain word").doing("encoding a word"),
    }
}

pub(crate) fn from_word<'a, T: Deserialize<'a>>(word: &'a str) -> Result<T, Cause> {
    Ok(T::deserialize(StrDeserializer::<WordError>::new(word))?)
}

/// A count of ours that `SQLite` keeps as a signed number.
pub(crate) fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::access::Tier;
    use flukedeploy_domain::deployment::{Status, Strategy};

    use super::*;

    #[test]
    fn words_are_the_wires_and_come_back() {
        assert_eq!(to_word(&Strategy::BlueGreen).unwrap(), "blue_green");
        assert_eq!(
            from_word::<Status>("rolled_back").unwrap(),
            Status::RolledBack
        );
        assert!(from_word::<Tier>("emperor").is_err());
        assert!(to_word(&vec![1]).is_err());
    }
}
