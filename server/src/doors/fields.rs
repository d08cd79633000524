//! Reading a JSON object field by field, so that every fault is reported and not only the first.
//! REST bodies and MCP arguments are read with the same functions.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use flukedeploy_domain::names::{Invalid, near_names, quoted};
use flukedeploy_platform::Error;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object that is being read. Every field that is asked for is taken out of it.
pub(crate) struct Fields {
    object: Map<String, Value>,
    prefix: &'static str,
    faults: Vec<Invalid>,
    asked: Vec<&'static str>,
    strict: bool,
}

impl Fields {
    /// Fields that nobody asks for are ignored, as the contract wants it of every reader.
    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Self {
            object,
            prefix: "",
            faults: Vec::new(),
            asked: Vec::new(),
            strict: false,
        }
    }

    /// Fields that nobody asks for are faults: an agent that mistypes an argument should hear of
    /// it instead of getting something it did not ask for.
    pub(crate) fn strict(object: Map<String, Value>) -> Self {
        Self {
            strict: true,
            ..Self::new(object)
        }
    }

    /// An object inside of another; `prefix` is put before the names of its fields.
    pub(crate) fn inner(object: Map<String, Value>, prefix: &'static str) -> Self {
        Self {
            prefix,
            strict: true,
            ..Self::new(object)
        }
    }

    /// Whether it was sent; it can still be taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The raw value; `null` counts as absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.take_nullable(name).filter(|value| !value.is_null())
    }

    /// The raw value, `null` included.
    pub(crate) fn take_nullable(&mut self, name: &'static str) -> Option<Value> {
        self.asked.push(name);
        self.object.remove(name)
    }

    pub(crate) fn fault(&mut self, name: &str, problem: impl Into<String>) {
        self.faults
            .push(Invalid::new(format!("{}{name}", self.prefix), problem));
    }

    pub(crate) fn faults(&mut self, faults: Vec<Invalid>) {
        self.faults.extend(faults);
    }

    /// Whether something is wrong with this field already.
    pub(crate) fn has_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.field == name)
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        if let Value::String(text) = self.take(name)? {
            return Some(text);
        }
        self.fault(name, "must be a string");
        None
    }

    /// A text with rules of its own.
    pub(crate) fn parsed<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(Invalid { problem, .. }) => {
                self.fault(name, problem);
                None
            }
        }
    }

    pub(crate) fn required<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        if self.object.get(name).is_none_or(Value::is_null) {
            self.take(name);
            self.fault(name, "must be given");
            return None;
        }
        self.parsed(name)
    }

    /// One of a closed set of words; `allowed` lists them for people.
    pub(crate) fn chosen<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        allowed: &str,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = serde_json::from_value(Value::String(text.clone()));
        if value.is_err() {
            self.fault(name, format!("must be {allowed}, not {}", quoted(&text)));
        }
        value.ok()
    }

    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.take(name) {
            None => default,
            Some(Value::Bool(value)) => value,
            Some(_) => {
                self.fault(name, "must be true or false");
                default
            }
        }
    }

    /// `None` where it was not given.
    pub(crate) fn optional_flag(&mut self, name: &'static str) -> Option<bool> {
        if let Value::Bool(value) = self.take(name)? {
            return Some(value);
        }
        self.fault(name, "must be true or false");
        None
    }

    pub(crate) fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        let value = self.take(name)?;
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let shown = match &value {
                Value::Number(number) => format!(", not {number}"),
                _ => String::new(),
            };
            let (start, end) = (range.start(), range.end());
            self.fault(
                name,
                format!("must be a whole number from {start} to {end}{shown}"),
            );
        }
        number
    }

    /// The faults found, fields that nobody asked for included when they count as such.
    pub(crate) fn into_faults(mut self) -> Vec<Invalid> {
        if self.strict {
            let unknown: Vec<String> = self.object.keys().take(10).cloned().collect();
            for name in unknown {
                let near = near_names(&name, self.asked.iter().copied());
                let hint = match near.first() {
                    Some(near) => format!("is not known here; did you mean '{near}'?"),
                    None => "is not known here".to_owned(),
                };
                let name: String = name.chars().take(60).filter(|c| !c.is_control()).collect();
                self.fault(&name, hint);
            }
        }
        self.faults
    }

    /// # Errors
    /// All faults at once.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let faults = self.into_faults();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(faults))
        }
    }

    /// The same where a value is known to be missing, so that there is a fault.
    pub(crate) fn into_error(self) -> Error {
        Error::Invalid(self.into_faults())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::names::AppName;
    use serde_json::json;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn faults(fields: Fields) -> Vec<String> {
        fields
            .into_faults()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_fault_is_reported() {
        let body = json!({"app_name": "Bad_Name", "replicas": -1, "flag": "yes", "note": 5});
        let mut fields = Fields::new(object(&body));
        assert_eq!(fields.required::<AppName>("app_name"), None);
        assert_eq!(fields.number::<u32>("replicas", 1..=500), None);
        assert!(fields.flag("flag", true));
        assert_eq!(fields.text("note"), None);
        assert_eq!(fields.required::<AppName>("other"), None);
        assert_eq!(
            faults(fields),
            [
                "app_name may hold only a-z, 0-9 and '-', not 'Bad_Name'",
                "replicas must be a whole number from 1 to 500, not -1",
                "flag must be true or false",
                "note must be a string",
                "other must be given",
            ]
        );
    }

    #[test]
    fn unknown_fields_are_ignored_unless_the_reader_is_strict() {
        let body = json!({"replica": 2});
        let mut lenient = Fields::new(object(&body));
        lenient.number::<u32>("replicas", 1..=500);
        assert!(lenient.finish().is_ok());
        let mut strict = Fields::strict(object(&body));
        strict.number::<u32>("replicas", 1..=500);
        assert_eq!(
            faults(strict),
            ["replica is not known here; did you mean 'replicas'?"]
        );
    }

    #[test]
    fn null_is_absent() {
        let mut fields = Fields::new(object(&json!({"replicas": null, "app_name": null})));
        assert_eq!(fields.number::<u32>("replicas", 1..=500), None);
        assert_eq!(fields.required::<AppName>("app_name"), None);
        assert_eq!(faults(fields), ["app_name must be given"]);
    }
}
