//! From what people type to what the use cases take. All faults of a form are found at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use flukedeploy_domain::app::{EnvVars, Marks, SecretFile};
use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_domain::names::{Hostname, Invalid, quoted};
use flukedeploy_platform::Error;

use super::{FILE_CONTENT, SECRET_VARIABLES, Typed};

/// Collects faults instead of stopping at the first.
pub(super) struct Reader<'a> {
    typed: &'a Typed,
    faults: Vec<Invalid>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(typed: &'a Typed) -> Self {
        Self {
            typed,
            faults: Vec::new(),
        }
    }

    pub(super) fn fault(&mut self, field: &str, problem: impl Into<String>) {
        self.faults.push(Invalid::new(field, problem));
    }

    pub(super) fn get(&self, field: &str) -> Option<&'a str> {
        self.typed.get(field)
    }

    pub(super) fn text(&self, field: &str) -> Option<&'a str> {
        self.typed.text(field)
    }

    pub(super) fn has(&self, field: &str, value: &str) -> bool {
        self.typed.has(field, value)
    }

    pub(super) fn all(&self, field: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.typed.all(field)
    }

    /// A checked value; `None` if nothing was typed.
    pub(super) fn optional<T: FromStr<Err = Invalid>>(&mut self, field: &str) -> Option<T> {
        match self.typed.text(field)?.parse() {
            Ok(value) => Some(value),
            Err(Invalid { problem, .. }) => {
                self.fault(field, problem);
                None
            }
        }
    }

    pub(super) fn required<T: FromStr<Err = Invalid>>(&mut self, field: &str) -> Option<T> {
        if self.typed.text(field).is_none() {
            self.fault(field, "must be given");
            return None;
        }
        self.optional(field)
    }

    pub(super) fn number<T: FromStr + Display + Copy + PartialOrd>(
        &mut self,
        field: &str,
        least: T,
        most: T,
    ) -> Option<T> {
        let text = self.typed.text(field)?;
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => Some(number),
            _ => {
                self.fault(
                    field,
                    format!("must be {least} to {most}, not {}", quoted(text)),
                );
                None
            }
        }
    }

    /// `NAME=value`, one a line. What follows the first `=` is the value as it stands, so that
    /// quotes, spaces and `=` mean themselves. Empty lines and lines that begin with `#` are left
    /// out. A value is never quoted back.
    pub(super) fn variables(&mut self, field: &str) -> EnvVars {
        let mut variables = BTreeMap::new();
        for (index, line) in self
            .typed
            .get(field)
            .unwrap_or_default()
            .lines()
            .enumerate()
        {
            let number = index + 1;
            let start = line.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            let Some((name, value)) = start.split_once('=') else {
                self.fault(
                    field,
                    format!("must be NAME=value in line {number}: there is no '='"),
                );
                continue;
            };
            let name = name.trim_end();
            if name.is_empty() {
                self.fault(
                    field,
                    format!("must have a name before '=' in line {number}"),
                );
            } else if variables
                .insert(name.to_owned(), value.to_owned())
                .is_some()
            {
                self.fault(
                    field,
                    format!(
                        "must name {} once, not again in line {number}",
                        quoted(name)
                    ),
                );
            }
        }
        EnvVars(variables)
    }

    /// The variables of both fields, the open and the secret ones, with the marks of the latter.
    pub(super) fn all_variables(&mut self) -> (EnvVars, Marks) {
        let mut variables = self.variables("env_vars");
        let secret = self.variables(SECRET_VARIABLES);
        let mut marks = Marks::default();
        for (name, value) in secret.0 {
            if variables.0.contains_key(&name) {
                let problem = format!("must not name {}, which is set above", quoted(&name));
                self.fault(SECRET_VARIABLES, problem);
            }
            marks.secret.insert(name.clone());
            variables.0.insert(name, value);
        }
        self.file(&mut variables, &mut marks);
        (variables, marks)
    }

    /// A secret that is delivered as a file: its own fields, since what it holds may have lines.
    fn file(&mut self, variables: &mut EnvVars, marks: &mut Marks) {
        let content = self.get(FILE_CONTENT).unwrap_or_default();
        let Some(name) = self.text("file_variable") else {
            if !content.is_empty() {
                self.fault("file_variable", "must be given along with what it holds");
            }
            return;
        };
        if variables.0.contains_key(name) {
            let problem = format!("must not be {}, which is set above", quoted(name));
            self.fault("file_variable", problem);
            return;
        }
        let file = SecretFile {
            name: self
                .text("file_name")
                .filter(|file| *file != name)
                .map(ToOwned::to_owned),
            uid: self.number("file_uid", 0, u32::MAX),
            gid: None,
        };
        marks.files.insert(name.to_owned(), file);
        // Without anything it holds what it held.
        if !content.is_empty() {
            // Browsers end the lines of a form in their own way.
            let content = content.replace("\r\n", "\n");
            variables.0.insert(name.to_owned(), content);
        }
    }

    /// The boxes beside variables that there are.
    pub(super) fn ticked(&self, marks: &mut Marks) -> Vec<String> {
        let names = |field| self.typed.all(field).map(ToOwned::to_owned);
        marks.secret.extend(names("mark_env_vars"));
        marks.open.extend(names("open_env_vars"));
        marks.no_files.extend(names("no_file_env_vars"));
        for name in names("file_env_vars") {
            marks.files.entry(name).or_default();
        }
        names("remove_env_vars").collect()
    }

    /// Host names, separated by spaces, commas or lines.
    pub(super) fn domains(&mut self, field: &str) -> Vec<Hostname> {
        let text = self.typed.get(field).unwrap_or_default();
        let mut hosts: Vec<Hostname> = Vec::new();
        for name in text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|name| !name.is_empty())
        {
            match name.trim_end_matches('.').to_ascii_lowercase().parse() {
                Ok(host) if hosts.contains(&host) => {}
                Ok(host) => hosts.push(host),
                Err(Invalid { problem, .. }) => self.fault(field, problem),
            }
        }
        hosts
    }

    /// The health gate of a form; what it does not ask for stays as in `base`.
    pub(super) fn health(&mut self, base: &HealthGate) -> HealthGate {
        let probe = match self.typed.text("health_probe") {
            Some("http") => {
                let path = self.typed.text("health_path").unwrap_or("/").to_owned();
                let expect_status = match &base.probe {
                    HealthProbe::Http { expect_status, .. } => *expect_status,
                    HealthProbe::Tcp | HealthProbe::Docker | HealthProbe::Command { .. } => None,
                };
                HealthProbe::Http {
                    path,
                    expect_status,
                }
            }
            Some("tcp") => HealthProbe::Tcp,
            Some("docker") => HealthProbe::Docker,
            Some("command") => self.command(),
            Some(_) => {
                self.fault("health_probe", "must be http, tcp, docker or command");
                base.probe.clone()
            }
            None => base.probe.clone(),
        };
        let deadline_seconds = self
            .number("deadline_seconds", 1, 3600)
            .unwrap_or(base.deadline_seconds);
        let usual = HealthGate::default();
        let gate = HealthGate {
            probe,
            deadline_seconds,
            timeout_ms: base.timeout_ms,
            min_healthy_seconds: self.seconds(
                "min_healthy_seconds",
                base.min_healthy_seconds,
                usual.min_healthy_seconds,
            ),
            start_grace_seconds: self.seconds(
                "start_grace_seconds",
                base.start_grace_seconds,
                usual.start_grace_seconds,
            ),
            progress_deadline_seconds: match self.get("progress_deadline_seconds") {
                Some(_) => self.number("progress_deadline_seconds", 1, 86_400),
                None => base.progress_deadline_seconds,
            },
            max_restarts: match self.get("max_restarts") {
                Some(_) => self
                    .number("max_restarts", 0, 100)
                    .unwrap_or(usual.max_restarts),
                None => base.max_restarts,
            },
        };
        if let Err(fault) = gate.validate() {
            self.faults.push(fault);
        }
        gate
    }

    /// A length of time that stays as it is where the form does not ask for it, and is as usual
    /// where nothing was typed.
    fn seconds(&mut self, field: &str, base: u32, usual: u32) -> u32 {
        match self.get(field) {
            Some(_) => self.number(field, 0, 3_600).unwrap_or(usual),
            None => base,
        }
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(field: &str, text: &str) -> Typed {
        Typed::new(vec![(field.to_owned(), text.to_owned())])
    }

    #[test]
    fn variables_are_taken_as_they_stand() {
        let form = typed(
            "env_vars",
            "A=1\r\n# note\n\n  URL=postgres://u:p@h/d?x=y \nQUOTED=\"q\"\nEMPTY=",
        );
        let mut reader = Reader::new(&form);
        let EnvVars(found) = reader.variables("env_vars");
        reader.finish().unwrap();
        let pairs: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("A", "1"),
                ("EMPTY", ""),
                ("QUOTED", "\"q\""),
                ("URL", "postgres://u:p@h/d?x=y ")
            ]
        );
    }

    #[test]
    fn faults_name_the_line_and_never_the_value() {
        let form = typed("env_vars", "A=1\ns3cret\n=x\nA=2");
        let mut reader = Reader::new(&form);
        reader.variables("env_vars");
        let text = reader.finish().unwrap_err().to_string();
        assert!(
            text.contains("line 2") && text.contains("line 3") && text.contains("line 4"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn numbers_have_limits() {
        for (text, good) in [
            ("1", true),
            ("500", true),
            ("0", false),
            ("501", false),
            ("1e2", false),
            ("-1", false),
        ] {
            let form = typed("replicas", text);
            let mut reader = Reader::new(&form);
            assert_eq!(
                reader.number::<u32>("replicas", 1, 500).is_some(),
                good,
                "{text}"
            );
            assert_eq!(reader.finish().is_ok(), good);
        }
    }

    #[test]
    fn domains_come_in_any_separation() {
        let form = typed(
            "domains",
            "Shop.Example.com, www.example.com\nshop.example.com.",
        );
        let mut reader = Reader::new(&form);
        assert_eq!(reader.domains("domains").len(), 2);
        reader.finish().unwrap();
        let form = typed("domains", "http://x");
        let mut reader = Reader::new(&form);
        reader.domains("domains");
        assert!(reader.finish().is_err());
    }
}
