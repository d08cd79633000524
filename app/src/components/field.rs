//! Form fields: label, hint, what was typed, and what is wrong with it.

use std::borrow::Cow;

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
    accept: Option<&'static str>,
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
            accept: None,
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

    /// A file to send; the form must be `multipart/form-data`.
    pub(crate) fn file(mut self, accept: &'static str) -> Self {
        self.kind = "file";
        self.accept = Some(accept);
        self
    }

    /// A day and a time of it.
    pub(crate) fn moment(mut self) -> Self {
        self.kind = "datetime-local";
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
        let fault = fault_or_withheld(self.typed, name);
        let bad = fault.is_some();
        let value = match (self.kind, self.typed.get(name)) {
            ("password" | "file", _) => None,
            (_, Some(typed)) => Some(typed.to_owned()),
            (_, None) => Some(self.default),
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
                    accept=self.accept
                    step=(self.kind == "datetime-local").then_some("0.001")
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
    area(typed, name, title, hint, placeholder, default, true)
}

/// One that must not stay empty.
pub(crate) fn needed_area(
    typed: &Typed,
    name: &'static str,
    title: &'static str,
    hint: &'static str,
    placeholder: &'static str,
) -> impl IntoView + use<> {
    area(typed, name, title, hint, placeholder, "", false)
}

fn area(
    typed: &Typed,
    name: &'static str,
    title: &'static str,
    hint: &'static str,
    placeholder: &'static str,
    default: &str,
    optional: bool,
) -> impl IntoView + use<> {
    let fault = fault_or_withheld(typed, name);
    let bad = fault.is_some();
    let typed = typed.get(name).filter(|_| !typed.was_withheld(name));
    // Leptos does not escape what is inside a textarea.
    let value = escaped(typed.unwrap_or(default));
    let about = about(name, true, bad);
    view! {
        <div class=field_class(bad)>
            {label(name, title, optional)}
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

/// What is wrong with a field; of a secret also that it has to be typed again.
fn fault_or_withheld(typed: &Typed, name: &str) -> Option<String> {
    let again = typed
        .was_withheld(name)
        .then(|| "Type it again: a secret is not put back into the page.".to_owned());
    match (typed.fault(name), again) {
        (Some(fault), Some(again)) => Some(format!("{fault} {again}")),
        (fault, again) => fault.or(again),
    }
}

/// One box to tick; its value is `true`.
pub(crate) fn tick_box(
    name: &'static str,
    title: &'static str,
    hint: Option<&'static str>,
    checked: bool,
) -> impl IntoView {
    let about = hint.is_some().then(|| format!("{name}-hint"));
    view! {
        <div class="choice">
            <input type="checkbox" id=name name=name value="true" checked=checked aria-describedby=about/>
            <label for=name>{title}</label>
            {hint.map(|hint| hint_view(name, hint.to_owned()))}
        </div>
    }
}

/// One way of [`one_of`], with the fields it needs.
pub(crate) struct Way {
    pub(crate) value: &'static str,
    pub(crate) word: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) fields: AnyView,
}

/// A choice where each way has fields of its own. Those of the others are hidden by the
/// stylesheet alone, and sent but not read.
pub(crate) fn one_of(
    typed: &Typed,
    name: &'static str,
    title: &'static str,
    chosen: &str,
    ways: Vec<Way>,
) -> impl IntoView + use<> {
    let fault = typed.fault(name);
    let ways: Vec<_> = ways
        .into_iter()
        .map(|way| {
            let id = format!("{name}-{}", way.value);
            let hint = format!("{id}-hint");
            view! {
                <div class="way">
                    <div class="choice">
                        <input type="radio" id=id.clone() name=name value=way.value checked={way.value == chosen} aria-describedby=hint.clone()/>
                        <label for=id>{way.word}</label>
                        <p class="hint" id=hint>{way.hint}</p>
                    </div>
                    <div class="way-fields">{way.fields}</div>
                </div>
            }
        })
        .collect();
    view! {
        <fieldset class="field ways">
            <legend>{title}</legend>
            {fault.map(|fault| fault_view(name, fault))}
            {ways}
        </fieldset>
    }
}

/// One option of a [`select`].
pub(crate) struct Choice {
    pub(crate) value: Cow<'static, str>,
    pub(crate) word: String,
}

impl Choice {
    pub(crate) fn new(value: impl Into<Cow<'static, str>>, word: impl Into<String>) -> Self {
        Self {
            value: value.into(),
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
