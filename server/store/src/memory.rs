//! Values the platform remembers for itself.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flukedeploy_platform::ports::StoreError;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use crate::error::{Doing, corrupt};
use crate::sealing::{Place, SealError, Sealer};

/// Where a value stands. All are sealed: some are secrets.
fn place(key: &str) -> Place<'_> {
    Place {
        table: "remembered",
        column: "value",
        row: key,
    }
}

fn opened(seal: &Sealer, key: &str, sealed: &str) -> Result<String, StoreError> {
    let value = seal.open(place(key), sealed);
    let value = value.map_err(|cause| corrupt("remembered", key, cause))?;
    Ok(value.to_string())
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_optional(db)
        .await
        .doing("reading a remembered value")?
        .map(|sealed| opened(seal, key, &sealed))
        .transpose()
}

pub(crate) async fn put(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    let value = seal.seal(place(key), value)?;
    sqlx::query!(
        "INSERT INTO remembered (key, value) VALUES (?, ?)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value
    )
    .execute(db)
    .await
    .doing("remembering a value")?;
    Ok(())
}

pub(crate) async fn put_once(
    db: &mut SqliteConnection,
    seal: &Sealer,
    key: &str,
    value: &str,
) -> Result<String, StoreError> {
    const DOING: &str = "remembering a value once";
    let value = seal.seal(place(key), value)?;
    sqlx::query!(
        "INSERT INTO remembered (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
        key,
        value
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    let stored = sqlx::query_scalar!("SELECT value FROM remembered WHERE key = ?", key)
        .fetch_one(db)
        .await
        .doing(DOING)?;
    opened(seal, key, &stored)
}

pub(crate) async fn forget(db: &mut SqliteConnection, key: &str) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM remembered WHERE key = ?", key)
        .execute(db)
        .await
        .doing("forgetting a value")?;
    Ok(())
}

/// Under this name the key of digests is remembered, sealed as everything here: a change of the sealing
/// key leaves it as it is, so that a digest stays the same.
const DIGEST_KEY: &str = "digest_key";

/// Makes digests that nobody can try values out on who has not this key.
pub(crate) struct Digests(Hmac<Sha256>);

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digests(…)")
    }
}

impl Digests {
    /// Of these texts in this order; no two lists are told apart by where one text ends.
    pub(crate) fn of(&self, texts: &[&str]) -> String {
        let mut mac = self.0.clone();
        for text in texts {
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        }
        crate::audit::hex(&mac.finalize().into_bytes())
    }
}

/// The database's own key, made at the first start.
pub(crate) async fn digest_key(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Digests, StoreError> {
    if let Some(key) = get(&mut *db, seal, DIGEST_KEY).await? {
        return digests(&Zeroizing::new(key));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut())
        .map_err(|_| SealError::NoRandomness)
        .doing("making the key of digests")?;
    let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
    let key = put_once(db, seal, DIGEST_KEY, &key).await?;
    digests(&Zeroizing::new(key))
}

fn digests(key: &Zeroizing<String>) -> Result<Digests, StoreError> {
    let mac = Hmac::new_from_slice(key.as_bytes());
    mac.map(Digests).doing("reading the key of digests")
}
