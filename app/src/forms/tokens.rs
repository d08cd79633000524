//! Create and revoke API tokens.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::access::{Limits, Target, Tier};
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::Error;
use flukedeploy_platform::tokens::{CreateToken, NewToken, Only, create_token, revoke_token};

use super::Sent;
use super::permissions::{environments, role};
use crate::paths;

/// Field in which the page gets the one appearance of a new token's secret.
pub(crate) const NEW_SECRET: &str = "new_secret";
pub(crate) const NEW_NAME: &str = "new_name";

pub(crate) async fn create(form: Sent) -> Response {
    match make(&form).await {
        Err(error) => form.answer(Err(error)).await,
        Ok(NewToken { view, secret }) => {
            let shown = vec![
                (NEW_SECRET.to_owned(), secret.expose().to_owned()),
                (NEW_NAME.to_owned(), view.name),
            ];
            form.show_once(shown).await
        }
    }
}

async fn make(form: &Sent) -> Result<NewToken, Error> {
    let (actor, typed) = (form.actor()?, &form.typed);
    let tier = match typed.text("tier") {
        Some("extended") => Tier::Extended,
        Some("advanced") => Tier::Advanced,
        Some("admin") => Tier::Admin,
        _ => {
            return Err(Error::invalid(
                "tier",
                "must be extended, advanced or admin",
            ));
        }
    };
    let days = match typed.text("expires_in_days") {
        None | Some("never") => None,
        Some(text) => match text.parse::<i64>() {
            Ok(days @ 1..=3650) => Some(days),
            _ => {
                return Err(Error::invalid(
                    "expires_in_days",
                    "must be 1 to 3650, or never",
                ));
            }
        },
    };
    let environments = environments(typed)?;
    let only = match typed.text("apps") {
        None if environments.is_some() => {
            let problem = "must be named for a token of single environments";
            return Err(Error::invalid("apps", problem));
        }
        None => None,
        Some(text) => Some(Only {
            targets: apps(text)?,
            role: role(typed)?,
            environments,
        }),
    };
    let cmd = CreateToken {
        name: typed.text("name").unwrap_or_default().to_owned(),
        persona: typed.text("persona").map(ToOwned::to_owned),
        tier,
        expires_at: days.map(|days| form.px.now() + time::Duration::days(days)),
        only,
        limits: Limits::default(),
    };
    create_token(&form.px, actor, cmd).await
}

/// Names with commas or spaces between.
fn apps(text: &str) -> Result<Vec<Target>, Error> {
    let names = text.split([',', ' ']).filter(|name| !name.is_empty());
    let parsed: Result<Vec<Target>, Invalid> =
        names.map(|name| name.parse().map(Target::App)).collect();
    parsed.map_err(|fault| Error::invalid("apps", fault.problem))
}

pub(crate) async fn revoke(Path(id): Path<String>, form: Sent) -> Response {
    let result = take_back(&form, &id).await;
    form.answer(result).await
}

async fn take_back(form: &Sent, id: &str) -> Result<String, Error> {
    revoke_token(&form.px, form.actor()?, id).await?;
    Ok(paths::TOKENS.to_owned())
}
