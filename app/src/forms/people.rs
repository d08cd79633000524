//! Invite people, turn their accounts off, remove them.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_platform::Error;
use flukedeploy_platform::people::{self, Invite, NewInvitation};

use super::Sent;
use crate::paths;

/// Field in which the page gets the one appearance of an invitation's link.
pub(crate) const NEW_LINK: &str = "new_link";

pub(crate) async fn invite(form: Sent) -> Response {
    match make(&form).await {
        Ok(NewInvitation { link, .. }) => {
            let shown = vec![(NEW_LINK.to_owned(), link.expose().to_owned())];
            form.show_once(shown).await
        }
        Err(error) => form.answer(Err(error)).await,
    }
}

async fn make(form: &Sent) -> Result<NewInvitation, Error> {
    let (actor, typed) = (form.actor()?, &form.typed);
    let hours = typed.text("expires_in_hours").map(|text| {
        text.parse::<u32>()
            .map_err(|_| Error::invalid("expires_in_hours", "must be a number"))
    });
    let cmd = Invite {
        name: typed.text("name").map(ToOwned::to_owned),
        display_name: typed.text("display_name").map(ToOwned::to_owned),
        is_administrator: typed.has("is_administrator", "true"),
        expires_in_hours: hours.transpose()?,
    };
    people::invite(&form.px, actor, cmd).await
}

pub(crate) async fn revoke_invitation(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        people::revoke_invitation(&form.px, form.actor()?, &id).await?;
        Ok(paths::PEOPLE.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn switch(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        let disabled = form.typed.has("disabled", "true");
        people::switch_person(&form.px, form.actor()?, &id, disabled).await?;
        Ok(paths::PEOPLE.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn set_role(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        let is_administrator = form.typed.has("is_administrator", "true");
        people::set_administrator(&form.px, form.actor()?, &id, is_administrator).await?;
        Ok(paths::PEOPLE.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn reset(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        people::reset_second_factor(&form.px, form.actor()?, &id).await?;
        Ok(paths::PEOPLE.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn delete(Path(id): Path<String>, form: Sent) -> Response {
    let result = confirm_and_delete(&form, &id).await;
    form.answer(result).await
}

async fn confirm_and_delete(form: &Sent, id: &str) -> Result<String, Error> {
    let actor = form.actor()?;
    let person = people::person(&form.px, actor, id).await?;
    if form.typed.text("confirm") != Some(person.name.as_str()) {
        let problem = format!("must be the person's name, {}", person.name);
        return Err(Error::invalid("confirm", problem));
    }
    people::delete_person(&form.px, actor, id).await?;
    Ok(paths::PEOPLE.to_owned())
}
