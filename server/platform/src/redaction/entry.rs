//! All texts of a log entry.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use flukedeploy_domain::log_entry::LogEntry;
use serde_json::Value;

use super::Redactor;
use crate::checks::secrets::{is_secret_name, looks_real};
use crate::ports::{Logged, ReplicaLine};

impl Redactor {
    pub(crate) fn logged(&self, logged: &mut Logged) {
        match logged {
            Logged::Entry(entry) => self.entry(entry),
            Logged::Line(line) => self.line(line),
        }
    }

    fn line(&self, line: &mut ReplicaLine) {
        self.in_place(&mut line.message);
        if let Some(trace) = &mut line.stack_trace {
            self.in_place(trace);
        }
        if !line.fields.is_empty() {
            line.fields = self.fields(std::mem::take(&mut line.fields));
        }
        let told = &line.origin.metadata;
        let told = [&told.error_code, &told.version].into_iter().flatten();
        let is_secret = |text: &String| matches!(self.text(text), Cow::Owned(_));
        if told.into_iter().any(is_secret) {
            let metadata = &mut Arc::make_mut(&mut line.origin).metadata;
            let told = [&mut metadata.error_code, &mut metadata.version];
            told.into_iter()
                .flatten()
                .for_each(|text| self.in_place(text));
        }
    }

    pub(crate) fn entry(&self, entry: &mut LogEntry) {
        self.in_place(&mut entry.message);
        let metadata = &mut entry.flukedeploy_metadata;
        let optional = [
            &mut metadata.stack_trace,
            &mut metadata.error_code,
            &mut metadata.version,
        ];
        for text in optional.into_iter().flatten() {
            self.in_place(text);
        }
        for tag in &mut entry.tags {
            self.in_place(tag);
        }
        if !metadata.fields.is_empty() {
            let fields = std::mem::take(&mut metadata.fields);
            metadata.fields = self.fields(fields);
        }
    }

    fn fields(&self, fields: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        fields
            .into_iter()
            .map(|(mut name, mut value)| {
                self.value(&name, &mut value);
                self.in_place(&mut name);
                (name, value)
            })
            .collect()
    }

    fn value(&self, name: &str, value: &mut Value) {
        match value {
            // In text this was `"password": "…"`.
            Value::String(text) if is_secret_name(name) && looks_real(text) => {
                "[redacted]".clone_into(text);
            }
            Value::String(text) => self.in_place(text),
            Value::Number(number) => {
                let text = number.to_string();
                if self.text(&text) != text {
                    *value = Value::from("[redacted]");
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.value(name, item);
                }
            }
            Value::Object(object) => {
                let inner = std::mem::take(object);
                for (mut name, mut value) in inner {
                    self.value(&name, &mut value);
                    self.in_place(&mut name);
                    object.insert(name, value);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}
