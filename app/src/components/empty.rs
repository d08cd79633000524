//! Empty states: what the thing is for, and how to make the first one.

use leptos::prelude::*;

pub(crate) fn empty(title: &'static str, text: &'static str, more: impl IntoView) -> impl IntoView {
    view! {
        <div class="panel empty">
            <h2>{title}</h2>
            <p>{text}</p>
            {more}
        </div>
    }
}
