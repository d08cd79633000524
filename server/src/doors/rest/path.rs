//! The variable parts of an address.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use flukedeploy_domain::approval::ApprovalId;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};
use flukedeploy_platform::Error;

use crate::doors::problem::Problem;
use crate::doors::requests;

/// The app an address is about.
pub(super) struct AppPath(pub(super) AppName);

impl<S: Send + Sync> FromRequestParts<S> for AppPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|fault| Problem::bad_parameters(vec![fault]))
    }
}

/// The project an address is about.
pub(super) struct ProjectPath(pub(super) ProjectName);

impl<S: Send + Sync> FromRequestParts<S> for ProjectPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|fault| Problem::bad_parameters(vec![fault]))
    }
}

/// One environment of an app.
pub(super) struct EnvironmentPath(pub(super) AppName, pub(super) EnvironmentName);

impl<S: Send + Sync> FromRequestParts<S> for EnvironmentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((app, environment)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the address cannot be read"))?;
        match (app.parse(), requests::environment_named(&environment)) {
            (Ok(app), Ok(environment)) => Ok(Self(app, environment)),
            (Err(fault), _) | (_, Err(fault)) => Err(Problem::bad_parameters(vec![fault])),
        }
    }
}

/// Reads an id. One that cannot exist is as unknown as one that does not.
fn known_form<T: FromStr>(text: &str, unknown: fn(String) -> Error) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        let id = text.chars().take(65).filter(|c| !c.is_control());
        unknown(id.collect()).into()
    })
}

/// The deployment an address is about.
pub(super) struct DeploymentPath(pub(super) DeploymentId);

impl<S: Send + Sync> FromRequestParts<S> for DeploymentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await?;
        known_form(&text, |id| Error::DeploymentNotFound { id }).map(Self)
    }
}

/// The approval an address is about.
pub(super) struct ApprovalPath(pub(super) ApprovalId);

impl<S: Send + Sync> FromRequestParts<S> for ApprovalPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await?;
        known_form(&text, |id| Error::ApprovalNotFound { id }).map(Self)
    }
}

/// A token's id; the store knows which exist.
pub(super) struct TokenPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state).await?;
        let plain = id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain {
            Ok(Self(id))
        } else {
            Err(Error::NotFound {
                what: "token of that id".to_owned(),
            }
            .into())
        }
    }
}

/// The id of a person, an invitation or a session; the store knows which exist.
pub(super) struct PlainId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PlainId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state).await?;
        let plain = id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain {
            Ok(Self(id))
        } else {
            let what = "such id".to_owned();
            Err(Error::NotFound { what }.into())
        }
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    Path::<String>::from_request_parts(parts, state)
        .await
        .map(|Path(text)| text)
        .map_err(|_| Problem::bad_request("the address cannot be read"))
}
