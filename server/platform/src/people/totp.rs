//! One-time codes by time (RFC 6238: SHA-1, six digits, 30 seconds), and recovery codes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::secret::{Secret, sha256_hex};

const STEP_SECONDS: u64 = 30;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// As long as the hash, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
/// 80 bits each: nothing to guess, whoever reads their hashes included.
const RECOVERY_BYTES: usize = 10;

/// A new secret, in base32.
///
/// # Panics
/// If the operating system has no randomness: nothing could be safe then.
pub(crate) fn new_secret() -> Secret {
    Secret::new(random_base32::<SECRET_BYTES>())
}

fn random_base32<const N: usize>() -> String {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    to_base32(&bytes)
}

/// What authenticator apps read from a QR code.
pub(crate) fn address(secret: &Secret, account: &str, instance: &str) -> Secret {
    let issuer = if matches!(instance, "main" | "default") {
        "FlukeDeploy".to_owned()
    } else {
        format!("FlukeDeploy%20{instance}")
    };
    // Names of accounts and instances hold nothing that has to be encoded but the `@`.
    let account = account.replace('@', "%40");
    Secret::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period=30",
        secret.expose()
    ))
}

/// The step whose code this is: the present one, or one beside it, since clocks differ.
pub(crate) fn step_of(secret: &Secret, code: &str, unix_seconds: i64) -> Option<u64> {
    let key = from_base32(secret.expose())?;
    let now = u64::try_from(unix_seconds).ok()? / STEP_SECONDS;
    let steps = [now, now.checked_sub(1)?, now + 1];
    // All are looked at: the time it takes says nothing.
    steps.into_iter().fold(None, |found, step| {
        let is_it = code_at(&key, step)
            .is_some_and(|right| bool::from(right.as_bytes().ct_eq(code.as_bytes())));
        found.or(is_it.then_some(step))
    })
}

fn code_at(key: &[u8], step: u64) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash.last()? & 15);
    let word: [u8; 4] = hash.get(offset..offset + 4)?.try_into().ok()?;
    let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000;
    Some(format!("{number:06}"))
}

/// Six digits, however they were spaced; `None` if it is something else.
pub(crate) fn digits(typed: &str) -> Option<String> {
    let code: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    (code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())).then_some(code)
}

/// New recovery codes, with the hashes that are kept.
pub(crate) fn recovery_codes() -> (Vec<Secret>, Vec<String>) {
    (0..RECOVERY_CODES)
        .map(|_| {
            let code = random_base32::<RECOVERY_BYTES>();
            let hash = sha256_hex(&code);
            let groups: Vec<String> = code
                .to_ascii_lowercase()
                .as_bytes()
                .chunks(4)
                .map(|group| String::from_utf8_lossy(group).into_owned())
                .collect();
            (Secret::new(groups.join("-")), hash)
        })
        .unzip()
}

/// The hash of a recovery code as it was typed; `None` if it cannot be one.
pub(crate) fn recovery_hash(typed: &str) -> Option<String> {
    let code: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let fits = code.len() == RECOVERY_BYTES * 8 / 5 && code.bytes().all(|b| BASE32.contains(&b));
    fits.then(|| sha256_hex(&code))
}

fn to_base32(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut buffer) = (String::new(), 0u32, 0u32);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let digit = usize::try_from(buffer >> bits & 31).unwrap_or(0);
            text.push(char::from(BASE32[digit]));
        }
    }
    if bits > 0 {
        let digit = usize::try_from(buffer << (5 - bits) & 31).unwrap_or(0);
        text.push(char::from(BASE32[digit]));
    }
    text
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut buffer) = (Vec::new(), 0u32, 0u32);
    for digit in text.bytes() {
        let value = BASE32.iter().position(|known| *known == digit)?;
        buffer = buffer << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 255).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of its eight digits.
        let key = b"12345678901234567890";
        for (at, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(key, at / STEP_SECONDS).unwrap(), code);
        }
    }

    #[test]
    fn a_code_is_good_one_step_around_its_own() {
        let secret = Secret::new(to_base32(b"12345678901234567890"));
        let step = 1_111_111_109 / 30;
        for (at, good) in [
            (-31, false),
            (-1, true),
            (0, true),
            (29, true),
            (59, true),
            (60, false),
        ] {
            let found = step_of(&secret, "081804", step * 30 + at);
            assert_eq!(found.is_some(), good, "{at}");
        }
        assert_eq!(step_of(&secret, "", step * 30), None);
        assert_eq!(step_of(&secret, "08180", step * 30), None);
    }

    #[test]
    fn base32_is_that_of_the_standard() {
        // RFC 4648, section 10, without padding.
        for (plain, coded) in [
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(to_base32(plain.as_bytes()), coded);
            assert_eq!(from_base32(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(from_base32("m1"), None);
    }

    #[test]
    fn recovery_codes_are_found_however_they_are_typed() {
        let (codes, hashes) = recovery_codes();
        assert_eq!(codes.len(), 10);
        let shown = codes[0].expose();
        assert_eq!(shown.len(), 19, "{shown}");
        for typed in [
            shown.to_owned(),
            shown.to_uppercase(),
            shown.replace('-', " "),
        ] {
            assert_eq!(recovery_hash(&typed).as_ref(), Some(&hashes[0]));
        }
        assert_eq!(recovery_hash("123456"), None);
        assert_eq!(digits(" 123 456 ").as_deref(), Some("123456"));
        assert_eq!(digits("12345a"), None);
    }
}
