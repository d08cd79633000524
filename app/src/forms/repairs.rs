//! Put right what self-diagnosis found.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::repair::{RepairAction, RepairStatus};
use flukedeploy_platform::Error;
use flukedeploy_platform::repairs::{self, Repair};

use super::Sent;
use crate::paths;

pub(crate) async fn repair(Path(action): Path<String>, form: Sent) -> Response {
    let result = run(&form, &action).await;
    form.answer(result).await
}

/// The page told what it would do: to send it is the confirmation.
async fn run(form: &Sent, action: &str) -> Result<String, Error> {
    let actor = form.actor()?;
    repairs::list_actions(&form.px, actor)?;
    let Ok(action) = action.parse::<RepairAction>() else {
        return Err(Error::NotFound {
            what: "repair of that name".to_owned(),
        });
    };
    let cmd = Repair {
        action,
        dry_run: false,
        confirm: true,
    };
    let done = repairs::repair(&form.px, actor, cmd).await?;
    match done.status {
        RepairStatus::Failed => Err(Error::NotNow(done.message)),
        RepairStatus::Success | RepairStatus::Skipped => Ok(paths::SYSTEM.to_owned()),
    }
}
