//! An app, its environments and the settings a release is made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::health::HealthGate;
use crate::names::{AppName, EnvironmentName, Hostname, Invalid, quoted};
use crate::release::ReleaseNo;

/// Most replicas one release may ask for.
pub const MAX_REPLICAS: u32 = 500;
/// Most variables of one environment.
pub const MAX_VARIABLES: usize = 500;
/// Longest value of one variable, in bytes.
pub const MAX_VARIABLE_BYTES: usize = 64 * 1024;
/// All names and values together, in bytes: what a process can be started with has a limit.
pub const MAX_VARIABLES_BYTES: usize = 256 * 1024;
/// Most custom host names of one environment.
pub const MAX_DOMAINS: usize = 100;

/// A named application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub name: AppName,
    #[serde(with = "crate::timestamp")]
    pub created_at: OffsetDateTime,
}

/// One deployable instance of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub app: AppName,
    pub name: EnvironmentName,
    pub settings: Settings,
    /// Rises with every change of the settings.
    pub settings_version: u64,
    /// The release that gets the traffic; the truth the ingress is told.
    pub active_release: Option<ReleaseNo>,
    #[serde(with = "crate::timestamp")]
    pub created_at: OffsetDateTime,
}

/// What a user sets; frozen into each release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Port the app listens on inside its container.
    pub container_port: u16,
    pub replicas: u32,
    #[serde(default)]
    pub health: HealthGate,
    #[serde(default)]
    pub env_vars: EnvVars,
    /// Custom host names beside `<app>.<root domain>`.
    #[serde(default)]
    pub domains: Vec<Hostname>,
    /// How an app is moved to a new release unless a deployment says otherwise.
    #[serde(default)]
    pub strategy: crate::deployment::Strategy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            container_port: 80,
            replicas: 1,
            health: HealthGate::default(),
            env_vars: EnvVars::default(),
            domains: Vec::new(),
            strategy: crate::deployment::Strategy::default(),
        }
    }
}

impl Settings {
    /// Everything that is wrong, not only the first.
    ///
    /// # Errors
    /// One [`Invalid`] a field.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        if self.container_port == 0 {
            faults.push(Invalid::new("container_port", "must be 1 to 65535, not 0"));
        }
        faults.extend(check_replicas(self.replicas).err());
        faults.extend(self.health.validate().err());
        faults.extend(self.env_vars.validate().err().into_iter().flatten());
        if self.domains.len() > MAX_DOMAINS {
            faults.push(Invalid::new(
                "domains",
                format!("must be at most {MAX_DOMAINS}, not {}", self.domains.len()),
            ));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// # Errors
/// `replicas` is 0 or more than [`MAX_REPLICAS`].
pub fn check_replicas(replicas: u32) -> Result<(), Invalid> {
    if (1..=MAX_REPLICAS).contains(&replicas) {
        Ok(())
    } else {
        Err(Invalid::new(
            "replicas",
            format!("must be 1 to {MAX_REPLICAS}, not {replicas}"),
        ))
    }
}

/// Environment variables. `Debug` shows names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvVars(pub BTreeMap<String, String>);

impl EnvVars {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// # Errors
    /// One [`Invalid`] a variable; values are never quoted.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        if self.0.len() > MAX_VARIABLES {
            faults.push(Invalid::new(
                "env_vars",
                format!(
                    "must hold at most {MAX_VARIABLES} variables, not {}",
                    self.0.len()
                ),
            ));
        }
        let total: usize = self
            .0
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        if total > MAX_VARIABLES_BYTES {
            faults.push(Invalid::new(
                "env_vars",
                format!("must have at most {MAX_VARIABLES_BYTES} bytes in all, not {total}"),
            ));
        }
        for (name, value) in &self.0 {
            let field = format!("env_vars.{}", quoted(name));
            let starts_well = name
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            let rest_is_well = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
            if !starts_well || !rest_is_well || name.len() > 256 {
                faults.push(Invalid::new(
                    field,
                    "must have a name of letters, digits and _ . - that starts with a letter or '_'",
                ));
            } else if value.contains('\0') {
                faults.push(Invalid::new(field, "must not hold a NUL character"));
            } else if value.len() > MAX_VARIABLE_BYTES {
                faults.push(Invalid::new(
                    field,
                    format!("must have at most {MAX_VARIABLE_BYTES} bytes"),
                ));
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

impl std::fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
