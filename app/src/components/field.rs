//! Form fields: label, hint, what was typed, and what is wrong with it.

use leptos::prelude::*;

use crate::forms::Typed;
use crate::render::escaped;

/// A one-line field.
pub(crate) struct Field<'a> {
    typed: &'a Typed,
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    default: String,
    hint: Option<String>,
    placeholder: Option<String>,
    autocomplete: &'static str,
    class: &'static str,
    numeric: bool,
    optional: bool,
    autofocus: bool,
}

impl<'a> Field<'a> {
    pub(crate) fn new(typed: &'a Typed, name: &'static str, label: &'static str) -> Self {
        Self {
            typed,
            name,
            label,
            kind: "text",
            default: String::new(),
            hint: None,
            placeholder: None,
            autocomplete: "off",
            class: "input",
            numeric: false,
            optional: false,
            autofocus: false,
        }
    }

    /// What it holds before anything was typed.
    pub(crate) fn value(mut self, value: &impl ToString) -> Self {
        self.default = value.to_string();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn placeholder(mut self, text: impl Into<String>) -> Self {
        self.placeholder = Some(text.into());
        self
    }

    /// A password is never put back into the page.
    pub(crate) fn password(mut self, autocomplete: &'static str) -> Self {
        self.kind = "password";
        self.autocomplete = autocomplete;
        self
    }

    pub(crate) fn autocomplete(mut self, autocomplete: &'static str) -> Self {
        self.autocomplete = autocomplete;
        self
    }

    pub(crate) fn mono(mut self) -> Self {
        self.class = "input input-mono";
        self
    }

    pub(crate) fn number(mut self) -> Self {
        self.numeric = true;
        self.class = "input input-short";
        self
    }

    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn autofocus(mut self) -> Self {
        self.autofocus = true;
        self
    }

    pub(crate) fn view(self) -> impl IntoView + use<> {
        let name = self.name;
        let fault = self.typed.fault(name);
        let bad = fault.is_some();
        let value = match (self.kind, self.typed.get(name)) {
            ("password", _) => String::new(),
            (_, Some(typed)) => typed.to_owned(),
            (_, None) => self.default,
        };
        let about = about(name, self.hint.is_some(), bad);
        view! {
            <div class=field_class(bad)>
                {label(name, self.label, self.optional)}
                {self.hint.map(|hint| hint_view(name, hint))}
                <input
                    class=self.class
                    id=name
                    name=name
                    type=self.kind
                    value=value
                    placeholder=self.placeholder
                    autocomplete=self.autocomplete
                    autocapitalize="none"
                    spellcheck="false"
                    inputmode=self.numeric.then_some("numeric")
                    autofocus=self.autofocus
                    aria-describedby=about
                    aria-invalid=bad.then_some("true")
                />
                {fault.map(|fault| fault_view(name, fault))}
            </div>
        }
    }
}

pub(crate) fn text_area(
    typed: &Typed,
    name: &'static str,
    title: &'static str,
    hint: &'static str,
    placeholder: &'static str,
    default: &str,
) -> impl IntoView + use<> {
    let fault = typed.fault(name);
    let bad = fault.is_some();
    // Leptos does not escape what is inside a textarea.
    let value = escaped(typed.get(name).unwrap_or(default));
    let about = about(name, true, bad);
    view! {
        <div class=field_class(bad)>
            {label(name, title, true)}
            {hint_view(name, hint.to_owned())}
            <textarea
                class="input"
                id=name
                name=name
                rows="4"
                placeholder=placeholder
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                aria-describedby=about
                aria-invalid=bad.then_some("true")
            >{value}</textarea>
            {fault.map(|fault| fault_view(name, fault))}
        </div>
    }
}

/// One option of a [`select`].
pub(crate) struct Choice {
    pub(crate) value: &'static str,
    pub(crate) word: String,
}

impl Choice {
    pub(crate) fn new(value: &'static str, word: impl Into<String>) -> Self {
        Self {
            value,
            word: word.into(),
        }
    }
}

pub(crate) fn select(
    typed: &Typed,
    name: &'static str,
    title: &'static str,
    hint: Option<&'static str>,
    choices: Vec<Choice>,
    default: &str,
) -> impl IntoView + use<> {
    let fault = typed.fault(name);
    let bad = fault.is_some();
    let chosen = typed.get(name).unwrap_or(default).to_owned();
    let about = about(name, hint.is_some(), bad);
    let options: Vec<_> = choices
        .into_iter()
        .map(|choice| {
            let selected = choice.value == chosen;
            view! { <option value=choice.value selected=selected>{choice.word}</option> }
        })
        .collect();
    view! {
        <div class=field_class(bad)>
            {label(name, title, false)}
            {hint.map(|hint| hint_view(name, hint.to_owned()))}
            <select class="input" id=name name=name aria-describedby=about aria-invalid=bad.then_some("true")>
                {options}
            </select>
            {fault.map(|fault| fault_view(name, fault))}
        </div>
    }
}

fn label(name: &'static str, label: &'static str, optional: bool) -> impl IntoView {
    view! {
        <label for=name>{label}{optional.then(|| view! { <span class="optional">" (optional)"</span> })}</label>
    }
}

fn hint_view(name: &'static str, hint: String) -> impl IntoView {
    view! { <p class="hint" id=format!("{name}-hint")>{hint}</p> }
}

fn fault_view(name: &'static str, fault: String) -> impl IntoView {
    view! { <p class="fault" id=format!("{name}-fault")><span>{fault}</span></p> }
}

fn field_class(bad: bool) -> &'static str {
    if bad { "field field-bad" } else { "field" }
}

fn about(name: &str, hint: bool, fault: bool) -> Option<String> {
    match (hint, fault) {
        (true, true) => Some(format!("{name}-fault {name}-hint")),
        (true, false) => Some(format!("{name}-hint")),
        (false, true) => Some(format!("{name}-fault")),
        (false, false) => None,
    }
}
