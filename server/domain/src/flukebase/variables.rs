//! Variables that come from a project. What is set here always wins.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::{MAX_VARIABLE_BYTES, Settings};

/// Variables of one project that are taken at most.
const MAX_BORROWED: usize = 300;

/// A variable of a project. `Debug` shows no value: it may be a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteVariable {
    pub key: String,
    /// `None`: it has none there.
    pub value: Option<String>,
    pub is_secret: bool,
    pub is_required: bool,
}

impl fmt::Debug for RemoteVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteVariable({})", self.key)
    }
}

/// What came of borrowing; names only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Borrowed {
    pub taken: Vec<String>,
    /// Set here already: what is set here stays.
    pub own: Vec<String>,
    /// Not taken, with the reason.
    pub refused: Vec<(String, &'static str)>,
    /// Required there, and set nowhere.
    pub missing: Vec<String>,
}

/// Adds a project's variables to the settings of a deployment. From weakest to strongest: what the
/// image says, what the project says, what is set for the environment here or comes with the
/// deployment. What is secret there is marked secret here. Nothing that a project says makes settings
/// invalid.
pub fn borrow_variables(settings: &mut Settings, found: &[RemoteVariable]) -> Borrowed {
    let mut borrowed = Borrowed::default();
    // A phase that is repeated begins with what it had borrowed before.
    settings.return_borrowed();
    let mut by_name: BTreeMap<&str, &RemoteVariable> = BTreeMap::new();
    for variable in found {
        by_name.insert(&variable.key, variable);
    }
    for (name, variable) in by_name {
        if let Some(why) = refusal(name, variable.value.as_deref().unwrap_or_default()) {
            let shown = crate::diagnosis::tame(name, 64);
            borrowed.refused.push((shown, why));
            continue;
        }
        let name = name.to_owned();
        if settings.env_vars.0.contains_key(&name) {
            borrowed.own.push(name);
            continue;
        }
        let Some(value) = variable.value.clone() else {
            if variable.is_required {
                borrowed.missing.push(name);
            }
            continue;
        };
        if borrowed.taken.len() >= MAX_BORROWED {
            borrowed.refused.push((name, "too many variables"));
            continue;
        }
        settings.env_vars.0.insert(name.clone(), value);
        if settings.env_vars.validate().is_err() {
            settings.env_vars.0.remove(&name);
            borrowed.refused.push((name, "too much in all"));
            continue;
        }
        if variable.is_secret {
            settings.secret_env_vars.insert(name.clone());
        }
        settings.flukebase_env_vars.insert(name.clone());
        borrowed.taken.push(name);
    }
    borrowed
}

fn refusal(name: &str, value: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if !bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        || !bytes.all(plain)
        || name.len() > 256
    {
        return Some("not a name that FlukeBase allows");
    }
    // Whoever sets these runs code of their own in the app.
    if matches!(name, "PATH" | "IFS" | "BASH_ENV" | "ENV") || name.starts_with("LD_") {
        return Some("it decides which programs are run");
    }
    if value.contains('\0') {
        return Some("its value holds a NUL character");
    }
    (value.len() > MAX_VARIABLE_BYTES).then_some("its value is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(key: &str, value: &str) -> RemoteVariable {
        RemoteVariable {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            is_secret: key.ends_with("KEY"),
            is_required: false,
        }
    }

    #[test]
    fn what_is_set_here_wins_and_secrets_are_marked() {
        let mut settings = Settings::default();
        settings.env_vars.0.insert("MODE".into(), "mine".into());
        let found = [
            variable("MODE", "theirs"),
            variable("API_KEY", "k3y-of-theirs"),
        ];
        let borrowed = borrow_variables(&mut settings, &found);
        assert_eq!(
            (borrowed.taken, borrowed.own),
            (vec!["API_KEY".to_owned()], vec!["MODE".to_owned()])
        );
        assert_eq!(settings.env_vars.0["MODE"], "mine");
        assert!(settings.is_marked_secret("API_KEY"));
        assert!(!format!("{found:?} {settings:?}").contains("k3y-of-theirs"));
    }

    #[test]
    fn what_is_gone_there_goes_here_with_the_next_deployment() {
        let mut settings = Settings::default();
        borrow_variables(
            &mut settings,
            &[variable("OLD", "1"), variable("KEPT", "1")],
        );
        borrow_variables(&mut settings, &[variable("KEPT", "2")]);
        assert_eq!(settings.env_vars.names().collect::<Vec<_>>(), ["KEPT"]);
        assert_eq!(settings.env_vars.0["KEPT"], "2");
    }

    #[test]
    fn nothing_that_a_project_says_makes_settings_invalid() {
        let mut settings = Settings::default();
        let huge = "x".repeat(60 * 1024);
        let mut found = vec![
            variable("LD_PRELOAD", "/tmp/evil.so"),
            variable("PATH", "/tmp"),
            variable("lower", "1"),
            variable("WITH SPACE", "1"),
            variable("NUL", "a\0b"),
            variable("LONG", &"x".repeat(MAX_VARIABLE_BYTES + 1)),
            RemoteVariable {
                value: None,
                is_required: true,
                ..variable("NEEDED", "")
            },
        ];
        found.extend((0..600).map(|n| variable(&format!("V{n:03}"), "1")));
        found.extend((0..6).map(|n| variable(&format!("H{n}"), &huge)));
        let borrowed = borrow_variables(&mut settings, &found);
        settings.validate().unwrap();
        assert_eq!(borrowed.missing, ["NEEDED"]);
        assert_eq!(borrowed.taken.len(), MAX_BORROWED);
        assert!(!settings.env_vars.0.contains_key("LD_PRELOAD"));
        assert!(!settings.env_vars.0.contains_key("PATH"));
        assert!(borrowed.refused.len() > 300);
    }
}
