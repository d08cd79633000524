//! Text to paste.

use leptos::prelude::*;

/// A block with a copy button. `id` must be unique on its page.
pub(crate) fn code(id: &'static str, text: String) -> impl IntoView {
    view! {
        <div class="code">
            <pre id=id tabindex="0">{text}</pre>
            {copy_button("Copy", None, Some(id))}
        </div>
    }
}

/// Shown only where scripts run: without them it could do nothing.
pub(crate) fn copy_button(
    word: &'static str,
    text: Option<String>,
    from: Option<&'static str>,
) -> impl IntoView {
    view! {
        <button type="button" class="copy" hidden data-copy=text.unwrap_or_default() data-copy-from=from>
            {word}
        </button>
    }
}
