//! What is shown of variables, of an app or of a project: names and marks, never values.

use flukedeploy_domain::access::{Action, Actor, Resource, lacks};
use flukedeploy_domain::app::{Delivered, Project, Settings};
use flukedeploy_domain::names::{AppName, ProjectName};
use flukedeploy_domain::timestamp;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::redaction::hidden_nowhere;
use crate::views::AppView;

/// A variable; its value is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableView {
    pub key: String,
    /// It is marked secret. What only looks like a secret is kept out of logs too.
    pub is_secret: bool,
    /// It is delivered as this file, not as a variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileView>,
    /// Where it comes from, if not from the app itself: told of releases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_shared: bool,
}

/// A secret that an app finds as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// `/run/secrets/…`.
    pub path: String,
    /// The owner; absent: the image's user where that is a number, else root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl From<Delivered<'_>> for VariableView {
    fn from(one: Delivered<'_>) -> Self {
        Self {
            key: one.name.clone(),
            is_secret: one.is_secret,
            file: one.file.map(|file| FileView {
                path: file.path_of(one.name),
                uid: file.uid,
                gid: file.gid,
            }),
            is_shared: one.is_shared,
        }
    }
}

impl VariableView {
    /// What an app gets with these settings: its own, and what its project shared when they were made.
    pub(crate) fn all(settings: &Settings) -> Vec<Self> {
        settings.delivered().map(Into::into).collect()
    }
}

/// A variable of an app's project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedVariableView {
    #[serde(flatten)]
    pub variable: VariableView,
    /// The app has one of that name itself, and gets that.
    pub is_overridden: bool,
}

impl AppView {
    pub(crate) fn add_project(&mut self, project: &Project) {
        self.project = Some(project.name.clone());
        let shared = project.variables.delivered();
        self.shared_env_vars = shared
            .map(|one| SharedVariableView {
                is_overridden: self.env_vars.iter().any(|own| own.key == *one.name),
                variable: one.into(),
            })
            .collect();
    }
}

/// A project, with names of variables only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectView {
    pub project: ProjectName,
    /// Those that the actor may see.
    pub apps: Vec<AppName>,
    /// What all of its apps get, from their next release on.
    pub env_vars: Vec<VariableView>,
    /// What to know about the variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_var_warnings: Vec<String>,
    /// Rises with every change of the variables.
    pub version: u64,
    /// Whether the actor may change the variables.
    pub may_change: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

pub(crate) fn project_view(project: &Project, apps: &[AppName], actor: &Actor) -> ProjectView {
    let target = Resource::Project(&project.name, apps);
    let as_settings = Settings {
        shared: project.variables.clone(),
        ..Settings::default()
    };
    ProjectView {
        project: project.name.clone(),
        apps: (apps.iter())
            .filter(|app| actor.rights.shows_app(app.as_str()))
            .cloned()
            .collect(),
        env_vars: VariableView::all(&as_settings),
        env_var_warnings: variable_warnings(&as_settings),
        version: project.version,
        may_change: lacks(actor, Action::ShareVariables, target).is_none(),
        created_at: project.created_at,
    }
}

/// What to know about an environment's variables.
pub(crate) fn variable_warnings(settings: &Settings) -> Vec<String> {
    let names = hidden_nowhere(settings);
    let warning = |name: &str| {
        format!(
            "{name} is marked secret, but its value is too short or too common to be found in logs: \
             what the app prints of it stays readable there"
        )
    };
    names.into_iter().map(warning).collect()
}
