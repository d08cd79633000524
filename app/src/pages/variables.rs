//! The variables of an app: their names, what is secret, and the fields that set them. No value is ever
//! put into a page.

use flukedeploy_platform::views::VariableView;
use leptos::prelude::*;

use crate::components::{Tint, notice, text_area};
use crate::forms::{SECRET_VARIABLES, Typed};

/// The field for variables that nobody gets to see again, in logs neither.
pub(super) fn secret_variables(typed: &Typed) -> impl IntoView + use<> {
    text_area(
        typed,
        SECRET_VARIABLES,
        "Secret variables to add or replace",
        "NAME=value, one a line. Never shown again, and taken out of logs; values of fewer than 6 \
         characters and common words cannot be found there.",
        "API_KEY=…",
        "",
    )
}

/// The names of those that are marked secret.
pub(super) fn marked(variables: &[VariableView]) -> Vec<&str> {
    let marked = variables.iter().filter(|variable| variable.is_secret);
    marked.map(|variable| variable.key.as_str()).collect()
}

/// What to know about the values of what is marked secret.
pub(super) fn warnings(warnings: &[String]) -> impl IntoView + use<> {
    (!warnings.is_empty()).then(|| {
        let text = warnings
            .iter()
            .map(|warning| crate::words::sentence(warning));
        let text = text.collect::<Vec<_>>().join(" ");
        notice(
            Tint::Attention,
            "Not every secret can be kept out of logs".to_owned(),
            Some(text),
        )
    })
}

/// Names whose values are kept and never shown, each with boxes that mark and remove it.
pub(super) fn kept_variables(typed: &Typed, variables: &[VariableView]) -> impl IntoView + use<> {
    if variables.is_empty() {
        return view! { <p class="hint">"None yet."</p> }.into_any();
    }
    let rows: Vec<_> = variables
        .iter()
        .map(|variable| {
            let name = &variable.key;
            let (field, words) = if variable.is_secret {
                ("open_env_vars", "No longer secret (needs a new value)")
            } else {
                ("mark_env_vars", "Secret")
            };
            view! {
                <li>
                    <span><code>{name.clone()}</code>{variable.is_secret.then(|| view! { " "<span class="tag">"Secret"</span> })}</span>
                    <span class="variable-boxes">
                        {tick(typed, field, words, name)}
                        {tick(typed, "remove_env_vars", "Remove", name)}
                    </span>
                </li>
            }
        })
        .collect();
    view! { <ul class="variables">{rows}</ul> }.into_any()
}

fn tick(
    typed: &Typed,
    field: &'static str,
    words: &'static str,
    name: &str,
) -> impl IntoView + use<> {
    let (checked, name) = (typed.has(field, name), name.to_owned());
    view! {
        <label>
            <input type="checkbox" name=field value=name.clone() checked=checked/>
            {words}<span class="visually-hidden">" "{name}</span>
        </label>
    }
}
