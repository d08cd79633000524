//! What a build may use.

use serde::{Deserialize, Serialize};

use crate::app::EnvVars;
use crate::names::Invalid;

/// Longest time limit of a build, in seconds.
pub const MAX_BUILD_SECONDS: u32 = 4 * 3600;

/// How images of an environment are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildSettings {
    /// Build arguments (`ARG`). They stay readable in the image's history: no place for secrets.
    pub args: EnvVars,
    /// By name, for `RUN --mount=type=secret,id=<name>`. In no layer, no history, no log.
    pub secrets: EnvVars,
    /// Hand the environment's variables to the build as arguments too, as `CapRover` does.
    pub variables_as_args: bool,
    /// Thousandths of a processor that the commands of a build may use together.
    pub cpu_limit_milli: u32,
    /// MiB that the commands of a build may use together.
    pub memory_limit_mb: u32,
    pub timeout_seconds: u32,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            args: EnvVars::default(),
            secrets: EnvVars::default(),
            variables_as_args: false,
            cpu_limit_milli: 1_000,
            memory_limit_mb: 2_048,
            timeout_seconds: 1_800,
        }
    }
}

impl BuildSettings {
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        for (part, variables) in [("args", &self.args), ("secrets", &self.secrets)] {
            for fault in variables.validate().err().into_iter().flatten() {
                let field = fault
                    .field
                    .replacen("env_vars", &format!("build.{part}"), 1);
                faults.push(Invalid::new(field, fault.problem));
            }
        }
        let mut range = |name: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                faults.push(Invalid::new(
                    format!("build.{name}"),
                    format!("must be {low} to {high}, not {value}"),
                ));
            }
        };
        range("cpu_limit_milli", self.cpu_limit_milli, 100, 1_024_000);
        range("memory_limit_mb", self.memory_limit_mb, 32, 16_777_216);
        range(
            "timeout_seconds",
            self.timeout_seconds,
            1,
            MAX_BUILD_SECONDS,
        );
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}
