//! `/system`.

use axum::Json;
use axum::extract::State;
use flukedeploy_platform::views::SystemView;
use flukedeploy_platform::{Platform, system};

use crate::doors::auth::Caller;
use crate::doors::problem::Problem;

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<SystemView>, Problem> {
    Ok(Json(system::system_view(&px, &actor).await?))
}
