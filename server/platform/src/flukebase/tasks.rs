//! A deployment's task, brought to where the deployment is.

use flukedeploy_domain::flukebase::{ProjectId, RemoteTask, TaskNews, TaskUpdate};

use super::link;
use crate::platform::Platform;
use crate::ports::{Access, FlukebaseError};

/// Changes by others that one message bears.
const MERGES: u32 = 3;

/// Makes the task, or changes what is left to change in it. Done twice it changes nothing.
pub(super) async fn put(
    px: &Platform,
    access: &Access,
    project: ProjectId,
    news: &TaskNews,
) -> Result<(), FlukebaseError> {
    let port = link::port(px);
    let task_id = news.task_id();
    let page = format!("{}/deployments/{}", px.config().public_url, news.deployment);
    let found = match port.task(access, project, &task_id).await? {
        Some(task) => task,
        None => match port.create_task(access, project, news, &page).await {
            Ok(task) => task,
            // It may have come into being in between: by an attempt whose answer got lost.
            Err(refusal @ FlukebaseError::Refused { .. }) => {
                port.task(access, project, &task_id).await?.ok_or(refusal)?
            }
            Err(error) => return Err(error),
        },
    };
    merge(px, access, project, news, &page, found).await
}

async fn merge(
    px: &Platform,
    access: &Access,
    project: ProjectId,
    news: &TaskNews,
    page: &str,
    mut found: RemoteTask,
) -> Result<(), FlukebaseError> {
    let port = link::port(px);
    let task_id = news.task_id();
    let wanted = news.update(page);
    for _ in 0..=MERGES {
        let update = TaskUpdate::merged(&found, &wanted);
        if update.is_nothing() {
            return Ok(());
        }
        match port.update_task(access, project, &task_id, &update).await {
            Ok(_) => return Ok(()),
            Err(FlukebaseError::Conflict(newer)) => found = *newer,
            Err(error) => return Err(error),
        }
    }
    Err(FlukebaseError::NotNow {
        why: "the task was changed again and again by others".to_owned(),
        wait: None,
    })
}
