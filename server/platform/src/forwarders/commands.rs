use std::collections::BTreeMap;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::forwarder::{
    ForwardFilter, ForwardKind, ForwardProgress, ForwardSecrets, Forwarder, ForwarderId,
    ForwarderView, Target, check_headers,
};
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SYSTEM, SourceType,
};
use flukedeploy_domain::names::Invalid;
use serde::Serialize;

use super::batch::{Outcome, send};
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::secret::{Secret, random_u64};
use crate::webhooks::{check_signing_secret, new_signing_secret};

#[derive(Debug, Clone)]
pub struct CreateForwarder {
    pub target: Target,
    /// Key of a webhook's signatures; one is made if none is given. For webhooks only.
    pub secret: Option<Secret>,
    /// For OTLP and webhooks only.
    pub headers: BTreeMap<String, Secret>,
    pub filter: ForwardFilter,
    /// What is stored already goes too, oldest first; otherwise what comes from now on.
    pub from_beginning: bool,
}

/// A new forwarder with the only appearance of the key that was made for it.
pub struct NewForwarder {
    pub view: ForwarderView,
    /// Of webhooks.
    pub secret: Option<Secret>,
}

/// What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct ChangeForwarder {
    /// Turned off, it stays where it is; turned on again, it goes on from there.
    pub active: Option<bool>,
    /// An address of the same kind. It goes on there from where it is.
    pub url: Option<String>,
    pub secret: Option<Secret>,
    /// All of them, new.
    pub headers: Option<BTreeMap<String, Secret>>,
    pub filter: Option<ForwardFilter>,
}

/// Whether a test entry arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    pub arrived: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Oldest first, with how far each has got.
pub async fn list_forwarders(px: &Platform, actor: &Actor) -> Result<Vec<ForwarderView>, Error> {
    authorise(px, actor, Action::ListLogForwarders, Resource::System)?;
    let mut views = Vec::new();
    for forwarder in px.parts().store.forwarders().await? {
        views.push(view(px, &forwarder).await?);
    }
    Ok(views)
}

pub async fn get_forwarder(
    px: &Platform,
    actor: &Actor,
    id: &ForwarderId,
) -> Result<ForwarderView, Error> {
    authorise(px, actor, Action::ListLogForwarders, Resource::System)?;
    view(px, &require(px, id).await?).await
}

pub async fn create_forwarder(
    px: &Platform,
    actor: &Actor,
    cmd: CreateForwarder,
) -> Result<NewForwarder, Error> {
    authorise(px, actor, Action::ChangeLogForwarders, Resource::System)?;
    let kind = cmd.target.kind();
    let signing = match (kind, cmd.secret) {
        (ForwardKind::Webhook, given) => Some(given.unwrap_or_else(new_signing_secret)),
        (_, None) => None,
        (_, Some(_)) => return Err(not_for("secret", kind)),
    };
    let secrets = secrets(kind, signing.as_ref(), &cmd.headers)?;
    require_app(px, &cmd.filter).await?;
    let log_store = &px.parts().log_store;
    let cursor = if cmd.from_beginning {
        0
    } else {
        log_store.newest().await?
    };
    let forwarder = Forwarder {
        id: ForwarderId::new(random_u64()),
        target: cmd.target,
        secrets,
        filter: cmd.filter,
        active: true,
        created_at: px.now(),
        progress: ForwardProgress {
            cursor,
            ..ForwardProgress::default()
        },
    };
    let summary = format!(
        "made a log forwarder to {} ({})",
        forwarder.target.authority(),
        kind.as_str()
    );
    learn(px, &forwarder);
    let audit = audit(px, actor, &forwarder.id, summary);
    px.parts()
        .store
        .create_forwarder(&forwarder, &audit)
        .await?;
    Ok(NewForwarder {
        view: view(px, &forwarder).await?,
        secret: signing,
    })
}

pub async fn change_forwarder(
    px: &Platform,
    actor: &Actor,
    id: &ForwarderId,
    cmd: ChangeForwarder,
) -> Result<ForwarderView, Error> {
    authorise(px, actor, Action::ChangeLogForwarders, Resource::System)?;
    let before = require(px, id).await?;
    let kind = before.target.kind();
    let mut after = before.clone();
    if let Some(url) = &cmd.url {
        after.target = Target::new(kind, url)?;
    }
    if let Some(active) = cmd.active {
        after.active = active;
    }
    if let Some(filter) = cmd.filter {
        if filter.app_name != before.filter.app_name {
            require_app(px, &filter).await?;
        }
        after.filter = filter;
    }
    if cmd.secret.is_some() && kind != ForwardKind::Webhook {
        return Err(not_for("secret", kind));
    }
    let signing = cmd
        .secret
        .or(before.secrets.signing.clone().map(Secret::new));
    let headers = cmd.headers.unwrap_or_else(|| {
        let known = before.secrets.headers.clone().into_iter();
        known
            .map(|(name, value)| (name, Secret::new(value)))
            .collect()
    });
    after.secrets = secrets(kind, signing.as_ref(), &headers)?;
    if after == before {
        return view(px, &before).await;
    }
    let summary = match (before.active, after.active) {
        (false, true) => format!("turned the log forwarder {id} on"),
        (true, false) => format!("turned the log forwarder {id} off"),
        _ => format!("changed the log forwarder {id}"),
    };
    learn(px, &after);
    let audit = changes(audit(px, actor, id, summary), &before, &after);
    if !px.parts().store.change_forwarder(&after, &audit).await? {
        return Err(not_found());
    }
    view(px, &require(px, id).await?).await
}

pub async fn delete_forwarder(px: &Platform, actor: &Actor, id: &ForwarderId) -> Result<(), Error> {
    authorise(px, actor, Action::ChangeLogForwarders, Resource::System)?;
    let audit = audit(px, actor, id, format!("removed the log forwarder {id}"));
    if px.parts().store.delete_forwarder(id, &audit).await? {
        Ok(())
    } else {
        Err(not_found())
    }
}

/// Sends one entry that says that it is a test, now and past what waits. Turned off or failing, a
/// forwarder can be tested all the same.
pub async fn test_forwarder(
    px: &Platform,
    actor: &Actor,
    id: &ForwarderId,
) -> Result<TestResult, Error> {
    authorise(px, actor, Action::ChangeLogForwarders, Resource::System)?;
    let forwarder = require(px, id).await?;
    let audit = audit(px, actor, id, format!("tested the log forwarder {id}"));
    if !px.parts().store.note_forwarder_test(id, &audit).await? {
        return Err(not_found());
    }
    let entry = test_entry(px, &forwarder);
    let name = format!("{id}-test-{}", entry.id);
    let why = match send(px, &forwarder, &[&entry], &name).await {
        Outcome::Arrived { refused: 0, .. } => None,
        Outcome::Arrived { why, .. } => {
            Some(why.unwrap_or_else(|| "it took the request and refused the entry".to_owned()))
        }
        Outcome::Unfit { why, .. } | Outcome::Failed { why, .. } => Some(why),
    };
    Ok(TestResult {
        arrived: why.is_none(),
        why,
    })
}

fn test_entry(px: &Platform, forwarder: &Forwarder) -> LogEntry {
    let about = forwarder.filter.app_name.as_ref();
    let app = about.map_or_else(|| SYSTEM.to_owned(), ToString::to_string);
    let source = LogSource {
        kind: SourceType::System,
        container_name: app.clone(),
        service_id: None,
        node_id: None,
        task_id: None,
        stream: None,
    };
    let message = format!("This is a test of the log forwarder {}.", forwarder.id);
    let metadata = LogMetadata::new(EventType::ConfigChange, app);
    LogEntry::new(
        px.now(),
        random_u64(),
        Level::Info,
        message,
        source,
        metadata,
    )
}

/// What an app prints of a receiver's credentials is taken out like any other secret.
pub(super) fn learn(px: &Platform, forwarder: &Forwarder) {
    let secrets = &forwarder.secrets;
    let values = secrets.headers.values().chain(&secrets.signing);
    px.parts().journal.redaction().learn_values(values);
}

async fn view(px: &Platform, forwarder: &Forwarder) -> Result<ForwarderView, Error> {
    let filter = forwarder.filter.of_log();
    let log_store = &px.parts().log_store;
    let behind = log_store
        .backlog(&filter, forwarder.progress.cursor)
        .await?;
    Ok(ForwarderView::new(forwarder, behind))
}

fn secrets(
    kind: ForwardKind,
    signing: Option<&Secret>,
    headers: &BTreeMap<String, Secret>,
) -> Result<ForwardSecrets, Error> {
    if let Some(secret) = signing {
        check_signing_secret(secret)?;
    }
    if kind == ForwardKind::Syslog && !headers.is_empty() {
        return Err(not_for("headers", kind));
    }
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    check_headers(&headers).map_err(Error::Invalid)?;
    Ok(ForwardSecrets {
        signing: signing.map(|secret| secret.expose().to_owned()),
        headers,
    })
}

fn not_for(field: &str, kind: ForwardKind) -> Error {
    Error::invalid(field, format!("must not be given for {}", kind.as_str()))
}

async fn require_app(px: &Platform, filter: &ForwardFilter) -> Result<(), Error> {
    let Some(app) = &filter.app_name else {
        return Ok(());
    };
    if px.parts().store.app_overview(app).await?.is_some() {
        return Ok(());
    }
    let problem = format!("must name an app, and there is no '{app}'");
    Err(Invalid::new("app_name", problem).into())
}

async fn require(px: &Platform, id: &ForwarderId) -> Result<Forwarder, Error> {
    px.parts().store.forwarder(id).await?.ok_or_else(not_found)
}

fn not_found() -> Error {
    Error::NotFound {
        what: "log forwarder of that id".to_owned(),
    }
}

/// What differs. Addresses may hold keys, so that only their hosts are named; of headers and the key
/// of signatures it is only said that they are others.
fn changes(entry: AuditEntry, before: &Forwarder, after: &Forwarder) -> AuditEntry {
    let filter = |of: &Forwarder| serde_json::to_string(&of.filter).ok();
    let others = (before.secrets != after.secrets).then(|| "(changed)".to_owned());
    let target = |of: &Forwarder| Some(of.target.authority());
    entry
        .with_change(
            "active",
            Some(before.active.to_string()),
            Some(after.active.to_string()),
        )
        .with_change("target", target(before), target(after))
        .with_change("filter", filter(before), filter(after))
        .with_change("secrets", None, others)
}

fn audit(px: &Platform, actor: &Actor, id: &ForwarderId, summary: String) -> AuditEntry {
    let resource = format!("log_forwarder:{id}");
    let action = Action::ChangeLogForwarders;
    AuditEntry::new(px.now(), actor, action, resource, summary)
}
