//! Secrets in memory, and how they are made, hashed and compared.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A value that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// 256 bits from the operating system, in URL-safe base64.
    ///
    /// # Panics
    /// If the operating system has no randomness: nothing could be safe then.
    pub fn random() -> Self {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).expect("the operating system has randomness");
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Named so that every use can be found.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares hashes, so that neither content nor length shows in the time it takes.
    pub fn matches(&self, presented: &str) -> bool {
        sha256(&self.0).ct_eq(&sha256(presented)).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// SHA-256 in hex: enough for secrets of full entropy, which need no slow hash.
pub fn sha256_hex(text: &str) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    sha256(text)
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .collect()
}

/// Compares a presented secret with a stored [`sha256_hex`] in constant time.
pub fn matches_hash(presented: &str, stored_hex: &str) -> bool {
    sha256_hex(presented)
        .as_bytes()
        .ct_eq(stored_hex.as_bytes())
        .into()
}

/// A random number for ids; not a secret.
///
/// # Panics
/// If the operating system has no randomness.
pub fn random_u64() -> u64 {
    getrandom::u64().expect("the operating system has randomness")
}

/// `length` random characters of `[a-z0-9]`, for ids.
pub fn random_id(length: usize) -> String {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length)
        .map(|_| char::from(DIGITS[usize::try_from(random_u64() % 36).unwrap_or(0)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_and_does_not_show() {
        let secret = Secret::random();
        assert!(secret.matches(secret.expose()) && !secret.matches("other"));
        assert!(matches_hash(secret.expose(), &sha256_hex(secret.expose())));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
