//! Something to know before anything else on the page.

use leptos::prelude::*;

use crate::forms::Typed;

#[derive(Clone, Copy)]
pub(crate) enum Tint {
    Good,
    Attention,
    Bad,
}

pub(crate) fn notice(tint: Tint, title: String, text: Option<String>) -> impl IntoView {
    let (class, role) = match tint {
        Tint::Good => ("notice notice-good", "status"),
        Tint::Attention => ("notice notice-attention", "status"),
        Tint::Bad => ("notice notice-bad", "alert"),
    };
    view! {
        <div class=class role=role>
            <p class="notice-title">{title}</p>
            {text.map(|text| view! { <p>{text}</p> })}
        </div>
    }
}

/// What was wrong with the form that this page answers.
pub(crate) fn problem(typed: &Typed) -> impl IntoView + use<> {
    typed.problem().map(|problem| {
        let tint = if problem.attention {
            Tint::Attention
        } else {
            Tint::Bad
        };
        notice(tint, problem.title.clone(), problem.text.clone())
    })
}
