//! Which passwords are taken, and how they are kept and compared.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use flukedeploy_domain::names::Invalid;
use unicode_normalization::UnicodeNormalization as _;

use super::common::is_common;
use crate::error::Error;
use crate::platform::Platform;
use crate::secret::Secret;

/// Shortest new password, in characters. Older ones go on working.
pub const MIN_PASSWORD: usize = 12;
/// Longest password, in bytes; hashing has a price.
pub const MAX_PASSWORD: usize = 256;

/// How many passwords were compared with a hash.
#[derive(Default)]
pub(crate) struct PasswordChecks(AtomicU64);

impl PasswordChecks {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is wrong with a new password of a person of these names. There are no rules about which
/// characters it has: those make passwords that are hard to remember and easy to guess.
pub(crate) fn check_new(password: &Secret, names: &[&str]) -> Option<Invalid> {
    let normal = normal(password);
    let text = normal.expose();
    if text.chars().count() < MIN_PASSWORD || text.len() > MAX_PASSWORD {
        return Some(Invalid::new(
            "password",
            format!("must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"),
        ));
    }
    is_common(text, names).then(|| {
        Invalid::new(
            "password",
            "is among the first that are tried; take another, a few words that do not belong \
             together for example",
        )
    })
}

/// In the place of a hash, of an account that has no password.
pub(crate) const NO_PASSWORD: &str = "-";

/// The same text, however a keyboard composed it.
fn normal(password: &Secret) -> Secret {
    Secret::new(password.expose().nfkc().collect::<String>())
}

pub(crate) async fn hash(password: &Secret) -> Result<String, Error> {
    let password = normal(password);
    blocking("hashing a password", move || {
        Argon2::default()
            .hash_password(password.expose().as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|error| error.to_string())
    })
    .await
}

/// Compares with the hash of an account; without one it takes as long.
pub(crate) async fn verify(
    px: &Platform,
    hash: Option<&str>,
    password: &Secret,
) -> Result<bool, Error> {
    let (hash, known) = match hash.filter(|hash| *hash != NO_PASSWORD) {
        Some(hash) => (hash.to_owned(), true),
        None => (decoy().await?, false),
    };
    let mut tries = vec![normal(password)];
    // Hashes from before there was a normal form. What was typed decides, not whose it is.
    if tries.iter().all(|normal| normal != password) {
        tries.push(password.clone());
    }
    px.parts()
        .password_checks
        .0
        .fetch_add(u64::try_from(tries.len()).unwrap_or(0), Ordering::Relaxed);
    let right = blocking("checking a password", move || {
        let parsed = PasswordHash::new(&hash).map_err(|error| error.to_string())?;
        let fits = |password: &Secret| {
            Argon2::default()
                .verify_password(password.expose().as_bytes(), &parsed)
                .is_ok()
        };
        // All are compared: the time it takes says nothing.
        let fitting = tries.iter().filter(|password| fits(password)).count();
        Ok(fitting > 0)
    })
    .await?;
    Ok(right && known)
}

/// A real hash of a random password, made once.
async fn decoy() -> Result<String, Error> {
    static DECOY: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    DECOY
        .get_or_try_init(async || hash(&Secret::random()).await)
        .await
        .cloned()
}

/// Argon2 takes tens of milliseconds and 19 MiB on purpose; requests must not wait behind it.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    // Few at a time: a flood of sign-ins must not take the machine's memory.
    static SLOTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
    let internal =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Internal { doing, source };
    let _slot = SLOTS
        .acquire()
        .await
        .map_err(|error| internal(error.into()))?;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(error.into()))?
        .map_err(|error| internal(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_all_that_is_asked_of_what_is_not_common() {
        let fault = |text: &str| check_new(&Secret::new(text), &["ann"]);
        assert!(fault("violet kettle").is_none());
        assert!(fault("gT7#mQ2!xW9").unwrap().problem.contains("12 to 256"));
        assert!(fault(&"violet kettle ".repeat(30)).is_some());
        assert!(fault("password1234").unwrap().problem.contains("tried"));
        // Wide letters are the plain ones.
        assert!(fault("ｐａｓｓｗｏｒｄ1234").is_some());
    }
}
