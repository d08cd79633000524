//! Variables of projects: kept fresh in the background, taken by deployments as they are.

use std::collections::BTreeSet;

use flukedeploy_domain::deployment::{Deployment, Source};
use flukedeploy_domain::flukebase::{
    Borrowed, Feature, Message, ProjectId, RemoteEnvironment, RemoteVariable, borrow_variables,
};
use flukedeploy_domain::names::{AppName, EnvironmentName};

use super::link::{self, Closed};
use crate::platform::Platform;
use crate::ports::{FlukebaseError, StoreError};

/// How often each project is asked.
const EVERY: std::time::Duration = std::time::Duration::from_mins(5);
/// After something failed.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

type Wanted = BTreeSet<(ProjectId, RemoteEnvironment)>;

pub(crate) async fn run(px: Platform) {
    let link = &px.parts().flukebase_link;
    loop {
        let pause = match everything(&px).await {
            Ok(all) => {
                refresh(&px, all).await;
                EVERY
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what to ask FlukeBase for could not be read"
                );
                RETRY
            }
        };
        let again = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = px.stopping().cancelled() => return,
                () = tokio::time::sleep_until(again) => break,
                () = link.variables_wanted.notified() => {
                    let wanted = link.take_wanted();
                    if wanted.is_empty() {
                        // The settings are others.
                        break;
                    }
                    tokio::select! {
                        () = px.stopping().cancelled() => return,
                        () = refresh(&px, wanted) => {}
                    }
                }
            }
        }
    }
}

/// All that deployments here may need.
async fn everything(px: &Platform) -> Result<Wanted, StoreError> {
    let store = &px.parts().store;
    let bindings = store.flukebase_bindings().await?;
    if bindings.values().all(|binding| !binding.variables) {
        return Ok(Wanted::new());
    }
    let mut all = Wanted::new();
    for environment in store.environments().await? {
        if let Some(binding) = bindings.get(&environment.app).filter(|it| it.variables) {
            let remote = RemoteEnvironment::of(&environment.name);
            all.insert((binding.project_id, remote));
        }
    }
    Ok(all)
}

async fn refresh(px: &Platform, wanted: Wanted) {
    for (project, environment) in wanted {
        if px.stopping().is_cancelled() {
            return;
        }
        let session = match link::open(px).await {
            Ok(session) => session,
            Err(Closed::Store(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the settings of FlukeBase could not be read"
                );
                return;
            }
            Err(Closed::Off | Closed::Until(_)) => return,
        };
        if session.lacks(Feature::Variables).is_some() {
            return;
        }
        let port = link::port(px);
        let found = port.variables(&session.access, project, environment).await;
        link::note(px, found.as_ref().err());
        match found {
            Ok(found) => keep(px, project, environment, &found).await,
            Err(error) => {
                if error == FlukebaseError::TokenRefused {
                    link::doubt_token(px);
                }
                tracing::info!(
                    %project, environment = environment.as_str(),
                    "the variables of the FlukeBase project {project} could not be had: {error}"
                );
            }
        }
    }
}

async fn keep(
    px: &Platform,
    project: ProjectId,
    environment: RemoteEnvironment,
    found: &[RemoteVariable],
) {
    let store = &px.parts().store;
    let kept = match store.flukebase_variables(project, environment).await {
        // A write for nothing would wake everybody who waits for changes.
        Ok(Some(kept)) if kept.variables == found => return,
        Ok(_) => {
            let now = px.now();
            store
                .keep_flukebase_variables(project, environment, found, now)
                .await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "variables of a FlukeBase project could not be stored"
        );
    }
}

/// A deployment begins: fresh variables would be good to have. Waits for nothing.
pub(crate) fn wanted_soon(px: &Platform, app: &AppName, environment: &EnvironmentName) {
    let (task, app, environment) = (px.clone(), app.clone(), RemoteEnvironment::of(environment));
    px.parts().tasks.spawn(async move {
        let px = task;
        let Ok(bindings) = px.parts().store.flukebase_bindings().await else {
            return;
        };
        let Some(binding) = bindings.get(&app).filter(|binding| binding.variables) else {
            return;
        };
        let link = &px.parts().flukebase_link;
        link.want(binding.project_id, environment);
    });
}

/// What came of it, with the project it came from.
pub(crate) struct Loan {
    pub(crate) project: ProjectId,
    pub(crate) environment: RemoteEnvironment,
    pub(crate) borrowed: Borrowed,
}

/// Adds what the project of an app said last to the settings of a deployment that makes a new release.
/// What cannot be read is left out: no deployment fails for it. `None`: there is nothing to take.
pub(crate) async fn borrow(px: &Platform, deployment: &mut Deployment) -> Option<Loan> {
    let (Source::Image { .. } | Source::Build { .. } | Source::Promote { .. }) = deployment.source
    else {
        return None;
    };
    match taken(px, deployment).await {
        Ok(loan) => loan,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error, deployment.id = %deployment.id,
                "the variables of the FlukeBase project could not be read; the deployment goes on without"
            );
            None
        }
    }
}

async fn taken(px: &Platform, deployment: &mut Deployment) -> Result<Option<Loan>, StoreError> {
    let store = &px.parts().store;
    let settings = store.flukebase_settings().await?;
    if !link::effect_of(px, &settings).is_on {
        return Ok(None);
    }
    let bindings = store.flukebase_bindings().await?;
    let Some(binding) = bindings.get(&deployment.app).filter(|it| it.variables) else {
        return Ok(None);
    };
    let project = binding.project_id;
    let environment = RemoteEnvironment::of(&deployment.environment);
    let Some(found) = store.flukebase_variables(project, environment).await? else {
        return Ok(None);
    };
    let borrowed = borrow_variables(&mut deployment.settings, &found.variables);
    // Nothing of it may print before its secrets are known.
    let redaction = px.parts().journal.redaction();
    redaction.learn(deployment.app.as_str(), &deployment.settings);
    let deployment = deployment.id.clone();
    let message = Message::Synced {
        deployment,
        environment,
    };
    store.queue_flukebase(project, &message, px.now()).await?;
    Ok(Some(Loan {
        project,
        environment,
        borrowed,
    }))
}
