//! A browser that signed in before: it shows so, and guesses made elsewhere do not slow it down.
//!
//! The token says nothing but that, lets nobody in, and ends with the password. It is checked, not
//! stored: a keyed hash over the account and a number.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::Origin;
use crate::error::Error;
use crate::identity::{SignedIn, unix_ms};
use crate::platform::Platform;
use crate::ports::Account;
use crate::secret::{Secret, random_id};

const KEY: &str = "device_key";

/// For the browser of a session that begins.
pub async fn token(px: &Platform, session: &SignedIn) -> Result<Secret, Error> {
    let number = random_id(16);
    let mac = mac(
        px,
        &session.account_id,
        session.password_changed_at_ms,
        &number,
    )
    .await?;
    Ok(Secret::new(format!("{number}.{mac}")))
}

/// The browser's number, if it is known for this account.
pub(super) async fn known(
    px: &Platform,
    origin: &Origin,
    account: Option<&Account>,
) -> Result<Option<String>, Error> {
    let shown = origin
        .device
        .as_deref()
        .and_then(|text| text.split_once('.'));
    let Some((number, shown)) = shown.filter(|(number, _)| number.len() == 16) else {
        return Ok(None);
    };
    // As much work where there is no such account.
    let (id, changed) = account.map_or(("", 0), |account| {
        (account.id.as_str(), unix_ms(account.password_changed_at))
    });
    let right = mac(px, id, changed, number).await?;
    let is_right = bool::from(right.as_bytes().ct_eq(shown.as_bytes()));
    Ok((is_right && account.is_some()).then(|| number.to_owned()))
}

async fn mac(px: &Platform, account: &str, changed: i64, number: &str) -> Result<String, Error> {
    let key = if let Some(key) = px.parts().store.remembered(KEY).await? {
        key
    } else {
        let new = Secret::random();
        px.parts().store.remember_once(KEY, new.expose()).await?
    };
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|error| Error::Internal {
            doing: "knowing a browser again",
            source: Box::new(error),
        })?;
    mac.update(format!("{account}\0{changed}\0{number}").as_bytes());
    Ok(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
