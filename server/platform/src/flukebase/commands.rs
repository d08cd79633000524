use std::collections::BTreeMap;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::flukebase::{
    Binding, Capability, FeatureState, FlukebaseUrl, MessageStatus, PlannedRoute, ProjectId,
    features_of,
};
use flukedeploy_domain::names::AppName;
use flukedeploy_domain::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

use super::link::{self, access_of, effect_of};
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{FlukebaseError, FlukebaseSettings};
use crate::secret::Secret;

/// Bindings of one call at most.
const MAX_BINDINGS: usize = 500;

/// How it stands with `FlukeBase`. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlukebaseView {
    pub active: bool,
    pub url: FlukebaseUrl,
    pub token: TokenView,
    pub connection: Connection,
    /// Why the last call failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub last_success_at: Option<OffsetDateTime>,
    /// What the token's scopes allow; empty as long as it was not checked.
    pub features: Vec<FeatureState>,
    /// Routes that are only planned, and whether this server has them.
    pub planned: BTreeMap<PlannedRoute, Capability>,
    pub live: LiveState,
    /// The project of apps that are bound to none.
    pub default_project: Option<ProjectId>,
    pub bindings: BTreeMap<AppName, Binding>,
    pub outbox: OutboxView,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenView {
    pub source: TokenSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    None,
    /// From a file or the environment of the control plane.
    Configuration,
    /// Set by hand, and sealed in the store.
    Stored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    Off,
    /// There is no token.
    NoToken,
    /// Nobody has asked yet.
    Unknown,
    Connected,
    TokenRefused,
    Unreachable,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveState {
    #[default]
    Idle,
    Asking,
    Listening,
    /// The server gives no live news to tokens.
    Rejected,
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxView {
    #[serde(flatten)]
    pub counts: BTreeMap<MessageStatus, u64>,
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub oldest_waiting_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What is `None` stays; an inner `None` goes back to what is configured.
#[derive(Debug, Clone, Default)]
pub struct ChangeFlukebase {
    pub active: Option<bool>,
    pub url: Option<Option<FlukebaseUrl>>,
    pub token: Option<Option<Secret>>,
    pub default_project: Option<Option<ProjectId>>,
    /// Apps that are not named stay as they are.
    pub bindings: BTreeMap<AppName, BindingChange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingChange {
    Untie,
    Project(Binding),
    /// `owner/repo`: the project is looked up.
    Repository {
        repository: String,
        variables: bool,
    },
}

pub async fn view_flukebase(px: &Platform, actor: &Actor) -> Result<FlukebaseView, Error> {
    authorise(px, actor, Action::ViewFlukebase, Resource::System)?;
    view(px).await
}

async fn view(px: &Platform) -> Result<FlukebaseView, Error> {
    let store = &px.parts().store;
    let settings = store.flukebase_settings().await?;
    let bindings = store.flukebase_bindings().await?;
    let counts = store.flukebase_counts().await?;
    let effect = effect_of(px, &settings);
    let configured = &px.config().flukebase;
    let source = match (&settings.token, &configured.token) {
        (Some(_), _) => TokenSource::Stored,
        (None, Some(_)) => TokenSource::Configuration,
        (None, None) => TokenSource::None,
    };
    let state = px.parts().flukebase_link.state();
    let facts = state.session.as_ref().map(|session| &session.facts);
    let connection = if source == TokenSource::None {
        Connection::NoToken
    } else if !effect.is_on {
        Connection::Off
    } else if state.refused_until.is_some() {
        Connection::TokenRefused
    } else if state.breaker.open_until().is_some() {
        Connection::Unreachable
    } else if facts.is_some() {
        Connection::Connected
    } else if state.last_failure.is_some() {
        Connection::Unreachable
    } else {
        Connection::Unknown
    };
    Ok(FlukebaseView {
        active: effect.is_on,
        url: settings.url.unwrap_or_else(|| configured.url.clone()),
        token: TokenView {
            source,
            prefix: facts.map(|facts| facts.prefix.clone()),
            name: facts.map(|facts| facts.name.clone()),
            scopes: facts.map_or_else(Vec::new, |facts| facts.scopes.iter().cloned().collect()),
            expires_at: facts.and_then(|facts| facts.expires_at.clone()),
        },
        connection,
        last_failure: state.last_failure.clone(),
        last_success_at: state.last_success_at,
        features: facts.map_or_else(Vec::new, |facts| features_of(&facts.scopes)),
        planned: PlannedRoute::ALL
            .into_iter()
            .map(|route| {
                let known = state.capabilities.get(&route).copied();
                (route, known.unwrap_or_default())
            })
            .collect(),
        live: state.live,
        default_project: effect.other_apps,
        bindings,
        outbox: OutboxView {
            counts: counts.by_status,
            oldest_waiting_at: counts.oldest_waiting_at,
            last_error: counts.last_error,
        },
    })
}

pub async fn change_flukebase(
    px: &Platform,
    actor: &Actor,
    cmd: ChangeFlukebase,
) -> Result<FlukebaseView, Error> {
    authorise(px, actor, Action::ChangeFlukebase, Resource::System)?;
    let store = &px.parts().store;
    let before = store.flukebase_settings().await?;
    let mut after = before.clone();
    after.active = cmd.active.or(after.active);
    if let Some(url) = cmd.url {
        after.url = url;
    }
    if let Some(token) = cmd.token {
        if let Some(token) = &token {
            check_token(token)?;
            let value = token.expose().to_owned();
            let redaction = px.parts().journal.redaction();
            redaction.learn_values(std::iter::once(&value));
        }
        after.token = token;
    }
    // A token that was meant for one place is not sent to another.
    let stays = after.token.is_some() && after.token == before.token;
    if stays && after.url != before.url {
        return Err(Error::invalid(
            "token",
            "must be given again with another url: it would be sent there",
        ));
    }
    if let Some(project) = cmd.default_project {
        after.default_project = project;
    }
    let bindings = bound(px, &after, cmd.bindings).await?;
    let effect = effect_of(px, &after);
    if after == before && bindings.is_empty() {
        return view(px).await;
    }
    let former = store.flukebase_bindings().await?;
    let audit = audit(px, actor, &before, &after);
    let audit = bindings.iter().fold(audit, |audit, (app, binding)| {
        let shown = |binding: &Binding| {
            let with = if binding.variables {
                " with variables"
            } else {
                ""
            };
            format!("project {}{with}", binding.project_id)
        };
        audit.with_change(
            &format!("bindings.{app}"),
            former.get(app).map(shown),
            binding.as_ref().map(shown),
        )
    });
    store
        .put_flukebase(&after, effect, &bindings, Some(&audit))
        .await?;
    if after.token != before.token || after.url != before.url {
        // What another place said is not true of this one.
        store.forget_flukebase_variables().await?;
    }
    crate::changes::tell(px, &audit);
    px.parts().flukebase_link.forget();
    view(px).await
}

fn check_token(token: &Secret) -> Result<(), Error> {
    let text = token.expose();
    if (8..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid(
        "token",
        "must be a token of FlukeBase, as in fbk_… (8 to 512 plain characters)",
    ))
}

/// The apps must be there; projects that are named by a repository are looked up.
async fn bound(
    px: &Platform,
    settings: &FlukebaseSettings,
    wanted: BTreeMap<AppName, BindingChange>,
) -> Result<BTreeMap<AppName, Option<Binding>>, Error> {
    if wanted.len() > MAX_BINDINGS {
        let problem = format!("must be at most {MAX_BINDINGS} at once");
        return Err(Error::invalid("bindings", problem));
    }
    let mut bindings = BTreeMap::new();
    for (app, change) in wanted {
        if px.parts().store.app_overview(&app).await?.is_none() {
            let problem = format!("must name apps, and there is no '{app}'");
            return Err(Error::invalid("bindings", problem));
        }
        let binding = match change {
            BindingChange::Untie => None,
            BindingChange::Project(binding) => {
                check_project(px, settings, binding.project_id).await?;
                Some(binding)
            }
            BindingChange::Repository {
                repository,
                variables,
            } => Some(Binding {
                project_id: look_up(px, settings, &repository).await?,
                variables,
            }),
        };
        bindings.insert(app, binding);
    }
    Ok(bindings)
}

/// As far as it can be asked: while it is away, any number is taken.
async fn check_project(
    px: &Platform,
    settings: &FlukebaseSettings,
    project: ProjectId,
) -> Result<(), Error> {
    let Some(access) = access_of(px, settings) else {
        return Ok(());
    };
    let is_well = {
        let state = px.parts().flukebase_link.state();
        let known = state.session.as_ref();
        state.last_failure.is_none() && known.is_some_and(|session| session.access == access)
    };
    if !is_well {
        return Ok(());
    }
    match link::port(px).project(&access, project).await {
        Err(FlukebaseError::NotFound) => {
            let problem = format!("must name a project that the token reaches; {project} is none");
            Err(Error::invalid("bindings", problem))
        }
        _ => Ok(()),
    }
}

async fn look_up(
    px: &Platform,
    settings: &FlukebaseSettings,
    repository: &str,
) -> Result<ProjectId, Error> {
    let Some(access) = access_of(px, settings) else {
        let problem = "can be looked up only with a token; name the project by its number";
        return Err(Error::invalid("repository", problem));
    };
    match link::port(px).find_project(&access, repository).await {
        Ok(Some(project)) => Ok(project.id),
        Ok(None) => Err(Error::invalid(
            "repository",
            "must belong to a project of FlukeBase, and it knows none",
        )),
        Err(FlukebaseError::NotNow { why, .. } | FlukebaseError::Faulty { why }) => {
            Err(Error::NotNow(format!(
                "FlukeBase could not be asked for the repository: {why}; name the project by its number"
            )))
        }
        Err(error) => Err(Error::NotNow(format!(
            "FlukeBase did not tell the project of the repository: {error}"
        ))),
    }
}

fn audit(
    px: &Platform,
    actor: &Actor,
    before: &FlukebaseSettings,
    after: &FlukebaseSettings,
) -> AuditEntry {
    let shown = |active: Option<bool>| active.map(|active| active.to_string());
    let url = |of: &FlukebaseSettings| of.url.as_ref().map(ToString::to_string);
    let project = |of: &FlukebaseSettings| of.default_project.map(|id| id.to_string());
    let token = (before.token != after.token).then(|| "(changed)".to_owned());
    AuditEntry::new(
        px.now(),
        actor,
        Action::ChangeFlukebase,
        "flukebase".to_owned(),
        "changed the settings of FlukeBase".to_owned(),
    )
    .with_change("active", shown(before.active), shown(after.active))
    .with_change("url", url(before), url(after))
    .with_change("default_project", project(before), project(after))
    .with_change("token", None, token)
}
