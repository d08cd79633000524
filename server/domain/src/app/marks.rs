//! Which variables are marked secret, and what may become of a mark.
//!
//! A mark stays with its variable whatever value it gets, until the variable is removed. It can be
//! taken away only along with a new value, so that nobody gets to see what was stored as a secret.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{EnvVars, Settings};
use crate::names::{Invalid, quoted};

/// Marks that come along with changes of variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Names of variables to be marked secret.
    pub secret: BTreeSet<String>,
    /// Names of variables that get a value and are no longer secret.
    pub open: BTreeSet<String>,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.secret.is_empty() && self.open.is_empty()
    }
}

impl Settings {
    pub fn is_marked_secret(&self, name: &str) -> bool {
        self.secret_env_vars.contains(name) && self.env_vars.0.contains_key(name)
    }

    /// Takes out what was borrowed for one release.
    pub fn return_borrowed(&mut self) {
        for name in std::mem::take(&mut self.flukebase_env_vars) {
            self.env_vars.0.remove(&name);
            self.secret_env_vars.remove(&name);
        }
    }

    /// What is wrong with these marks, given along with `set`.
    ///
    /// # Errors
    /// One [`Invalid`] a variable.
    pub fn check_marks(&self, set: &EnvVars, marks: &Marks) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut fault = |name: &str, problem: &str| {
            faults.push(Invalid::new(format!("env_vars.{}", quoted(name)), problem));
        };
        for name in &marks.open {
            if marks.secret.contains(name) {
                fault(name, "cannot be secret and not secret");
            } else if !set.0.contains_key(name) {
                fault(
                    name,
                    "needs a new value to be no longer secret: the stored one stays hidden",
                );
            }
        }
        for name in &marks.secret {
            if !set.0.contains_key(name) && !self.env_vars.0.contains_key(name) {
                fault(
                    name,
                    "has no value yet: give it one along with its mark as secret",
                );
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// Sets variables and their marks. Others stay; a mark without a variable is left out.
    pub fn set_variables(&mut self, set: &EnvVars, marks: &Marks) {
        self.env_vars.0.extend(set.0.clone());
        for name in &marks.open {
            if set.0.contains_key(name) {
                self.secret_env_vars.remove(name);
            }
        }
        let variables = &self.env_vars.0;
        let marked = marks
            .secret
            .iter()
            .filter(|name| variables.contains_key(*name));
        self.secret_env_vars.extend(marked.cloned());
    }

    /// Removes a variable, and its mark with it.
    pub fn remove_variable(&mut self, name: &str) {
        self.env_vars.0.remove(name);
        self.secret_env_vars.remove(name);
    }

    /// Marks what is marked in `other` too: a secret of today was one before somebody said so.
    pub fn keep_marks_of(&mut self, other: &Self) {
        let variables = &self.env_vars.0;
        let marked = other
            .secret_env_vars
            .iter()
            .filter(|name| variables.contains_key(*name));
        self.secret_env_vars.extend(marked.cloned());
    }

    /// The variables that are not marked secret.
    pub fn open_variables(&self) -> impl Iterator<Item = (&String, &String)> {
        let variables = self.env_vars.0.iter();
        variables.filter(|(name, _)| !self.secret_env_vars.contains(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> EnvVars {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        EnvVars(pairs.iter().map(owned).collect())
    }

    fn marks(secret: &[&str], open: &[&str]) -> Marks {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Marks {
            secret: names(secret),
            open: names(open),
        }
    }

    fn faults(settings: &Settings, set: &EnvVars, marks: &Marks) -> Vec<String> {
        let faults = settings.check_marks(set, marks).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mark_stays_until_its_variable_goes() {
        let mut settings = Settings::default();
        settings.set_variables(&vars(&[("A", "1"), ("B", "2")]), &marks(&["A"], &[]));
        assert!(settings.is_marked_secret("A") && !settings.is_marked_secret("B"));
        settings.set_variables(&vars(&[("A", "3")]), &Marks::default());
        assert!(settings.is_marked_secret("A"));
        assert_eq!(
            settings
                .open_variables()
                .map(|(name, _)| name)
                .collect::<Vec<_>>(),
            ["B"]
        );
        // Marked afterwards, without a new value.
        settings.set_variables(&EnvVars::default(), &marks(&["B", "NONE"], &[]));
        assert!(settings.is_marked_secret("B"));
        settings.remove_variable("A");
        settings.set_variables(&vars(&[("A", "4")]), &Marks::default());
        assert!(!settings.is_marked_secret("A"));
        assert_eq!(settings.secret_env_vars.len(), 1);
    }

    #[test]
    fn a_mark_goes_only_with_a_new_value() {
        let mut settings = Settings::default();
        settings.set_variables(&vars(&[("A", "1")]), &marks(&["A"], &[]));
        let none = EnvVars::default();
        let bare = marks(&[], &["A"]);
        assert!(faults(&settings, &none, &bare)[0].contains("needs a new value"));
        settings.set_variables(&none, &bare);
        assert!(settings.is_marked_secret("A"));
        let new = vars(&[("A", "2")]);
        assert!(faults(&settings, &new, &bare).is_empty());
        settings.set_variables(&new, &bare);
        assert!(!settings.is_marked_secret("A"));

        let both = marks(&["A", "NEW"], &["A"]);
        let faults = faults(&settings, &none, &both);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("env_vars.'A' cannot be"));
        assert!(faults[1].starts_with("env_vars.'NEW' has no value yet"));
    }

    #[test]
    fn what_is_secret_today_was_one_before() {
        let mut now = Settings::default();
        now.set_variables(&vars(&[("A", "2"), ("C", "3")]), &marks(&["A", "C"], &[]));
        let mut former = Settings::default();
        former.set_variables(&vars(&[("A", "1"), ("B", "1")]), &marks(&["B"], &[]));
        former.keep_marks_of(&now);
        assert_eq!(former.secret_env_vars, marks(&["A", "B"], &[]).secret);
    }
}
