//! What people change about themselves.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_platform::Error;
use flukedeploy_platform::people::{self, Proof};
use flukedeploy_platform::secret::Secret;
use tower_sessions::Session;

use super::session::{new_password, resume};
use super::{CODE, Sent};
use crate::{paths, render, session};

/// Field in which the page gets the one appearance of the recovery codes.
pub(crate) const NEW_CODES: &str = "new_codes";

pub(crate) async fn rename(form: Sent) -> Response {
    let result = async {
        people::rename(&form.px, form.actor()?, form.typed.text("display_name")).await?;
        Ok(paths::ACCOUNT.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn password(session: Session, form: Sent) -> Response {
    let result = change_password(&session, &form).await;
    form.answer(result).await
}

async fn change_password(session: &Session, form: &Sent) -> Result<String, Error> {
    let Some((actor, signed_in)) = session::actor(&form.px, session).await? else {
        return Err(Error::Unauthenticated {
            why: "sign in first",
        });
    };
    let present = Secret::new(form.typed.get("present_password").unwrap_or_default());
    let new = new_password(form)?;
    let changed = people::change_password(&form.px, &actor, &signed_in, &present, &new).await?;
    session::begin(&form.px, session, changed).await?;
    Ok(paths::ACCOUNT.to_owned())
}

/// A proof that the person is still there; then on to what needed it.
pub(crate) async fn confirm(session: Session, form: Sent) -> Response {
    if let Err(error) = prove(&session, &form).await {
        return form.answer(Err(error)).await;
    }
    if let Some((address, typed)) = form.typed.unpacked("Thank you, it is you") {
        return resume(&form.px, &session, &form.visitor, &address, typed).await;
    }
    let next = form.typed.text("next").and_then(paths::local);
    render::see_other(next.unwrap_or(paths::ACCOUNT))
}

async fn prove(session: &Session, form: &Sent) -> Result<(), Error> {
    let password = form.typed.get("password").filter(|text| !text.is_empty());
    let proof = match (password, form.typed.text(CODE)) {
        (Some(password), _) => Proof::Password(Secret::new(password)),
        (None, Some(code)) => Proof::Code(code.to_owned()),
        (None, None) => return Err(Error::invalid("password", "must be given")),
    };
    people::confirm(&form.px, form.actor()?, &proof, &form.origin).await?;
    session::prove(&form.px, session).await
}

pub(crate) async fn second_factor(form: Sent) -> Response {
    let code = form.typed.text(CODE).unwrap_or_default();
    let codes = match form.actor() {
        Ok(actor) => people::confirm_second_factor(&form.px, actor, code).await,
        Err(error) => Err(error),
    };
    show_codes(form, codes).await
}

pub(crate) async fn recovery_codes(form: Sent) -> Response {
    let codes = match form.actor() {
        Ok(actor) => people::new_recovery_codes(&form.px, actor).await,
        Err(error) => Err(error),
    };
    show_codes(form, codes).await
}

async fn show_codes(form: Sent, codes: Result<Vec<Secret>, Error>) -> Response {
    match codes {
        Ok(codes) => {
            let shown = codes
                .iter()
                .map(|code| (NEW_CODES.to_owned(), code.expose().to_owned()))
                .collect();
            form.show_once(shown).await
        }
        Err(error) => form.answer(Err(error)).await,
    }
}

pub(crate) async fn second_factor_off(form: Sent) -> Response {
    let result = async {
        people::turn_off_second_factor(&form.px, form.actor()?).await?;
        Ok(paths::ACCOUNT.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn end_session(Path(id): Path<String>, form: Sent) -> Response {
    let result = async {
        people::end_session(&form.px, form.actor()?, &id).await?;
        Ok(paths::ACCOUNT.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

pub(crate) async fn end_others(form: Sent) -> Response {
    let result = async {
        people::end_other_sessions(&form.px, form.actor()?).await?;
        Ok(paths::ACCOUNT.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}
