//! `/health`: whether the platform works, with details for those who send a token.

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::access::{Action, Actor, Door, Resource, lacks};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::views::SystemView;
use flukedeploy_platform::{Platform, system};
use serde::Serialize;
use serde_json::{Value, json};

use crate::doors::auth;
use crate::doors::problem::Problem;
use crate::doors::state::AppState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Healthy,
    /// Apps are served, but something needs a look.
    Degraded,
    /// Nothing can be deployed.
    Unhealthy,
}

impl Health {
    fn of(view: &SystemView) -> Self {
        match (view.engine_answers, view.problems.is_empty()) {
            (false, _) => Self::Unhealthy,
            (true, false) => Self::Degraded,
            (true, true) => Self::Healthy,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Healthy | Self::Degraded => StatusCode::OK,
            Self::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn show(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let px = &state.px;
    let actor = match auth::bearer(&headers)? {
        Some(token) => Some(auth::from_token(px, &token, Door::Rest, &headers, &extensions).await?),
        None => auth::session_actor(&extensions),
    };
    // The one word is for everybody; what stands behind it only for those who may see it.
    let view = system::system_view(px, &Actor::system()).await?;
    let may_see =
        actor.is_some_and(|actor| lacks(&actor, Action::ViewSystem, Resource::System).is_none());
    let health = Health::of(&view);
    let mut body = json!({
        "status": health,
        "version": view.version,
        "timestamp": timestamp::to_wire(px.now()),
    });
    if let (true, Value::Object(body)) = (may_see, &mut body)
        && let Value::Object(details) = details(&state, &view)
    {
        body.extend(details);
    }
    Ok((health.status(), Json(body)).into_response())
}

fn details(state: &AppState, view: &SystemView) -> Value {
    let px: &Platform = &state.px;
    let now = px.now();
    let component = if view.engine_answers {
        "services"
    } else {
        "docker_swarm"
    };
    let severity = if view.engine_answers {
        "warning"
    } else {
        "critical"
    };
    let issues: Vec<_> = view
        .problems
        .iter()
        .map(|problem| {
            json!({
                "severity": severity, "component": component, "message": problem,
                "timestamp": timestamp::to_wire(now),
            })
        })
        .collect();
    json!({
        "uptime_seconds": (now - view.started_at).whole_seconds(),
        "docker": {
            "engine_answers": view.engine_answers,
            "engine_version": view.engine_version,
            "api_version": view.engine_api_version,
            "nodes_count": view.nodes,
        },
        "flukedeploy": {
            "instance": view.instance,
            "apps_deployed": view.apps,
            "root_domain": px.config().root_domain,
            "deployments_active": view.deployments_active,
            "websocket_clients": state.listeners.count(),
            "ingresses": view.ingresses,
        },
        "issues": issues,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(engine_answers: bool, problems: &[&str]) -> SystemView {
        SystemView {
            version: "0.0.0".to_owned(),
            instance: "test".to_owned(),
            engine_answers,
            engine_version: None,
            engine_api_version: None,
            nodes: 1,
            ingresses: 1,
            apps: 0,
            deployments_active: 0,
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
        }
    }

    #[test]
    fn only_a_silent_engine_makes_it_unhealthy() {
        assert_eq!(Health::of(&view(true, &[])).status(), 200);
        let no_ingress = Health::of(&view(true, &["no ingress"]));
        assert_eq!(
            (no_ingress, no_ingress.status().as_u16()),
            (Health::Degraded, 200)
        );
        assert_eq!(Health::of(&view(false, &["gone"])).status(), 503);
    }
}
