//! Secrets in the database are sealed: XChaCha20-Poly1305 with a key from the key file, and with the
//! place of the value (table, column, row) as associated data, so that what was moved to another row
//! does not open there.
//!
//! A sealed text is `sealed1.<key id>.<base64 of nonce and ciphertext>`. Variables and build values are
//! sealed together, one text a row: one operation however many there are, and neither how many bytes
//! which of them has nor that two are the same can be seen. Their names stay in the row's JSON, with
//! empty values, and have to be the very names that were sealed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use flukedeploy_domain::app::{EnvVars, Settings, Variables};
use flukedeploy_domain::deployment::Source;
use flukedeploy_platform::ports::StoreError;
use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::columns::{Cause, to_json};
use crate::error::Doing;
use crate::keys::Key;

/// What a sealed text begins with; the digit is the version of the form.
const FORM: &str = "sealed1";
const NONCE_BYTES: usize = 24;

/// Why a sealed text does not open. Nothing of it is quoted.
#[derive(Debug, Error)]
pub(crate) enum SealError {
    #[error("its {column} is not sealed, or was cut: the row was edited from outside")]
    NotSealed { column: &'static str },
    #[error("its {column} is sealed with the key '{key}', which is not the key of this database")]
    OtherKey { column: &'static str, key: String },
    #[error(
        "its {column} does not open: the row was edited from outside, or the value moved here from \
         another row"
    )]
    DoesNotOpen { column: &'static str },
    #[error("its {column} holds other names than the row: the row was edited from outside")]
    OtherNames { column: &'static str },
    #[error("the operating system has no randomness")]
    NoRandomness,
    #[error("the value cannot be sealed")]
    Refused,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a str,
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        // No name of ours holds a NUL, so that two places never come to the same.
        [FORM, self.table, self.column, self.row]
            .join("\0")
            .into_bytes()
    }
}

/// Seals and opens with one key.
pub(crate) struct Sealer {
    key_id: String,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.key_id)
    }
}

impl Sealer {
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            key_id: key.id.clone(),
            cipher: XChaCha20Poly1305::new((&*key.bytes).into()),
        }
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(crate) fn seal(&self, place: Place<'_>, text: &str) -> Result<String, StoreError> {
        self.sealed(place, text).doing("sealing a value")
    }

    fn sealed(&self, place: Place<'_>, text: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &place.associated(),
        };
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::Refused)?;
        let code = URL_SAFE_NO_PAD.encode([&nonce[..], &ciphertext].concat());
        Ok(format!("{FORM}.{}.{code}", self.key_id))
    }

    pub(crate) fn open(
        &self,
        place: Place<'_>,
        sealed: &str,
    ) -> Result<Zeroizing<String>, SealError> {
        let column = place.column;
        let mut parts = sealed.splitn(3, '.');
        let (Some(FORM), Some(key), Some(code)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealError::NotSealed { column });
        };
        if key != self.key_id {
            let key: String = key.chars().take(32).collect();
            return Err(SealError::OtherKey { column, key });
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(code) else {
            return Err(SealError::NotSealed { column });
        };
        let Some((nonce, ciphertext)) = bytes.split_first_chunk::<NONCE_BYTES>() else {
            return Err(SealError::NotSealed { column });
        };
        let payload = Payload {
            msg: ciphertext,
            aad: &place.associated(),
        };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .ok()
            .and_then(|text| String::from_utf8(text).ok())
            .map(Zeroizing::new)
            .ok_or(SealError::DoesNotOpen { column })
    }

    /// The JSON of a value without its secrets, and these, sealed; `None` if it has none.
    pub(crate) fn split<T: HoldsSecrets>(
        &self,
        place: Place<'_>,
        value: &T,
    ) -> Result<(String, Option<String>), StoreError> {
        let mut shown = value.clone();
        let mut hidden: BTreeMap<&'static str, EnvVars> = BTreeMap::new();
        for (part, variables) in shown.secrets() {
            if variables.0.is_empty() {
                continue;
            }
            let names = EnvVars(
                variables
                    .0
                    .keys()
                    .map(|name| (name.clone(), String::new()))
                    .collect(),
            );
            hidden.insert(part, std::mem::replace(variables, names));
        }
        let sealed = if hidden.is_empty() {
            None
        } else {
            let text = Zeroizing::new(to_json(&hidden)?);
            Some(self.seal(place, &text)?)
        };
        Ok((to_json(&shown)?, sealed))
    }

    /// Puts the secrets back into a value that was read without them.
    pub(crate) fn join<T: HoldsSecrets>(
        &self,
        place: Place<'_>,
        value: &mut T,
        sealed: Option<&str>,
    ) -> Result<(), Cause> {
        let mut hidden: BTreeMap<String, EnvVars> = match sealed {
            Some(sealed) => serde_json::from_str(&self.open(place, sealed)?)
                // The cause could quote what it did not understand.
                .map_err(|_| SealError::DoesNotOpen {
                    column: place.column,
                })?,
            None => BTreeMap::new(),
        };
        let column = place.column;
        for (part, variables) in value.secrets() {
            let values = hidden.remove(part).unwrap_or_default();
            if !variables.0.keys().eq(values.0.keys()) {
                return Err(SealError::OtherNames { column }.into());
            }
            *variables = values;
        }
        if hidden.is_empty() {
            Ok(())
        } else {
            Err(SealError::OtherNames { column }.into())
        }
    }
}

/// What is stored as JSON and holds secrets.
pub(crate) trait HoldsSecrets: Clone + Serialize {
    /// Each with a name that never changes: it is sealed along.
    fn secrets(&mut self) -> Vec<(&'static str, &mut EnvVars)>;
}

impl HoldsSecrets for Settings {
    fn secrets(&mut self) -> Vec<(&'static str, &mut EnvVars)> {
        vec![
            ("env_vars", &mut self.env_vars),
            ("build.args", &mut self.build.args),
            ("build.secrets", &mut self.build.secrets),
            ("shared", &mut self.shared.values),
        ]
    }
}

impl HoldsSecrets for Variables {
    fn secrets(&mut self) -> Vec<(&'static str, &mut EnvVars)> {
        vec![("values", &mut self.values)]
    }
}

impl HoldsSecrets for Source {
    fn secrets(&mut self) -> Vec<(&'static str, &mut EnvVars)> {
        match self {
            Self::Image { changes, .. } | Self::Build { changes, .. } => {
                vec![("env_vars", &mut changes.env_vars)]
            }
            Self::Promote { .. }
            | Self::Release { .. }
            | Self::Restart { .. }
            | Self::Scale { .. }
            | Self::Mode { .. } => Vec::new(),
        }
    }
}
