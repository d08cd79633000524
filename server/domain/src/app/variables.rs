//! How variables reach an app: its own and those its project shares with it, as variables of the process
//! or, for secrets, as files that Swarm keeps in memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{EnvVars, MAX_VARIABLE_BYTES, MAX_VARIABLES, MAX_VARIABLES_BYTES, Settings};
use crate::names::{Invalid, quoted};

/// The folder of secrets inside a container.
pub const SECRETS_FOLDER: &str = "/run/secrets";
/// Swarm takes secrets of less than 500 KiB, and none that is empty.
pub const MAX_SECRET_FILE_BYTES: usize = 500 * 1024 - 1;
/// All files of one release together, in bytes: Swarm keeps them in the memory of its managers.
pub const MAX_SECRET_FILES_BYTES: usize = 2 * 1024 * 1024;
/// Most files of one release.
pub const MAX_SECRET_FILES: usize = 100;

/// A secret that is delivered as a file, readable by its owner alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretFile {
    /// In [`SECRETS_FOLDER`]; by default the variable's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The owner; by default the image's user where that is a number, else root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl SecretFile {
    /// The file's name, given the variable's.
    pub fn name_of<'a>(&'a self, variable: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(variable)
    }

    pub fn path_of(&self, variable: &str) -> String {
        format!("{SECRETS_FOLDER}/{}", self.name_of(variable))
    }

    fn check(&self, variable: &str) -> Result<(), Invalid> {
        let name = self.name_of(variable);
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let is_plain = !name.is_empty() && name.len() <= 200 && name.bytes().all(plain);
        if is_plain && name != "." && name != ".." {
            return Ok(());
        }
        Err(Invalid::new(
            field(variable),
            "must have a file name of 1 to 200 letters, digits and _ . -",
        ))
    }
}

/// Variables with what is said of them. `Debug` shows names only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Variables {
    pub values: EnvVars,
    /// Names of those that are marked secret.
    pub secret: BTreeSet<String>,
    /// Those that are delivered as files; all of them are secret.
    pub files: BTreeMap<String, SecretFile>,
}

impl Variables {
    pub fn is_empty(&self) -> bool {
        self.values.0.is_empty()
    }

    /// # Errors
    /// One [`Invalid`] a variable; values are never quoted.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        check(self.delivered().collect())
    }

    /// As an app gets them that has none of these names itself.
    pub fn delivered(&self) -> impl Iterator<Item = Delivered<'_>> {
        self.values.0.iter().map(|(name, value)| Delivered {
            name,
            value,
            is_secret: self.secret.contains(name),
            file: self.files.get(name),
            is_shared: true,
        })
    }
}

/// A variable as an app gets it.
#[derive(Clone, Copy)]
pub struct Delivered<'a> {
    pub name: &'a String,
    pub value: &'a String,
    /// It is marked secret.
    pub is_secret: bool,
    /// As a file, not as a variable.
    pub file: Option<&'a SecretFile>,
    /// It comes from the project.
    pub is_shared: bool,
}

impl Settings {
    /// Every variable that a release with these settings gets, by name: what the project shares, and in
    /// front of it what is set here.
    pub fn delivered(&self) -> impl Iterator<Item = Delivered<'_>> {
        let own = self.env_vars.0.iter().map(|(name, value)| Delivered {
            name,
            value,
            is_secret: self.secret_env_vars.contains(name),
            file: self.secret_files.get(name),
            is_shared: false,
        });
        let shared = self.shared.delivered();
        let mut all: BTreeMap<&String, Delivered<'_>> = shared.map(|one| (one.name, one)).collect();
        all.extend(own.map(|one| (one.name, one)));
        all.into_values()
    }

    /// What the process is started with. For a secret in a file this is where the file is, in a variable
    /// of its name and `_FILE`, unless there is one of that name.
    pub fn process_variables(&self) -> EnvVars {
        let mut variables = BTreeMap::new();
        let mut files = BTreeMap::new();
        for one in self.delivered() {
            match one.file {
                None => variables.insert(one.name.clone(), one.value.clone()),
                Some(file) => files.insert(format!("{}_FILE", one.name), file.path_of(one.name)),
            };
        }
        for (name, path) in files {
            variables.entry(name).or_insert(path);
        }
        EnvVars(variables)
    }

    /// Whether a release can be started with its own variables and those of the project together.
    ///
    /// # Errors
    /// One [`Invalid`] a variable; values are never quoted.
    pub fn validate_delivered(&self) -> Result<(), Vec<Invalid>> {
        check(self.delivered().collect())
    }
}

fn field(variable: &str) -> String {
    format!("env_vars.{}", quoted(variable))
}

fn check(all: Vec<Delivered<'_>>) -> Result<(), Vec<Invalid>> {
    let mut faults = Vec::new();
    let mut total = |what: &str, found: usize, most: usize| {
        if found > most {
            let problem = format!("must have at most {most} {what}, not {found}");
            faults.push(Invalid::new("env_vars", problem));
        }
    };
    let (files, plain): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.file.is_some());
    let size = |list: &[Delivered<'_>]| -> usize {
        list.iter()
            .map(|one| one.name.len() + one.value.len() + 2)
            .sum()
    };
    total("variables", plain.len() + files.len(), MAX_VARIABLES);
    total("bytes in all", size(&plain), MAX_VARIABLES_BYTES);
    total("secrets as files", files.len(), MAX_SECRET_FILES);
    total("bytes in all files", size(&files), MAX_SECRET_FILES_BYTES);
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for one in plain.iter().chain(&files) {
        let field = field(one.name);
        if !is_name(one.name) {
            faults.push(Invalid::new(
                field,
                "must have a name of letters, digits and _ . - that starts with a letter or '_'",
            ));
            continue;
        }
        let Some(file) = one.file else {
            if one.value.contains('\0') {
                faults.push(Invalid::new(field, "must not hold a NUL character"));
            } else if one.value.len() > MAX_VARIABLE_BYTES {
                faults.push(Invalid::new(
                    field,
                    format!("must have at most {MAX_VARIABLE_BYTES} bytes; a secret may have more as a file"),
                ));
            }
            continue;
        };
        faults.extend(file.check(one.name).err());
        if one.value.is_empty() || one.value.len() > MAX_SECRET_FILE_BYTES {
            faults.push(Invalid::new(
                field.clone(),
                format!("must have 1 to {MAX_SECRET_FILE_BYTES} bytes as a file"),
            ));
        }
        if let Some(other) = places.insert(file.name_of(one.name), one.name) {
            faults.push(Invalid::new(
                field,
                format!("must not be the same file as {}", quoted(other)),
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    starts_well && name.bytes().all(plain) && name.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> EnvVars {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        EnvVars(pairs.iter().map(owned).collect())
    }

    fn as_file(settings: &mut Settings, variable: &str, name: Option<&str>) {
        settings.secret_env_vars.insert(variable.to_owned());
        let file = SecretFile {
            name: name.map(ToOwned::to_owned),
            ..SecretFile::default()
        };
        settings.secret_files.insert(variable.to_owned(), file);
    }

    fn faults(settings: &Settings) -> Vec<String> {
        let faults = settings.validate_delivered().err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_set_here_goes_before_what_the_project_shares() {
        let mut settings = Settings {
            env_vars: vars(&[("A", "own"), ("B", "own")]),
            shared: Variables {
                values: vars(&[("A", "shared"), ("C", "shared")]),
                secret: BTreeSet::from(["A".to_owned(), "C".to_owned()]),
                files: BTreeMap::from([("A".to_owned(), SecretFile::default())]),
            },
            ..Settings::default()
        };
        let told: Vec<_> = settings
            .delivered()
            .map(|one| (one.name.as_str(), one.value.as_str(), one.is_secret))
            .collect();
        // The project's A is overridden as a whole: with its mark and its way.
        let expected = [
            ("A", "own", false),
            ("B", "own", false),
            ("C", "shared", true),
        ];
        assert_eq!(told, expected);
        let process = settings.process_variables();
        assert_eq!(
            process,
            vars(&[("A", "own"), ("B", "own"), ("C", "shared")])
        );
        settings.env_vars.0.remove("A");
        let process = settings.process_variables();
        let with_file = [("A_FILE", "/run/secrets/A"), ("B", "own"), ("C", "shared")];
        assert_eq!(process, vars(&with_file));
    }

    #[test]
    fn a_file_is_told_by_a_variable_unless_there_is_one() {
        let mut settings = Settings {
            env_vars: vars(&[("KEY", "hunter2"), ("CERT", "hunter3"), ("CERT_FILE", "x")]),
            ..Settings::default()
        };
        as_file(&mut settings, "KEY", Some("tls.key"));
        as_file(&mut settings, "CERT", None);
        let process = settings.process_variables();
        assert_eq!(
            process,
            vars(&[("CERT_FILE", "x"), ("KEY_FILE", "/run/secrets/tls.key")])
        );
    }

    #[test]
    fn files_that_swarm_would_refuse_are_refused_before() {
        let large = "x".repeat(MAX_SECRET_FILE_BYTES + 1);
        let mut settings = Settings {
            env_vars: vars(&[
                ("EMPTY", ""),
                ("LARGE", &large),
                ("UP", "x"),
                ("ONE", "x"),
                ("TWO", "x"),
            ]),
            ..Settings::default()
        };
        for (variable, name) in [
            ("EMPTY", None),
            ("LARGE", None),
            ("UP", Some("../etc/passwd")),
            ("ONE", Some("same")),
            ("TWO", Some("same")),
        ] {
            as_file(&mut settings, variable, name);
        }
        let told = faults(&settings);
        let expected = [
            "env_vars.'EMPTY' must have 1 to 511999 bytes as a file",
            "env_vars.'LARGE' must have 1 to 511999 bytes as a file",
            "env_vars.'TWO' must not be the same file as 'ONE'",
            "env_vars.'UP' must have a file name of 1 to 200 letters, digits and _ . -",
        ];
        assert_eq!(told, expected);
        // A file may have what a variable may not.
        let mut settings = Settings {
            env_vars: vars(&[("LARGE", &large[..MAX_SECRET_FILE_BYTES])]),
            ..Settings::default()
        };
        assert!(!faults(&settings).is_empty());
        as_file(&mut settings, "LARGE", None);
        assert_eq!(faults(&settings), Vec::<String>::new());
    }

    #[test]
    fn two_that_are_fine_alone_may_not_fit_together() {
        let mut settings = Settings {
            env_vars: vars(&[("A", "x")]),
            ..Settings::default()
        };
        as_file(&mut settings, "A", Some("key"));
        settings.shared.values = vars(&[("B", "y")]);
        settings.shared.secret.insert("B".to_owned());
        let file = SecretFile {
            name: Some("key".to_owned()),
            ..SecretFile::default()
        };
        settings.shared.files.insert("B".to_owned(), file);
        settings.validate().unwrap_err();
        let told = faults(&settings);
        assert_eq!(told, ["env_vars.'B' must not be the same file as 'A'"]);
        assert!(settings.shared.validate().is_ok());
    }
}
