//! What stands between a button and the end of something.

use leptos::prelude::*;

use super::problem;
use crate::forms::Typed;

/// The form of a page that removes something: it posts to `action`. `more` is what has to be read
/// or typed before; `back` is where one goes who keeps it.
pub(crate) fn removal(
    typed: &Typed,
    action: String,
    more: impl IntoView,
    button: String,
    back: String,
) -> impl IntoView {
    view! {
        {problem(typed)}
        <form class="form" method="post" action=action>
            {more}
            <div class="form-end">
                <button class="button button-danger">{button}</button>
                <a class="button" href=back>"Keep it"</a>
            </div>
        </form>
    }
}
