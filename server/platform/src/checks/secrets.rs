//! What looks like a secret. Errs towards silence: a wrong alarm teaches people to ignore alarms.

use std::collections::BTreeSet;

use super::has_word;

/// Longest text of one variable or history entry that is searched, in bytes.
const MAX_TEXT: usize = 256 * 1024;
/// As much of a value is looked at, in bytes: a line of assignments without spaces must not take
/// time by its square.
const MAX_VALUE: usize = 512;

/// A text that is a secret by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// "a GitHub token".
    pub(super) what: &'static str,
    /// Nothing else looks like it, and it opens a door by itself.
    pub(crate) certain: bool,
}

/// A prefix, and what has to follow it.
pub(crate) struct Form {
    pub(crate) prefix: &'static str,
    /// How many characters at least.
    pub(crate) follow: usize,
    pub(crate) allowed: fn(u8) -> bool,
    shape: Shape,
}

const fn form(
    prefix: &'static str,
    follow: usize,
    allowed: fn(u8) -> bool,
    what: &'static str,
    certain: bool,
) -> Form {
    Form {
        prefix,
        follow,
        allowed,
        shape: Shape { what, certain },
    }
}

fn plain(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

pub(crate) fn wordy(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

fn sluggy(b: u8) -> bool {
    wordy(b) || b == b'/'
}

fn bearer(b: u8) -> bool {
    wordy(b) || matches!(b, b'.' | b'~' | b'+' | b'/' | b'=')
}

/// As the issuers document them.
pub(crate) const FORMS: &[Form] = &[
    // An access key's id; its secret half has no form of its own.
    form("AKIA", 16, upper, "an AWS access key", false),
    form("ASIA", 16, upper, "an AWS access key", false),
    form("ghp_", 36, plain, "a GitHub token", true),
    form("gho_", 36, plain, "a GitHub token", true),
    form("ghu_", 36, plain, "a GitHub token", true),
    form("ghs_", 36, plain, "a GitHub token", true),
    form("ghr_", 36, plain, "a GitHub token", true),
    form("github_pat_", 40, wordy, "a GitHub token", true),
    form("glpat-", 20, wordy, "a GitLab token", true),
    form("gldt-", 20, wordy, "a GitLab token", true),
    form("glrt-", 20, wordy, "a GitLab token", true),
    form("xoxb-", 20, wordy, "a Slack token", true),
    form("xoxp-", 20, wordy, "a Slack token", true),
    form("xoxa-", 20, wordy, "a Slack token", true),
    form("xoxr-", 20, wordy, "a Slack token", true),
    form("xoxs-", 20, wordy, "a Slack token", true),
    form(
        "hooks.slack.com/services/",
        20,
        sluggy,
        "a Slack webhook address",
        true,
    ),
    form("sk_live_", 16, plain, "a Stripe key", true),
    form("rk_live_", 16, plain, "a Stripe key", true),
    form("sk_test_", 16, plain, "a Stripe test key", false),
    form("npm_", 36, plain, "an npm token", true),
    form(
        "Authorization: Bearer ",
        16,
        bearer,
        "an authorization header",
        false,
    ),
    form(
        "Authorization: Basic ",
        8,
        bearer,
        "an authorization header",
        false,
    ),
];

/// Every kind of secret whose form occurs in a text, each once.
pub(crate) fn shapes_in(text: &str) -> Vec<Shape> {
    let text = clipped(text, MAX_TEXT);
    let bytes = text.as_bytes();
    let mut found = BTreeSet::new();
    for form in FORMS {
        let hit = text.match_indices(form.prefix).any(|(at, _)| {
            let starts = at == 0 || !wordy(bytes[at - 1]);
            let rest = bytes[at + form.prefix.len()..].iter().take(form.follow);
            starts && rest.filter(|b| (form.allowed)(**b)).count() == form.follow
        });
        if hit {
            found.insert(form.shape);
        }
    }
    if has_private_key(text) {
        found.insert(Shape {
            what: "a private key",
            certain: true,
        });
    }
    if has_jwt(text) {
        found.insert(Shape {
            what: "a signed token (JWT)",
            certain: false,
        });
    }
    if has_password_in_url(text) {
        found.insert(Shape {
            what: "an address with a password",
            certain: false,
        });
    }
    found.into_iter().collect()
}

/// PEM (RFC 7468): the label, and something behind it.
fn has_private_key(text: &str) -> bool {
    text.match_indices("-----BEGIN ").any(|(at, begin)| {
        let rest = &text[at + begin.len()..];
        rest.split_once("-----").is_some_and(|(label, body)| {
            label.len() <= 40
                && (label.ends_with("PRIVATE KEY") || label == "PGP PRIVATE KEY BLOCK")
                && body
                    .bytes()
                    .take(200)
                    .filter(u8::is_ascii_alphanumeric)
                    .count()
                    >= 16
        })
    })
}

/// Three base64url parts, of which the first two begin with `{"` (RFC 7519).
fn has_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let (before, rest) = text.as_bytes().split_at(at);
        if before.last().is_some_and(|b| wordy(*b) || *b == b'.') {
            return false;
        }
        let end = rest
            .iter()
            .position(|b| !wordy(*b) && *b != b'.')
            .unwrap_or(rest.len());
        let mut parts = rest[..end].split(|b| *b == b'.');
        let mut long = |begin: &[u8]| {
            let part = parts.next().unwrap_or_default();
            part.len() >= 10 && part.starts_with(begin)
        };
        long(b"eyJ") && long(b"eyJ") && long(b"")
    })
}

/// `scheme://user:password@host`, where the password is one.
fn has_password_in_url(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#'))
            .unwrap_or(rest.len());
        let Some((login, _host)) = rest[..end].rsplit_once('@') else {
            return false;
        };
        login
            .split_once(':')
            .is_some_and(|(_, password)| password.len() >= 3 && !is_stand_in(password))
    })
}

/// A name that ends so tells something about a secret.
const ABOUT: &str = "FILE PATH DIR URL URI NAME ID TTL LENGTH SIZE TYPE ALGORITHM ALG EXPIRY EXPIRES EXPIRATION \
    TIMEOUT LIFETIME AGE HEADER PREFIX ISSUER VERSION FINGERPRINT SHA256 SHA512 HOST PORT ENABLED REQUIRED \
    POLICY FORMAT FIELD COUNT LIMIT USER USERNAME REGION ENDPOINT";
/// A name that holds one of these is of something everybody may know.
const OPEN: &str = "PUBLIC PUB GPG PGP SORT PRIMARY FOREIGN CACHE PARTITION HOST ROUTING OBJECT NO ALLOW \
    DISABLE PUBLISHABLE SITE";
const STRONG: &str = "TOKEN SECRET SECRETS PASSWORD PASSWD PASSPHRASE PASSWORT APIKEY CREDENTIAL CREDENTIALS \
    SECRETKEY PRIVATEKEY ACCESSKEY AUTHTOKEN";
/// Values that are no secrets, whole or in part.
const WHOLE_STAND_INS: &str = "true false none null undefined default disabled enabled password passwd secret \
    token apikey api_key api-key required optional empty";
const STAND_INS: &str = "changeme change-me change_me change-this change_this example placeholder replace dummy \
    your- your_ yourpass insert not-a-secret notasecret not_a_secret redacted ****";

/// Names such as `DB_PASSWORD`, `apiKey`, `GITHUB_TOKEN`; not `TOKEN_TTL` or `PUBLIC_KEY`.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let words = words_of(name);
    let Some(last) = words.last().map(String::as_str) else {
        return false;
    };
    if has_word(ABOUT, last) || words.iter().any(|word| has_word(OPEN, word)) {
        return false;
    }
    let glued = ["TOKEN", "SECRET", "PASSWORD", "PASSWD"];
    words.iter().any(|word| has_word(STRONG, word))
        || glued.iter().any(|end| last.ends_with(end))
        || (words.len() > 1 && matches!(last, "KEY" | "PWD" | "PASS"))
            && !(words.len() == 2 && words[0] == "OLD")
}

/// `dbPassword` and `DB_PASSWORD` are the same two words.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in name.chars().take(200) {
        let breaks = c.is_ascii_uppercase() && before_is_lower;
        if breaks || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        before_is_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A value that somebody could have chosen as a secret: no reference, no path, no placeholder.
pub(crate) fn looks_real(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    if value.len() < 6 || value.starts_with('/') || value.starts_with("./") {
        return false;
    }
    let is_address = value.contains("://");
    !is_stand_in(value) && (!is_address || has_password_in_url(value))
}

/// A reference to something else, or a word that stands for a secret.
pub(crate) fn is_stand_in(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    let first = value.chars().next();
    if value.is_empty() || matches!(first, Some('$' | '<' | '{' | '%' | '`' | '@')) {
        return true;
    }
    if value.contains("${") || value.contains("$(") {
        return true;
    }
    let mut distinct: Vec<char> = value.to_lowercase().chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() <= 2 {
        return true;
    }
    let lower = value.to_lowercase();
    has_word(WHOLE_STAND_INS, &lower)
        || STAND_INS
            .split_whitespace()
            .any(|part| lower.contains(part))
}

/// Names that a text gives a secret value to: `TOKEN=…`, `--password=…`, `?token=…`.
pub(super) fn named_in(text: &str) -> Vec<String> {
    let text = clipped(text, MAX_TEXT);
    let bytes = text.as_bytes();
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices('=') {
        let start = bytes[..at]
            .iter()
            .rposition(|b| !(wordy(*b) || *b == b'.'))
            .map_or(0, |before| before + 1);
        let name = text[start..at].trim_start_matches('-');
        if name.is_empty() || name.len() > 100 || !is_secret_name(name) {
            continue;
        }
        if looks_real(value_after(clipped(&text[at + 1..], MAX_VALUE))) {
            found.insert(name.to_owned());
        }
    }
    found.into_iter().collect()
}

/// The value at the start of a text, with its quotes.
pub(super) fn value_after(text: &str) -> &str {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let end = match quote {
        Some(quote) => text[1..].find(quote).map(|end| end + 2),
        None => text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ';' | '|')),
    };
    &text[..end.unwrap_or(text.len())]
}

fn clipped(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        shapes_in(text).iter().map(|shape| shape.what).collect()
    }

    /// Put together here, so that no scanner takes this file for a leak.
    fn made(prefix: &str, count: usize) -> String {
        format!("{prefix}{}", &"A1b2C3d4E5f6G7h8I9j0".repeat(5)[..count])
    }

    #[test]
    fn tokens_are_known_by_their_form() {
        for (text, what) in [
            (format!("AKIA{}", "Q3".repeat(8)), "an AWS access key"),
            (made("ghp_", 36), "a GitHub token"),
            (made("github_pat_", 60), "a GitHub token"),
            (made("glpat-", 20), "a GitLab token"),
            (made("xoxb-", 24), "a Slack token"),
            (
                made("https://hooks.slack.com/services/", 30),
                "a Slack webhook address",
            ),
            (made("sk_live_", 24), "a Stripe key"),
            (made("npm_", 36), "an npm token"),
            (
                format!("{}.{}.{}", made("eyJ", 20), made("eyJ", 20), made("", 30)),
                "a signed token (JWT)",
            ),
            (
                format!(
                    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
                    made("", 40)
                ),
                "a private key",
            ),
            (
                "postgres://shop:h4rdT0gu3ss@db/shop".to_owned(),
                "an address with a password",
            ),
            (
                format!("curl -H 'Authorization: Bearer {}'", made("", 20)),
                "an authorization header",
            ),
        ] {
            assert_eq!(kinds(&format!("X={text} && true")), [what], "{text}");
        }
    }

    #[test]
    fn what_only_resembles_a_token_is_let_be() {
        for text in [
            "AKIA",
            "MAKIAQ3Q3Q3Q3Q3Q3Q3Q3",
            "ghp_short",
            "eyJhbGciOi",
            "https://example.com/a:b@c",
            "postgres://shop:$PASSWORD@db",
            "postgres://shop:${PASSWORD}@db",
            "postgres://shop:changeme@db",
            "https://shop@example.com",
            "-----BEGIN CERTIFICATE-----MIIBmanymanymanymanychars",
            "-----BEGIN PRIVATE KEY-----",
            "grep -q 'BEGIN RSA PRIVATE KEY' key",
        ] {
            assert!(kinds(text).is_empty(), "{text}: {:?}", kinds(text));
        }
    }

    #[test]
    fn names_tell_secrets_from_what_is_about_them() {
        for name in [
            "DB_PASSWORD",
            "GITHUB_TOKEN",
            "API_KEY",
            "apiKey",
            "clientSecret",
            "PGPASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "MYSQL_ROOT_PASSWORD",
            "SECRET_KEY_BASE",
            "DJANGO_SECRET",
            "db.password",
            "SMTP_PASS",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "PATH",
            "PWD",
            "OLD_PWD",
            "OLDPWD",
            "KEY",
            "GPG_KEY",
            "PUBLIC_KEY",
            "TOKEN_TTL",
            "PASSWORD_FILE",
            "ALLOW_EMPTY_PASSWORD",
            "AWS_ACCESS_KEY_ID",
            "KEYBOARD",
            "MONKEY",
            "SORT_KEY",
            "SECRET_NAME",
            "PASSENGER",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn placeholders_and_references_are_no_secrets() {
        for value in ["hunter2!", "9f8e7d6c5b4a", "postgres://a:longpass@b/c"] {
            assert!(looks_real(value), "{value}");
        }
        for value in [
            "",
            "short",
            "changeme",
            "$TOKEN",
            "${TOKEN}",
            "$(cat /x)",
            "<token>",
            "xxxxxxxxxx",
            "password",
            "/run/secrets/token",
            "your_token_here",
            "https://example.org/x",
            "000000",
        ] {
            assert!(!looks_real(value), "{value}");
        }
    }

    #[test]
    fn assignments_are_found_wherever_they_stand() {
        let text = "RUN |1 NPM_TOKEN=f00dbabe1234 /bin/sh -c curl 'https://x/?token=abcdef123&a=1' \
                    --password=\"hunt er two\" --secret=$S SHA256=abcdefabcdef API_KEY==";
        assert_eq!(named_in(text), ["NPM_TOKEN", "password", "token"]);
    }
}
