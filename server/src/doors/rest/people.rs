//! `/users` and `/invitations`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flukedeploy_platform::people::{self, InvitationView, Invite, PersonView};
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;

use super::path::PlainId;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;

#[derive(Serialize)]
pub(super) struct PersonList {
    total: usize,
    users: Vec<PersonView>,
}

#[derive(Serialize)]
pub(super) struct InvitationList {
    total: usize,
    invitations: Vec<InvitationView>,
}

/// The only answer that ever holds the link.
#[derive(Serialize)]
pub(super) struct InvitationCreated {
    #[serde(flatten)]
    view: InvitationView,
    link: String,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<PersonList>, Problem> {
    let users = people::list_people(&px, &actor).await?;
    Ok(Json(PersonList {
        total: users.len(),
        users,
    }))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
) -> Result<Json<PersonView>, Problem> {
    Ok(Json(people::person(&px, &actor, &id).await?))
}

pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
    JsonBody(body): JsonBody,
) -> Result<Json<PersonView>, Problem> {
    let person = match change_of(body)? {
        Change::Disabled(disabled) => people::switch_person(&px, &actor, &id, disabled).await?,
        Change::Administrator(is_administrator) => {
            people::set_administrator(&px, &actor, &id, is_administrator).await?
        }
    };
    Ok(Json(person))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
) -> Result<StatusCode, Problem> {
    people::delete_person(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn reset_second_factor(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
) -> Result<StatusCode, Problem> {
    people::reset_second_factor(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn invitations(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<InvitationList>, Problem> {
    let invitations = people::list_invitations(&px, &actor).await?;
    Ok(Json(InvitationList {
        total: invitations.len(),
        invitations,
    }))
}

pub(super) async fn invite(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<InvitationCreated>), Problem> {
    let new = people::invite(&px, &actor, invitation(body)?).await?;
    let link = new.link.expose().to_owned();
    let view = new.view;
    Ok((StatusCode::CREATED, Json(InvitationCreated { view, link })))
}

pub(super) async fn revoke_invitation(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
) -> Result<StatusCode, Problem> {
    people::revoke_invitation(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

enum Change {
    Disabled(bool),
    Administrator(bool),
}

/// One at a time: each is an act of its own in the audit trail.
fn change_of(mut fields: Fields) -> Result<Change, Error> {
    let disabled = fields.optional_flag("disabled");
    let is_administrator = fields.optional_flag("is_administrator");
    if !fields.has_faults() && disabled.is_some() == is_administrator.is_some() {
        fields.fault(
            "disabled",
            "or is_administrator must be given, and not both",
        );
    }
    fields.finish()?;
    Ok(match (disabled, is_administrator) {
        (_, Some(is_administrator)) => Change::Administrator(is_administrator),
        (disabled, None) => Change::Disabled(disabled.unwrap_or(false)),
    })
}

fn invitation(mut fields: Fields) -> Result<Invite, Error> {
    let invite = Invite {
        name: fields.text("name"),
        display_name: fields.text("display_name"),
        is_administrator: fields.flag("is_administrator", false),
        expires_in_hours: fields.number("expires_in_hours", 1..=u32::MAX),
    };
    fields.finish()?;
    Ok(invite)
}
