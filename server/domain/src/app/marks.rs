//! Which variables are marked secret, and what may become of a mark.
//!
//! A mark stays with its variable whatever value it gets, until the variable is removed. It can be
//! taken away only along with a new value, so that nobody gets to see what was stored as a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use serde::{Deserialize, Serialize};

use super::{EnvVars, SecretFile, Settings, Variables};
use crate::names::{Invalid, quoted};

/// Marks that come along with changes of variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Names of variables to be marked secret.
    pub secret: BTreeSet<String>,
    /// Names of variables that get a value and are no longer secret.
    pub open: BTreeSet<String>,
    /// Variables to be delivered as files from now on, and secret therefore.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, SecretFile>,
    /// Names of variables to be delivered as such again; they stay secret.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub no_files: BTreeSet<String>,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Names of variables that are secret from now on.
    fn all_secret(&self) -> impl Iterator<Item = &String> {
        self.secret.iter().chain(self.files.keys())
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
        check(&self.env_vars, set, marks)
    }

    /// Sets variables and their marks. Others stay; a mark without a variable is left out.
    pub fn set_variables(&mut self, set: &EnvVars, marks: &Marks) {
        self.own(|own| own.set(set, marks));
    }

    /// Removes a variable, and its marks with it.
    pub fn remove_variable(&mut self, name: &str) {
        self.own(|own| own.remove(name));
    }

    /// Marks what is marked in `other` too: a secret of today was one before somebody said so.
    pub fn keep_marks_of(&mut self, other: &Self) {
        let marked: Vec<&String> = (other.secret_env_vars.iter())
            .chain(&other.shared.secret)
            .collect();
        self.own(|own| own.mark(marked.iter().copied()));
        self.shared.mark(marked.into_iter());
    }

    /// The variables that are not marked secret.
    pub fn open_variables(&self) -> impl Iterator<Item = (&String, &String)> {
        let open = self.delivered().filter(|one| !one.is_secret);
        open.map(|one| (one.name, one.value))
    }

    fn own(&mut self, change: impl FnOnce(&mut Variables)) {
        let mut own = Variables {
            values: mem::take(&mut self.env_vars),
            secret: mem::take(&mut self.secret_env_vars),
            files: mem::take(&mut self.secret_files),
        };
        change(&mut own);
        self.env_vars = own.values;
        self.secret_env_vars = own.secret;
        self.secret_files = own.files;
    }
}

impl Variables {
    pub fn is_marked_secret(&self, name: &str) -> bool {
        self.secret.contains(name) && self.values.0.contains_key(name)
    }

    /// See [`Settings::check_marks`].
    ///
    /// # Errors
    /// One [`Invalid`] a variable.
    pub fn check_marks(&self, set: &EnvVars, marks: &Marks) -> Result<(), Vec<Invalid>> {
        check(&self.values, set, marks)
    }

    /// See [`Settings::set_variables`].
    pub fn set(&mut self, set: &EnvVars, marks: &Marks) {
        self.values.0.extend(set.0.clone());
        for name in &marks.open {
            if set.0.contains_key(name) {
                self.secret.remove(name);
                self.files.remove(name);
            }
        }
        for name in &marks.no_files {
            self.files.remove(name);
        }
        self.mark(marks.all_secret());
        let values = &self.values.0;
        let files = marks.files.iter();
        let files = files.filter(|(name, _)| values.contains_key(*name));
        self.files
            .extend(files.map(|(name, file)| (name.clone(), file.clone())));
    }

    /// See [`Settings::remove_variable`].
    pub fn remove(&mut self, name: &str) {
        self.values.0.remove(name);
        self.secret.remove(name);
        self.files.remove(name);
    }

    fn mark<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let values = &self.values.0;
        let marked = names.filter(|name| values.contains_key(*name));
        self.secret.extend(marked.cloned());
    }
}

fn check(values: &EnvVars, set: &EnvVars, marks: &Marks) -> Result<(), Vec<Invalid>> {
    let mut faults = Vec::new();
    let mut fault = |name: &str, problem: &str| {
        faults.push(Invalid::new(format!("env_vars.{}", quoted(name)), problem));
    };
    for name in &marks.open {
        if marks.secret.contains(name) {
            fault(name, "cannot be secret and not secret");
        } else if marks.files.contains_key(name) {
            fault(name, "cannot be a file and not secret");
        } else if !set.0.contains_key(name) {
            fault(
                name,
                "needs a new value to be no longer secret: the stored one stays hidden",
            );
        }
    }
    let is_there = |name: &String| set.0.contains_key(name) || values.0.contains_key(name);
    let missing: BTreeSet<&String> = marks.all_secret().filter(|name| !is_there(name)).collect();
    for name in missing {
        fault(
            name,
            "has no value yet: give it one along with its mark as secret",
        );
    }
    for name in &marks.no_files {
        if marks.files.contains_key(name) {
            fault(name, "cannot be a file and a variable");
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
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
            ..Marks::default()
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

    #[test]
    fn a_file_is_secret_and_becomes_a_variable_only_when_it_is_told_to() {
        let mut settings = Settings::default();
        let as_file = |name: &str| Marks {
            files: BTreeMap::from([(name.to_owned(), SecretFile::default())]),
            ..Marks::default()
        };
        settings.set_variables(&vars(&[("A", "1")]), &as_file("A"));
        assert!(settings.is_marked_secret("A") && settings.secret_files.contains_key("A"));
        settings.set_variables(&vars(&[("A", "2")]), &Marks::default());
        assert!(settings.secret_files.contains_key("A"));

        let told = faults(&settings, &EnvVars::default(), &as_file("NONE"));
        assert!(told[0].contains("has no value yet"), "{told:?}");
        let torn = Marks {
            open: BTreeSet::from(["A".to_owned()]),
            no_files: BTreeSet::from(["A".to_owned()]),
            ..as_file("A")
        };
        assert_eq!(faults(&settings, &vars(&[("A", "3")]), &torn).len(), 2);

        let again = Marks {
            no_files: BTreeSet::from(["A".to_owned()]),
            ..Marks::default()
        };
        settings.set_variables(&EnvVars::default(), &again);
        assert!(settings.is_marked_secret("A") && settings.secret_files.is_empty());
        settings.set_variables(&EnvVars::default(), &as_file("A"));
        settings.set_variables(&vars(&[("A", "4")]), &marks(&[], &["A"]));
        assert!(!settings.is_marked_secret("A") && settings.secret_files.is_empty());
    }
}
