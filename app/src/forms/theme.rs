//! Light, dark, or as the system has it: remembered in a cookie, so that it works without
//! JavaScript and the first paint is right.

use axum::response::{IntoResponse, Response};
use http::header::{REFERER, SET_COOKIE};
use http::{HeaderMap, Uri};

use super::Posted;
use crate::context::Theme;
use crate::session::THEME_COOKIE;
use crate::{paths, render};

pub(crate) async fn choose(headers: HeaderMap, Posted(form): Posted) -> Response {
    let theme = Theme::parse(form.text("theme").unwrap_or_default());
    let age = if theme == Theme::System {
        0
    } else {
        31_536_000
    };
    let cookie = format!(
        "{THEME_COOKIE}={}; Path=/; Max-Age={age}; SameSite=Lax; HttpOnly",
        theme.as_str()
    );
    (
        [(SET_COOKIE, cookie)],
        render::see_other(&came_from(&headers)),
    )
        .into_response()
}

/// The page the form was on. The check for forged requests has seen to it that it is ours, and
/// only its path is used.
fn came_from(headers: &HeaderMap) -> String {
    let referer = headers
        .get(REFERER)
        .and_then(|referer| referer.to_str().ok());
    let uri = referer.and_then(|referer| referer.parse::<Uri>().ok());
    uri.and_then(|uri| uri.path_and_query().map(|path| path.as_str().to_owned()))
        .and_then(|path| paths::local(&path).map(ToOwned::to_owned))
        .unwrap_or_else(|| paths::OVERVIEW.to_owned())
}
