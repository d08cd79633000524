//! Variables as callers send them: `env_vars` and, for those that are secret, `secret_env_vars`.
//!
//! Each is an object of strings or a list of `{key, value}`; an item of a list may say `secret` itself:
//! `true` marks the variable (without a value: the one that is there), `false` along with a new value
//! takes its mark away. `is_secret`, as answers call it, means the same. `delivery` says whether the app
//! finds it as a `file` or as a `variable`; `file` names the file, and `uid` and `gid` its owner. `file`
//! may also be what answers show: an object with `path`, `uid` and `gid`.

use flukedeploy_domain::app::{EnvVars, Marks, SECRETS_FOLDER, SecretFile};
use flukedeploy_domain::names::quoted;
use serde_json::Value;

use super::fields::Fields;

/// What a variable without a value means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Refused,
    /// `{"NAME": null}` removes the variable.
    Remove,
}

#[derive(Default)]
pub(super) struct VariableChanges {
    pub(super) set: EnvVars,
    pub(super) marks: Marks,
    pub(super) remove: Vec<String>,
}

/// Both fields together. Values are never quoted in faults.
pub(super) fn variables(fields: &mut Fields, nulls: Nulls) -> VariableChanges {
    let mut changes = VariableChanges::default();
    for (field, all_secret) in [("env_vars", false), ("secret_env_vars", true)] {
        let items = match fields.take(field) {
            None => continue,
            Some(Value::Object(object)) => object
                .into_iter()
                .map(|(key, value)| Some(Item::new(key, Some(value))))
                .collect(),
            Some(Value::Array(items)) => items.into_iter().map(Item::read).collect(),
            Some(_) => {
                fields.fault(
                    field,
                    "must be an object of strings, or a list of objects with 'key' and 'value'",
                );
                continue;
            }
        };
        let items: Vec<Option<Item>> = items;
        for item in items {
            match item {
                Some(mut item) => {
                    if all_secret {
                        item.marked = item.marked.or(Some(Value::Bool(true)));
                    }
                    add(fields, field, item, nulls, &mut changes);
                }
                None => fields.fault(field, "must hold objects with 'key' and 'value'"),
            }
        }
    }
    changes
}

enum Delivery {
    Variable,
    File(SecretFile),
}

struct Item {
    key: String,
    value: Option<Value>,
    marked: Option<Value>,
    delivery: Option<Value>,
    file: Option<Value>,
    uid: Option<Value>,
    gid: Option<Value>,
}

impl Item {
    fn new(key: String, value: Option<Value>) -> Self {
        Self {
            key,
            value,
            marked: None,
            delivery: None,
            file: None,
            uid: None,
            gid: None,
        }
    }

    fn read(item: Value) -> Option<Self> {
        let Value::Object(mut item) = item else {
            return None;
        };
        let Some(Value::String(key)) = item.remove("key") else {
            return None;
        };
        let value = item.remove("value");
        let marked = item.remove("secret").or_else(|| item.remove("is_secret"));
        let mut part = |name: &str| item.remove(name).filter(|value| !value.is_null());
        Some(Self {
            marked,
            delivery: part("delivery"),
            file: part("file"),
            uid: part("uid"),
            gid: part("gid"),
            ..Self::new(key, value)
        })
    }

    /// How it is delivered, if it says so.
    fn delivered(&mut self) -> Result<Option<Delivery>, &'static str> {
        let mut name = match self.file.take() {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(Value::Object(mut shown)) => {
                self.uid = self.uid.take().or_else(|| shown.remove("uid"));
                self.gid = self.gid.take().or_else(|| shown.remove("gid"));
                match shown.remove("path") {
                    Some(Value::String(path)) => Some(path),
                    _ => return Err("must have a path in 'file'"),
                }
            }
            Some(_) => return Err("must have a file name as 'file'"),
        };
        let folder = format!("{SECRETS_FOLDER}/");
        if let Some(path) = &mut name
            && let Some(short) = path.strip_prefix(&folder)
        {
            *path = short.to_owned();
        }
        // The usual name is not worth keeping.
        let name = name.filter(|name| *name != self.key);
        let says_more = name.is_some() || self.uid.is_some() || self.gid.is_some();
        let number = |value: Option<Value>| match value {
            None => Ok(None),
            Some(value) => match value.as_u64().map(u32::try_from) {
                Some(Ok(number)) => Ok(Some(number)),
                _ => Err("must have whole numbers as 'uid' and 'gid'"),
            },
        };
        let file = SecretFile {
            name,
            uid: number(self.uid.take())?,
            gid: number(self.gid.take())?,
        };
        match self.delivery.take() {
            None if says_more => Ok(Some(Delivery::File(file))),
            None => Ok(None),
            Some(Value::String(word)) if word == "file" => Ok(Some(Delivery::File(file))),
            Some(Value::String(word)) if word == "variable" && !says_more => {
                Ok(Some(Delivery::Variable))
            }
            Some(Value::String(word)) if word == "variable" => {
                Err("cannot be a variable and have a file or its owner")
            }
            Some(_) => Err("must have variable or file as 'delivery'"),
        }
    }
}

fn add(
    fields: &mut Fields,
    name: &str,
    mut item: Item,
    nulls: Nulls,
    changes: &mut VariableChanges,
) {
    let field = format!("{name}.{}", quoted(&item.key));
    let is_removed = item.value == Some(Value::Null) && nulls == Nulls::Remove;
    let mut says_how = false;
    match item.delivered() {
        _ if is_removed => {}
        Ok(None) => {}
        Ok(Some(Delivery::File(file))) => {
            says_how = true;
            changes.marks.files.insert(item.key.clone(), file);
        }
        Ok(Some(Delivery::Variable)) => {
            says_how = true;
            changes.marks.no_files.insert(item.key.clone());
        }
        Err(problem) => fields.fault(&field, problem),
    }
    match item.marked.filter(|_| !is_removed) {
        None => {}
        Some(Value::Bool(true)) => {
            changes.marks.secret.insert(item.key.clone());
        }
        Some(Value::Bool(false)) if name == "secret_env_vars" => {
            fields.fault(&field, "is among the secret ones and says that it is none");
        }
        Some(Value::Bool(false)) => {
            changes.marks.open.insert(item.key.clone());
        }
        Some(_) => fields.fault(&field, "must have true or false as 'secret'"),
    }
    match item.value {
        Some(Value::String(value)) => {
            if changes.set.0.insert(item.key, value).is_some() {
                fields.fault(&field, "is given twice");
            }
        }
        Some(Value::Null) if is_removed => changes.remove.push(item.key),
        // A mark alone.
        None if says_how
            || changes.marks.secret.contains(&item.key)
            || changes.marks.open.contains(&item.key) => {}
        _ => fields.fault(&field, "must have a string as its value"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flukedeploy_platform::Error;
    use serde_json::json;

    use super::*;

    fn read(body: &Value, nulls: Nulls) -> Result<VariableChanges, Vec<String>> {
        let mut fields = Fields::new(body.as_object().unwrap().clone());
        let changes = variables(&mut fields, nulls);
        match fields.finish() {
            Ok(()) => Ok(changes),
            Err(Error::Invalid(faults)) => Err(faults.iter().map(ToString::to_string).collect()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn secrets_come_in_a_field_of_their_own_or_say_so_in_a_list() {
        let own = json!({"env_vars": {"A": "1"}, "secret_env_vars": {"B": "2"}});
        let list = json!({"env_vars": [
            {"key": "A", "value": "1"}, {"key": "B", "value": "2", "secret": true}]});
        let as_answered = json!({"env_vars": [
            {"key": "A", "value": "1"}, {"key": "B", "value": "2", "is_secret": true}]});
        let listed = json!({"env_vars": {"A": "1"},
            "secret_env_vars": [{"key": "B", "value": "2"}]});
        for body in [own, list, as_answered, listed] {
            let changes = read(&body, Nulls::Refused).unwrap();
            let expected = [("A", "1"), ("B", "2")];
            let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(changes.set.0, BTreeMap::from(expected));
            assert_eq!(Vec::from_iter(changes.marks.secret), ["B"]);
            assert!(changes.marks.open.is_empty());
        }
    }

    #[test]
    fn marks_come_and_go_and_nulls_remove() {
        let body = json!({"env_vars": [{"key": "A", "secret": true},
            {"key": "B", "value": "2", "secret": false}, {"key": "C", "value": null}],
            "secret_env_vars": {"D": null}});
        let changes = read(&body, Nulls::Remove).unwrap();
        assert_eq!(Vec::from_iter(changes.marks.secret), ["A"]);
        assert_eq!(Vec::from_iter(changes.marks.open), ["B"]);
        assert_eq!(changes.remove, ["C", "D"]);
        assert_eq!(changes.set.0.len(), 1);
    }

    #[test]
    fn a_file_is_said_in_words_or_as_answers_show_it() {
        let body = json!({"env_vars": [
            {"key": "A", "value": "1", "delivery": "file"},
            {"key": "B", "value": "2", "file": "tls.key", "uid": 1000, "gid": 1001},
            {"key": "C", "file": {"path": "/run/secrets/C", "uid": 7}, "is_secret": true},
            {"key": "D", "delivery": "variable"}]});
        let changes = read(&body, Nulls::Refused).unwrap();
        let files = &changes.marks.files;
        assert_eq!(files["A"], SecretFile::default());
        let named = SecretFile {
            name: Some("tls.key".to_owned()),
            uid: Some(1000),
            gid: Some(1001),
        };
        assert_eq!(files["B"], named);
        assert_eq!((files["C"].name.clone(), files["C"].uid), (None, Some(7)));
        assert_eq!(Vec::from_iter(changes.marks.no_files), ["D"]);
        assert_eq!(changes.set.0.len(), 2);

        let body = json!({"env_vars": [
            {"key": "A", "value": "hunter2", "delivery": "mail"},
            {"key": "B", "value": "hunter2", "delivery": "variable", "file": "b"},
            {"key": "C", "value": "hunter2", "uid": -1},
            {"key": "D", "value": "hunter2", "file": 5}]});
        let faults = read(&body, Nulls::Refused).err().unwrap();
        let expected = [
            "env_vars.'A' must have variable or file as 'delivery'",
            "env_vars.'B' cannot be a variable and have a file or its owner",
            "env_vars.'C' must have whole numbers as 'uid' and 'gid'",
            "env_vars.'D' must have a file name as 'file'",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn faults_name_variables_and_never_values() {
        let body = json!({"env_vars": {"A": "hunter2", "B": null}, "secret_env_vars": [
            {"key": "A", "value": "hunter2"}, {"key": "C", "value": "hunter2", "secret": "yes"},
            {"key": "D", "value": ["hunter2"]}, {"key": "E", "value": "hunter2", "secret": false},
            {"value": "hunter2"}]});
        let faults = read(&body, Nulls::Refused).err().unwrap();
        let expected = [
            "env_vars.'B' must have a string as its value",
            "secret_env_vars.'A' is given twice",
            "secret_env_vars.'C' must have true or false as 'secret'",
            "secret_env_vars.'D' must have a string as its value",
            "secret_env_vars.'E' is among the secret ones and says that it is none",
            "secret_env_vars must hold objects with 'key' and 'value'",
        ];
        assert_eq!(faults, expected);
        for wrong in [json!("hunter2"), json!(5)] {
            let faults = read(&json!({"secret_env_vars": wrong}), Nulls::Remove)
                .err()
                .unwrap();
            assert!(
                faults[0].starts_with("secret_env_vars must be"),
                "{faults:?}"
            );
            assert!(!faults[0].contains("hunter2"));
        }
    }
}
