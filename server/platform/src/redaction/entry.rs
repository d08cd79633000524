//! All texts of a log entry.

use std::collections::BTreeMap;

use flukedeploy_domain::log_entry::LogEntry;
use serde_json::Value;

use super::Redactor;
use crate::checks::secrets::{is_secret_name, looks_real};

impl Redactor {
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
