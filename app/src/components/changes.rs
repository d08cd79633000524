//! Settings that differ: name, before, after. Of variables only the names.

use flukedeploy_domain::deployment::SettingsChange;
use leptos::prelude::*;

use crate::words;

const VARIABLE: &str = "env_vars.";

/// `caption` names the table for those who do not see what is around it.
pub(crate) fn changes(caption: &'static str, changes: &[SettingsChange]) -> impl IntoView + use<> {
    let rows: Vec<_> = changes.iter().map(row).collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <caption class="visually-hidden">{caption}</caption>
                <thead>
                    <tr><th scope="col">"Setting"</th><th scope="col">"Before"</th><th scope="col">"After"</th></tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn row(change: &SettingsChange) -> impl IntoView + use<> {
    let (name, before, after) = match change.name.strip_prefix(VARIABLE) {
        Some(name) => {
            let there = |value: &Option<String>| value.as_ref().map(|_| "a value".to_owned());
            let after = match (&change.before, &change.after) {
                (Some(_), Some(_)) => Some("another value".to_owned()),
                (_, after) => there(after),
            };
            (format!("Variable {name}"), there(&change.before), after)
        }
        None => (
            change.name.clone(),
            change.before.clone(),
            change.after.clone(),
        ),
    };
    view! {
        <tr>
            <td data-label="Setting" data-wide=""><code>{name}</code></td>
            <td data-label="Before">{cell(before)}</td>
            <td data-label="After">{cell(after)}</td>
        </tr>
    }
}

fn cell(value: Option<String>) -> impl IntoView + use<> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => {
            view! { <code title=value.clone()>{words::shortened(&value, 60)}</code> }.into_any()
        }
        None => view! { <span class="faint">"none"</span> }.into_any(),
    }
}
