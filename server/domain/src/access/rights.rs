//! Where an actor may act: roles in apps, narrowed to environments if need be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, EnvironmentName};

/// What somebody is in an app. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks: states, settings without secrets, deployments, logs.
    Viewer,
    /// Deploys, rolls back, scales, restarts, stops and starts.
    Deployer,
    /// Changes settings, variables, domains and environments, and deletes.
    Maintainer,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Deployer, Self::Maintainer];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Maintainer => "maintainer",
        }
    }
}

/// A role in one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub app: AppName,
    pub role: Role,
    /// Only in these. `None`: in all, those to come included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

impl Grant {
    fn is_for(&self, environment: &str) -> bool {
        self.environments
            .as_ref()
            .is_none_or(|some| some.iter().any(|name| name.as_str() == environment))
    }

    /// What both allow; `None` if that is nothing.
    fn and(&self, other: &Self) -> Option<Self> {
        if self.app != other.app {
            return None;
        }
        let environments = match (&self.environments, &other.environments) {
            (None, some) | (some, None) => some.clone(),
            (Some(one), Some(other)) => Some(one & other),
        };
        if environments.as_ref().is_some_and(BTreeSet::is_empty) {
            return None;
        }
        Some(Self {
            app: self.app.clone(),
            role: self.role.min(other.role),
            environments,
        })
    }
}

/// Where an actor may act. By default nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// In the whole instance.
    Everything,
    /// What any of these grants allow.
    Only(Vec<Grant>),
}

impl Default for Rights {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl Rights {
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }

    fn grants(&self, app: &str) -> impl Iterator<Item = &Grant> {
        let grants = match self {
            Self::Everything => &[][..],
            Self::Only(grants) => grants,
        };
        grants.iter().filter(move |grant| grant.app.as_str() == app)
    }

    /// Whether anything of an app may be seen.
    pub fn shows_app(&self, app: &str) -> bool {
        self.is_everything() || self.grants(app).next().is_some()
    }

    /// Whether something of an app may be seen that belongs to an environment, or (`None`) to the
    /// app as a whole. No name that cannot be an app's is shown to those who have single grants.
    pub fn shows(&self, app: &str, environment: Option<&str>) -> bool {
        self.is_everything()
            || self.grants(app).any(|grant| match environment {
                Some(environment) => grant.is_for(environment),
                None => grant.environments.is_none(),
            })
    }

    /// Whether the role is held in one environment of an app.
    pub fn covers(&self, app: &AppName, environment: &EnvironmentName, role: Role) -> bool {
        self.is_everything()
            || self
                .grants(app.as_str())
                .any(|grant| grant.role >= role && grant.is_for(environment.as_str()))
    }

    /// Whether the role is held in any environment of an app.
    pub fn holds_in(&self, app: &AppName, role: Role) -> bool {
        self.is_everything() || self.grants(app.as_str()).any(|grant| grant.role >= role)
    }

    /// Whether the role is held in an app as a whole, all environments included.
    pub fn covers_app(&self, app: &AppName, role: Role) -> bool {
        self.is_everything()
            || self
                .grants(app.as_str())
                .any(|grant| grant.role >= role && grant.environments.is_none())
    }

    /// Whether the role is held anywhere.
    pub fn holds(&self, role: Role) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(grants) => grants.iter().any(|grant| grant.role >= role),
        }
    }

    /// What both allow: how a token of somebody is kept within what that somebody may.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, rights) | (rights, Self::Everything) => rights.clone(),
            (Self::Only(one), Self::Only(other)) => {
                let pairs = one
                    .iter()
                    .flat_map(|mine| other.iter().filter_map(|its| mine.and(its)));
                Self::Only(pairs.fold(Vec::new(), |mut all, grant| {
                    if !all.contains(&grant) {
                        all.push(grant);
                    }
                    all
                }))
            }
        }
    }
}
