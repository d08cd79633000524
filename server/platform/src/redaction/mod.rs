//! Takes secrets out of what is logged, before anything of it reaches disk or a reader.
//!
//! Two things are looked for: the values that the platform knows to be secrets (of the app's
//! variables, of its builds, of stored credentials), also in base64, URL-encoded and JSON-escaped;
//! and what is a secret by its form (tokens, keys, passwords in addresses, `password=…`).
//!
//! Variables are secret if they are marked so, or if their names or the forms of their values say it
//! ([`is_secret_variable`]). Values with fewer than [`SHORTEST`] bytes are let be, marked or not: they
//! would hide half of any text; so are everyday words such as `password` itself
//! ([`hidden_nowhere`] tells whoever marks one). A value
//! in another encoding than these, or cut in pieces by the app, is not known again. Numbers of payment
//! cards are not looked for: too many other numbers look like them.

mod entry;
mod known;
mod shapes;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::diagnosis::Diagnosis;
use flukedeploy_domain::log_entry::LogEntry;

use known::{Known, Secrets};

use crate::checks::secrets::{is_secret_name, shapes_in};

/// Values with fewer bytes are not taken out.
const SHORTEST: usize = 6;
/// What a name of a variable ends with that is a secret although it does not say so.
const ALSO_SECRET: [&str; 6] = ["DSN", "SALT", "PEPPER", "COOKIE", "WEBHOOK", "KEYS"];

/// What is known to be secret, for each app and for all. Values that were learnt once are known until
/// the process ends: a replica of a former release may still print them.
#[derive(Default)]
pub(crate) struct Redaction {
    /// Of the system: stored credentials. They may turn up in any app's output.
    everywhere: RwLock<Learnt>,
    apps: RwLock<HashMap<String, Learnt>>,
}

#[derive(Default)]
struct Learnt {
    secrets: Secrets,
    known: Option<Arc<Known>>,
}

impl Learnt {
    fn learn<'a>(&mut self, found: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut is_new = false;
        for (name, value) in found {
            is_new |= self.secrets.learn(name, value);
        }
        if is_new {
            self.known = Known::new(&self.secrets).map(Arc::new);
        }
    }
}

impl Redaction {
    /// Learns what of an app's settings is secret. Cheap if nothing is new.
    pub(crate) fn learn(&self, app: &str, settings: &Settings) {
        let shared = &settings.shared;
        let args = settings.build.args.0.iter();
        let variables = (settings.env_vars.0.iter().chain(args))
            .map(|(name, value)| (name, value, settings.is_marked_secret(name)));
        let of_project = (shared.values.0.iter())
            .map(|(name, value)| (name, value, shared.is_marked_secret(name)));
        let mut all: Vec<(&str, &str)> = Vec::new();
        for (name, value, is_marked) in variables.chain(of_project) {
            if is_marked || is_secret_variable(name, value) {
                all.push((name, value));
            } else {
                // Of an address, only the password.
                let passwords = shapes::passwords_in_urls(value);
                all.extend(passwords.map(|part| (name.as_str(), &value[part])));
            }
        }
        // All of these are secrets, whatever they are called.
        let secrets = settings.build.secrets.0.iter();
        all.extend(secrets.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.entry(app.to_owned())
            .or_default()
            .learn(all.into_iter());
    }

    /// Learns what may turn up anywhere.
    pub(crate) fn learn_credentials(&self, credentials: &[Credential]) {
        let mut everywhere = self
            .everywhere
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let secrets = credentials
            .iter()
            .map(|credential| ("", credential.secret.as_str()));
        everywhere.learn(secrets);
    }

    /// Learns values that may turn up anywhere.
    pub(crate) fn learn_values<'a>(&self, values: impl Iterator<Item = &'a String>) {
        let mut everywhere = self
            .everywhere
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        everywhere.learn(values.map(|value| ("", value.as_str())));
    }

    /// What to look for in the output of an app.
    pub(crate) fn of(&self, app: &str) -> Redactor {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        let everywhere = self
            .everywhere
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Redactor {
            app: apps.get(app).and_then(|learnt| learnt.known.clone()),
            everywhere: everywhere.known.clone(),
        }
    }

    /// Takes the secrets out of an entry, in all of its texts.
    pub(crate) fn entry(&self, entry: &mut LogEntry) {
        self.of(&entry.flukedeploy_metadata.app_name).entry(entry);
    }

    /// The same for what a diagnosis quotes.
    pub(crate) fn diagnosis(&self, app: &str, diagnosis: &mut Diagnosis) {
        let redactor = self.of(app);
        let evidence = &mut diagnosis.evidence;
        let quoted = [&mut evidence.engine_message, &mut evidence.health_answer];
        for text in quoted
            .into_iter()
            .flatten()
            .chain(&mut evidence.untrusted_output)
        {
            redactor.in_place(text);
        }
        redactor.in_place(&mut diagnosis.message);
    }
}

/// Names of variables that are marked secret and whose values are too short, or too much of an
/// everyday word, to be taken out of logs.
pub(crate) fn hidden_nowhere(settings: &Settings) -> Vec<&str> {
    settings
        .delivered()
        .filter(|one| one.is_secret && !one.value.is_empty() && !known::is_findable(one.value))
        .map(|one| one.name.as_str())
        .collect()
}

/// Whether the value of a variable is to be kept out of logs.
pub(crate) fn is_secret_variable(name: &str, value: &str) -> bool {
    let last = name.rsplit(['_', '-', '.']).next().unwrap_or(name);
    is_secret_name(name)
        || ALSO_SECRET.iter().any(|end| last.eq_ignore_ascii_case(end))
        || shapes_in(value).iter().any(|shape| shape.certain)
}

/// Looks for what is secret in the output of one app. Cheap to make and to clone.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    app: Option<Arc<Known>>,
    everywhere: Option<Arc<Known>>,
}

/// A part of a text that is to go, with the name of what it is, if it has one.
struct Found<'a> {
    start: usize,
    end: usize,
    name: &'a str,
}

impl Redactor {
    /// The text without what is secret in it.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found = Vec::new();
        for known in [&self.app, &self.everywhere].into_iter().flatten() {
            known.find(text, &mut found);
        }
        shapes::find(text, &mut found);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|part| part.start);
        let mut clean = String::with_capacity(text.len());
        let mut parts = found.into_iter().peekable();
        let mut at = 0;
        while let Some(mut part) = parts.next() {
            while let Some(next) = parts.next_if(|next| next.start < part.end) {
                part.end = part.end.max(next.end);
                if part.name.is_empty() {
                    part.name = next.name;
                }
            }
            clean.push_str(&text[at..part.start]);
            if part.name.is_empty() {
                clean.push_str("[redacted]");
            } else {
                clean.push_str("[redacted:");
                clean.push_str(part.name);
                clean.push(']');
            }
            at = part.end;
        }
        clean.push_str(&text[at..]);
        Cow::Owned(clean)
    }

    /// The same, in its place.
    pub(crate) fn in_place(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.text(text) {
            *text = clean;
        }
    }
}

#[cfg(test)]
mod tests;
