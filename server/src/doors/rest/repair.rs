//! `/repair`: what can be put right by itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::repair::RepairAction;
use flukedeploy_platform::repairs::{self, ActionView, AutoResult, Repair};
use flukedeploy_platform::{Error, Platform};
use serde_json::{Value, json};

use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;

pub(super) async fn actions(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<Value>, Problem> {
    let actions = repairs::list_actions(&px, &actor)?;
    Ok(Json(json!({"actions": actions})))
}

pub(super) async fn repair(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, Problem> {
    let name = fields.text("action");
    if name.is_none() && !fields.has_fault("action") {
        fields.fault("action", "must be given");
    }
    let (dry_run, confirm) = (fields.flag("dry_run", false), fields.flag("confirm", false));
    let Some(name) = name else {
        return Err(fields.into_error().into());
    };
    fields.finish()?;
    // Who may not repair learns nothing of what there is.
    let known = repairs::list_actions(&px, &actor)?;
    let Ok(action) = name.parse::<RepairAction>() else {
        let names: Vec<&str> = known.iter().map(|one| one.action.as_str()).collect();
        return Ok(refusal(
            StatusCode::NOT_FOUND,
            json!({
                "error": "Unknown repair action", "code": "unknown_repair_action",
                "message": format!("there are {}", names.join(", ")),
            }),
        ));
    };
    let cmd = Repair {
        action,
        dry_run,
        confirm,
    };
    match repairs::repair(&px, &actor, cmd).await {
        Ok(result) => Ok(Json(result).into_response()),
        Err(error @ Error::ConfirmationNeeded { action }) => Ok(refusal(
            StatusCode::BAD_REQUEST,
            json!({
                "error": "Confirmation required for high-risk action",
                "code": error.code(), "action": ActionView::from(action),
                "message": error.next_step(),
            }),
        )),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn heal(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<AutoResult>, Problem> {
    Ok(Json(repairs::heal(&px, &actor).await?))
}

fn refusal(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}
