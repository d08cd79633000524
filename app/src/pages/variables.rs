//! The variables of an app or a project: their names, what is secret, and the fields that set them. No
//! value is ever put into a page.

use flukedeploy_domain::names::ProjectName;
use flukedeploy_platform::views::{SharedVariableView, VariableView};
use leptos::prelude::*;

use crate::components::{Field, Tint, notice, text_area};
use crate::forms::{FILE_CONTENT, SECRET_VARIABLES, Typed};
use crate::paths;

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

/// The fields for one secret that is delivered as a file.
pub(super) fn secret_file(typed: &Typed) -> impl IntoView + use<> {
    view! {
        <fieldset class="group">
            <legend>"A secret as a file"</legend>
            <p class="hint">"The app finds it in /run/secrets, and where it is in a variable of its name and _FILE. It is in no variable, so what lists the variables of a process or a container does not show it."</p>
            <div class="row">
                {Field::new(typed, "file_variable", "Its name").optional().mono().placeholder("TLS_KEY").view()}
                {Field::new(typed, "file_name", "File name").optional().mono().hint("Its own name if it is empty.").placeholder("tls.key").view()}
            </div>
            {text_area(typed, FILE_CONTENT, "What it holds", "Never shown again. Empty: what it holds already.", "-----BEGIN PRIVATE KEY-----", "")}
            {Field::new(typed, "file_uid", "Its owner").number().optional()
                .hint("The number of the user that reads it. Empty: the image's user if that is a number, else root.").view()}
        </fieldset>
    }
}

/// What the app's project shares with it.
pub(super) fn shared_variables(
    project: Option<&ProjectName>,
    shared: &[SharedVariableView],
) -> impl IntoView + use<> {
    let project = project?;
    let rows: Vec<_> = shared
        .iter()
        .map(|one| {
            let word = if one.is_overridden {
                "Overridden by this app"
            } else {
                "From the project"
            };
            view! {
                <li>
                    <span>{name_of(&one.variable)}</span>
                    <span class="hint">{word}</span>
                </li>
            }
        })
        .collect();
    let list = if rows.is_empty() {
        view! { <p class="hint">"It shares none yet."</p> }.into_any()
    } else {
        view! { <ul class="variables">{rows}</ul> }.into_any()
    };
    let (name, to) = (project.to_string(), paths::project(project));
    Some(view! {
        <div class="field">
            <p class="hint">"Of the project "<a class="link" href=to>{name}</a>", with the next release. What is set here goes before it, and what a deployment brings before both."</p>
            {list}
        </div>
    })
}

/// The name, and what is to be known of it.
pub(super) fn name_of(variable: &VariableView) -> impl IntoView + use<> {
    let file = variable.file.as_ref().map(|file| {
        let owner = file.uid.map(|uid| format!(", of user {uid}"));
        view! { " "<span class="hint">"as "<code>{file.path.clone()}</code>{owner}</span> }
    });
    view! {
        <code>{variable.key.clone()}</code>
        {variable.is_secret.then(|| view! { " "<span class="tag">"Secret"</span> })}
        {file}
    }
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
            let (way, way_words) = if variable.file.is_some() {
                ("no_file_env_vars", "As a variable")
            } else {
                ("file_env_vars", "As a file")
            };
            view! {
                <li>
                    <span>{name_of(variable)}</span>
                    <span class="variable-boxes">
                        {tick(typed, field, words, name)}
                        {variable.is_secret.then(|| tick(typed, way, way_words, name))}
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
