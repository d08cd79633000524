//! The parts of the settings about building, jobs and checks.

use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::build::{BuildSettings, MAX_BUILD_SECONDS};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::job::{JobKind, MAX_JOB_SECONDS};
use serde_json::{Map, Value, json};

use super::parse::Reader;

/// Time limit of a job where none is typed, in seconds.
pub(crate) const USUAL_JOB_SECONDS: u32 = 600;

impl Reader<'_> {
    /// `build`, `jobs` and `checks` as changes of the settings.
    pub(super) fn building(&mut self, parts: &mut Map<String, Value>) {
        let usual = BuildSettings::default();
        let build = json!({
            "args": self.named_values("build_args", "remove_build_args"),
            "secrets": self.named_values("build_secrets", "remove_build_secrets"),
            "variables_as_args": self.has("variables_as_args", "true"),
            "cpu_limit_milli": self.cpus("build_cpu", 100).unwrap_or(usual.cpu_limit_milli),
            "memory_limit_mb": self.number("build_memory", 32, 16_777_216).unwrap_or(usual.memory_limit_mb),
            "timeout_seconds": self.number("build_timeout", 1, MAX_BUILD_SECONDS).unwrap_or(usual.timeout_seconds),
        });
        parts.insert("build".to_owned(), build);
        let jobs: Map<String, Value> = JobKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str().to_owned(), self.job(kind)))
            .collect();
        parts.insert("jobs".to_owned(), Value::Object(jobs));
        let key = self.lines_of("signature_key");
        let key = (!key.trim().is_empty()).then(|| format!("{}\n", key.trim()));
        let ignore: Vec<String> = self
            .get("checks_ignore")
            .unwrap_or_default()
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|name| !name.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        let checks = json!({"signature_key": key, "ignore": ignore});
        parts.insert("checks".to_owned(), checks);
    }

    /// Names that are not mentioned stay, ticked ones go, typed ones are set.
    fn named_values(&mut self, set: &str, remove: &str) -> Value {
        let mut change: Map<String, Value> = self
            .all(remove)
            .map(|name| (name.to_owned(), Value::Null))
            .collect();
        let EnvVars(values) = self.variables(set);
        change.extend(
            values
                .into_iter()
                .map(|(name, value)| (name, Value::String(value))),
        );
        Value::Object(change)
    }

    /// No command: no job.
    fn job(&mut self, kind: JobKind) -> Value {
        let [command, image, timeout] =
            ["command", "image", "timeout"].map(|part| field(kind, part));
        let image_typed = self.text(&image).is_some();
        let image = self.optional::<ImageRef>(&image);
        let timeout = self
            .number(&timeout, 1, MAX_JOB_SECONDS)
            .unwrap_or(USUAL_JOB_SECONDS);
        let parts = command_of(self.get(&command).unwrap_or_default());
        if parts.is_empty() {
            if image_typed {
                self.fault(&command, "must be given where an image is");
            }
            return Value::Null;
        }
        json!({"command": parts, "image": image, "timeout_seconds": timeout})
    }
}

/// The name of a job's field in the form.
fn field(kind: JobKind, part: &str) -> String {
    format!("job_{}_{part}", kind.as_str())
}

/// A program, then one argument a line; or, for arguments that hold line ends, a JSON list.
fn command_of(text: &str) -> Vec<String> {
    if let Ok(parts) = serde_json::from_str::<Vec<String>>(text) {
        return parts;
    }
    text.lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .filter(|line| !line.trim().is_empty())
        .collect()
}

/// What [`command_of`] reads back as the same command.
pub(crate) fn command_text(command: &[String]) -> String {
    let lines = command.join("\n");
    if command_of(&lines) == command {
        lines
    } else {
        serde_json::to_string(command).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_being_shown_and_sent_back() {
        for command in [
            &["./manage", "migrate", "--no-input"][..],
            &["[", "-f", "/ready", "]"],
            &["/bin/sh", "-c", "set -e\necho one\n\necho two"],
            &["echo", "", " "],
            &["[\"x\"]"],
        ] {
            let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
            let shown = command_text(&command).replace('\n', "\r\n");
            assert_eq!(command_of(&shown), command, "{shown}");
        }
        assert_eq!(command_of(" \r\n\r\n"), Vec::<String>::new());
        assert_eq!(command_of("a b\r\n  c "), ["a b", "  c "]);
    }
}
