//! This server as an agent of each project: registered, and with a heart that beats. What is missed of
//! it is of no use later, so that it is the one thing that goes past the outbox.

use std::collections::BTreeSet;

use flukedeploy_domain::flukebase::{Feature, ProjectId};

use super::link;
use crate::platform::Platform;
use crate::ports::{AgentCard, FlukebaseError, StoreError};

/// Two minutes without one, and it counts as idle there.
const EVERY: std::time::Duration = std::time::Duration::from_mins(1);
/// Projects in which it shows itself: one request a minute for each.
const MAX_PROJECTS: usize = 30;

pub(crate) async fn run(px: Platform) {
    loop {
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = beat(&px) => {}
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            () = px.parts().flukebase_link.changed.notified() => {}
        }
    }
}

/// All projects that any app belongs to.
pub(super) async fn projects(px: &Platform) -> Result<BTreeSet<ProjectId>, StoreError> {
    let store = &px.parts().store;
    let settings = store.flukebase_settings().await?;
    let bindings = store.flukebase_bindings().await?;
    let bound = bindings.values().map(|binding| binding.project_id);
    Ok(bound
        .chain(link::effect_of(px, &settings).other_apps)
        .collect())
}

async fn beat(px: &Platform) {
    let Ok(projects) = projects(px).await else {
        return;
    };
    let card = AgentCard {
        agent_id: format!("flukedeploy-{}", px.config().instance),
        version: px.config().version.to_owned(),
    };
    for project in projects.into_iter().take(MAX_PROJECTS) {
        let Ok(session) = link::open(px).await else {
            return;
        };
        if session.lacks(Feature::Agents).is_some() {
            return;
        }
        let (port, access) = (link::port(px), &session.access);
        let known = px
            .parts()
            .flukebase_link
            .state()
            .agents
            .get(&project)
            .cloned();
        let result = match known {
            Some(id) => port.heart_beat(access, project, &id).await,
            None => match port.register_agent(access, project, &card).await {
                Ok(id) => {
                    px.parts().flukebase_link.state().agents.insert(project, id);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        link::note(px, result.as_ref().err());
        match result {
            // Registered anew the next time.
            Err(FlukebaseError::NotFound) => {
                px.parts().flukebase_link.state().agents.remove(&project);
            }
            Err(FlukebaseError::TokenRefused) => {
                link::doubt_token(px);
            }
            _ => {}
        }
    }
}
