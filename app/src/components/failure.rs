//! What a page shows when its use case failed.

use flukedeploy_platform::{Error, Kind};
use leptos::prelude::*;

use super::{PageHead, Section, frame};
use crate::context::Desk;
use crate::{paths, render, words};

/// Says what happened, what it means and what to do, with the status that fits.
pub(crate) fn failure(desk: &Desk, error: &Error) -> AnyView {
    render::note_failure(error);
    desk.answer.failed(error);
    let title = match error.kind() {
        Kind::Invalid | Kind::NotFound => "There is nothing here",
        Kind::Unauthenticated => "You are not signed in",
        Kind::Forbidden => "You may not see this",
        Kind::TooMany => "Too many attempts",
        Kind::Conflict => "This does not fit what is there",
        Kind::Unavailable => "This cannot be answered now",
        Kind::Internal => "FlukeDeploy failed to answer",
    };
    if error.kind() == Kind::Invalid {
        desk.answer.not_found();
    }
    let near: Vec<_> = error
        .near()
        .iter()
        .map(|name| view! { <li><a class="link" href=format!("/apps/{}", paths::encoded(name))>{name.clone()}</a></li> })
        .collect();
    let content = view! {
        {PageHead::new(title).view()}
        <div class="panel panel-body">
            <p>{words::sentence(&error.public_detail())}</p>
            {(!near.is_empty()).then(|| view! { <ul>{near}</ul> })}
            {error.next_step().map(|step| view! { <p class="soft">{words::sentence(&step)}</p> })}
            <p class="faint">"Code: "<code>{error.code()}</code></p>
        </div>
    };
    frame(desk, Section::None, content)
}
