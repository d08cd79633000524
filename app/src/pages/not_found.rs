use leptos::prelude::*;

use crate::components::{PageHead, Section, frame};
use crate::context::Desk;
use crate::paths;

/// Everything that has no page.
#[component]
pub(crate) fn NotFoundPage() -> impl IntoView {
    let desk = Desk::take();
    desk.answer.not_found();
    let content = view! {
        {PageHead::new("There is no page here").lead("The address may be mistyped, or what it led to was deleted.").view()}
        <p class="buttons">
            <a class="button button-primary" href=paths::OVERVIEW>"Go to the overview"</a>
            <a class="button" href=paths::APPS>"See all apps"</a>
        </p>
    };
    frame(&desk, Section::None, content)
}
